//! How the canary gets its traffic.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, ObjectName};

/// How the canary gets its traffic: exactly one of `canary` and `blueGreen`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.canary) != has(self.blueGreen)")
    .message("expected exactly one of canary and blueGreen"))]
pub struct Strategy {
    /// Step by step, each step judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// All at once, after a preview, with the way back open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreen>,
}

/// Step by step, each step judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.steps.filter(s, has(s.weight)).map(s, s.weight).isSorted()")
    .message("weights never fall from one step to the next"))]
#[x_kube(validation = Rule::new(
    "self.steps.filter(s, has(s.weight) && s.weight == 100).size() == 0 || \
     (self.steps.filter(s, has(s.weight) && s.weight == 100).size() == 1 && \
      has(self.steps[self.steps.size() - 1].weight) && \
      self.steps[self.steps.size() - 1].weight == 100)")
    .message("weight 100 is the last step, once"))]
pub struct Canary {
    /// The way to all traffic. Weights never fall; 100 is implied at the end.
    #[schemars(length(min = 1, max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<Step>,
}

/// One step: a weight, or a pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.weight) != has(self.pause)")
    .message("expected exactly one of weight and pause"))]
#[x_kube(validation = Rule::new("!has(self.bake) || has(self.weight)")
    .message("bake belongs to a weight; a pause has pause.duration"))]
pub struct Step {
    /// The canary's share of the traffic in whole percent. Without routes only weights up to 50,
    /// and 100, can be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: Option<u8>,
    /// Minimum time at this weight. The step ends when it is over and the verdict is Pass; a Fail
    /// never waits for it. Default: 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake: Option<Duration>,
    /// Keep the weight and wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

/// Keep the weight and wait; the canary is judged meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// How long. Default: until a person resumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
}

/// All at once, after a preview, with the way back open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreen {
    /// Your own Service for the preview; its selector is ours while a trial runs. Default: we
    /// create `<service>-preview`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_service: Option<ObjectName>,
    /// Minimum time between all preview pods being ready and the switch. Only pods are judged in
    /// it, as there is no traffic. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Duration>,
    /// Wait for a person, or for a time, before the switch. Default: no wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Minimum time after the switch in which the way back is one write. Default: 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake: Option<Duration>,
}
