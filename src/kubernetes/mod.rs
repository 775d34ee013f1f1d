//! Names, labels and raw objects of the cluster: what looking and acting agree on.
//!
//! Objects travel as raw JSON. A pod template never goes through typed structs: a field newer than
//! ours must survive from the Deployment into the canary's set.

mod accepted;
mod backends;
mod cluster;
mod error;
pub mod json;
mod kind;
pub mod names;
pub mod patch;
mod revision;
pub mod sets;
mod surge;
mod target;

pub use accepted::is_accepted;
pub use backends::{Pair, RouteShare, WEIGHT_ANNOTATION};
pub use cluster::{Cluster, Propagation};
pub use error::{ClusterError, Verb};
pub use kind::{Kind, ObjectName};
pub use revision::{POD_TEMPLATE_HASH, revision_of};
pub use surge::{max_surge, surge};
#[cfg(test)]
pub(crate) use target::web;
pub use target::{CanaryService, Target};
