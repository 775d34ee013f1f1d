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

/// An operation that lets the whole patch fail unless the value is this one.
pub fn test(path: &str, value: impl Into<Value>) -> Value {
    json!({"op": "test", "path": path, "value": value.into()})
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
    fn names_are_escaped_for_pointers() {
        assert_eq!(escaped("tidegate.dev/held~1"), "tidegate.dev~1held~01");
    }
}
