//! Tests of the controller package: wire types, reading, adapters, generated files.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

mod generated;
mod hostile;
mod load;
mod resolve;
mod validation;
