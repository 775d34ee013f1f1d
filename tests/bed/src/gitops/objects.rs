//! Objects of kinds this crate has no types for.

use std::time::Duration;

use anyhow::Context;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::Value;

/// The field manager of everything the test bed applies.
const FIELD_MANAGER: &str = "tidegate-testbed";

/// Objects of one kind in one namespace; `api_version` is `group/version`, or `v1`.
pub(super) fn objects(
    kube: &Client,
    api_version: &str,
    kind: &str,
    namespace: &str,
) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    // Every plural the engines use is the regular one, which kube derives from the kind.
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(kube.clone(), namespace, &resource)
}

/// Creates an object in `namespace`, or makes it what `object` says.
pub(super) async fn apply(kube: &Client, namespace: &str, object: &Value) -> anyhow::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    objects(kube, &text(&object["apiVersion"]), &kind, namespace)
        .patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object))
        .await
        .map(drop)
        .with_context(|| format!("applying {kind} {namespace}/{name}"))
}

/// Changes some fields of an object.
pub(super) async fn merge(
    api: &Api<DynamicObject>,
    name: &str,
    change: &Value,
) -> anyhow::Result<()> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
    api.patch(name, &params, &Patch::Merge(change))
        .await
        .map(drop)
        .with_context(|| format!("changing {name}"))
}

/// A duration as Kubernetes writes it.
pub(super) fn go_duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact_and_in_a_unit_that_go_knows() {
        assert_eq!(go_duration(Duration::from_mins(3)), "180000ms");
        assert_eq!(go_duration(Duration::from_millis(1500)), "1500ms");
    }
}
