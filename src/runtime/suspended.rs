//! Who suspends a Rollout: its own spec, its namespace, or the controller's for the whole cluster.
//!
//! What cannot be asked is taken as a suspension that says so: nothing goes on without knowing, and
//! nothing that leads home asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tidegate_api::SUSPEND_ANNOTATION;
use tidegate_engine::state::{Stage, State};
use tokio::time::Instant;

use super::Key;
use super::turns::Turns;
use crate::kubernetes::{ClusterError, Kind, json as read};

/// How long it is remembered that a Namespace is not suspended: a brake is seen by the look after the
/// next one at the latest.
const FRESH: Duration = Duration::from_secs(5);

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
        if self.unsuspended.has(namespace, Instant::now()) {
            return None;
        }
        let found = self.cluster.get(Kind::Namespace, "", namespace).await;
        let suspended = by_namespace(namespace, &found, more);
        if suspended.is_none() {
            self.unsuspended.put(namespace, Instant::now());
        }
        suspended
    }
}

/// Namespaces that were not suspended a moment ago: not each turn asks again. That one is suspended
/// is never remembered, so that the end of it is seen at once.
#[derive(Debug, Default)]
pub(super) struct Unsuspended(Mutex<BTreeMap<String, Instant>>);

impl Unsuspended {
    fn has(&self, namespace: &str, now: Instant) -> bool {
        self.lock().get(namespace).is_some_and(|at| now.duration_since(*at) < FRESH)
    }

    fn put(&self, namespace: &str, now: Instant) {
        let mut all = self.lock();
        all.retain(|_, at| now.duration_since(*at) < FRESH);
        all.insert(namespace.to_owned(), now);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn that_a_namespace_is_not_suspended_is_remembered_for_some_seconds() {
        let (all, now) = (Unsuspended::default(), Instant::now());
        assert!(!all.has("shop", now));
        all.put("shop", now);
        assert!(all.has("shop", now + FRESH / 2));
        assert!(!all.has("bank", now));
        assert!(!all.has("shop", now + FRESH));
    }
}
