//! The Deployment and its sets.

use serde_json::Value;
use tidegate_engine::observed::{Deployed, Workload};
use tidegate_engine::state::Revision;

use super::look::ObserveError;
use crate::kubernetes::{Target, json, revision_of, sets, surge};

/// The annotation by which the Deployment controller counts the templates it took; a Deployment
/// has the number of the set that it took last.
const TAKEN_ANNOTATION: &str = "deployment.kubernetes.io/revision";

/// The sets that a Deployment's selector selects: its own, what we made for a canary, and others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sets<'a> {
    deployment: Option<&'a Value>,
    workload: &'a str,
    all: &'a [Value],
}

impl<'a> Sets<'a> {
    pub(super) fn new(deployment: Option<&'a Value>, target: &'a Target, all: &'a [Value]) -> Self {
        Self { deployment, workload: &target.workload, all }
    }

    /// What the Deployment controls.
    fn owned(&self) -> impl Iterator<Item = &'a Value> {
        let deployment = self.deployment;
        let is_owned =
            move |set: &&Value| deployment.is_some_and(|owner| sets::is_owned(set, owner));
        self.all.iter().filter(is_owned)
    }

    /// The Deployment's set that serves a revision.
    pub(super) fn of_deployment(&self, revision: &Revision) -> Option<&'a Value> {
        sets::of_deployment(self.all, self.deployment?, revision)
    }

    /// The set that we made for a canary, while it is ours. It goes by its name: should something
    /// have changed its template, it is still ours to take away.
    pub(super) fn canary(&self, revision: &Revision) -> Option<&'a Value> {
        self.all.iter().find(|set| sets::is_canary(set, self.workload, revision))
    }

    /// The revision whose pods carry this value of the label `pod-template-hash`.
    pub(super) fn labelled(&self, hash: &str) -> Option<Revision> {
        let own = self.owned().find(|set| sets::hash(set) == Some(hash));
        own.and_then(sets::revision).or_else(|| {
            let revision = Revision::new(hash);
            self.canary(&revision).map(|_| revision)
        })
    }

    /// The revision that the Deployment controller says it took last.
    fn adopted(&self) -> Option<Revision> {
        let deployment = self.deployment.filter(|deployment| json::is_observed(deployment))?;
        let taken = number(deployment)?;
        self.owned().find(|set| number(set) == Some(taken)).and_then(sets::revision)
    }

    /// One stable set has all pods, and no empty one could be taken for the canary (an equal
    /// template, whoever finds it equal) or be scaled up instead of stable (younger: the
    /// Deployment controller scales the youngest when it knows none of the template).
    fn are_settled(&self, stable: Option<&Revision>) -> bool {
        let Some(deployment) = self.deployment else { return false };
        let mut active = self.owned().filter(|set| is_active(set));
        let (Some(only), None) = (active.next(), active.next()) else { return false };
        let revision = sets::revision(only);
        let is_stable = stable.is_none_or(|stable| revision.as_ref() == Some(stable));
        let mut empty = self.owned().filter(|set| !is_active(set));
        let is_obstacle = |set: &Value| {
            let is_taken = number(set).is_some() && number(set) == number(deployment);
            let is_equal = sets::revision(set) == sets::revision(deployment);
            is_taken || is_equal || created(set) >= created(only)
        };
        is_stable
            && json::is_observed(deployment)
            && json::is_observed(only)
            && !empty.any(is_obstacle)
    }
}

fn number(object: &Value) -> Option<&str> {
    json::annotation(object, TAKEN_ANNOTATION)
}

fn created(set: &Value) -> Option<&str> {
    json::text(set, "/metadata/creationTimestamp")
}

/// It has pods, or is about to.
fn is_active(set: &Value) -> bool {
    json::replicas(set) > 0 || json::count(set, "/status/replicas").unwrap_or(0) > 0
}

/// The facts of a Deployment.
pub(super) fn facts(
    deployment: &Value,
    sets: &Sets<'_>,
    stable: Option<&Revision>,
    deployed: Deployed,
) -> Result<Workload, ObserveError> {
    let unreadable = |field| ObserveError::Unreadable {
        object: format!("Deployment {}", json::name(deployment).unwrap_or_default()),
        field,
    };
    Ok(Workload {
        template: sets::revision(deployment).ok_or_else(|| unreadable("spec.template"))?,
        desired: json::replicas(deployment),
        surge: surge(deployment)
            .ok_or_else(|| unreadable("spec.strategy.rollingUpdate.maxSurge as a number"))?,
        paused: json::is_paused(deployment),
        deployed,
        settled: sets.are_settled(stable),
        adopted: sets.adopted(),
        deliberate: false,
        restart: stable
            .and_then(|stable| sets.of_deployment(stable))
            .is_some_and(|set| is_restart(deployment, set)),
    })
}

/// The Deployment's template is the set's but for annotations of a restart.
fn is_restart(deployment: &Value, set: &Value) -> bool {
    let plain = |object| json::template(object).map(|template| revision_of(&unmarked(template)));
    sets::revision(deployment) != sets::revision(set) && plain(deployment) == plain(set)
}

/// A template without the annotations by which tools ask for new pods and change nothing else. One
/// that names what has changed, as those of operators that watch a Secret, is none of them.
fn unmarked(template: &Value) -> Value {
    let mut template = template.clone();
    let is_mark = |key: &str| key.ends_with("/restartedAt") || key == "cattle.io/timestamp";
    if let Some(metadata) = template["metadata"].as_object_mut() {
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        if annotations.is_some_and(|all| {
            all.retain(|key, _| !is_mark(key));
            all.is_empty()
        }) {
            metadata.remove("annotations");
        }
    }
    template
}

/// What selects the sets and pods of a Deployment. `None`: nothing that can be asked for; an empty
/// selector would mean everything.
pub(super) fn selector(deployment: &Value) -> Option<String> {
    let selector = sets::selector_text(deployment.pointer("/spec/selector")?)?;
    Some(selector).filter(|selector| !selector.is_empty())
}

#[cfg(test)]
mod tests;
