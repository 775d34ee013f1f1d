//! Reading raw objects. What is missing is `None`, never zero and never empty.

use serde_json::Value;
use tidegate_api::BREAK_GLASS_ANNOTATION;

use super::kind::Kind;

/// The text at a JSON pointer.
pub fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}

/// The whole number at a JSON pointer.
pub fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer)?.as_i64()
}

/// The count at a JSON pointer: a whole number that is not negative.
pub fn count(object: &Value, pointer: &str) -> Option<u32> {
    object.pointer(pointer)?.as_u64().and_then(|count| u32::try_from(count).ok())
}

/// The list at a JSON pointer; empty where there is none.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Its name.
pub fn name(object: &Value) -> Option<&str> {
    text(object, "/metadata/name")
}

/// Its uid.
pub fn uid(object: &Value) -> Option<&str> {
    text(object, "/metadata/uid")
}

/// Its resource version.
pub fn resource_version(object: &Value) -> Option<&str> {
    text(object, "/metadata/resourceVersion")
}

/// One of its labels.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// One of its annotations.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// A person has freed it: it is left alone. The value says why.
pub fn break_glass(object: &Value) -> Option<&str> {
    annotation(object, BREAK_GLASS_ANNOTATION)
}

/// It is on its way out.
pub fn is_deleted(object: &Value) -> bool {
    text(object, "/metadata/deletionTimestamp").is_some()
}

/// The newest generation is the one that its controller has looked at.
pub fn is_observed(object: &Value) -> bool {
    let observed = number(object, "/status/observedGeneration");
    observed.is_some() && observed >= number(object, "/metadata/generation")
}

/// The owner that controls it, as its reference says.
pub fn controller(object: &Value) -> Option<&Value> {
    let owners = list(object, "/metadata/ownerReferences");
    owners.iter().find(|owner| owner["controller"] == true)
}

/// It is controlled by the object with this kind and uid.
pub fn is_controlled_by(object: &Value, kind: Kind, uid: &str) -> bool {
    controller(object).is_some_and(|owner| {
        owner["kind"] == kind.as_str()
            && owner["apiVersion"] == kind.api_version()
            && owner["uid"] == uid
    })
}

/// The pod template of a Deployment or set.
pub fn template(object: &Value) -> Option<&Value> {
    object.pointer("/spec/template")
}

/// The pods that a Deployment or set wants; the API server's default is one.
pub fn replicas(object: &Value) -> u32 {
    count(object, "/spec/replicas").unwrap_or(1)
}

/// A Deployment does not roll its template out.
pub fn is_paused(deployment: &Value) -> bool {
    deployment.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_is_none() {
        let object = json!({"metadata": {"labels": {"a/b": "c"}}, "spec": {"replicas": -1}});
        assert_eq!(label(&object, "a/b"), Some("c"));
        assert_eq!(label(&object, "a"), None);
        assert_eq!(annotation(&object, "a/b"), None);
        assert_eq!(count(&object, "/spec/replicas"), None);
        assert_eq!(number(&object, "/spec/replicas"), Some(-1));
        assert!(!is_observed(&object));
        assert!(controller(&object).is_none());
    }

    #[test]
    fn only_the_reference_that_controls_counts() {
        let object = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "Deployment", "uid": "2", "controller": true},
        ]}});
        assert!(is_controlled_by(&object, Kind::Deployment, "2"));
        assert!(!is_controlled_by(&object, Kind::Deployment, "1"));
        assert!(!is_controlled_by(&object, Kind::ReplicaSet, "2"));
    }
}
