//! What we make for a canary: the object that owns it all, the set, the Service.

use serde_json::{Map, Value, json};
use tidegate_api::{HELD_LABEL, ROLLOUT_LABEL, TRIAL_LABEL};
use tidegate_engine::state::{Revision, TrialId};

use crate::kubernetes::{Kind, POD_TEMPLATE_HASH, Target, json, names};

/// Labels that say which engine brought an object: a copy was brought by none. Argo CD's
/// `app.kubernetes.io/instance` is not among them: `ServiceMonitor`s select by it, and Argo CD
/// leaves objects with an owner alone.
const TRACKING_LABELS: &[&str] = &[
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "objectset.rio.cattle.io/",
    "kapp.k14s.io/",
    "config.k8s.io/",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
    HELD_LABEL,
    ROLLOUT_LABEL,
    TRIAL_LABEL,
];

/// Annotations by which gateways, meshes and scrapers learn how to speak to a Service's pods.
const SPOKEN_ANNOTATIONS: &[&str] = &[
    "prometheus.io/",
    "service.kubernetes.io/topology-mode",
    "projectcontour.io/",
    "traefik.ingress.kubernetes.io/service.",
    "traefik.io/",
    "konghq.com/",
    "haproxy.org/",
    "cloud.google.com/app-protocols",
    "cloud.google.com/backend-config",
    "networking.istio.io/exportTo",
    "service.cilium.io/",
];

/// Fields of a Service's `spec` that say how its pods are reached, beside ports and selector.
const SERVICE_FIELDS: &[&str] = &[
    "ipFamilies",
    "ipFamilyPolicy",
    "internalTrafficPolicy",
    "trafficDistribution",
    "sessionAffinity",
    "sessionAffinityConfig",
    "publishNotReadyAddresses",
];

/// The labels of what belongs to one trial.
pub(super) fn trial_labels(target: &Target, trial: Option<&TrialId>) -> Map<String, Value> {
    let mut labels = Map::new();
    labels.insert(ROLLOUT_LABEL.to_owned(), target.label().into());
    if let Some(trial) = trial {
        labels.insert(TRIAL_LABEL.to_owned(), names::label_value(trial.as_str()).into());
    }
    labels
}

/// The object that owns set and Service. Not the Rollout: what deletes that one in the foreground,
/// or orphans its dependents, would take the canary past our finalizer.
pub(super) fn owner(target: &Target, revision: &Revision, trial: Option<&TrialId>) -> Value {
    json!({
        "apiVersion": Kind::ControllerRevision.api_version(),
        "kind": Kind::ControllerRevision.as_str(),
        "metadata": {
            "name": names::set_name(&target.workload, revision),
            "namespace": target.namespace,
            "labels": trial_labels(target, trial),
        },
        "revision": 1,
        // The API server wants some: enough to tell what it is, nothing of the template.
        "data": {"workload": target.workload, "revision": revision.as_str()},
    })
}

pub(super) fn owned_by(owner: &Value) -> Value {
    json!([{
        "apiVersion": Kind::ControllerRevision.api_version(),
        "kind": Kind::ControllerRevision.as_str(),
        "name": json::name(owner),
        "uid": json::uid(owner),
        "controller": true,
    }])
}

/// The set, as the Deployment controller would make it but for hash and owner. It begins without
/// pods: what the server made of the template is looked at first.
pub(super) fn set(
    target: &Target,
    revision: &Revision,
    deployment: &Value,
    owner: &Value,
) -> Value {
    let mut template = json::template(deployment).cloned().unwrap_or_default();
    template["metadata"]["labels"][POD_TEMPLATE_HASH] = json!(revision.as_str());
    let mut selector = deployment.pointer("/spec/selector").cloned().unwrap_or_default();
    selector["matchLabels"][POD_TEMPLATE_HASH] = json!(revision.as_str());
    json!({
        "apiVersion": Kind::ReplicaSet.api_version(),
        "kind": Kind::ReplicaSet.as_str(),
        "metadata": {
            "name": names::set_name(&target.workload, revision),
            "namespace": target.namespace,
            "labels": template["metadata"]["labels"],
            "ownerReferences": owned_by(owner),
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": json::count(deployment, "/spec/minReadySeconds").unwrap_or(0),
            "selector": selector,
            "template": template,
        },
    })
}

/// The canary's Service: a copy of the Service that selects the canary alone.
pub(super) fn service(
    target: &Target,
    service: &Value,
    hash: &str,
    owner: &Value,
    trial: Option<&TrialId>,
) -> Value {
    let is_any = |key: &str, prefixes: &[&str]| prefixes.iter().any(|one| key.starts_with(one));
    let mut labels = entries(service, "labels", |key| !is_any(key, TRACKING_LABELS));
    labels.extend(trial_labels(target, trial));
    let annotations = entries(service, "annotations", |key| is_any(key, SPOKEN_ANNOTATIONS));
    let mut selector = service.pointer("/spec/selector").cloned().unwrap_or_else(|| json!({}));
    selector[POD_TEMPLATE_HASH] = json!(hash);
    let ports = json::list(service, "/spec/ports").iter().cloned().map(|mut port| {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort"); // each is given once in a cluster
        }
        port
    });
    let mut spec = json!({
        "type": "ClusterIP",
        "ports": ports.collect::<Vec<_>>(),
        "selector": selector,
    });
    for field in SERVICE_FIELDS {
        if let Some(value) = service["spec"].get(field) {
            spec[field] = value.clone();
        }
    }
    if service["spec"]["clusterIP"] == "None" {
        spec["clusterIP"] = json!("None");
    }
    json!({
        "apiVersion": Kind::Service.api_version(),
        "kind": Kind::Service.as_str(),
        "metadata": {
            "name": target.canary_service.name,
            "namespace": target.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": owned_by(owner),
        },
        "spec": spec,
    })
}

fn entries(object: &Value, part: &str, is_kept: impl Fn(&str) -> bool) -> Map<String, Value> {
    let all = object["metadata"].get(part).and_then(Value::as_object).into_iter().flatten();
    all.filter(|(key, _)| is_kept(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::web;

    #[test]
    fn the_set_has_the_whole_selector_and_a_template_that_is_raw() {
        let deployment = json!({"metadata": {"name": "web"}, "spec": {
            "minReadySeconds": 3,
            "selector": {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "Exists"}],
            },
            "template": {
                "metadata": {"labels": {"app": "web", "tier": "front"}},
                "spec": {"aFieldOfTomorrow": {"a": 1}},
            },
        }});
        let (revision, trial) = (Revision::new("a123456789"), TrialId::new("web-1"));
        let mut owner = owner(&web(), &revision, Some(&trial));
        owner["metadata"]["uid"] = json!("o");
        assert_eq!(json::label(&owner, TRIAL_LABEL), Some("web-1"));
        let set = set(&web(), &revision, &deployment, &owner);
        let labels = json!({"app": "web", "tier": "front", POD_TEMPLATE_HASH: "a123456789"});
        assert_eq!(
            set,
            json!({
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": "web-a123456789", "namespace": "shop", "labels": labels,
                    "ownerReferences": [{
                        "apiVersion": "apps/v1", "kind": "ControllerRevision",
                        "name": "web-a123456789", "uid": "o", "controller": true,
                    }],
                },
                "spec": {
                    "replicas": 0,
                    "minReadySeconds": 3,
                    "selector": {
                        "matchLabels": {"app": "web", POD_TEMPLATE_HASH: "a123456789"},
                        "matchExpressions": [{"key": "tier", "operator": "Exists"}],
                    },
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"aFieldOfTomorrow": {"a": 1}},
                    },
                },
            })
        );
    }

    #[test]
    fn the_service_is_copied_without_what_belongs_to_its_engine_or_its_address() {
        let live = json!({
            "metadata": {
                "labels": {
                    "app.kubernetes.io/instance": "web",
                    "kustomize.toolkit.fluxcd.io/name": "shop",
                    "tidegate.dev/held": "web",
                },
                "annotations": {
                    "prometheus.io/scrape": "true",
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                },
            },
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.7",
                "externalTrafficPolicy": "Local",
                "internalTrafficPolicy": "Cluster",
                "trafficDistribution": "PreferClose",
                "ports": [{"name": "http", "port": 80, "appProtocol": "h2c", "nodePort": 30000}],
                "selector": {"app": "web", POD_TEMPLATE_HASH: "stable"},
            },
        });
        let owner = json!({"metadata": {"name": "web-a1", "uid": "o"}});
        let copy = service(&web(), &live, "a1", &owner, Some(&TrialId::new("web-1")));
        assert_eq!(
            copy["metadata"]["labels"],
            json!({
                "app.kubernetes.io/instance": "web",
                "tidegate.dev/rollout": "web",
                "tidegate.dev/trial": "web-1",
            })
        );
        assert_eq!(copy["metadata"]["annotations"], json!({"prometheus.io/scrape": "true"}));
        assert_eq!(
            copy["spec"],
            json!({
                "type": "ClusterIP",
                "internalTrafficPolicy": "Cluster",
                "trafficDistribution": "PreferClose",
                "ports": [{"name": "http", "port": 80, "appProtocol": "h2c"}],
                "selector": {"app": "web", POD_TEMPLATE_HASH: "a1"},
            })
        );
    }

    #[test]
    fn the_copy_of_a_headless_service_is_headless() {
        let live = json!({"spec": {"clusterIP": "None", "selector": {"app": "web"}}});
        let owner = json!({"metadata": {"name": "web-a1", "uid": "o"}});
        let copy = service(&web(), &live, "a1", &owner, None);
        assert_eq!(copy["spec"]["clusterIP"], "None");
    }
}
