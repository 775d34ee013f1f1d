//! What is known of all Rollouts, as far as it matters to each other: read once from their statuses,
//! then kept by turns, for only who leads writes statuses.
//!
//! What is decided is known here before it is recorded, so that two turns at once never take one
//! place. Two leaders, for a moment, can: each knows of the other's only what it read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tidegate_engine::Decision;
use tidegate_engine::fleet::{self, Hold, Member, Place};
use tidegate_engine::state::State;
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedSender;

use super::{Key, status};
use crate::kubernetes::{Cluster, ClusterError, Kind, json as read};

/// The Rollouts that matter to others.
#[derive(Debug)]
pub(super) struct Fleet {
    members: Mutex<Members>,
    filled: OnceCell<()>,
    /// The namespaces that are looked after; empty: all.
    namespaces: Vec<String>,
    touch: UnboundedSender<Key>,
}

type Members = BTreeMap<Key, Member>;

impl Fleet {
    /// Knows of none.
    pub(super) fn new(namespaces: Vec<String>, touch: UnboundedSender<Key>) -> Self {
        Self { members: Mutex::default(), filled: OnceCell::new(), namespaces, touch }
    }

    /// Reads the statuses of all Rollouts, once: before, nobody can tell whose turn it is.
    pub(super) async fn fill(&self, cluster: &Cluster) -> Result<(), ClusterError> {
        let fill = async {
            let mut members = Members::new();
            let mut take = |rollout: Value| members.extend(member(&rollout));
            if self.namespaces.is_empty() {
                cluster.each(Kind::Rollout, None, &mut take).await?;
            }
            for namespace in &self.namespaces {
                cluster.each(Kind::Rollout, Some(namespace), &mut take).await?;
            }
            *self.lock() = members;
            Ok::<_, ClusterError>(())
        };
        self.filled.get_or_try_init(|| fill).await.map(drop)
    }

    /// Decides with what is known of the others. The answer is known to them from here on.
    pub(super) fn decide(
        &self,
        key: &Key,
        decide: impl FnOnce(Vec<Member>) -> Decision,
    ) -> Decision {
        let mut members = self.lock();
        let others = members.iter().filter(|(of, _)| *of != key).map(|(_, other)| other.clone());
        let decision = decide(others.collect());
        let after = Member::of(&key.to_string(), &decision.next);
        let concerned = put(&mut members, key, after);
        drop(members);
        self.wake(concerned);
        decision
    }

    /// What was decided is not written: the state is this.
    pub(super) fn put(&self, key: &Key, state: &State) {
        let concerned = put(&mut self.lock(), key, Member::of(&key.to_string(), state));
        self.wake(concerned);
    }

    /// The Rollout does not get on: nobody waits for it.
    pub(super) fn stand_back(&self, key: &Key) {
        let mut members = self.lock();
        let member = members.get(key).cloned().map(|mut member| {
            member.stands_back();
            member
        });
        let concerned = put(&mut members, key, member);
        drop(members);
        self.wake(concerned);
    }

    /// The Rollout is gone.
    pub(super) fn forget(&self, key: &Key) {
        let concerned = put(&mut self.lock(), key, None);
        self.wake(concerned);
    }

    /// Whether releases of so many failed at once that none is reverted.
    pub(super) fn hold(&self, now: DateTime<Utc>) -> Option<Hold> {
        let members = self.lock();
        let fails = members.values();
        let fails = fails.filter_map(|member| Some((&*member.rollout, member.failed.as_ref()?.at)));
        fleet::hold(fails, now)
    }

    fn wake(&self, keys: Vec<Key>) {
        for key in keys {
            // Nobody listens any more: the process ends.
            let _ = self.touch.send(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Rollout as the API server has it. One whose state cannot be read matters to nobody.
fn member(rollout: &Value) -> Option<(Key, Member)> {
    let namespace = read::text(rollout, "/metadata/namespace")?.to_owned();
    let key = Key { namespace, name: read::name(rollout)?.to_owned() };
    let member = Member::of(&key.to_string(), &status::read_state(rollout).ok()?)?;
    Some((key, member))
}

/// Answers whom the change concerns: who waits longest in a class whose places changed, and those
/// that have the commit that failed now.
fn put(members: &mut Members, key: &Key, after: Option<Member>) -> Vec<Key> {
    let before = match after.clone() {
        Some(after) => members.insert(key.clone(), after),
        None => members.remove(key),
    };
    if before == after {
        return Vec::new();
    }
    let class = |of: &Option<Member>| of.as_ref().and_then(|member| member.class.clone());
    let mut concerned: Vec<Key> = [class(&before), class(&after)]
        .iter()
        .flatten()
        .filter_map(|class| oldest(members, key, class))
        .collect();
    let failed = after.and_then(|after| after.failed).and_then(|failed| failed.commit);
    let siblings = members
        .iter()
        .filter(|(of, member)| *of != key && failed.is_some() && member.commit == failed);
    concerned.extend(siblings.map(|(of, _)| of.clone()));
    concerned.sort_unstable();
    concerned.dedup();
    concerned
}

/// Who waits longest in a class, but for this one.
fn oldest(members: &Members, but: &Key, class: &str) -> Option<Key> {
    let waits = members.iter().filter(|(key, _)| *key != but).filter_map(|(key, member)| {
        let Place::Waits { since } = member.place else { return None };
        (member.class.as_deref() == Some(class)).then_some((since, key))
    });
    waits.min().map(|(_, key)| key.clone())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;
    use tidegate_engine::reason::Reason;
    use tidegate_engine::state::{Failed, GitRevision, Waiting};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::runtime::key;

    fn fleet() -> (Fleet, UnboundedReceiver<Key>) {
        let (touch, touched) = unbounded_channel();
        (Fleet::new(Vec::new(), touch), touched)
    }

    fn waits(seconds: i64) -> State {
        let since = DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let class = Some("standard".to_owned());
        let waiting = Some(Waiting { since, reason: Reason::TooManyTrials, class });
        State { waiting, ..State::default() }
    }

    fn woken(touched: &mut UnboundedReceiver<Key>) -> Vec<String> {
        std::iter::from_fn(|| touched.try_recv().ok()).map(|key| key.to_string()).collect()
    }

    #[test]
    fn a_place_that_is_free_wakes_who_waits_longest() {
        let (fleet, mut touched) = fleet();
        fleet.put(&key("shop", "first"), &waits(0));
        fleet.put(&key("shop", "third"), &waits(2));
        fleet.put(&key("shop", "second"), &waits(1));
        woken(&mut touched);
        fleet.forget(&key("shop", "first"));
        assert_eq!(woken(&mut touched), ["shop/second"]);
        // One that does not get on keeps nobody back.
        fleet.stand_back(&key("shop", "second"));
        assert_eq!(woken(&mut touched), ["shop/third"]);
        fleet.stand_back(&key("shop", "second"));
        fleet.put(&key("shop", "third"), &waits(2));
        assert!(woken(&mut touched).is_empty(), "nothing changed");
    }

    #[test]
    fn three_that_fail_hold_all_and_are_known_after_a_restart() {
        let (fleet, _touched) = fleet();
        let now = DateTime::UNIX_EPOCH;
        let failed = |at| Some(Failed { at, commit: Some(GitRevision::new("c1")) });
        for name in ["a", "b"] {
            let state = State { failed: failed(now), ..State::default() };
            fleet.put(&key("shop", name), &state);
        }
        assert_eq!(fleet.hold(now), None);
        let state = State { failed: failed(now), ..State::default() };
        let rollout = json!({"metadata": {"name": "c", "namespace": "shop"},
            "status": {"state": state}});
        let (key, read) = member(&rollout).unwrap();
        fleet.lock().insert(key, read);
        assert_eq!(fleet.hold(now).unwrap().rollouts, ["shop/a", "shop/b", "shop/c"]);
        let strange = json!({"metadata": {"name": "d", "namespace": "shop"},
            "status": {"state": 7}});
        assert_eq!(member(&strange), None);
    }
}
