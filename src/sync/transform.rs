//! What Kustomize does to every object: namespace, labels, annotations, replicas, images.
//!
//! The fields follow Kustomize's own default configuration (`builtinpluginconsts`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::object::{ObjectRef, is_cluster_scoped};
use super::render::Manifest;

/// One entry of `labels`.
#[derive(Debug, Default)]
pub(crate) struct LabelRule {
    pub(crate) pairs: BTreeMap<String, String>,
    /// Also into selectors (and then into templates too).
    pub(crate) selectors: bool,
    /// Also into pod templates.
    pub(crate) templates: bool,
}

/// One entry of `images`.
#[derive(Debug, Default)]
pub(crate) struct ImageRule {
    pub(crate) name: String,
    pub(crate) new_name: Option<String>,
    pub(crate) new_tag: Option<String>,
    pub(crate) digest: Option<String>,
}

/// One entry of `replicas`.
#[derive(Debug, Default)]
pub(crate) struct ReplicaRule {
    pub(crate) name: String,
    pub(crate) count: u64,
}

/// Kinds, a path from the root, and whether missing maps on the way are made. Lists on the way
/// stand for each of their items.
type LabelField = (&'static [&'static str], &'static str, bool);

/// Labels of pod templates.
const TEMPLATE_LABELS: [LabelField; 4] = [
    (
        &["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "ReplicationController"],
        "spec/template/metadata/labels",
        true,
    ),
    (&["StatefulSet"], "spec/volumeClaimTemplates/metadata/labels", true),
    (&["CronJob"], "spec/jobTemplate/metadata/labels", true),
    (&["CronJob"], "spec/jobTemplate/spec/template/metadata/labels", true),
];

/// Selectors.
const SELECTOR_LABELS: [LabelField; 12] = [
    (&["Service", "ReplicationController"], "spec/selector", true),
    (&["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet"], "spec/selector/matchLabels", true),
    (&["Job", "PodDisruptionBudget"], "spec/selector/matchLabels", false),
    (&["CronJob"], "spec/jobTemplate/spec/selector/matchLabels", false),
    (&["NetworkPolicy"], "spec/podSelector/matchLabels", false),
    (&["NetworkPolicy"], "spec/ingress/from/podSelector/matchLabels", false),
    (&["NetworkPolicy"], "spec/egress/to/podSelector/matchLabels", false),
    (
        WITH_AFFINITY,
        "spec/template/spec/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/\
         podAffinityTerm/labelSelector/matchLabels",
        false,
    ),
    (
        WITH_AFFINITY,
        "spec/template/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/\
         labelSelector/matchLabels",
        false,
    ),
    (
        WITH_AFFINITY,
        "spec/template/spec/affinity/podAntiAffinity/\
         preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
        false,
    ),
    (
        WITH_AFFINITY,
        "spec/template/spec/affinity/podAntiAffinity/\
         requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
        false,
    ),
    (
        WITH_AFFINITY,
        "spec/template/spec/topologySpreadConstraints/labelSelector/matchLabels",
        false,
    ),
];

const WITH_AFFINITY: &[&str] = &["Deployment", "StatefulSet"];

/// Puts every namespaced object into `namespace`, renames Namespace objects to it, and follows
/// with the `ServiceAccounts` that bindings name.
pub(crate) fn set_namespace(manifests: &mut [Manifest], namespace: &str) {
    let references = manifests.iter().filter_map(Manifest::reference);
    let accounts: Vec<ObjectRef> = references.filter(|r| r.kind == "ServiceAccount").collect();
    for manifest in manifests {
        let Some(reference) = manifest.reference() else { continue };
        let object = &mut manifest.object;
        if reference.kind == "Namespace" && reference.group.is_empty() {
            set(object, &["metadata", "name"], &json!(namespace));
        } else if !is_cluster_scoped(&reference.group, &reference.kind) {
            set(object, &["metadata", "namespace"], &json!(namespace));
        }
        match reference.kind.as_str() {
            "RoleBinding" | "ClusterRoleBinding" => {
                set_subjects(object, &accounts, namespace);
            }
            "APIService" => set_existing(object, "/spec/service/namespace", namespace),
            "CustomResourceDefinition" => set_existing(
                object,
                "/spec/conversion/webhook/clientConfig/service/namespace",
                namespace,
            ),
            _ => {}
        }
    }
}

fn set_subjects(binding: &mut Value, accounts: &[ObjectRef], namespace: &str) {
    let subjects = binding.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        let text = |key: &str| subject.get(key).and_then(Value::as_str);
        let (name, old) = (text("name"), text("namespace"));
        let rendered = accounts.iter().any(|account| {
            Some(account.name.as_str()) == name
                && (old.is_none() || account.namespace.as_deref().is_none_or(|n| Some(n) == old))
        });
        let account = text("kind") == Some("ServiceAccount");
        if name == Some("default") || (account && rendered) {
            set(subject, &["namespace"], &json!(namespace));
        }
    }
}

/// Adds labels to an object and, as the rule says, to its templates and selectors.
pub(crate) fn add_labels(object: &mut Value, rule: &LabelRule) {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    add_pairs(object, &["metadata", "labels"], &rule.pairs, true);
    let templates = (rule.templates || rule.selectors).then_some(TEMPLATE_LABELS.as_slice());
    let selectors = rule.selectors.then_some(SELECTOR_LABELS.as_slice());
    for (kinds, path, create) in templates.into_iter().chain(selectors).flatten() {
        if kinds.contains(&kind.as_str()) {
            let path: Vec<&str> = path.split('/').collect();
            add_pairs(object, &path, &rule.pairs, *create);
        }
    }
}

/// Adds annotations to an object and to its pod template.
pub(crate) fn add_annotations(object: &mut Value, pairs: &BTreeMap<String, String>) {
    if pairs.is_empty() {
        return;
    }
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    add_pairs(object, &["metadata", "annotations"], pairs, true);
    for (kinds, path, create) in &TEMPLATE_LABELS {
        if kinds.contains(&kind.as_str()) && !path.contains("volumeClaimTemplates") {
            let path = path.replace("labels", "annotations");
            let path: Vec<&str> = path.split('/').collect();
            add_pairs(object, &path, pairs, *create);
        }
    }
}

/// Sets `spec.replicas` of the workload that the rule names.
pub(crate) fn set_replicas(object: &mut Value, rule: &ReplicaRule) {
    let scaled = ["Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"];
    let matches = ObjectRef::of(object)
        .is_some_and(|r| r.name == rule.name && scaled.contains(&r.kind.as_str()));
    if matches {
        set(object, &["spec", "replicas"], &json!(rule.count));
    }
}

/// Sets the image of every container, wherever containers are.
pub(crate) fn set_images(value: &mut Value, rule: &ImageRule) {
    match value {
        Value::Object(map) => {
            for (name, child) in map {
                if matches!(name.as_str(), "containers" | "initContainers") {
                    for container in child.as_array_mut().into_iter().flatten() {
                        set_image(container, rule);
                    }
                }
                set_images(child, rule);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| set_images(item, rule)),
        _ => {}
    }
}

fn set_image(container: &mut Value, rule: &ImageRule) {
    let Some(Value::String(image)) = container.get_mut("image") else { return };
    let (name, mut tag, mut digest) = split_image(image);
    if name != rule.name {
        return;
    }
    if rule.new_tag.is_some() || rule.digest.is_some() {
        // A new tag or digest replaces both: the old digest would win over the new tag.
        tag = rule.new_tag.as_deref();
        digest = rule.digest.as_deref();
    }
    let mut text = rule.new_name.as_deref().unwrap_or(name).to_owned();
    if let Some(tag) = tag {
        text = format!("{text}:{tag}");
    }
    if let Some(digest) = digest {
        text = format!("{text}@{digest}");
    }
    *image = text;
}

/// Splits `host:port/name:tag@digest`; a colon before the last slash is a port.
fn split_image(image: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag), digest),
        _ => (rest, None, digest),
    }
}

fn set_existing(object: &mut Value, pointer: &str, text: &str) {
    if let Some(value) = object.pointer_mut(pointer) {
        *value = json!(text);
    }
}

fn set(object: &mut Value, path: &[&str], value: &Value) {
    visit(object, path, true, &mut |slot| *slot = value.clone());
}

fn add_pairs(object: &mut Value, path: &[&str], pairs: &BTreeMap<String, String>, create: bool) {
    visit(object, path, create, &mut |slot| {
        if slot.is_null() {
            *slot = Value::Object(Map::new());
        }
        let Value::Object(map) = slot else { return };
        map.extend(pairs.iter().map(|(key, value)| (key.clone(), json!(value))));
    });
}

/// Calls `change` with the value at `path`, for each item of the lists on the way.
fn visit(at: &mut Value, path: &[&str], create: bool, change: &mut dyn FnMut(&mut Value)) {
    if let Value::Array(items) = at {
        for item in items {
            visit(item, path, create, change);
        }
        return;
    }
    let Some((first, rest)) = path.split_first() else {
        change(at);
        return;
    };
    if create && at.is_null() {
        *at = Value::Object(Map::new());
    }
    let Value::Object(map) = at else { return };
    // A list cannot be made up: claims are only labelled where there are claims.
    let creatable = create && *first != "volumeClaimTemplates";
    let child = if creatable {
        Some(map.entry((*first).to_owned()).or_insert(Value::Null))
    } else {
        map.get_mut(*first)
    };
    if let Some(child) = child {
        visit(child, rest, create, change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_the_host_is_no_tag() {
        let digest = "sha256:aa";
        for (image, parts) in [
            ("a", ("a", None, None)),
            ("a:1", ("a", Some("1"), None)),
            ("host:5000/a", ("host:5000/a", None, None)),
            ("host:5000/a:1@sha256:aa", ("host:5000/a", Some("1"), Some(digest))),
            ("a@sha256:aa", ("a", None, Some(digest))),
        ] {
            assert_eq!(split_image(image), parts);
        }
    }
}
