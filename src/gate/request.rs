//! What the API server asks, and the form of the answer (`admission.k8s.io/v1`).

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::review::Verdict;
use crate::kubernetes::json as read;

/// A request to the controller may be there from the beginning.
const ROLLOUTS: &str = "tidegate.dev/rollouts";

/// When we are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// While others may still change the object.
    Mutate,
    /// When nobody will any more.
    Validate,
}

/// What is about to be written, by whom, over what.
#[derive(Clone, Debug)]
pub struct AdmissionRequest {
    /// Names the question; the answer repeats it.
    pub uid: String,
    /// The resource with its group, as in `apps/deployments`; empty group: `/services`.
    pub resource: String,
    /// Who writes.
    pub user: String,
    /// What is about to be stored.
    pub object: Value,
    /// What is stored now; null for what is new.
    pub old: Value,
}

impl AdmissionRequest {
    /// Takes a review apart. `None`: it is not an update of an object as a whole, nor a new Rollout.
    pub fn of_review(mut review: Value) -> Option<Self> {
        let request = review.get_mut("request")?;
        let part = read::text(request, "/subResource").unwrap_or_default();
        let operation = read::text(request, "/operation")?.to_owned();
        if !part.is_empty() {
            return None;
        }
        let group = read::text(request, "/resource/group").unwrap_or_default();
        let resource = read::text(request, "/resource/resource")?;
        let asked = Self {
            uid: read::text(request, "/uid")?.to_owned(),
            resource: format!("{group}/{resource}"),
            user: read::text(request, "/userInfo/username")?.to_owned(),
            object: Value::Null,
            old: Value::Null,
        };
        let [object, old] = ["object", "oldObject"].map(|key| request[key].take());
        let is_change = operation == "UPDATE" && old.is_object();
        let is_new_rollout = operation == "CREATE" && asked.resource == ROLLOUTS;
        (object.is_object() && (is_change || is_new_rollout)).then_some(Self {
            object,
            old,
            ..asked
        })
    }
}

/// The review that answers a question.
pub(super) fn answer(uid: &str, verdict: &Verdict) -> Value {
    let mut response = json!({"uid": uid, "allowed": !matches!(verdict, Verdict::Deny(_))});
    match verdict {
        Verdict::Pass => {}
        Verdict::Change(operations) => {
            let patch = Value::from(operations.clone()).to_string().into_bytes();
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(ByteString(patch));
        }
        Verdict::Deny(message) => {
            response["status"] = json!({"code": 403, "reason": "Forbidden", "message": message});
        }
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(operation: &str, part: Option<&str>) -> Value {
        json!({"request": {
            "uid": "7", "operation": operation, "subResource": part,
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "userInfo": {"username": "ann"}, "object": {"a": 1}, "oldObject": {"a": 0},
        }})
    }

    #[test]
    fn only_updates_of_whole_objects_are_questions() {
        let request = AdmissionRequest::of_review(review("UPDATE", None)).unwrap();
        assert_eq!(request.resource, "apps/deployments");
        assert_eq!((request.object, request.old), (json!({"a": 1}), json!({"a": 0})));
        let none = [
            review("CREATE", None),
            review("UPDATE", Some("status")),
            json!({"request": {"uid": "7"}}),
            json!([]),
        ];
        let mut new = review("CREATE", None);
        new["request"]["resource"] =
            json!({"group": "tidegate.dev", "version": "v1alpha1", "resource": "rollouts"});
        new["request"]["oldObject"] = Value::Null;
        assert!(AdmissionRequest::of_review(new).is_some());
        for review in none {
            assert!(AdmissionRequest::of_review(review).is_none());
        }
    }

    #[test]
    fn answers_have_the_form_that_the_api_server_reads() {
        let pass = answer("7", &Verdict::Pass);
        assert_eq!(pass["response"], json!({"uid": "7", "allowed": true}));
        let change = answer("7", &Verdict::Change(vec![json!({"op": "x"})]));
        // `[{"op":"x"}]`
        assert_eq!(change["response"]["patch"], "W3sib3AiOiJ4In1d");
        assert_eq!(change["response"]["patchType"], "JSONPatch");
        let deny = answer("7", &Verdict::Deny("no".to_owned()));
        assert_eq!(deny["response"]["allowed"], false);
        assert_eq!(deny["response"]["status"]["message"], "no");
    }
}
