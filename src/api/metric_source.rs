//! Where metrics come from.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::{Duration, ObjectName};

/// A Prometheus-compatible endpoint. Rollouts name it; they never give URLs.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "MetricSource",
    doc = "A MetricSource is a Prometheus-compatible endpoint that metrics are read from. \
           Rollouts name it; they never give URLs.",
    status = "MetricSourceStatus",
    derive = "PartialEq",
    shortname = "tgms",
    category = "tidegate",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.bearerToken) || !has(self.basicAuth)")
    .message("expected bearerToken or basicAuth, not both"))]
pub struct MetricSourceSpec {
    /// Where it is, without `/api/v1`. No user and no password: those are in a Secret.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new(
        "self.matches('^https?://[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]+)?(/[^\\\\s@?#]*)?$')")
        .message("expected http:// or https:// with a host, without user, query and fragment"))]
    pub url: String,
    /// The namespaces whose Rollouts may name it; `*` stands for all of them.
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-list-type" = "set"))]
    #[schemars(inner(
        length(min = 1, max = 63),
        regex(pattern = r"^([*]|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")
    ))]
    pub allowed_namespaces: Vec<String>,
    /// The token of the header `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<SecretKey>,
    /// A Secret in the controller's namespace with `username` and `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<ObjectName>,
    /// The certificates that are trusted beside the system's, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<SecretKey>,
    /// Headers of every request, such as `X-Scope-OrgID`. Nothing secret: they are in plain sight.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub headers: BTreeMap<String, String>,
    /// Names of the labels that say where a series comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<MetricLabels>,
    /// How often targets are scraped. Default: 15s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_interval: Option<Duration>,
    /// How long a sample needs until it can be read: one scrape and the way to the store.
    /// Default: 45s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// How long a request may take. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How many requests may be on their way at once. Default: 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub max_concurrent_requests: Option<u32>,
}

/// One key of a Secret in the controller's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret.
    pub name: ObjectName,
    /// Its key.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Names of the labels that say where a series comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricLabels {
    /// The pod. Default: pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub pod: Option<String>,
    /// The namespace. Default: namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub namespace: Option<String>,
}

/// How the source is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricSourceStatus {
    /// The generation of the spec this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: it answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
