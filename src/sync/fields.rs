//! Paths to fields, and the lists whose items have names.
//!
//! Merging a patch, comparing two objects and remembering who owns a field all need to know that
//! the containers of a pod are told apart by `name` and not by their position. That knowledge is
//! here, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Segment {
    /// A field of a map.
    Field(String),
    /// An item of a list, by its key: `name=app`.
    Item(String),
}

/// The way from the root of an object to a field.
pub type FieldPath = Vec<Segment>;

/// A path as people read it: `spec.template.spec.containers[name=app].image`.
pub fn display(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        // Writing to a String cannot fail.
        let _ = match segment {
            Segment::Item(key) => write!(text, "[{key}]"),
            Segment::Field(name) if name.contains(['.', '/', '[']) => write!(text, "[\"{name}\"]"),
            Segment::Field(name) if text.is_empty() => write!(text, "{name}"),
            Segment::Field(name) => write!(text, ".{name}"),
        };
    }
    text
}

/// How the lists of one object are read.
///
/// The keys are those of the built-in kinds (`patchMergeKey` in k8s.io/api). Lists of custom
/// resources are replaced as a whole, as Kustomize does without a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lists {
    built_in: bool,
    service: bool,
}

impl Lists {
    pub(crate) fn of(object: &Value) -> Self {
        let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let built_in = !group.contains('.')
            || (group.ends_with(".k8s.io")
                && !matches!(group, "gateway.networking.k8s.io" | "snapshot.storage.k8s.io"));
        let service = group.is_empty() && object.get("kind") == Some(&Value::from("Service"));
        Self { built_in, service }
    }

    /// The key of one item of the list `field`, or none when that list has no keys.
    pub(crate) fn key(self, field: &str, item: &Value) -> Option<String> {
        if !self.built_in {
            return None;
        }
        let by = match field {
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "env"
            | "volumes"
            | "imagePullSecrets" => "name",
            "volumeMounts" => "mountPath",
            "volumeDevices" => "devicePath",
            "hostAliases" => "ip",
            "ports" if self.service => "port",
            "ports" => "containerPort",
            _ => return None,
        };
        let value = match item.get(by)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        if field == "ports" {
            // 53/TCP and 53/UDP are two ports; TCP is what the API server fills in.
            let protocol = item.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
            return Some(format!("{by}={value},protocol={protocol}"));
        }
        Some(format!("{by}={value}"))
    }

    /// The keys of all items; none when one has no key or two have the same.
    pub(crate) fn keys(self, field: &str, items: &[Value]) -> Option<Vec<String>> {
        let keys: Option<Vec<_>> = items.iter().map(|item| self.key(field, item)).collect();
        let keys = keys?;
        let distinct: BTreeSet<&String> = keys.iter().collect();
        (distinct.len() == keys.len()).then_some(keys)
    }
}

/// Whether the field at `path` is one value although it is a map: `spec.selector` is atomic in
/// server-side apply.
fn is_atomic(path: &[Segment]) -> bool {
    matches!(path, [Segment::Field(a), Segment::Field(b)] if a == "spec" && b == "selector")
}

/// All leaves of an object with their values: scalars, lists without keys, empty maps.
pub(crate) fn leaves(lists: Lists, object: &Value) -> BTreeMap<FieldPath, Value> {
    let mut found = BTreeMap::new();
    collect(lists, object, &mut Vec::new(), &mut found);
    found
}

fn collect(
    lists: Lists,
    value: &Value,
    path: &mut FieldPath,
    found: &mut BTreeMap<FieldPath, Value>,
) {
    match value {
        Value::Object(map) if !map.is_empty() && !is_atomic(path) => {
            for (name, child) in map {
                path.push(Segment::Field(name.clone()));
                collect(lists, child, path, found);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let keys = field_name(path).and_then(|field| lists.keys(field, items));
            let Some(keys) = keys else {
                found.insert(path.clone(), value.clone());
                return;
            };
            for (key, item) in keys.into_iter().zip(items) {
                path.push(Segment::Item(key));
                collect(lists, item, path, found);
                path.pop();
            }
        }
        _ => {
            found.insert(path.clone(), value.clone());
        }
    }
}

fn field_name(path: &[Segment]) -> Option<&str> {
    match path.last()? {
        Segment::Field(name) => Some(name),
        Segment::Item(_) => None,
    }
}

/// The value at `path`.
pub(crate) fn get<'a>(lists: Lists, root: &'a Value, path: &[Segment]) -> Option<&'a Value> {
    let mut at = root;
    let mut field = "";
    for segment in path {
        at = match segment {
            Segment::Field(name) => {
                field = name;
                at.as_object()?.get(name)?
            }
            Segment::Item(key) => {
                at.as_array()?.iter().find(|i| lists.key(field, i).as_ref() == Some(key))?
            }
        };
    }
    Some(at)
}

/// Puts `desired` over `live`: maps and keyed lists are merged, everything else is replaced.
pub(crate) fn overlay(lists: Lists, live: &mut Value, desired: &Value) {
    overlay_at(lists, live, desired, &mut Vec::new());
}

fn overlay_at(lists: Lists, live: &mut Value, desired: &Value, path: &mut FieldPath) {
    match (&mut *live, desired) {
        (Value::Object(live), Value::Object(desired)) if !is_atomic(path) => {
            for (name, value) in desired {
                path.push(Segment::Field(name.clone()));
                match live.get_mut(name) {
                    Some(existing) => overlay_at(lists, existing, value, path),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
                path.pop();
            }
        }
        (Value::Array(items), Value::Array(wanted)) => {
            let field = field_name(path).unwrap_or_default().to_owned();
            let keyed = lists.keys(&field, items).zip(lists.keys(&field, wanted));
            let Some((_, wanted_keys)) = keyed else {
                items.clone_from(wanted);
                return;
            };
            for (key, value) in wanted_keys.into_iter().zip(wanted) {
                path.push(Segment::Item(key.clone()));
                let same = items.iter_mut().find(|i| lists.key(&field, i).as_ref() == Some(&key));
                match same {
                    Some(existing) => overlay_at(lists, existing, value, path),
                    None => items.push(value.clone()),
                }
                path.pop();
            }
        }
        (live, desired) => *live = desired.clone(),
    }
}

/// Takes the field at `path` away, and the maps and items that are empty after it.
///
/// The key of an item (`name` of a container) stays as long as the item has other fields.
pub(crate) fn remove(lists: Lists, root: &mut Value, path: &[Segment]) {
    remove_at(lists, root, path, "");
}

fn remove_at(lists: Lists, at: &mut Value, path: &[Segment], field: &str) {
    let Some((first, rest)) = path.split_first() else { return };
    match (first, at) {
        (Segment::Field(name), Value::Object(map)) => {
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(child) = map.get_mut(name) {
                remove_at(lists, child, rest, name);
                if is_empty(child) {
                    map.remove(name);
                }
            }
        }
        (Segment::Item(key), Value::Array(items)) => {
            let found = items.iter().position(|i| lists.key(field, i).as_ref() == Some(key));
            let Some(index) = found else { return };
            let Some(item) = items.get_mut(index) else { return };
            if rest.is_empty() {
                items.remove(index);
                return;
            }
            let is_key = matches!(rest, [Segment::Field(name)] if is_key_field(key, name));
            if !is_key {
                remove_at(lists, item, rest, "");
            } else if only_key_left(key, item) {
                items.remove(index);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Whether `name` is a part of the key `name=app` or `port=80,protocol=TCP`.
fn is_key_field(key: &str, name: &str) -> bool {
    key.split(',').any(|part| part.split_once('=').is_some_and(|(by, _)| by == name))
}

fn only_key_left(key: &str, item: &Value) -> bool {
    item.as_object().is_some_and(|map| map.keys().all(|name| is_key_field(key, name)))
}

/// The object without fields whose value is null, which mean "not given" in an apply.
pub(crate) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(k, v)| (k.clone(), without_nulls(v))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// RFC 7386: objects are merged, null removes, everything else replaces.
pub(crate) fn json_merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            map.remove(name);
        } else {
            json_merge(map.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(containers: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "spec": {"template": {"spec": {"containers": containers}}}})
    }

    fn path_to<'a>(leaves: &'a BTreeMap<FieldPath, Value>, text: &str) -> &'a FieldPath {
        leaves.keys().find(|p| display(p) == text).expect("the leaf is there")
    }

    #[test]
    fn containers_are_told_apart_by_name_and_ports_by_protocol() {
        let object = deployment(&json!([{"name": "app", "image": "a:1", "ports": [
            {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]}]));
        let lists = Lists::of(&object);
        let names: Vec<_> = leaves(lists, &object).keys().map(|p| display(p)).collect();
        let at = "spec.template.spec.containers[name=app]";
        assert!(names.contains(&format!("{at}.image")), "{names:?}");
        assert!(names.contains(&format!("{at}.ports[containerPort=53,protocol=UDP].protocol")));
        assert!(
            names.contains(&format!("{at}.ports[containerPort=53,protocol=TCP].containerPort"))
        );
    }

    #[test]
    fn lists_of_custom_resources_are_one_value() {
        let object = json!({"apiVersion": "example.com/v1", "kind": "X",
            "spec": {"containers": [{"name": "a"}]}});
        let names: Vec<_> =
            leaves(Lists::of(&object), &object).keys().map(|p| display(p)).collect();
        assert_eq!(names, ["apiVersion", "kind", "spec.containers"]);
    }

    #[test]
    fn removing_all_fields_of_an_item_removes_the_item() {
        let mut object = deployment(&json!([{"name": "a", "image": "x"}, {"name": "b"}]));
        let lists = Lists::of(&object);
        let all = leaves(lists, &object);
        let at = "spec.template.spec.containers[name=a]";
        // The key goes last: a set of paths is taken in reverse order of depth and name.
        remove(lists, &mut object, path_to(&all, &format!("{at}.name")));
        assert_eq!(get(lists, &object, path_to(&all, &format!("{at}.image"))), Some(&json!("x")));
        remove(lists, &mut object, path_to(&all, &format!("{at}.image")));
        remove(lists, &mut object, path_to(&all, &format!("{at}.name")));
        assert_eq!(object, deployment(&json!([{"name": "b"}])));
    }

    #[test]
    fn a_merge_patch_follows_rfc_7386() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        json_merge(&mut value, &json!({"a": {"b": null, "e": {"f": null}}, "d": {"x": 1}}));
        assert_eq!(value, json!({"a": {"c": 2, "e": {}}, "d": {"x": 1}}));
    }

    #[test]
    fn a_name_with_dots_is_quoted_in_a_path() {
        let path = ["metadata", "annotations", "a.b/c"].map(|s| Segment::Field(s.to_owned()));
        assert_eq!(display(&path), "metadata.annotations[\"a.b/c\"]");
    }
}
