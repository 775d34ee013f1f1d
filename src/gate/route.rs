//! The hold of a route, by rule.

use serde_json::Value;
use tidegate_api::HELD_LABEL;

use super::review::{kept, with_maps};
use crate::kubernetes::{WEIGHT_ANNOTATION, json as read, patch};

/// The backends of the rules that name the held Service stay. Rules have no names: one that matches
/// the same requests is the same rule; a new one that names the Service gets the weights of the
/// others.
pub(super) fn hold(old: &Value, object: &Value) -> Vec<Value> {
    let service = read::annotation(old, HELD_LABEL);
    let (Some(_), Some(service)) = (read::label(old, HELD_LABEL), service) else {
        return Vec::new();
    };
    let mut operations = marks(old, object);
    let namespace = read::text(old, "/metadata/namespace");
    let names = |rule: &&Value| names(rule, service, namespace);
    let held: Vec<_> = read::list(old, "/spec/rules").iter().filter(names).collect();
    let Some(first) = held.first() else { return operations };
    for (at, rule) in read::list(object, "/spec/rules").iter().enumerate() {
        if !names(&rule) {
            continue;
        }
        let same = held.iter().find(|held| held.get("matches") == rule.get("matches"));
        let backends = &same.unwrap_or(first)["backendRefs"];
        if &rule["backendRefs"] != backends {
            operations.push(patch::add(&format!("/spec/rules/{at}/backendRefs"), backends.clone()));
        }
    }
    operations
}

/// Our label and annotations stay.
fn marks(old: &Value, object: &Value) -> Vec<Value> {
    let (with, maps) = with_maps(object);
    let mut marks = kept(old, &with, "labels", HELD_LABEL);
    marks.extend(kept(old, &with, "annotations", HELD_LABEL));
    marks.extend(kept(old, &with, "annotations", WEIGHT_ANNOTATION));
    if marks.is_empty() { marks } else { maps.into_iter().chain(marks).collect() }
}

fn names(rule: &Value, service: &str, namespace: Option<&str>) -> bool {
    read::list(rule, "/backendRefs").iter().any(|backend| {
        let text = |key| backend.get(key).and_then(Value::as_str);
        text("name") == Some(service)
            && text("kind").is_none_or(|kind| kind == "Service")
            && text("namespace").is_none_or(|other| Some(other) == namespace)
    })
}
