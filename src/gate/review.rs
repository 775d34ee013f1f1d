//! The gate and the holds, pure: what becomes of a write.
//!
//! The same conditions as in `deploy/policies`, where each has its reason beside it. The API server
//! asks about objects with our labels alone.

use serde_json::{Value, json};
use tidegate_api::{HELD_LABEL, REQUEST_ANNOTATION, REQUESTED_BY_ANNOTATION, ROLLOUT_LABEL};

use super::request::{AdmissionRequest, Stage};
use super::route;
use crate::kubernetes::{Kind, json as read, patch};

/// Whose writes are not held: the controller's account in `deploy/controller`.
pub const CONTROLLER: &str = "system:serviceaccount:tidegate-system:tidegate";
/// Accounts of programs; everybody else is a person, who is told.
const PROGRAMS: &str = "system:serviceaccount:";

/// What a person is told who resumes a Deployment on trial.
const RESUMED: &str = "Tidegate holds this Deployment while its new template is on trial. Ask its \
    Rollout: tidegate promote or abort, or its annotation tidegate.dev/request. Without the \
    controller: tidegate release, or annotate what is held with tidegate.dev/break-glass, Services \
    first, then routes, then the Deployment.";
/// What is said where a later webhook has undone the gate.
const UNDONE: &str = "Tidegate holds this object, and something after it has undone that.";

/// What becomes of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is stored as it is.
    Pass,
    /// It is stored with these operations of a JSON patch.
    Change(Vec<Value>),
    /// It is refused, with this sentence.
    Deny(String),
}

/// What becomes of a write. While others may still change the object, it is put right; at the end
/// it must be right.
pub fn review(stage: Stage, request: &AdmissionRequest) -> Verdict {
    let AdmissionRequest { user, object, old, .. } = request;
    if user == CONTROLLER || read::break_glass(object).is_some() {
        return Verdict::Pass;
    }
    let is = |kind: Kind| request.resource == format!("{}/{}", kind.group(), kind.plural());
    let operations = if is(Kind::Deployment) {
        if !user.starts_with(PROGRAMS) && resumes(old, object) {
            return Verdict::Deny(RESUMED.to_owned());
        }
        gate(old, object)
    } else if is(Kind::Service) {
        hold_service(old, object)
    } else if is(Kind::HttpRoute) {
        route::hold(old, object)
    } else if is(Kind::Rollout) {
        stamp(user, old, object)
    } else {
        Vec::new()
    };
    match stage {
        _ if operations.is_empty() => Verdict::Pass,
        Stage::Mutate => Verdict::Change(operations),
        Stage::Validate => Verdict::Deny(UNDONE.to_owned()),
    }
}

fn is_new(old: &Value, object: &Value) -> bool {
    read::template(object) != read::template(old)
}

/// Nothing but an end of the pause.
fn resumes(old: &Value, object: &Value) -> bool {
    !is_new(old, object) && read::is_paused(old) && !read::is_paused(object)
}

/// Paused by a new template, or still paused from one; else not.
fn gate(old: &Value, object: &Value) -> Vec<Value> {
    let is_labelled = |object| read::label(object, ROLLOUT_LABEL).is_some();
    if !is_labelled(old) && !is_labelled(object) {
        return Vec::new();
    }
    let mut operations = kept(old, object, "labels", ROLLOUT_LABEL);
    let paused = is_new(old, object) || read::is_paused(old);
    if paused != read::is_paused(object) {
        operations.push(patch::add("/spec/paused", paused));
    }
    operations
}

/// Who asks is who writes the request, whatever it says; it stays as long as the request does.
fn stamp(user: &str, old: &Value, object: &Value) -> Vec<Value> {
    let request = |object| read::annotation(object, REQUEST_ANNOTATION);
    let who = match request(object) {
        None => None,
        asked if asked == request(old) => read::annotation(old, REQUESTED_BY_ANNOTATION),
        Some(_) => Some(user),
    };
    patch::entry(object, "annotations", REQUESTED_BY_ANNOTATION, who)
}

/// The selector stays, as a whole.
fn hold_service(old: &Value, object: &Value) -> Vec<Value> {
    if read::label(old, HELD_LABEL).is_none() {
        return Vec::new();
    }
    let mut operations = kept(old, object, "labels", HELD_LABEL);
    if let Some(selector) = old.pointer("/spec/selector")
        && object.pointer("/spec/selector") != Some(selector)
    {
        operations.push(patch::add("/spec/selector", selector.clone()));
    }
    operations
}

/// A label or annotation of ours stays as it was.
pub(super) fn kept(old: &Value, object: &Value, part: &str, key: &str) -> Vec<Value> {
    let value = match part {
        "labels" => read::label(old, key),
        _ => read::annotation(old, key),
    };
    value.map_or_else(Vec::new, |value| patch::entry(object, part, key, Some(value)))
}

/// An object with an empty map where it had none: several entries may be added to it.
pub(super) fn with_maps(object: &Value) -> (Value, Vec<Value>) {
    let (mut with, mut operations) = (object.clone(), Vec::new());
    for part in ["labels", "annotations"] {
        if !object["metadata"][part].is_object() {
            with["metadata"][part] = json!({});
            operations.push(patch::add(&format!("/metadata/{part}"), json!({})));
        }
    }
    (with, operations)
}

#[cfg(test)]
mod tests;
