//! What is left of a Rollout that is gone: somebody took its finalizer off. The label alone would
//! keep the Deployment's next template from rolling out for ever.

use serde_json::Value;
use tidegate_api::{HELD_LABEL, ROLLOUT_LABEL};
use tidegate_engine::effect::Effect;
use tidegate_engine::state::Revision;

use super::Key;
use super::effects::failed;
use super::error::{Part, TurnError};
use super::queue::Next;
use super::turns::Turns;
use crate::act;
use crate::kubernetes::{CanaryService, Kind, Target, json as read, names, sets};

impl Turns {
    /// Frees what carries the label of a Rollout that does not exist, then forgets it.
    pub(super) async fn release_orphans(&self, key: &Key) -> Result<Next, TurnError> {
        let label = names::label_value(&key.name);
        let all = |kind, selector: String| async move {
            let found = self.cluster.list(kind, Some(&key.namespace), &selector).await;
            found.map_err(Part::Resolve.cluster())
        };
        let workloads = all(Kind::Deployment, format!("{ROLLOUT_LABEL}={label}")).await?;
        let held = format!("{HELD_LABEL}={label}");
        let (services, routes) =
            futures::try_join!(all(Kind::Service, held.clone()), all(Kind::HttpRoute, held))?;
        if workloads.is_empty() && services.is_empty() && routes.is_empty() {
            return Ok(self.forget(key));
        }
        // Long names are cut in labels: it may be there under its whole one.
        let rollouts = all(Kind::Rollout, String::new()).await?;
        let is_its =
            |rollout: &Value| read::name(rollout).map(names::label_value) == Some(label.clone());
        if rollouts.iter().any(is_its) {
            return Ok(self.forget(key));
        }
        let every = all(Kind::ReplicaSet, String::new()).await?;
        let trials = all(Kind::ControllerRevision, format!("{ROLLOUT_LABEL}={label}")).await?;
        let texts = |objects: &[Value]| -> Vec<String> {
            objects.iter().filter_map(read::name).map(str::to_owned).collect()
        };
        for workload in &workloads {
            let name = read::name(workload).unwrap_or_default();
            let services = texts(&services);
            let canary = services.first().map(|service| names::canary_service_name(service));
            let target = Target {
                namespace: key.namespace.clone(),
                rollout: key.name.clone(),
                uid: String::new(),
                workload: name.to_owned(),
                canary_service: CanaryService { name: canary.unwrap_or_default(), ours: true },
                services,
                routes: texts(&routes),
            };
            tracing::warn!(rollout = %key, workload = name, "is gone; its workload is set free");
            self.free(&target, &effects(workload, &every, &trials)).await?;
        }
        Ok(self.forget(key))
    }

    async fn free(&self, target: &Target, effects: &[Effect]) -> Result<(), TurnError> {
        for effect in effects {
            self.may_write(Part::Act)?;
            let freed = act::act(&self.cluster, target, effect, None).await;
            freed.map_err(|source| failed("Free", source))?;
        }
        self.may_write(Part::Act)?;
        let freed = act::disclaim(&self.cluster, target).await;
        freed.map_err(|source| failed("Disclaim", source))
    }
}

/// As if the Rollout had been deleted in order: what serves most stays, and its template goes back
/// first.
fn effects(workload: &Value, every: &[Value], trials: &[Value]) -> Vec<Effect> {
    let template = sets::revision(workload);
    let own = every.iter().filter(|set| sets::is_owned(set, workload));
    let serving = own
        .filter(|set| read::count(set, "/status/readyReplicas").is_some_and(|ready| ready > 0))
        .max_by_key(|set| read::count(set, "/status/readyReplicas"));
    let serving = serving.and_then(sets::revision);
    let mut effects = Vec::new();
    let home = serving.or_else(|| template.clone());
    if let (Some(home), Some(over)) = (&home, template)
        && read::is_paused(workload)
        && *home != over
    {
        effects.push(Effect::Restore { revision: home.clone(), over });
    }
    effects.push(Effect::RouteHome);
    let prefix = format!("{}-", read::name(workload).unwrap_or_default());
    let canaries = trials.iter().filter_map(|trial| read::name(trial)?.strip_prefix(&prefix));
    effects.extend(canaries.map(|hash| Effect::Retire { revision: Revision::new(hash) }));
    effects.push(Effect::Release);
    effects.extend(home.map(|revision| Effect::Unpause { revision }));
    effects
}
