//! Everything of the root package that needs no target of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod generated;
mod tidy;
