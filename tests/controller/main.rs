//! Tests of the root package that need no target of their own: wire types, files, the house.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

mod api_server;
mod deploy;
mod generated;
mod hostile;
mod load;
mod measure;
mod reconcile;
mod resolve;
mod tidy;
mod validation;
