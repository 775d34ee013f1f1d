//! Who suspends a Rollout: its own spec, its namespace, or the controller's for the whole cluster.
//!
//! What cannot be asked is taken as a suspension that says so: nothing goes on without knowing, and
//! nothing that leads home asks.

use serde_json::Value;
use tidegate_api::SUSPEND_ANNOTATION;
use tidegate_engine::state::{Stage, State};

use super::Key;
use super::turns::Turns;
use crate::kubernetes::{ClusterError, Kind, json as read};

impl Turns {
    /// Who suspends this Rollout. Traffic on its way home does not wait for the answer.
    pub(super) async fn suspended(&self, key: &Key, live: &Value, state: &State) -> Vec<String> {
        if state.trial.as_ref().is_some_and(|trial| goes_home(&trial.stage)) {
            return Vec::new();
        }
        let own = self.suspended_in(&key.namespace, "");
        if key.namespace == self.home {
            return by_spec(live).into_iter().chain(own.await).collect();
        }
        let all = self.suspended_in(&self.home, ", for the whole cluster");
        let (own, all) = futures::join!(own, all);
        by_spec(live).into_iter().chain(own).chain(all).collect()
    }

    async fn suspended_in(&self, namespace: &str, more: &str) -> Option<String> {
        by_namespace(namespace, &self.cluster.get(Kind::Namespace, "", namespace).await, more)
    }
}

fn by_spec(live: &Value) -> Option<String> {
    (live.pointer("/spec/suspend") == Some(&Value::Bool(true))).then(|| "its spec".to_owned())
}

fn by_namespace(
    name: &str,
    found: &Result<Option<Value>, ClusterError>,
    more: &str,
) -> Option<String> {
    match found {
        Ok(found) => {
            let value =
                found.as_ref().and_then(|found| read::annotation(found, SUSPEND_ANNOTATION));
            (value == Some("true")).then(|| format!("Namespace {name}{more}"))
        }
        Err(error) => {
            tracing::warn!(namespace = name, %error, "whether it is suspended is not known");
            Some(format!("Namespace {name}, as far as is known: {error}"))
        }
    }
}

/// Only the way home is left, and it is never suspended.
const fn goes_home(stage: &Stage) -> bool {
    matches!(stage, Stage::Aborting { .. } | Stage::Reverting { .. } | Stage::Restoring { .. })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::ObjectName;

    #[test]
    fn only_the_word_true_suspends_and_what_is_not_known_does() {
        let with = |value: Value| {
            let object = json!({"metadata": {"annotations": {SUSPEND_ANNOTATION: value}}});
            by_namespace("shop", &Ok(Some(object)), "")
        };
        assert_eq!(with(json!("true")).as_deref(), Some("Namespace shop"));
        assert_eq!(with(json!("false")), None);
        assert_eq!(with(json!("")), None);
        assert_eq!(by_namespace("shop", &Ok(None), ""), None);
        let object = Box::new(ObjectName::namespaced(Kind::Namespace, "", "shop"));
        let away = ClusterError::Unavailable { object, message: "refused".to_owned() };
        let told = by_namespace("shop", &Err(away), "").unwrap();
        assert!(told.starts_with("Namespace shop, as far as is known"), "{told}");
        assert_eq!(by_spec(&json!({"spec": {"suspend": true}})).as_deref(), Some("its spec"));
        assert_eq!(by_spec(&json!({"spec": {"suspend": false}})), None);
        assert_eq!(by_spec(&json!({"spec": {}})), None);
    }
}
