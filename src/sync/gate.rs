//! What the admission policies of a cluster do, for the local one.
//!
//! In a cluster the API server does this by the policies of the chart, whoever writes. Here it is
//! the same rule on the same write, so that a sync behaves on one machine as it does there:
//! a changed template of a gated Deployment is paused, a held Service keeps its selector and a held
//! route its rules.

use serde_json::{Value, json};

use super::object::{BREAK_GLASS_ANNOTATION, HELD_LABEL, ROLLOUT_LABEL, metadata_entry};

/// The field manager of the controller, whose writes are not gated.
pub use tidegate_api::FIELD_MANAGER as CONTROLLER;

/// The object that is stored when `manager` updates `old` to `new`.
pub fn admission(manager: &str, old: &Value, new: Value) -> Value {
    let lets_through = metadata_entry(&new, "annotations", BREAK_GLASS_ANNOTATION).is_some();
    if manager == CONTROLLER || lets_through {
        return new;
    }
    match new.get("kind").and_then(Value::as_str) {
        Some("Deployment") => gate(old, new),
        Some("Service") => hold(old, new, "selector"),
        Some("HTTPRoute") => hold(old, new, "rules"),
        _ => new,
    }
}

/// Pauses the Deployment in the write that changes its template, and keeps it paused.
fn gate(old: &Value, new: Value) -> Value {
    let mut new = keep_label(old, new, ROLLOUT_LABEL);
    if metadata_entry(&new, "labels", ROLLOUT_LABEL).is_none() {
        return new;
    }
    let changed = new.pointer("/spec/template") != old.pointer("/spec/template");
    let paused = old.pointer("/spec/paused") == Some(&Value::Bool(true));
    if (changed || paused)
        && let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.insert("paused".to_owned(), Value::Bool(true));
    }
    new
}

/// A held object keeps a field of its `spec`.
fn hold(old: &Value, new: Value, field: &str) -> Value {
    if metadata_entry(old, "labels", HELD_LABEL).is_none() {
        return new;
    }
    let mut new = keep_label(old, new, HELD_LABEL);
    if let Some(held) = old.pointer(&format!("/spec/{field}"))
        && let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.insert(field.to_owned(), held.clone());
    }
    new
}

fn keep_label(old: &Value, mut new: Value, label: &str) -> Value {
    if let Some(value) = metadata_entry(old, "labels", label)
        && let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut)
    {
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(label.to_owned(), json!(value));
        }
    }
    new
}
