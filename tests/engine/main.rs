//! The machine, told as stories and held to its invariants.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod command;
mod invariants;
mod stories;
mod world;
