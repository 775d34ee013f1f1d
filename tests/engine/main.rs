//! The machine, told as stories and held to its invariants.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "counts, and where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "stories and pages are files; the engine has none")]
#![expect(clippy::similar_names, reason = "state and stage, word and world are what they are")]

mod arbitrary;
mod command;
mod crash;
mod docs;
mod invariants;
mod leaders;
mod properties;
mod search;
mod stories;
mod world;
