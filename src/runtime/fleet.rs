//! What is known of all Rollouts, as far as it matters to each other: read once from their statuses,
//! then kept by turns, for only who leads writes statuses.
//!
//! What is decided is known here before it is recorded, so that two turns at once never take one
//! slot. Two leaders, for a moment, can: each knows of the other's only what it read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tidegate_engine::Decision;
use tidegate_engine::fleet::{self, Hold, Member, Slot};
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
        decide: impl FnOnce(&mut dyn Iterator<Item = &Member>) -> Decision,
    ) -> Decision {
        let mut members = self.lock();
        let others = members.iter().filter(|(of, _)| *of != key);
        let decision = decide(&mut others.map(|(_, other)| other));
        let after = Member::of(&key.to_string(), &decision.next);
        let concerned = put(&mut members, key, after.as_ref());
        drop(members);
        self.wake(concerned);
        decision
    }

    /// What was decided is not written: the state is this.
    pub(super) fn put(&self, key: &Key, state: &State) {
        let concerned = put(&mut self.lock(), key, Member::of(&key.to_string(), state).as_ref());
        self.wake(concerned);
    }

    /// The Rollout does not get on: nobody waits for it.
    pub(super) fn stand_back(&self, key: &Key) {
        let mut members = self.lock();
        let member = members.get(key).cloned().map(|mut member| {
            member.stands_back();
            member
        });
        let concerned = put(&mut members, key, member.as_ref());
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

/// Answers whom the change concerns: who waits longest in a class whose slots changed, and those
/// that have the commit that failed now.
fn put(members: &mut Members, key: &Key, after: Option<&Member>) -> Vec<Key> {
    let before = match after {
        Some(after) => members.insert(key.clone(), after.clone()),
        None => members.remove(key),
    };
    let before = before.as_ref();
    if before == after {
        return Vec::new();
    }
    let class = |of: Option<&Member>| of.and_then(|member| member.class.clone());
    let mut concerned: Vec<Key> = [class(before), class(after)]
        .iter()
        .flatten()
        .filter_map(|class| oldest(members, key, class))
        .collect();
    let commit = |of: &Member| of.failed.as_ref().and_then(|failed| failed.commit.clone());
    let (was, failed) = (before.and_then(commit), after.and_then(commit));
    let others = || members.iter().filter(|(of, _)| *of != key);
    // Where another failed with it before, they are held already.
    let is_news =
        failed.is_some() && was != failed && others().all(|(_, other)| commit(other) != failed);
    if is_news {
        let siblings = others().filter(|(_, other)| other.commit == failed);
        concerned.extend(siblings.map(|(of, _)| of.clone()));
    }
    concerned.sort_unstable();
    concerned.dedup();
    concerned
}

/// Who waits longest in a class, but for this one.
fn oldest(members: &Members, but: &Key, class: &str) -> Option<Key> {
    let waits = members.iter().filter(|(key, _)| *key != but).filter_map(|(key, member)| {
        let Slot::Waits { since } = member.slot else { return None };
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
    fn a_slot_that_is_free_wakes_who_waits_longest() {
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
    fn the_first_that_fails_with_a_commit_wakes_those_on_trial_with_it() {
        let (fleet, mut touched) = fleet();
        let commit = GitRevision::new("c1");
        let on_trial: State = serde_json::from_value(json!({"trial": {
            "id": "t1", "canary": "a1", "origin": {"Git": {"good": "c0", "bad": "c1"}},
            "started": "2026-01-01T00:00:00Z", "told": [],
            "stage": {"Settling": {"since": "2026-01-01T00:00:00Z"}}}}))
        .unwrap();
        fleet.put(&key("shop", "web"), &on_trial);
        assert!(woken(&mut touched).is_empty());
        let failed =
            Some(Failed { at: DateTime::UNIX_EPOCH, commit: Some(commit), siblings: Vec::new() });
        let failed = State { failed, ..State::default() };
        fleet.put(&key("shop", "api"), &failed);
        assert_eq!(woken(&mut touched), ["shop/web"]);
        fleet.put(&key("shop", "cart"), &failed);
        assert!(woken(&mut touched).is_empty(), "it is held already");
    }

    #[test]
    fn three_that_fail_hold_all_and_are_known_after_a_restart() {
        let (fleet, _touched) = fleet();
        let now = DateTime::UNIX_EPOCH;
        let failed =
            |at| Some(Failed { at, commit: Some(GitRevision::new("c1")), siblings: Vec::new() });
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
