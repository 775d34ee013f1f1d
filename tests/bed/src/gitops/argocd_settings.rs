//! The settings of Argo CD, as its own installation has them, as far as they matter here.

use serde_json::{Value, json};

/// Config maps, secret and project that Argo CD does not start without.
pub(super) fn settings() -> Vec<Value> {
    let empty = [
        "argocd-cmd-params-cm",
        "argocd-gpg-keys-cm",
        "argocd-rbac-cm",
        "argocd-ssh-known-hosts-cm",
        "argocd-tls-certs-cm",
    ];
    let mut objects: Vec<Value> =
        empty.into_iter().map(|name| config_map(name, &json!({}))).collect();
    objects.push(config_map(
        "argocd-cm",
        &json!({
            "resource.customizations.ignoreResourceUpdates.all": "jsonPointers:\n- /status\n",
            "resource.exclusions": EXCLUSIONS,
        }),
    ));
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata("argocd-secret"),
        "type": "Opaque",
        // Signs sessions of the user interface, which does not run.
        "stringData": { "server.secretkey": "no-sessions-on-the-test-bed" },
    }));
    objects.push(json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": { "name": "default" },
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{ "namespace": "*", "server": "*" }],
            "clusterResourceWhitelist": [{ "group": "*", "kind": "*" }],
        },
    }));
    objects
}

/// Objects that Kubernetes writes all the time; Argo CD's own installation excludes them too.
const EXCLUSIONS: &str = "\
- apiGroups: ['', discovery.k8s.io]
  kinds: [Endpoints, EndpointSlice]
- apiGroups: [coordination.k8s.io]
  kinds: [Lease]
- apiGroups: [authentication.k8s.io, authorization.k8s.io]
  kinds: [SelfSubjectReview, TokenReview, LocalSubjectAccessReview, SelfSubjectAccessReview, \
SelfSubjectRulesReview, SubjectAccessReview]
";

fn config_map(name: &str, data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name), "data": data })
}

/// Argo CD reads only what carries this label.
fn metadata(name: &str) -> Value {
    json!({ "name": name, "labels": { "app.kubernetes.io/part-of": "argocd" } })
}
