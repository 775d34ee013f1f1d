//! The sets of a workload: which is whose.

use serde_json::Value;
use tidegate_engine::state::Revision;

use super::kind::Kind;
use super::{POD_TEMPLATE_HASH, revision_of};
use super::{json, names};

/// A label selector (`matchLabels`, `matchExpressions`) as lists ask for it. `None`: it has a form
/// that cannot be asked for.
pub fn selector_text(selector: &Value) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
        for (key, value) in labels {
            parts.push(format!("{key}={}", value.as_str()?));
        }
    }
    for expression in json::list(selector, "/matchExpressions") {
        let key = json::text(expression, "/key")?;
        let values: Option<Vec<_>> =
            json::list(expression, "/values").iter().map(Value::as_str).collect();
        let values = values?.join(",");
        parts.push(match json::text(expression, "/operator")? {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    Some(parts.join(","))
}

/// The revision of a Deployment's or set's template.
pub fn revision(object: &Value) -> Option<Revision> {
    json::template(object).map(revision_of)
}

/// A set's template as the Deployment has it.
pub fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    let labels = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut);
    if let Some(labels) = labels {
        labels.remove(POD_TEMPLATE_HASH);
    }
    template
}

/// The value by which a Service selects the pods of a set alone.
pub fn hash(set: &Value) -> Option<&str> {
    json::label(set, POD_TEMPLATE_HASH)
}

/// The set belongs to the Deployment.
pub fn is_owned(set: &Value, deployment: &Value) -> bool {
    json::uid(deployment).is_some_and(|uid| json::is_controlled_by(set, Kind::Deployment, uid))
}

/// We made the set for a canary of this workload, and the Deployment has not taken it yet.
pub fn is_canary(set: &Value, workload: &str, revision: &Revision) -> bool {
    let name = names::set_name(workload, revision);
    json::name(set) == Some(name.as_str())
        && json::controller(set).is_some_and(|owner| {
            owner["kind"] == Kind::ControllerRevision.as_str() && owner["name"] == name
        })
}

/// The set of a revision among those of the Deployment: of several, the one with most available
/// pods, then the oldest.
pub fn of_deployment<'a>(
    sets: &'a [Value],
    deployment: &Value,
    wanted: &Revision,
) -> Option<&'a Value> {
    let mut found: Vec<_> = sets
        .iter()
        .filter(|set| is_owned(set, deployment) && revision(set).as_ref() == Some(wanted))
        .collect();
    found.sort_by_key(|set| {
        let available = json::count(set, "/status/availableReplicas").unwrap_or(0);
        (std::cmp::Reverse(available), json::text(set, "/metadata/creationTimestamp"))
    });
    found.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_set_s_template_is_the_deployment_s_but_for_the_hash() {
        let of_set = json!({
            "metadata": {"labels": {"app": "web", POD_TEMPLATE_HASH: "1"}},
            "spec": {"aFieldOfTomorrow": [1]},
        });
        let expected = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"aFieldOfTomorrow": [1]},
        });
        assert_eq!(without_hash(&of_set), expected);
    }

    #[test]
    fn a_selector_is_asked_for_as_a_whole() {
        let selector = json!({
            "matchLabels": {"app": "web", "tier": "front"},
            "matchExpressions": [
                {"key": "env", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "new", "operator": "Exists"},
                {"key": "zone", "operator": "NotIn", "values": ["x"]},
            ],
        });
        assert_eq!(
            selector_text(&selector).as_deref(),
            Some("app=web,tier=front,env in (a,b),!old,new,zone notin (x)")
        );
        let strange = json!({"matchExpressions": [{"key": "a", "operator": "Gt"}]});
        assert_eq!(selector_text(&strange), None);
    }

    fn set(name: &str, owner: &str, image: &str, available: u32) -> Value {
        json!({
            "metadata": {
                "name": name,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {POD_TEMPLATE_HASH: name},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": "web",
                    "uid": owner, "controller": true,
                }],
            },
            "spec": {"template": {
                "metadata": {"labels": {POD_TEMPLATE_HASH: name}},
                "spec": {"image": image},
            }},
            "status": {"availableReplicas": available},
        })
    }

    #[test]
    fn of_equal_sets_the_one_with_most_available_pods_counts() {
        let deployment = json!({"metadata": {"uid": "1"}});
        let sets = [
            set("one", "1", "v1", 0),
            set("two", "1", "v1", 2),
            set("three", "2", "v1", 9),
            set("four", "1", "v2", 9),
        ];
        let wanted = revision(&sets[0]).expect("a template");
        let found = of_deployment(&sets, &deployment, &wanted).and_then(hash);
        assert_eq!(found, Some("two"));
        let unknown = Revision::new("a000000000");
        assert!(of_deployment(&sets, &deployment, &unknown).is_none());
    }

    #[test]
    fn a_canary_set_is_one_by_name_and_owner() {
        let revision = Revision::new("a123456789");
        let mut canary = set("web-a123456789", "1", "v2", 1);
        assert!(!is_canary(&canary, "web", &revision));
        canary["metadata"]["ownerReferences"][0]["kind"] = json!("ControllerRevision");
        canary["metadata"]["ownerReferences"][0]["name"] = json!("web-a123456789");
        assert!(is_canary(&canary, "web", &revision));
        assert!(!is_canary(&canary, "web", &Revision::new("a987654321")));
    }
}
