//! Live reads, and writes that rest on them.

use serde_json::Value;
use tidegate_engine::state::Revision;

use super::error::ActError;
use super::fields;
use crate::kubernetes::{Cluster, Kind, ObjectName, Target, json, patch, sets};

/// How often a write is decided before somebody else's writes win: controllers that note something
/// in an object's status do so a few milliseconds after each change, and then rest.
const ATTEMPTS: u32 = 3;

/// One object as it is now, and where it is.
pub(super) struct Live {
    pub(super) at: ObjectName,
    pub(super) object: Value,
}

impl Live {
    pub(super) async fn find(
        cluster: &Cluster,
        target: &Target,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Self>, ActError> {
        let found = cluster.get(kind, &target.namespace, name).await?;
        Ok(found.map(|object| Self { at: target.object(kind, name), object }))
    }

    /// One that must exist.
    pub(super) async fn need(
        cluster: &Cluster,
        target: &Target,
        kind: Kind,
        name: &str,
    ) -> Result<Self, ActError> {
        let found = Self::find(cluster, target, kind, name).await?;
        found.ok_or_else(|| ActError::Missing { object: Box::new(target.object(kind, name)) })
    }

    pub(super) fn of(target: &Target, kind: Kind, object: Value) -> Self {
        let at = target.object(kind, json::name(&object).unwrap_or_default());
        Self { at, object }
    }

    /// A person has freed it, or it is on its way out: it is left alone.
    pub(super) fn is_left_alone(&self) -> bool {
        json::break_glass(&self.object).is_some() || json::is_deleted(&self.object)
    }

    pub(super) fn version(&self) -> &str {
        json::resource_version(&self.object).unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        json::uid(&self.object).unwrap_or_default()
    }

    pub(super) fn revision(&self) -> Option<Revision> {
        sets::revision(&self.object)
    }

    /// Writes what is decided on this very version. Where somebody was faster, it is read and
    /// decided again; without operations, or where it is left alone, nothing is written.
    pub(super) async fn write(
        mut self,
        cluster: &Cluster,
        decide: impl Fn(&Self) -> Result<Vec<Value>, ActError>,
    ) -> Result<Self, ActError> {
        for attempt in 1.. {
            if self.is_left_alone() {
                break;
            }
            let operations = decide(&self)?;
            if operations.is_empty() {
                break;
            }
            match cluster.patch_json(&self.at, operations, self.version()).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                    let namespace = self.at.namespace.as_deref().unwrap_or_default();
                    let found = cluster.get(self.at.kind, namespace, &self.at.name).await?;
                    let object = Box::new(self.at.clone());
                    self.object = found.ok_or(ActError::Missing { object })?;
                }
                answer => {
                    self.object = answer?;
                    tracing::debug!(object = %self.at, "written");
                    break;
                }
            }
        }
        Ok(self)
    }

    /// The operations, and one that takes our name off the object's fields. The others must only
    /// take away: what a write sets is ours again.
    pub(super) fn giving_back(&self, mut operations: Vec<Value>, keep: Option<&str>) -> Vec<Value> {
        if let Some(entries) = fields::given_back(&self.object, self.at.kind, keep) {
            operations.push(patch::add("/metadata/managedFields", entries));
        }
        operations
    }

    /// No other Rollout has its name on it.
    pub(super) fn free_of_others(&self, label: &str, ours: &str) -> Result<(), ActError> {
        match json::label(&self.object, label) {
            Some(other) if other != ours => {
                let owner = format!("Rollout {other}");
                Err(ActError::NotOurs { object: Box::new(self.at.clone()), owner })
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn not_ours(&self) -> ActError {
        let owner = json::controller(&self.object).map_or_else(
            || "nobody we know".to_owned(),
            |owner| {
                let text = |key| owner.get(key).and_then(Value::as_str).unwrap_or("?");
                format!("{} {}", text("kind"), text("name"))
            },
        );
        ActError::NotOurs { object: Box::new(self.at.clone()), owner }
    }

    pub(super) fn not_yet(&self, condition: impl Into<String>) -> ActError {
        ActError::NotYet { object: Box::new(self.at.clone()), condition: condition.into() }
    }

    pub(super) fn unfit(&self, what: impl Into<String>) -> ActError {
        ActError::Unfit { object: Box::new(self.at.clone()), what: what.into() }
    }
}

/// The Deployment; it must exist.
pub(super) async fn deployment(cluster: &Cluster, target: &Target) -> Result<Live, ActError> {
    Live::need(cluster, target, Kind::Deployment, &target.workload).await
}

/// All sets that the Deployment's selector selects, whoever they belong to.
pub(super) async fn all_sets(
    cluster: &Cluster,
    target: &Target,
    deployment: &Live,
) -> Result<Vec<Value>, ActError> {
    let selector = deployment.object.pointer("/spec/selector").and_then(sets::selector_text);
    let selector = selector.ok_or_else(|| deployment.unfit("its selector cannot be asked for"))?;
    Ok(cluster.list(Kind::ReplicaSet, Some(&target.namespace), &selector).await?)
}

/// Carries the same out on several objects; one that fails does not keep the others from it.
pub(super) async fn on_each<'a, F>(
    names: impl IntoIterator<Item = &'a str>,
    each: impl Fn(&'a str) -> F,
) -> Result<(), ActError>
where
    F: Future<Output = Result<(), ActError>>,
{
    let all = futures::future::join_all(names.into_iter().map(each)).await;
    all.into_iter().collect()
}
