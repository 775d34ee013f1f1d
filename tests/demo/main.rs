//! The demo's world with real processes, real sockets and real time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "tests run our binary, and `git` to check it")]

mod load;
mod pods;
mod proxy;
mod scraper;
mod service;
mod story;
mod support;
mod view;
mod world;
