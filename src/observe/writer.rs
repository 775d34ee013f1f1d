//! Who wrote which field, by what the API server notes itself.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::trouble::time;
use crate::kubernetes::json;

/// Somebody who wrote fields of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    /// The field manager.
    pub(super) manager: String,
    /// When it last changed a field that it owns, in whole seconds.
    pub(super) at: Option<DateTime<Utc>>,
}

/// Who owns fields of the pod template.
pub(super) fn of_template(deployment: &Value) -> Vec<Writer> {
    of_field(deployment, &["f:spec", "f:template"])
}

/// Who owns an annotation.
pub(super) fn of_annotation(object: &Value, key: &str) -> Vec<Writer> {
    of_field(object, &["f:metadata", "f:annotations", &format!("f:{key}")])
}

fn of_field(object: &Value, path: &[&str]) -> Vec<Writer> {
    let entries = json::list(object, "/metadata/managedFields").iter().filter(|entry| {
        // Status and scale have entries of their own.
        let is_main = json::text(entry, "/subresource").unwrap_or_default().is_empty();
        let mut fields = entry.get("fieldsV1");
        for key in path {
            fields = fields.and_then(|fields| fields.get(key));
        }
        is_main && fields.is_some()
    });
    entries
        .filter_map(|entry| {
            let manager = json::text(entry, "/manager")?.to_owned();
            Some(Writer { manager, at: time(entry, "/time") })
        })
        .collect()
}
