//! Our own sync: what is rendered, what is refused, what is applied and what is deleted.

#![expect(clippy::unwrap_used, reason = "a test ends at what is not as expected")]
#![expect(clippy::disallowed_methods, reason = "tests run our binary")]

mod command;
mod crash;
mod fake_api;
mod kube;
mod local;
mod once;
mod render;
mod support;
