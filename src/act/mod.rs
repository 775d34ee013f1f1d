//! Effects, carried out on a cluster.
//!
//! No policy in here: an effect names an end, and this is how the end is reached, from wherever
//! things are. Every write rests on a read a moment before and carries that read's version, so that
//! it fails where somebody was faster. An object that carries the break-glass annotation is left
//! alone.

mod canary;
mod deployment;
mod error;
mod fields;
mod gate;
mod hand_over;
mod hold;
mod live;
mod pin;
mod raise;
mod release;
mod retire;
mod route;
mod settle;

use tidegate_engine::effect::Effect;
use tidegate_engine::state::TrialId;

pub use deployment::{claim, disclaim};
pub use error::ActError;
pub use gate::run_gate;

use crate::kubernetes::{Cluster, Target};

/// Makes one end true, or begins to: what takes time is seen by a later look, and asked for again.
/// The effects of one decision are for one caller, in their order.
///
/// `Revert` and `Announce` are not of the cluster, and `RunGate` has [`run_gate`]:
/// [`ActError::NotOfTheCluster`].
pub async fn act(
    cluster: &Cluster,
    target: &Target,
    effect: &Effect,
    trial: Option<&TrialId>,
) -> Result<(), ActError> {
    match effect {
        Effect::Settle { keep } => settle::settle(cluster, target, keep).await,
        Effect::Hold => hold::hold(cluster, target).await,
        Effect::Pin { revision } => pin::pin(&cluster.urgent(), target, revision).await,
        Effect::Unpin => pin::unpin(&cluster.urgent(), target).await,
        Effect::Raise { revision, replicas } => {
            raise::raise(cluster, target, revision, *replicas, trial).await
        }
        Effect::Route { weight } => route::split(&cluster.urgent(), target, *weight).await,
        Effect::RouteHome => route::home(&cluster.urgent(), target).await,
        Effect::HandOver { revision, replicas } => {
            hand_over::hand_over(cluster, target, revision, *replicas).await
        }
        Effect::Retire { revision } => retire::retire(cluster, target, revision).await,
        Effect::Restore { revision, over } => {
            deployment::restore(cluster, target, revision, over).await
        }
        Effect::Unpause { revision } => deployment::unpause(cluster, target, revision).await,
        Effect::Release => release::release(cluster, target).await,
        Effect::Revert(_) | Effect::RunGate(_) | Effect::Announce(_) => {
            Err(ActError::NotOfTheCluster)
        }
    }
}
