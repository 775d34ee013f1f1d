//! The controller as a process: watches, leadership, turns.

mod backoff;
pub mod farewell;
pub mod lease;
pub mod metrics;
pub mod notify;
pub mod queue;
mod serve;
pub mod status;
pub mod telemetry;

use std::fmt;

use chrono::{SecondsFormat, Utc};

/// A Rollout by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// A Rollout of this name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Now, as Kubernetes' `MicroTime` has it.
fn now_text() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}
