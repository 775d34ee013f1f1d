//! Tests of the controller package: wire types, adapters, generated files.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod generated;
