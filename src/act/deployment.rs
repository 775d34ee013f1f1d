//! What is written to the Deployment: our label, stable's template, and that it rolls out.

use tidegate_api::{PHASE_LABEL, ROLLOUT_LABEL};
use tidegate_engine::state::Revision;

use super::error::ActError;
use super::live::{self, Live};
use super::retire;
use crate::kubernetes::{Cluster, Kind, Target, json, patch, sets};

/// Puts our label on the Deployment: from here on the gate closes with each new template. It is
/// the only thing of ours that stays at rest. `phase`: what it says beside, while a failed template
/// is held.
pub async fn claim(
    cluster: &Cluster,
    target: &Target,
    phase: Option<&str>,
) -> Result<(), ActError> {
    let live = live::deployment(cluster, target).await?;
    let label = target.label();
    let decide = |live: &Live| {
        live.free_of_others(ROLLOUT_LABEL, &label)?;
        let claim = patch::entry(&live.object, "labels", ROLLOUT_LABEL, Some(&label));
        // The first label may have to make room for labels: the other one comes with the next turn.
        let is_claimed = claim.is_empty();
        let marked = || patch::entry(&live.object, "labels", PHASE_LABEL, phase);
        Ok(if is_claimed { marked() } else { claim })
    };
    live.write(cluster, decide).await.map(drop)
}

/// Takes our label off again, and our name off every field: for a Rollout that is deleted, after
/// everything else. What carries another Rollout's label is left alone.
pub async fn disclaim(cluster: &Cluster, target: &Target) -> Result<(), ActError> {
    let found = Live::find(cluster, target, Kind::Deployment, &target.workload).await?;
    let Some(live) = found else { return Ok(()) };
    let decide = |live: &Live| {
        if live.free_of_others(ROLLOUT_LABEL, &target.label()).is_err() {
            return Ok(Vec::new());
        }
        let mut operations = patch::entry(&live.object, "labels", ROLLOUT_LABEL, None);
        operations.extend(patch::entry(&live.object, "labels", PHASE_LABEL, None));
        Ok(live.giving_back(operations, None))
    };
    live.write(cluster, decide).await.map(drop)
}

/// The Deployment carries stable's template again, if it still carries the one it was decided on.
/// No field of it stays ours: what Git says next is applied as if we had never been there.
pub(super) async fn restore(
    cluster: &Cluster,
    target: &Target,
    revision: &Revision,
    over: &Revision,
) -> Result<(), ActError> {
    let live = live::deployment(cluster, target).await?;
    let live = if live.revision().as_ref() == Some(over) && !live.is_left_alone() {
        let sets = live::all_sets(cluster, target, &live).await?;
        let set = sets::of_deployment(&sets, &live.object, revision);
        let template = set.and_then(json::template).map(sets::without_hash);
        let template = template.ok_or_else(|| ActError::NoSet {
            workload: target.workload.clone(),
            revision: revision.clone(),
        })?;
        let decide = |live: &Live| {
            let is_it = live.revision().as_ref() == Some(over);
            let write = || vec![patch::add("/spec/template", template.clone())];
            Ok(if is_it { write() } else { Vec::new() })
        };
        let written = live.write(cluster, decide).await?;
        if written.revision().as_ref() == Some(over) {
            return Err(ActError::TemplateMutated { object: Box::new(written.at) });
        }
        written
    } else {
        live
    };
    // Written now or before, by somebody or by us: no field of it stays ours.
    let decide = |live: &Live| {
        let is_it = live.revision().as_ref() == Some(revision);
        let give_back = || live.giving_back(Vec::new(), Some(ROLLOUT_LABEL));
        Ok(if is_it { give_back() } else { Vec::new() })
    };
    live.write(cluster, decide).await.map(drop)
}

/// The Deployment is not paused, if it carries this revision: any other would roll out unjudged.
pub(super) async fn unpause(
    cluster: &Cluster,
    target: &Target,
    revision: &Revision,
) -> Result<(), ActError> {
    let live = live::deployment(cluster, target).await?;
    let decide = |live: &Live| {
        if live.revision().as_ref() != Some(revision) {
            return Ok(Vec::new());
        }
        let is_paused = json::is_paused(&live.object);
        let unpause = if is_paused { vec![patch::remove("/spec/paused")] } else { Vec::new() };
        Ok(live.giving_back(unpause, Some(ROLLOUT_LABEL)))
    };
    let live = live.write(cluster, decide).await?;
    if live.revision().as_ref() != Some(revision) {
        return Ok(());
    }
    // A workload without Services has no other end of a promotion.
    retire::clear_leftovers(cluster, target).await
}
