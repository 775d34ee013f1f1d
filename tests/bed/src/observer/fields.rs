//! Which fields of other people's objects are ours.

use serde_json::Value;

use super::Kind;

/// The controller's name in `managedFields`.
const MANAGER: &str = "tidegate";

/// Fields that the controller owns and that are none of its business.
pub(super) fn taken(kind: Kind, object: &Value) -> Vec<String> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let ours = |entry: &&Value| entry["manager"] == MANAGER && entry.get("subresource").is_none();
    let mut taken = Vec::new();
    for entry in entries.into_iter().flatten().filter(ours) {
        walk(&entry["fieldsV1"], "", &mut |path| {
            if !is_ours(kind, path) {
                taken.push(path.to_owned());
            }
        });
    }
    taken
}

/// Calls `leaf` with each field that has none below it.
fn walk(fields: &Value, path: &str, leaf: &mut impl FnMut(&str)) {
    let below = fields.as_object().filter(|below| !below.is_empty());
    let Some(below) = below else { return leaf(path) };
    for (key, value) in below {
        // "." is the object itself, where a field of it is owned too.
        if key != "." {
            walk(value, &format!("{path}/{}", key.trim_start_matches("f:")), leaf);
        }
    }
}

fn is_ours(kind: Kind, path: &str) -> bool {
    let marks = ["/metadata/labels/tidegate.dev/", "/metadata/annotations/tidegate.dev/"];
    if marks.iter().any(|mark| path.starts_with(mark))
        || ["/metadata/labels", "/metadata/annotations"].contains(&path)
    {
        return true;
    }
    match kind {
        // The template: stable's is written back after a revert.
        Kind::Deployment => path == "/spec/paused" || path.starts_with("/spec/template"),
        Kind::Service => path.starts_with("/spec/selector"),
        Kind::HttpRoute => path.starts_with("/spec/rules"),
        Kind::Rollout | Kind::ReplicaSet | Kind::Pod => true,
    }
}

/// When the controller last wrote an object itself, as the API server noted it.
pub(super) fn written(object: &Value) -> Option<&str> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array)?;
    let ours = |entry: &&Value| entry["manager"] == MANAGER && entry.get("subresource").is_none();
    entries.iter().filter(ours).filter_map(|entry| entry["time"].as_str()).max()
}

/// The object without what only says when and by whom it was written.
pub(super) fn content(object: &Value) -> Value {
    let mut content = object.clone();
    if let Some(metadata) = content["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
        metadata.remove("generation");
    }
    content
}
