//! `tidegate simulate`: what it tells, what it refuses, and how often the judge is wrong.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::disallowed_methods, reason = "bad input is tried on the real binary")]

mod input;
mod shares;
mod stories;
mod support;
mod verdicts;
