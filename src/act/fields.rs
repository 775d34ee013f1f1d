//! Whose fields are whose: at rest none is ours.
//!
//! A write of ours takes a field away from the manager it had. When we give it up, it must not
//! become nobody's: server-side apply never removes a field that its manager does not own, so that
//! a later commit which drops it would have no effect. It goes back to the manager that applies
//! the rest of that object.

use serde_json::{Map, Value, json};
use tidegate_api::FIELD_MANAGER;

use crate::kubernetes::{Kind, json};

/// What we write below `spec` of a kind, and beside what its manager has it: whoever applies the
/// second path wrote the first one too.
fn lent(kind: Kind) -> Option<(&'static [&'static str], &'static [&'static str])> {
    match kind {
        Kind::Service => Some((&["f:spec", "f:selector"], &["f:spec", "f:ports"])),
        Kind::HttpRoute => Some((&["f:spec", "f:rules"], &["f:spec", "f:parentRefs"])),
        Kind::Deployment => {
            Some((&["f:spec", "f:template"], &["f:spec", "f:template", "f:spec", "f:containers"]))
        }
        _ => None,
    }
}

/// The managed fields without ours, but for one label that may stay ours. `None`: they are so.
pub(super) fn given_back(object: &Value, kind: Kind, keep: Option<&str>) -> Option<Value> {
    let entries = json::list(object, "/metadata/managedFields");
    let mut left = Vec::new();
    let mut given = Vec::new();
    for entry in entries {
        if entry["manager"] != FIELD_MANAGER || entry.get("subresource").is_some() {
            left.push(entry.clone());
            continue;
        }
        if let Some((path, _)) = lent(kind)
            && let Some(fields) = at(&entry["fieldsV1"], path)
        {
            given.push((path, fields.clone()));
        }
        let label = keep.map(|label| format!("f:{label}"));
        if let Some(label) = label
            && let Some(owned) = at(&entry["fieldsV1"], &["f:metadata", "f:labels", &label])
        {
            let mut entry = entry.clone();
            entry["fieldsV1"] = json!({"f:metadata": {"f:labels": {label: owned}}});
            left.push(entry);
        }
    }
    let heir = left.iter_mut().find(|entry| {
        entry["operation"] == "Apply"
            && entry.get("subresource").is_none()
            && lent(kind).is_some_and(|(_, beside)| at(&entry["fieldsV1"], beside).is_some())
    });
    if let Some(heir) = heir {
        for (path, fields) in given {
            join(&mut heir["fieldsV1"], &wrapped(path, fields));
        }
    }
    if left == entries {
        return None;
    }
    if left.is_empty() {
        // The API server takes an empty list for "as they were", and this for "none".
        left.push(json!({}));
    }
    Some(Value::Array(left))
}

fn at<'a>(fields: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(fields, |fields, key| fields.get(*key))
}

fn wrapped(path: &[&str], fields: Value) -> Value {
    path.iter().rev().fold(fields, |inner, key| {
        let mut map = Map::new();
        map.insert((*key).to_owned(), inner);
        Value::Object(map)
    })
}

/// The union of two sets of fields.
fn join(into: &mut Value, other: &Value) {
    let (Value::Object(into), Value::Object(other)) = (into, other) else { return };
    for (key, fields) in other {
        join(into.entry(key.clone()).or_insert_with(|| json!({})), fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        })
    }

    fn object(entries: &[Value]) -> Value {
        json!({"metadata": {"managedFields": entries}})
    }

    #[test]
    fn a_field_of_ours_goes_back_to_who_applies_the_rest() {
        let engine = entry("kustomize-controller", "Apply", &json!({"f:spec": {"f:ports": {}}}));
        let tool = entry("kubectl", "Apply", &json!({"f:metadata": {"f:annotations": {}}}));
        let ours = entry(
            FIELD_MANAGER,
            "Update",
            &json!({"f:metadata": {"f:labels": {"f:held": {}}}, "f:spec": {"f:selector": {}}}),
        );
        let live = object(&[tool.clone(), engine, ours]);
        let with = entry(
            "kustomize-controller",
            "Apply",
            &json!({"f:spec": {"f:ports": {}, "f:selector": {}}}),
        );
        let left = given_back(&live, Kind::Service, None).expect("something of ours");
        assert_eq!(left, json!([tool, with]));
        let after = json!({"metadata": {"managedFields": left}});
        assert_eq!(given_back(&after, Kind::Service, None), None, "and then nothing more happens");
    }

    #[test]
    fn nobody_gets_a_field_by_guess() {
        let tool = entry("kubectl", "Apply", &json!({"f:spec": {"f:type": {}}}));
        let update = entry("helm", "Update", &json!({"f:spec": {"f:ports": {}}}));
        let ours = entry(FIELD_MANAGER, "Update", &json!({"f:spec": {"f:selector": {}}}));
        let live = object(&[tool.clone(), ours, update.clone()]);
        assert_eq!(given_back(&live, Kind::Service, None), Some(json!([tool, update])));
    }

    #[test]
    fn the_label_of_the_deployment_stays_ours() {
        let fields = json!({
            "f:metadata": {"f:labels": {"f:tidegate.dev/rollout": {}}},
            "f:spec": {"f:paused": {}, "f:template": {"f:spec": {"f:containers": {}}}},
        });
        let kcm = json!({"manager": FIELD_MANAGER, "subresource": "status", "fieldsV1": {}});
        let live = object(&[kcm.clone(), entry(FIELD_MANAGER, "Update", &fields)]);
        let label = json!({"f:metadata": {"f:labels": {"f:tidegate.dev/rollout": {}}}});
        let left = given_back(&live, Kind::Deployment, Some("tidegate.dev/rollout"));
        assert_eq!(left, Some(json!([kcm, entry(FIELD_MANAGER, "Update", &label)])));
    }

    #[test]
    fn an_object_with_no_fields_but_ours_has_none_after() {
        let ours = entry(FIELD_MANAGER, "Update", &json!({"f:spec": {"f:selector": {}}}));
        assert_eq!(given_back(&object(&[ours]), Kind::Service, None), Some(json!([{}])));
        assert_eq!(given_back(&object(&[]), Kind::Service, None), None);
    }
}
