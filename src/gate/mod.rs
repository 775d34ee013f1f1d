//! What keeps a new template from rolling out by itself, and what a trial holds as it is.
//!
//! Whoever writes, the API server decides. From Kubernetes 1.36 on it does so by itself, by the
//! policies of `deploy/policies`. Before that it asks us, by a webhook with the same conditions:
//!
//! ```text
//!  API server ──▶ serve ──▶ request ──▶ review ─┬▶ Verdict: pass, change, deny
//!                   ▲                           └ route
//!                 keep ──▶ identity   Secret, certificate, what the API server trusts
//! ```
//! [`review`] is pure; `tests/cluster/gate.rs` tells both ways the same stories.

mod choose;
mod error;
mod identity;
mod keep;
mod request;
mod review;
mod route;
mod serve;

pub use choose::{WEBHOOK, choose};
pub use error::GateError;
pub use request::{AdmissionRequest, Stage};
pub use review::{CONTROLLER, Verdict, review};
pub use serve::serve_webhook;
