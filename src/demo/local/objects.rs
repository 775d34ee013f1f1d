//! Reading the few objects the demo has.

use serde_json::Value;
use tidegate_engine::plan::Weight;
use tidegate_engine::state::Revision;

use super::LocalError;
use crate::sync::{LocalCluster, ObjectRef};

/// Where the application lives.
pub(super) const NAMESPACE: &str = "shop";
/// What everything of it is called.
pub(super) const NAME: &str = "web";
/// The Service that selects the canary alone.
pub(super) const CANARY: &str = "web-canary";
/// The label that tells the pods of one revision from the others'.
pub(super) const REVISION_LABEL: &str = "tidegate.dev/revision";

pub(super) fn reference(group: &str, version: &str, kind: &str, name: &str) -> ObjectRef {
    ObjectRef {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
        name: name.to_owned(),
    }
}

pub(super) fn deployment_ref() -> ObjectRef {
    reference("apps", "v1", "Deployment", NAME)
}

pub(super) fn service_ref(name: &str) -> ObjectRef {
    reference("", "v1", "Service", name)
}

pub(super) fn route_ref() -> ObjectRef {
    reference("gateway.networking.k8s.io", "v1", "HTTPRoute", NAME)
}

pub(super) fn deployment(api: &LocalCluster) -> Option<Value> {
    api.get(&deployment_ref())
}

pub(super) fn service(api: &LocalCluster) -> Option<Value> {
    api.get(&service_ref(NAME))
}

pub(super) fn canary_service(api: &LocalCluster) -> Option<Value> {
    api.get(&service_ref(CANARY))
}

pub(super) fn route(api: &LocalCluster) -> Option<Value> {
    api.get(&route_ref())
}

pub(super) fn template(deployment: &Value) -> Result<Value, LocalError> {
    deployment
        .pointer("/spec/template")
        .cloned()
        .ok_or_else(|| LocalError::Object("the Deployment has no spec.template".to_owned()))
}

/// The tag of the first container's image.
pub(super) fn image_tag(template: &Value) -> Option<&str> {
    let image = template.pointer("/spec/containers/0/image")?.as_str()?;
    image.rsplit_once(':').map(|(_, tag)| tag)
}

pub(super) fn replicas(deployment: &Value) -> u32 {
    deployment
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .and_then(|replicas| u32::try_from(replicas).ok())
        .unwrap_or(1)
}

pub(super) fn is_paused(deployment: &Value) -> bool {
    deployment.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// The revision that a Service is pinned to.
pub(super) fn selected_revision(service: &Value) -> Option<Revision> {
    let selector = service.get("spec")?.get("selector")?;
    selector.get(REVISION_LABEL)?.as_str().map(Revision::new)
}

/// The share of the canary's Service in the route; `None`: the route does not name it.
pub(super) fn canary_weight(route: &Value) -> Option<Weight> {
    let refs = route.pointer("/spec/rules/0/backendRefs")?.as_array()?;
    let canary = refs.iter().find(|backend| backend["name"] == CANARY)?;
    let percent = canary["weight"].as_u64().and_then(|weight| u8::try_from(weight).ok());
    percent.and_then(Weight::new)
}
