//! Notices to people: Events once each, alerts for as long as they are true.
//!
//! An Event is written for each notice of the outbox; its name is made of the Rollout's uid and
//! the notice's number, so that a second attempt finds the first. Alerts are not sent from the
//! outbox: which of them fire follows from the recorded state alone, so that they go on firing
//! after a restart and while an Alertmanager was away.

mod alert;
mod alertmanager;
mod event;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tidegate_engine::effect::Notice;
use tidegate_engine::state::State;

pub(super) use alert::outcome_text;
pub use alert::{Alert, Standing, Subject, alerts, hold_alert};
pub use alertmanager::{Alertmanagers, BadAlertmanager};

use super::Key;
use crate::kubernetes::{Cluster, ClusterError, Kind};

/// Writes Events, and remembers which notices are told.
#[derive(Debug)]
pub(super) struct Notifier {
    cluster: Cluster,
    instance: String,
    delivered: Mutex<BTreeMap<Key, BTreeSet<u64>>>,
}

impl Notifier {
    /// `instance` names this process in the Events.
    pub(super) fn new(cluster: &Cluster, instance: String) -> Self {
        Self { cluster: cluster.clone(), instance, delivered: Mutex::default() }
    }

    /// Tells one notice; told before is as good.
    pub(super) async fn announce(
        &self,
        key: &Key,
        rollout: &Value,
        notice: &Notice,
    ) -> Result<(), ClusterError> {
        let event = event::of(rollout, notice, &self.instance);
        match self.cluster.create(Kind::Event, &event).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        tracing::info!(
            rollout = %key, reason = notice.reason.as_str(), severity = ?notice.severity,
            "{}", notice.message
        );
        self.lock().entry(key.clone()).or_default().insert(notice.id);
        Ok(())
    }

    /// The notices that are told and still in the outbox.
    pub(super) fn delivered(&self, key: &Key, state: &State) -> Vec<u64> {
        let mut all = self.lock();
        let Some(ids) = all.get_mut(key) else { return Vec::new() };
        ids.retain(|id| state.outbox.iter().any(|notice| notice.id == *id));
        ids.iter().copied().collect()
    }

    /// The Rollout is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, BTreeSet<u64>>> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
