//! What an object is called, and in which order objects are applied.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_api::GROUP;
pub use tidegate_api::{BREAK_GLASS_ANNOTATION, HELD_LABEL, ROLLOUT_LABEL};

/// Annotation (or label) that keeps an object when it disappears from the repository.
pub const PRUNE_KEY: &str = "tidegate.dev/prune";

/// The value of [`PRUNE_KEY`] that keeps the object.
pub const PRUNE_DISABLED: &str = "disabled";

/// The name of an object: group, version, kind, namespace and name.
///
/// Two versions of one kind name the same object: compare by [`ObjectRef::id`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// API group; empty for the core group.
    pub group: String,
    /// API version, such as `v1`.
    pub version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Namespace; none for cluster-scoped objects, or when a manifest does not name one.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectRef {
    /// The name of `object`, or none when `apiVersion`, `kind` or `metadata.name` is missing.
    pub fn of(object: &Value) -> Option<Self> {
        let api_version = object.get("apiVersion")?.as_str()?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let metadata = object.get("metadata")?;
        Some(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: object.get("kind")?.as_str()?.to_owned(),
            namespace: metadata.get("namespace").and_then(Value::as_str).map(str::to_owned),
            name: metadata.get("name")?.as_str()?.to_owned(),
        })
    }

    /// `apiVersion` as manifests have it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `namespace_name_group_kind`: the same for every version of the object.
    pub fn id(&self) -> String {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        format!("{namespace}_{}_{}_{}", self.name, self.group, self.kind)
    }

    /// Reads what [`ObjectRef::id`] wrote. Only the name can have an underscore in it.
    pub fn from_id(id: &str, version: &str) -> Option<Self> {
        let (namespace, rest) = id.split_once('_')?;
        let (rest, kind) = rest.rsplit_once('_')?;
        let (name, group) = rest.rsplit_once('_')?;
        let complete = !name.is_empty() && !kind.is_empty() && !version.is_empty();
        complete.then(|| Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Whether Kubernetes itself keeps objects of this kind outside namespaces.
///
/// Only for a target without discovery; kinds that are not built in, except our own, are taken
/// as namespaced.
pub(crate) fn is_cluster_scoped(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(kind, "Namespace" | "Node" | "PersistentVolume"),
        "rbac.authorization.k8s.io" => matches!(kind, "ClusterRole" | "ClusterRoleBinding"),
        "networking.k8s.io" => matches!(kind, "IngressClass"),
        "policy" => kind == "PodSecurityPolicy",
        "gateway.networking.k8s.io" => kind == "GatewayClass",
        "storage.k8s.io" => kind != "CSIStorageCapacity",
        "apiextensions.k8s.io"
        | "admissionregistration.k8s.io"
        | "apiregistration.k8s.io"
        | "scheduling.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "node.k8s.io" => true,
        GROUP => matches!(
            kind,
            "RolloutClass" | "ClusterAnalysisTemplate" | "ConfigRepository" | "MetricSource"
        ),
        _ => false,
    }
}

/// Where a kind stands in the order of application; what others need comes first.
pub(crate) fn apply_rank(group: &str, kind: &str) -> u8 {
    match (group, kind) {
        ("", "Namespace") => 0,
        ("apiextensions.k8s.io", _) => 1,
        ("", "ServiceAccount") => 2,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => 3,
        ("rbac.authorization.k8s.io", _) => 4,
        ("", "ConfigMap" | "Secret") => 5,
        ("", "Service") => 6,
        ("apps" | "batch", _) | ("", "Pod" | "ReplicationController") => 7,
        (GROUP, "Rollout") => 10,
        (GROUP, _) => 9,
        _ => 8,
    }
}

/// The string at `metadata.<map>.<key>`.
pub(crate) fn metadata_entry<'a>(object: &'a Value, map: &str, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get(map)?.get(key)?.as_str()
}

/// Whether the object asks to be kept when it disappears from the repository.
pub(crate) fn prune_disabled(object: &Value) -> bool {
    ["annotations", "labels"]
        .iter()
        .any(|map| metadata_entry(object, map, PRUNE_KEY) == Some(PRUNE_DISABLED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_id_is_read_back_also_with_underscores_and_colons_in_the_name() {
        for (namespace, name) in [(Some("shop"), "podinfo"), (None, "system:a_b_c"), (None, "x")] {
            let object = ObjectRef {
                group: "rbac.authorization.k8s.io".to_owned(),
                version: "v1".to_owned(),
                kind: "ClusterRole".to_owned(),
                namespace: namespace.map(str::to_owned),
                name: name.to_owned(),
            };
            assert_eq!(ObjectRef::from_id(&object.id(), "v1"), Some(object));
        }
        assert_eq!(ObjectRef::from_id("a_b_c", "v1"), None);
    }

    #[test]
    fn an_object_without_a_name_has_no_reference() {
        assert_eq!(ObjectRef::of(&json!({"apiVersion": "v1", "kind": "ConfigMap"})), None);
        let of = ObjectRef::of(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}
        }));
        assert_eq!(
            of.map(|r| (r.api_version(), r.id())),
            Some(("apps/v1".to_owned(), "_a_apps_Deployment".to_owned(),))
        );
    }
}
