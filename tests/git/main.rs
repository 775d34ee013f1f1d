//! Git, against real repositories: of this machine, and behind `git http-backend`.
//! The `git` program is the oracle here; the product runs none.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
#![expect(clippy::disallowed_methods, reason = "tests run `git` to check what the product did")]

mod differential;
mod errors;
mod folders;
mod matrix;
mod model;
mod server;
mod stories;
mod support;
mod texts;
mod writers;
