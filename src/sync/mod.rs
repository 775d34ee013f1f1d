//! Our own sync: a path of a repository, applied to where it runs.
//!
//! For clusters without Flux or Argo CD, and for the demo, which has no cluster at all.
//!
//! ```text
//! checkout ─▶ render ─▶ locate ─▶ inventory: old ∪ new ─▶ apply each ─▶ prune ─▶ inventory: new
//!              pure       scopes    before any object       SSA           only if nothing failed
//! ```
//!
//! A render that fails applies nothing. An object that fails stops no other, but nothing is pruned
//! then: a renamed object must not lose its old self before the new one is there.

pub mod drift;
pub mod fields;
pub mod gate;
pub mod inventory;
mod json_patch;
pub mod kube_target;
mod kustomize;
pub mod local;
pub mod object;
mod once;
mod ownership;
mod patch;
pub mod render;
pub mod report;
pub mod target;
mod transform;
mod yaml;

pub use gate::CONTROLLER;
pub use inventory::{FIELD_MANAGER, Inventory};
pub use kube_target::KubeTarget;
pub use local::LocalCluster;
pub use object::{HELD_LABEL, ObjectRef, ROLLOUT_LABEL};
pub use once::{Checkout, Settings, SyncError, sync_once};
pub use report::Report;
pub use target::{Target, TargetError};
