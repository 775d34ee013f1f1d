//! The machine, told as stories and held to its invariants.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod arbitrary;
mod command;
mod crash;
mod invariants;
mod leaders;
mod properties;
mod stories;
mod world;
