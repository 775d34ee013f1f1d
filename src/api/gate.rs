//! Who has a say before a trial goes on.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Name, ObjectName, UrlPath};

/// Who has a say before a trial goes on: exactly one of `http` and `job`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.http) != has(self.job)")
    .message("expected exactly one of http and job"))]
pub struct Gate {
    /// Its name, such as `smoke-test`.
    pub name: Name,
    /// Before what it is asked.
    pub at: GateAt,
    /// A Service that is asked, again and again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpGate>,
    /// A Job that is run, once at each place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobGate>,
    /// How long its answer is waited for; at a step beyond the minimum time. Default: 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What follows then. Default: Pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnTimeout>,
}

/// Before what a gate is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GateAt {
    /// Before the canary gets traffic: its pods are ready.
    #[default]
    Start,
    /// At each weight, while it is held: before the next one.
    Step,
    /// Before the promotion, when the last step has passed.
    Promotion,
    /// After it, while the way back is one write.
    Promoted,
}

/// A Service of the Rollout's namespace that is asked over HTTP. 200 and 204 let the trial go on, 409
/// ends it; anything else is no answer, and it is asked again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpGate {
    /// The Service. It selects its pods itself: one of them is asked.
    pub service: Name,
    /// The Service's port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Path and query. Default: `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<UrlPath>,
    /// Default: GET. POST tells which trial it is about, in JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
}

/// How a gate is asked over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Without a body.
    #[default]
    Get,
    /// With a body that tells which trial it is about.
    Post,
}

/// A Job that is run: complete, it lets the trial go on; failed, it ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobGate {
    /// A `CronJob` of the Rollout's namespace with the label `tidegate.dev/gate`, usually
    /// suspended: its template is run.
    pub cron_job: ObjectName,
}

/// What follows when a gate has not answered in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnTimeout {
    /// Go no further, and wait for a person.
    #[default]
    Pause,
    /// Traffic back to stable, Git untouched.
    Abort,
    /// Go on without its word, and say so.
    Proceed,
}
