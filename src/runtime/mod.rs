//! The controller as a process: watches, leadership, turns.
//!
//! ```text
//!  signal, lease ─▶ run ─▶ queue ─▶ turns: reconcile ─▶ resolve, observe, measure, decide
//!                    │                          ├─▶ status (record)
//!                    ├─▶ notify (alerts)        ├─▶ effects ─▶ act, revert, notify (Events)
//!                    └─▶ serve (metrics)        └─▶ trials (for people)
//! ```
//! All state of a Rollout is in its own status. What is remembered here between turns saves
//! questions, and is never needed to be right.

mod around;
mod backoff;
mod effects;
mod error;
pub mod farewell;
mod fleet;
mod gates;
pub mod lease;
mod leave;
mod measured;
pub mod metrics;
pub mod notify;
mod orphans;
mod pace;
pub mod queue;
mod reconcile;
mod references;
mod request;
pub mod revert;
pub mod run;
pub mod secrets;
mod serve;
mod shown;
mod signal;
pub mod status;
mod suspended;
pub mod telemetry;
mod trials;
mod trouble;
mod turns;

pub use turns::{Parts, Turns};

use chrono::{SecondsFormat, Utc};
use tokio::sync::watch;

pub use crate::observe::Key;

/// Returns once it is true, or nobody can make it so any more.
async fn said(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Now, as Kubernetes' `MicroTime` has it.
fn now_text() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
fn key(namespace: &str, name: &str) -> Key {
    Key { namespace: namespace.to_owned(), name: name.to_owned() }
}
