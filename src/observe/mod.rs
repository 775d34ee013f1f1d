//! Facts of a cluster at one look. No policy in here, and no cache: what is decided on was read a
//! moment ago.
//!
//! ```text
//!  survey ─▶ find_target    which objects belong to a Rollout, or what keeps it from a trial
//!  look                     Deployment ─▶ engine's object ─▶ Deployment, sets, pods, Services,
//!                           routes (at once) ─▶ nodes of pods that are not ready
//!  ask_gate                what a gate says, asked beside the looks
//!  triggers                 which Rollouts to look at again: watches, never what is decided on
//! ```
//! `Err` means that something could not be asked. What was asked and is not there is a fact.

mod around;
mod deployed;
mod gate;
mod look;
mod pods;
mod survey;
mod traffic;
mod trouble;
mod watch;
mod workload;
mod writer;

pub use around::{missing_config_maps, said_to_be_missing};
pub use deployed::REVISION_ANNOTATION;
pub use gate::{DEADLINE as GATE_DEADLINE, ask_gate};
pub use look::{ObserveError, Seen, look};
pub use pods::PodSeen;
pub use survey::{Problem, Survey, TargetFault, Unfit, find_target, survey};
pub use watch::{Key, triggers};
