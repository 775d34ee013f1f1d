//! Our own sync: what is rendered, what is refused, what is applied and what is deleted.

mod crash;
mod fake_api;
mod kube;
mod local;
mod once;
mod render;
mod support;
