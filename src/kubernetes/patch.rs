//! Parts of patches.

use serde_json::{Map, Value, json};

/// A name as part of a JSON pointer (RFC 6901).
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// An operation that sets the value at a pointer, whether or not there is one.
pub fn add(path: &str, value: impl Into<Value>) -> Value {
    json!({"op": "add", "path": path, "value": value.into()})
}

/// An operation that takes away the value at a pointer, which must be there.
pub fn remove(path: &str) -> Value {
    json!({"op": "remove", "path": path})
}

/// Operations that give an object this label or annotation (`part`), or take it away; none where
/// it is so already.
pub fn entry(object: &Value, part: &str, key: &str, value: Option<&str>) -> Vec<Value> {
    let entries = object.get("metadata").and_then(|metadata| metadata.get(part));
    let found = entries.and_then(|entries| entries.get(key)).and_then(Value::as_str);
    let path = format!("/metadata/{part}/{}", escaped(key));
    match value {
        _ if found == value => Vec::new(),
        None => vec![remove(&path)],
        Some(value) if entries.is_some_and(Value::is_object) => vec![add(&path, value)],
        Some(value) => {
            vec![add(&format!("/metadata/{part}"), json!({})), add(&path, value)]
        }
    }
}

/// The merge patch (RFC 7386) that turns `old` into `new`: keys that `new` lacks are named with
/// null, lists are replaced as a whole. An empty object changes nothing.
pub fn difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return new.clone() };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before) => {
                patch.insert(key.clone(), difference(before, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_what_goes_and_what_comes_only() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1, 2], "f": {"g": 1}});
        let new = json!({"a": 1, "b": {"c": 3}, "e": [2], "f": {"g": 1}, "h": {}});
        let patch = difference(&old, &new);
        assert_eq!(patch, json!({"b": {"c": 3, "d": null}, "e": [2], "h": {}}));
        assert_eq!(difference(&new, &new), json!({}));
    }

    #[test]
    fn an_entry_is_written_only_where_it_is_not_there() {
        let bare = json!({"metadata": {}});
        let with = json!({"metadata": {"labels": {"a/b": "c"}}});
        let twice = entry(&bare, "labels", "a/b", Some("c"));
        assert_eq!(twice, [add("/metadata/labels", json!({})), add("/metadata/labels/a~1b", "c")]);
        assert_eq!(entry(&with, "labels", "a/b", Some("d")), [add("/metadata/labels/a~1b", "d")]);
        assert_eq!(entry(&with, "labels", "a/b", None), [remove("/metadata/labels/a~1b")]);
        assert!(entry(&with, "labels", "a/b", Some("c")).is_empty());
        assert!(entry(&bare, "labels", "a/b", None).is_empty());
    }

    #[test]
    fn names_are_escaped_for_pointers() {
        assert_eq!(escaped("tidegate.dev/held~1"), "tidegate.dev~1held~01");
    }
}
