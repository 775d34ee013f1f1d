//! What can go wrong when the API server is asked.

use std::time::Duration;

use kube::core::Status;

use super::kind::ObjectName;

/// What was asked of the API server, in the words of its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// Many objects.
    List,
    /// A new object.
    Create,
    /// A changed object.
    Patch,
    /// An object less.
    Delete,
}

impl Verb {
    /// As a role names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can go wrong when the API server is asked. No variant holds what was sent, nor the
/// server's own message where that may quote it: templates have secrets in them.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The object changed, or exists already: look again, then decide again.
    #[error("{object} has changed meanwhile")]
    Conflict {
        /// Which object.
        object: Box<ObjectName>,
    },
    /// The object, or its kind, does not exist.
    #[error("{object} does not exist")]
    NotFound {
        /// Which object.
        object: Box<ObjectName>,
    },
    /// The server refuses: a right is missing, a quota is used up, or a policy says no.
    #[error("{verb} of {object} is refused: resource `{resource}`")]
    Forbidden {
        /// What was asked.
        verb: Verb,
        /// The resource as a role names it.
        resource: String,
        /// Which object.
        object: Box<ObjectName>,
    },
    /// The server finds the object wrong.
    #[error("{object} is invalid: {fields}")]
    Invalid {
        /// Which object.
        object: Box<ObjectName>,
        /// The fields that are wrong and in which way, without their values.
        fields: String,
    },
    /// The server is busy.
    #[error("the API server is busy: {object}")]
    Throttled {
        /// Which object.
        object: Box<ObjectName>,
        /// How long to wait, if it says so.
        retry_after: Option<Duration>,
    },
    /// There is no usable answer. What was asked may have been done all the same.
    #[error("no answer about {object}: {message}")]
    Unavailable {
        /// Which object.
        object: Box<ObjectName>,
        /// What went wrong.
        message: String,
    },
}

impl ClusterError {
    /// For counters: one word per variant.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::NotFound { .. } => "not_found",
            Self::Forbidden { .. } => "forbidden",
            Self::Invalid { .. } => "invalid",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// Looking again soon may be all it takes.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// The server refuses, and will again.
    pub const fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }

    /// The object is not there.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// Sorts an answer of the server by what is done about it.
pub(super) fn of_status(object: ObjectName, verb: Verb, status: &Status) -> ClusterError {
    let object = Box::new(object);
    match status.code {
        409 => ClusterError::Conflict { object },
        404 | 410 => ClusterError::NotFound { object },
        401 | 403 => {
            let kind = object.kind;
            let resource = match kind.group() {
                "" => kind.plural().to_owned(),
                group => format!("{}.{group}", kind.plural()),
            };
            ClusterError::Forbidden { verb, resource, object }
        }
        // A JSON patch that does not fit the object: it was made for another version.
        422 if verb == Verb::Patch && !names_causes(status) => ClusterError::Conflict { object },
        400 | 405 | 413 | 415 | 422 => {
            ClusterError::Invalid { object, fields: wrong_fields(status) }
        }
        429 => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            let retry_after = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            ClusterError::Throttled { object, retry_after }
        }
        code => {
            let reason = if status.reason.is_empty() { "no reason" } else { &status.reason };
            ClusterError::Unavailable { object, message: format!("{code} {reason}") }
        }
    }
}

fn names_causes(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.causes.is_empty())
}

fn wrong_fields(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields: Vec<_> = causes
        .filter(|cause| !cause.field.is_empty())
        .map(|cause| format!("{} ({})", cause.field, cause.reason))
        .collect();
    if fields.is_empty() {
        let reason = if status.reason.is_empty() { "no reason" } else { &status.reason };
        return format!("{} {reason}", status.code);
    }
    fields.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;
    use super::*;
    use serde_json::json;

    fn error(verb: Verb, status: serde_json::Value) -> ClusterError {
        let object = ObjectName::namespaced(Kind::ReplicaSet, "shop", "web-1");
        let status: Status = serde_json::from_value(status).expect("a Status");
        of_status(object, verb, &status)
    }

    #[test]
    fn what_the_server_says_is_sorted_by_what_is_done_about_it() {
        let cases = [
            (json!({"code": 409, "reason": "Conflict"}), "conflict"),
            (json!({"code": 409, "reason": "AlreadyExists"}), "conflict"),
            (json!({"code": 404, "reason": "NotFound"}), "not_found"),
            (json!({"code": 403, "reason": "Forbidden"}), "forbidden"),
            (json!({"code": 422, "reason": "Invalid", "details": {}}), "conflict"),
            (json!({"code": 422, "details": {"causes": [{"field": "spec.replicas"}]}}), "invalid"),
            (json!({"code": 429, "reason": "TooManyRequests"}), "throttled"),
            (json!({"code": 500, "reason": "InternalError"}), "unavailable"),
        ];
        for (status, label) in cases {
            assert_eq!(error(Verb::Patch, status.clone()).label(), label, "{status}");
        }
    }

    #[test]
    fn no_error_repeats_a_value_that_the_server_quotes() {
        let invalid = error(
            Verb::Create,
            json!({
                "code": 422,
                "reason": "Invalid",
                "message": "spec.env: Invalid value: \"hunter2\"",
                "details": {"causes": [{
                    "field": "spec.env[0].value",
                    "reason": "FieldValueInvalid",
                    "message": "Invalid value: \"hunter2\"",
                }]},
            }),
        );
        let text = invalid.to_string();
        assert_eq!(text, "ReplicaSet shop/web-1 is invalid: spec.env[0].value (FieldValueInvalid)");
        assert!(!format!("{invalid:?}").contains("hunter2"));
    }

    #[test]
    fn a_refusal_names_the_right_that_is_missing() {
        let refused = error(Verb::Delete, json!({"code": 403, "message": "no"}));
        assert_eq!(
            refused.to_string(),
            "delete of ReplicaSet shop/web-1 is refused: resource `replicasets.apps`"
        );
    }
}
