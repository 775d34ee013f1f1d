//! The objects of one Rollout, by name.

use super::json;
use super::kind::{Kind, ObjectName};
use super::names;

/// The objects of one Rollout, by name. All of them are in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The namespace of the Rollout and of everything it names.
    pub namespace: String,
    /// The Rollout.
    pub rollout: String,
    /// The Rollout's uid.
    pub uid: String,
    /// The Deployment.
    pub workload: String,
    /// The Services that are pinned in flight; the first one stands behind the routes. Empty for
    /// workloads that nobody sends requests to.
    pub services: Vec<String>,
    /// The Service that selects the canary alone; there is none without Services.
    pub canary_service: CanaryService,
    /// The `HTTPRoute`s with the first Service as backend. Empty: weight by pods.
    pub routes: Vec<String>,
}

/// The Service that selects the canary alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryService {
    /// Its name.
    pub name: String,
    /// We make it and remove it. Otherwise it is the user's own, and we pin its selector.
    pub ours: bool,
}

impl Target {
    /// The Service behind the routes.
    pub fn service(&self) -> Option<&str> {
        self.services.first().map(String::as_str)
    }

    /// An object of this target.
    pub fn object(&self, kind: Kind, name: &str) -> ObjectName {
        ObjectName::namespaced(kind, &self.namespace, name)
    }

    /// What the labels of held objects name: this Rollout.
    pub fn label(&self) -> String {
        names::label_value(&self.rollout)
    }

    /// The object carries the label with this Rollout as value.
    pub fn is_labelled(&self, object: &serde_json::Value, key: &str) -> bool {
        json::label(object, key) == Some(self.label().as_str())
    }
}

/// That of a Deployment `web` in the namespace `shop`, behind a Service and a route of its name.
#[cfg(test)]
pub(crate) fn web() -> Target {
    Target {
        namespace: "shop".to_owned(),
        rollout: "web".to_owned(),
        uid: "r".to_owned(),
        workload: "web".to_owned(),
        services: vec!["web".to_owned()],
        canary_service: CanaryService { name: "web-canary".to_owned(), ours: true },
        routes: vec!["web".to_owned()],
    }
}
