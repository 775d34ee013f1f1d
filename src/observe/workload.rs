//! The Deployment and its sets.

use serde_json::Value;
use tidegate_engine::observed::{Deployed, Workload};
use tidegate_engine::state::Revision;

use super::look::ObserveError;
use super::trouble::time;
use crate::kubernetes::{Kind, POD_TEMPLATE_HASH, Target, json, names, revision_of};

/// The annotation by which the Deployment controller counts the templates it took; a Deployment
/// has the number of the set that it took last.
const TAKEN_ANNOTATION: &str = "deployment.kubernetes.io/revision";

/// The sets of a Deployment, told apart by who owns them.
#[derive(Debug)]
pub(super) struct Sets<'a> {
    /// What the Deployment controls.
    owned: Vec<Set<'a>>,
    /// What we made for a canary and still have.
    canaries: Vec<Set<'a>>,
}

/// A set and its revision.
#[derive(Clone, Debug)]
pub(super) struct Set<'a> {
    pub(super) object: &'a Value,
    pub(super) revision: Revision,
}

impl<'a> Sets<'a> {
    /// Sorts the sets that the Deployment's selector selects. Sets of others are left out.
    pub(super) fn sort(deployment: Option<&Value>, target: &Target, sets: &'a [Value]) -> Self {
        let uid = deployment.and_then(json::uid);
        let mut sorted = Self { owned: Vec::new(), canaries: Vec::new() };
        for object in sets {
            let Some(template) = json::template(object) else { continue };
            let set = Set { object, revision: revision_of(template) };
            if uid.is_some_and(|uid| json::is_controlled_by(object, Kind::Deployment, uid)) {
                sorted.owned.push(set);
            } else if is_canary(object, target, &set.revision) {
                sorted.canaries.push(set);
            }
        }
        sorted
    }

    /// The set that serves a revision: of several the one with most available pods.
    pub(super) fn owned(&self, revision: &Revision) -> Option<&Set<'a>> {
        let of_revision = self.owned.iter().filter(|set| set.revision == *revision);
        of_revision.max_by_key(|set| {
            let available = json::count(set.object, "/status/availableReplicas").unwrap_or(0);
            // Of equal ones the Deployment controller takes the oldest.
            (available, is_active(set.object), std::cmp::Reverse(created(set.object)))
        })
    }

    /// The set that we made for a canary, while it is ours.
    pub(super) fn canary(&self, revision: &Revision) -> Option<&Set<'a>> {
        self.canaries.iter().find(|set| set.revision == *revision)
    }

    /// The set whose pods carry this value of the label `pod-template-hash`.
    pub(super) fn labelled(&self, hash: &str) -> Option<&Set<'a>> {
        let all = self.owned.iter().chain(&self.canaries);
        all.into_iter().find(|set| json::label(set.object, POD_TEMPLATE_HASH) == Some(hash))
    }

    /// The revision that the Deployment controller says it took last.
    fn adopted(&self, deployment: &Value) -> Option<Revision> {
        if !json::is_observed(deployment) {
            return None;
        }
        let taken = json::annotation(deployment, TAKEN_ANNOTATION)?;
        let set = self
            .owned
            .iter()
            .find(|set| json::annotation(set.object, TAKEN_ANNOTATION) == Some(taken));
        set.map(|set| set.revision.clone())
    }

    /// One stable set has all pods, and no empty one could be taken for the canary (an equal
    /// template) or be scaled up instead of stable (younger: the Deployment controller scales the
    /// youngest when it knows none of the template).
    fn are_settled(&self, deployment: &Value, stable: Option<&Revision>) -> bool {
        let Some(template) = template(deployment) else { return false };
        let mut active = self.owned.iter().filter(|set| is_active(set.object));
        let (Some(only), None) = (active.next(), active.next()) else { return false };
        let is_stable = stable.is_none_or(|stable| only.revision == *stable);
        let mut empty = self.owned.iter().filter(|set| !is_active(set.object));
        is_stable
            && json::is_observed(deployment)
            && json::is_observed(only.object)
            && !empty.any(|set| {
                let is_template = set.revision == template && only.revision != template;
                is_template || created(set.object) > created(only.object)
            })
    }
}

/// A set made by us: named after the revision and controlled by the object that we made with it.
fn is_canary(set: &Value, target: &Target, revision: &Revision) -> bool {
    let name = names::set_name(&target.workload, revision);
    json::label(set, POD_TEMPLATE_HASH) == Some(revision.as_str())
        && json::name(set) == Some(name.as_str())
        && json::controller(set).is_some_and(|owner| {
            owner["kind"] == Kind::ControllerRevision.as_str() && owner["name"] == name.as_str()
        })
}

/// It has pods, or is about to.
fn is_active(set: &Value) -> bool {
    json::replicas(set) > 0 || json::count(set, "/status/replicas").unwrap_or(0) > 0
}

fn created(set: &Value) -> Option<chrono::DateTime<chrono::Utc>> {
    time(set, "/metadata/creationTimestamp")
}

/// The revision of a Deployment's template.
pub(super) fn template(deployment: &Value) -> Option<Revision> {
    json::template(deployment).map(revision_of)
}

/// The facts of a Deployment.
pub(super) fn facts(
    deployment: &Value,
    sets: &Sets<'_>,
    stable: Option<&Revision>,
    deployed: Deployed,
) -> Result<Workload, ObserveError> {
    let template = template(deployment).ok_or_else(|| ObserveError::Unreadable {
        object: format!("Deployment {}", json::name(deployment).unwrap_or_default()),
        field: "spec.template",
    })?;
    Ok(Workload {
        template,
        desired: json::replicas(deployment),
        paused: json::is_paused(deployment),
        deployed,
        settled: sets.are_settled(deployment, stable),
        adopted: sets.adopted(deployment),
        deliberate: false,
    })
}

/// The label selector of a Deployment, as a query has it.
pub(super) fn selector(deployment: &Value) -> Option<String> {
    let selector = deployment.pointer("/spec/selector")?;
    let mut parts = Vec::new();
    if let Some(labels) = selector["matchLabels"].as_object() {
        for (key, value) in labels {
            parts.push(format!("{key}={}", value.as_str()?));
        }
    }
    for expression in json::list(selector, "/matchExpressions") {
        let key = expression["key"].as_str()?;
        let values: Option<Vec<_>> =
            json::list(expression, "/values").iter().map(Value::as_str).collect();
        let values = values?.join(",");
        parts.push(match expression["operator"].as_str()? {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

#[cfg(test)]
mod tests;
