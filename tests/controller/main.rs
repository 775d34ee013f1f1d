//! Tests of the controller package: wire types, adapters, generated files.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod generated;
//! Everything of the root package that needs no target of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod tidy;
