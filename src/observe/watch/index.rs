//! Whose Rollout is an object? Names only.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use tidegate_api::{HELD_LABEL, ROLLOUT_LABEL, SUSPEND_ANNOTATION};

use super::Key;
use crate::kubernetes::{Kind, names};
use crate::observe::deployed::{Engine, engine_of};

/// An object, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) namespace: String,
    pub(super) name: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// Changes with everything but the status.
    version: u64,
    /// The workload of a Rollout.
    workload: Option<String>,
}

impl Object {
    pub(super) fn of(meta: &ObjectMeta, workload: Option<&str>) -> Self {
        let mut version = DefaultHasher::new();
        meta.uid.hash(&mut version);
        meta.generation.hash(&mut version);
        meta.annotations.hash(&mut version);
        meta.labels.hash(&mut version);
        meta.finalizers.hash(&mut version);
        meta.deletion_timestamp.is_some().hash(&mut version);
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            annotations: meta.annotations.clone().unwrap_or_default(),
            version: version.finish(),
            workload: workload.map(str::to_owned),
        }
    }

    fn key(&self) -> Key {
        Key { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// What is known of a Rollout.
#[derive(Debug)]
struct Known {
    workload: Option<String>,
    version: u64,
}

/// Whose Rollout is an object?
#[derive(Debug, Default)]
pub(super) struct Index {
    rollouts: BTreeMap<Key, Known>,
    /// Rollouts by kind, namespace and name of the engine's object.
    engines: BTreeMap<(Kind, String, String), BTreeSet<Key>>,
    /// Versions of what Rollouts refer to: their status is ours and tells nothing.
    references: BTreeMap<(Kind, String, String), u64>,
    /// Watches that have told everything once.
    told: BTreeSet<(Kind, Option<String>)>,
    /// Namespaces whose Rollouts are suspended.
    suspended: BTreeSet<String>,
    /// The controller's own namespace.
    home: String,
}

impl Index {
    /// Knows of nothing but the controller's own namespace.
    pub(super) fn at_home(home: &str) -> Self {
        Self { home: home.to_owned(), ..Self::default() }
    }

    /// The Rollouts that an object may matter to.
    pub(super) fn touched(&mut self, kind: Kind, object: &Object, gone: bool) -> Vec<Key> {
        match kind {
            Kind::Rollout => self.rollout(object, gone),
            Kind::Deployment => self.deployment(object, gone),
            Kind::Namespace => self.namespace(object, gone),
            Kind::Kustomization | Kind::Application => {
                let at = (kind, object.namespace.clone(), object.name.clone());
                self.engines.get(&at).into_iter().flatten().cloned().collect()
            }
            Kind::RolloutClass
            | Kind::AnalysisTemplate
            | Kind::ClusterAnalysisTemplate
            | Kind::ConfigRepository
            | Kind::MetricSource => self.reference(kind, object, gone),
            Kind::Service | Kind::HttpRoute => match self.with_label(object, HELD_LABEL) {
                Some(key) => vec![key],
                // It may select the pods of any of them. Those that are there when a watch begins
                // are told of once, when it has told everything.
                None if self.is_told(kind, &object.namespace) => {
                    self.rollouts_in(Some(&object.namespace))
                }
                None => Vec::new(),
            },
            _ => self.labelled(object).into_iter().collect(),
        }
    }

    /// A watch has told everything that there is; what changed while it was broken is not known.
    pub(super) fn told(&mut self, kind: Kind, namespace: Option<&str>) -> Vec<Key> {
        self.told.insert((kind, namespace.map(str::to_owned)));
        match kind {
            Kind::Service | Kind::HttpRoute => self.rollouts_in(namespace),
            _ => Vec::new(),
        }
    }

    /// The Rollout that an object says it belongs to.
    pub(super) fn labelled(&self, object: &Object) -> Option<Key> {
        self.with_label(object, ROLLOUT_LABEL)
    }

    fn with_label(&self, object: &Object, label: &str) -> Option<Key> {
        let value = object.labels.get(label)?;
        let named = Key { namespace: object.namespace.clone(), name: value.clone() };
        if self.rollouts.contains_key(&named) {
            return Some(named);
        }
        // A long name is cut in labels. One that nobody has is told all the same: what is left of
        // a Rollout that is gone has to be released.
        let mut here = self.rollouts.keys().filter(|key| key.namespace == object.namespace);
        let cut = here.find(|key| names::label_value(&key.name) == *value).cloned();
        Some(cut.unwrap_or(named))
    }

    fn rollout(&mut self, object: &Object, gone: bool) -> Vec<Key> {
        let key = object.key();
        if gone {
            self.rollouts.remove(&key);
            for followers in self.engines.values_mut() {
                followers.remove(&key);
            }
            self.engines.retain(|_, followers| !followers.is_empty());
            return vec![key];
        }
        let known = Known { workload: object.workload.clone(), version: object.version };
        match self.rollouts.insert(key.clone(), known) {
            // Only the status changed: we wrote it.
            Some(before) if before.version == object.version => Vec::new(),
            Some(_) | None => vec![key],
        }
    }

    fn deployment(&mut self, object: &Object, gone: bool) -> Vec<Key> {
        let mut keys: BTreeSet<_> = self.labelled(object).into_iter().collect();
        let named = self.rollouts.iter().filter(|(key, known)| {
            key.namespace == object.namespace && known.workload.as_ref() == Some(&object.name)
        });
        keys.extend(named.map(|(key, _)| key.clone()));
        if !gone && !keys.is_empty() {
            self.follow(object, &keys);
        }
        keys.into_iter().collect()
    }

    /// The Rollouts of a Deployment hear of its engine's object.
    fn follow(&mut self, deployment: &Object, keys: &BTreeSet<Key>) {
        let marks = json!({
            "metadata": {"labels": deployment.labels, "annotations": deployment.annotations},
        });
        let at = match engine_of(&marks) {
            Engine::Flux { namespace, name } => (Kind::Kustomization, namespace, name),
            Engine::Argo { namespace, name, .. } => (Kind::Application, namespace, name),
            Engine::FluxHelm | Engine::Sync | Engine::Annotated { .. } | Engine::None => return,
        };
        self.engines.entry(at).or_default().extend(keys.iter().cloned());
    }

    fn reference(&mut self, kind: Kind, object: &Object, gone: bool) -> Vec<Key> {
        let at = (kind, object.namespace.clone(), object.name.clone());
        let before = if gone {
            self.references.remove(&at);
            None
        } else {
            self.references.insert(at, object.version)
        };
        if before == Some(object.version) {
            return Vec::new();
        }
        self.rollouts_in(kind.is_namespaced().then_some(object.namespace.as_str()))
    }

    /// Of a Namespace only its suspension matters, and of the controller's own to everybody.
    fn namespace(&mut self, object: &Object, gone: bool) -> Vec<Key> {
        let value = object.annotations.get(SUSPEND_ANNOTATION);
        let is_suspended = !gone && value.is_some_and(|value| value == "true");
        let is_news = if is_suspended {
            self.suspended.insert(object.name.clone())
        } else {
            self.suspended.remove(&object.name)
        };
        if is_news {
            self.rollouts_in((object.name != self.home).then_some(object.name.as_str()))
        } else {
            Vec::new()
        }
    }

    fn is_told(&self, kind: Kind, namespace: &str) -> bool {
        self.told.contains(&(kind, None)) || self.told.contains(&(kind, Some(namespace.to_owned())))
    }

    fn rollouts_in(&self, namespace: Option<&str>) -> Vec<Key> {
        let all = self.rollouts.keys();
        all.filter(|key| namespace.is_none_or(|at| key.namespace == at)).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
