//! The pods of both arms.

use chrono::{DateTime, Utc};
use serde_json::Value;
use tidegate_engine::observed::Pods;

use super::trouble::{self, NodeTrouble, is_gone, is_ready, time};
use crate::kubernetes::{Kind, json};

/// One pod, as those who measure need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// Its uid: a pod of the same name may be another one.
    pub uid: String,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// When it was created; `None`: the server did not say so in a way that can be read.
    pub created: Option<DateTime<Utc>>,
    /// It gets requests.
    pub ready: bool,
    /// It ends or has ended.
    pub gone: bool,
    /// How often its containers were started again.
    pub restarts: u32,
}

/// The pods that a set controls.
pub(super) fn of_set<'a>(set: &Value, pods: &'a [Value]) -> Vec<&'a Value> {
    let Some(uid) = json::uid(set) else { return Vec::new() };
    pods.iter().filter(|pod| json::is_controlled_by(pod, Kind::ReplicaSet, uid)).collect()
}

/// The pods of one revision, counted.
pub(super) fn count(
    set: Option<&Value>,
    pods: &[&Value],
    node: NodeTrouble<'_>,
    now: DateTime<Utc>,
) -> Pods {
    let Some(set) = set else { return Pods::default() };
    let desired = json::replicas(set);
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let ready = u32::try_from(ready).unwrap_or(u32::MAX);
    let own = pods.iter().filter_map(|pod| trouble::of_pod(pod, node, now));
    let refused = trouble::of_set(set).filter(|_| ready < desired);
    Pods { exists: true, desired, ready, trouble: trouble::worst(own.chain(refused)) }
}

/// The nodes of pods that were created before an instant and are still not ready.
pub(super) fn doubtful_nodes(pods: &[Value], before: DateTime<Utc>) -> Vec<&str> {
    let doubtful = pods.iter().filter(|pod| {
        let is_old = time(pod, "/metadata/creationTimestamp").is_some_and(|at| at < before);
        is_old && !is_ready(pod) && !is_gone(pod)
    });
    let mut nodes: Vec<_> = doubtful.filter_map(|pod| json::text(pod, "/spec/nodeName")).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// What is wrong with a node; a node that does not exist has taken its pods with it.
pub(super) fn node_trouble(name: &str, node: Option<&Value>) -> Option<String> {
    let Some(node) = node else { return Some(format!("node {name} is gone")) };
    let ready = trouble::condition(node, "Ready");
    let is_ready = ready.is_some_and(|ready| ready["status"] == "True");
    (!is_ready).then(|| format!("node {name} is not ready"))
}

/// What those who measure need of a pod.
pub(super) fn seen(pod: &Value) -> Option<PodSeen> {
    let restarts = json::list(pod, "/status/containerStatuses").iter();
    Some(PodSeen {
        name: json::name(pod)?.to_owned(),
        uid: json::uid(pod)?.to_owned(),
        ip: json::text(pod, "/status/podIP").filter(|ip| !ip.is_empty()).map(str::to_owned),
        created: time(pod, "/metadata/creationTimestamp"),
        ready: is_ready(pod),
        gone: is_gone(pod),
        restarts: restarts
            .filter_map(|status| json::count(status, "/restartCount"))
            .fold(0, u32::saturating_add),
    })
}
