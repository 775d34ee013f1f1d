//! A Rollout that is being deleted: its workload is set free, then it may go.

use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use tidegate_api::Rollout;
use tidegate_engine::Questions;
use tidegate_engine::effect::{Effect, Notice, Severity};
use tidegate_engine::reason::Reason;
use tidegate_engine::state::State;

use super::Key;
use super::effects::failed;
use super::error::{Part, TurnError};
use super::farewell::{Farewell, farewell};
use super::pace::Mood;
use super::queue::Next;
use super::reconcile::{Followed, has_finalizer, rollout_of};
use super::status;
use super::turns::{Measured, Turns};
use crate::act;
use crate::observe::{self, TargetFault};
use crate::resolve;

/// Between two looks on the way out.
const LOOK: Duration = Duration::from_secs(1);

/// What says which objects are the Rollout's own. The rest of a spec may be wrong.
const BARE: &[&str] = &["workloadRef", "services", "routes", "canaryService", "sharedServices"];

impl Turns {
    /// One turn on the way out.
    pub(super) async fn leave(
        &self,
        key: &Key,
        live: &Value,
        state: &State,
    ) -> Result<Next, TurnError> {
        if !has_finalizer(live) {
            return Ok(self.forget(key));
        }
        self.may_write(Part::Record)?;
        let Some(followed) = self.left_behind(key, live).await? else {
            // It never said which objects are its own, so that none was ever touched.
            self.put_finalizer(key, live, false).await?;
            return Ok(self.forget(key));
        };
        let now = Utc::now();
        let asked = Questions {
            canary: state.trial.as_ref().map(|trial| trial.canary.clone()),
            samples: None,
            revert: None,
            gates: Vec::new(),
        };
        let seen = observe::look(&self.cluster, &followed.target, &asked, state, now).await;
        let seen = seen.map_err(TurnError::observe)?;
        let measured = Measured::nothing();
        let seen = self.observed(key, live, state, &asked, seen, &measured);
        let has_routes = !followed.target.routes.is_empty();
        let Farewell { next, effects, done } = farewell(&seen, state, has_routes, now);
        let new = status::leaving(&live["status"], &next);
        let live = self.write_status(key, live, &new, Mood::default()).await?;
        if effects.iter().any(|effect| matches!(effect, Effect::Restore { .. })) {
            let message = "the Rollout is deleted: stable's template is written back; what Git \
                           has comes again with the next sync, and then nobody judges it";
            let notice = Notice {
                id: next.notices,
                at: now,
                severity: Severity::Warning,
                reason: Reason::Restoring,
                message: message.to_owned(),
            };
            self.announce(key, &live, &notice).await;
        }
        self.carry_out(key, &live, &followed, &effects, &next).await?;
        if !done {
            return Ok(Next::After { wait: LOOK, urgent: true });
        }
        let disclaimed = act::disclaim(&self.cluster, &followed.target).await;
        disclaimed.map_err(|source| failed("Disclaim", source))?;
        self.put_finalizer(key, &live, false).await?;
        Ok(self.forget(key))
    }

    /// Its objects, whatever else is wrong with it. `None`: it does not say which.
    async fn left_behind(&self, key: &Key, live: &Value) -> Result<Option<Followed>, TurnError> {
        let Ok(rollout) = bare(live) else { return Ok(self.followed_before(key)) };
        let referred = self.references.of(&key.namespace).await.map_err(Part::Resolve.cluster())?;
        let survey = observe::survey(&self.cluster, &rollout).await;
        let survey = survey.map_err(Part::Resolve.cluster())?;
        let references = referred.references(survey.routes_found(&rollout));
        let whole = rollout_of(live).ok().and_then(|rollout| {
            resolve::resolve(&rollout, &references).ok().map(|resolved| (rollout, resolved))
        });
        let least = || resolve::resolve(&rollout, &references).ok().map(|it| (rollout.clone(), it));
        let Some((rollout, resolved)) = whole.or_else(least) else {
            return Ok(self.followed_before(key));
        };
        let target = match survey.target(&rollout, &resolved) {
            Ok(target) => target,
            Err(TargetFault::Unfit(unfit)) => unfit.target,
            Err(TargetFault::Cluster(error)) => return Err(Part::Resolve.cluster()(error)),
        };
        Ok(Some(Followed { resolved, target, wrong: None }))
    }

    fn followed_before(&self, key: &Key) -> Option<Followed> {
        let (resolved, target) = self.remembered(key)?;
        Some(Followed { resolved, target, wrong: None })
    }
}

/// The Rollout with nothing but the names of its objects.
fn bare(live: &Value) -> Result<Rollout, serde_json::Error> {
    let mut object = live.clone();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|field, _| BARE.contains(&field.as_str()));
    }
    rollout_of(&object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_spec_with_faults_still_says_which_objects_are_its_own() {
        let live = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"workloadRef": {"name": "web"}, "mode": 7, "class": "gone"},
            "status": {"phase": "FromTheFuture"},
        });
        assert!(rollout_of(&live).is_err());
        let rollout = bare(&live).unwrap();
        assert_eq!(rollout.spec.workload_ref.name.as_str(), "web");
        assert!(rollout.spec.class.is_none());
        let resolved = resolve::resolve(&rollout, &resolve::References::default());
        assert!(resolved.is_ok(), "{resolved:?}");
    }
}
