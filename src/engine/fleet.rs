//! What Rollouts know of each other, and who suspends them. Pure: what is known of the others comes
//! from their recorded states.

use chrono::{DateTime, Utc};

use crate::defaults;
use crate::observed::{Deployed, Observed};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::state::{Failed, GitRevision, Origin, Stage, State, Trial};

/// Names in one message.
pub(crate) const NAMED: usize = 5;

/// What is known beside a Rollout's own objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Who suspends it, such as `Namespace shop`. Empty: nobody.
    pub suspended: Vec<String>,
    /// The other Rollouts, as far as they matter.
    pub others: Vec<Member>,
}

/// A Rollout, as far as it matters to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `namespace/name`.
    pub rollout: String,
    /// The class that its trial is counted in, now or when it starts.
    pub class: Option<String>,
    /// Whether it has a slot among the trials of its class.
    pub slot: Slot,
    /// The commit that its trial came from, while it is on the way to promotion.
    pub commit: Option<GitRevision>,
    /// When a release of it failed, if none was promoted since.
    pub failed: Option<Failed>,
}

/// Whether a Rollout has a slot among the trials of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// It wants none. Traffic that is home needs none either.
    None,
    /// It waits for one.
    Waits {
        /// Since when: the oldest goes first.
        since: DateTime<Utc>,
    },
    /// It is on trial.
    OnTrial,
}

/// Releases of many Rollouts failed at once: that is no longer taken for a fault of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// When one failed that was one too many.
    pub since: DateTime<Utc>,
    /// When it ends, if none fails meanwhile.
    pub until: DateTime<Utc>,
    /// Whose releases failed.
    pub rollouts: Vec<String>,
}

impl Member {
    /// What others should know of a Rollout in this state. `None`: nothing.
    pub fn of(rollout: &str, state: &State) -> Option<Self> {
        let trial = state.trial.as_ref();
        let going = trial.filter(|trial| goes_on(&trial.stage));
        let commit = going.and_then(commit_of).cloned();
        let (slot, class) = match (trial, &state.waiting) {
            (Some(trial), _) if has_slot(&trial.stage) => (Slot::OnTrial, trial.class.clone()),
            (None, Some(waiting)) if waiting.reason == Reason::TooManyTrials => {
                (Slot::Waits { since: waiting.since }, waiting.class.clone())
            }
            _ => (Slot::None, None),
        };
        let failed = state.failed.clone();
        let matters = slot != Slot::None || failed.is_some();
        matters.then(|| Self { rollout: rollout.to_owned(), class, slot, commit, failed })
    }

    /// Whether a decision can depend on it: with many Rollouts, most others do not matter to one.
    pub fn matters_to(&self, plan: &Plan, state: &State, seen: &Observed) -> bool {
        let trial = state.trial.as_ref();
        let commits = [trial.and_then(commit_of), deployed(seen)];
        let is_ours = |commit: &Option<GitRevision>| {
            commit.is_some() && commits.iter().flatten().any(|ours| commit.as_ref() == Some(ours))
        };
        let failed = self.failed.as_ref().is_some_and(|failed| {
            let goes_home = trial.is_some_and(|trial| !goes_on(&trial.stage));
            goes_home || is_ours(&failed.commit)
        });
        let is_before = trial.is_none()
            && plan.max_trials.is_some()
            && self.slot != Slot::None
            && self.class == plan.class;
        failed || is_before || is_ours(&self.commit)
    }

    /// It does not get on, and nobody waits for it.
    pub fn stands_back(&mut self) {
        if let Slot::Waits { .. } = self.slot {
            self.slot = Slot::None;
        }
    }
}

/// The commit that brought a trial, if one did.
const fn commit_of(trial: &Trial) -> Option<&GitRevision> {
    match &trial.origin {
        Origin::Git { bad, .. } => Some(bad),
        Origin::OutOfBand { .. } | Origin::Unknown => None,
    }
}

/// The commit that is deployed, if one is.
fn deployed(seen: &Observed) -> Option<&GitRevision> {
    match &seen.workload.as_ref()?.deployed {
        Deployed::Git { revision, .. } => Some(revision),
        Deployed::OutOfBand { .. } | Deployed::Unknown => None,
    }
}

/// It may still be promoted.
fn goes_on(stage: &Stage) -> bool {
    match stage {
        Stage::Settling { .. }
        | Stage::Starting { .. }
        | Stage::Shifting { .. }
        | Stage::Baking { .. }
        | Stage::Paused { .. }
        | Stage::FastForward { .. }
        | Stage::Promoting { .. } => true,
        Stage::Aborting { .. }
        | Stage::Reverting { .. }
        | Stage::Restoring { .. }
        | Stage::Aborted { .. }
        | Stage::Watching { .. } => false,
    }
}

/// Its canary has traffic, or may get it.
fn has_slot(stage: &Stage) -> bool {
    goes_on(stage) || matches!(stage, Stage::Aborting { .. })
}

impl Fleet {
    /// Who suspends the Rollout, in one line. `None`: nobody.
    pub fn suspended_by(&self) -> Option<String> {
        (!self.suspended.is_empty()).then(|| self.suspended.join(" and "))
    }

    /// Who goes before a Rollout that waits for a slot in this class since then: trials that run,
    /// and those that wait longer.
    pub fn before(&self, rollout: &str, class: &str, since: DateTime<Utc>) -> Vec<&str> {
        let goes_before = |other: &&Member| match other.slot {
            Slot::OnTrial => true,
            Slot::Waits { since: theirs } => (theirs, other.rollout.as_str()) < (since, rollout),
            Slot::None => false,
        };
        let class = Some(class);
        let others = self.others.iter().filter(|other| other.class.as_deref() == class);
        others.filter(goes_before).map(|other| other.rollout.as_str()).collect()
    }

    /// Another Rollout to which this commit brought a release that failed.
    pub fn failed_with(&self, commit: &GitRevision) -> Option<&str> {
        let failed = |other: &&Member| {
            other.failed.as_ref().is_some_and(|failed| failed.commit.as_ref() == Some(commit))
        };
        self.others.iter().find(failed).map(|other| other.rollout.as_str())
    }

    /// The other Rollouts on trial that this commit brought a release to.
    pub fn siblings(&self, commit: &GitRevision) -> Vec<&str> {
        let others = self.others.iter().filter(|other| other.commit.as_ref() == Some(commit));
        others.map(|other| other.rollout.as_str()).collect()
    }
}

/// Whether so many releases failed at once that none is reverted for now. One failure of each
/// Rollout counts, its last.
pub fn hold<'a>(
    fails: impl IntoIterator<Item = (&'a str, DateTime<Utc>)>,
    now: DateTime<Utc>,
) -> Option<Hold> {
    let mut fails: Vec<_> = fails.into_iter().filter(|(_, at)| *at <= now).collect();
    fails.sort_unstable_by_key(|(rollout, at)| (*at, *rollout));
    let mut hold: Option<Hold> = None;
    for (index, (rollout, at)) in fails.iter().enumerate() {
        let until = at.checked_add_signed(defaults::FLEET_HOLD).unwrap_or(DateTime::<Utc>::MAX_UTC);
        if let Some(hold) = hold.as_mut().filter(|hold| *at < hold.until) {
            hold.until = until;
            hold.rollouts.push((*rollout).to_owned());
            continue;
        }
        let all = fails.iter().take(index.saturating_add(1));
        let close = all.filter(|(_, earlier)| *at - *earlier <= defaults::FLEET_FAILS_WITHIN);
        let rollouts: Vec<_> = close.map(|(rollout, _)| (*rollout).to_owned()).collect();
        if rollouts.len() >= defaults::FLEET_FAILS {
            hold = Some(Hold { since: *at, until, rollouts });
        }
    }
    hold.filter(|hold| now < hold.until)
}

/// The first few of them, for people.
pub fn named<T: AsRef<str>>(rollouts: &[T]) -> String {
    let first: Vec<_> = rollouts.iter().take(NAMED).map(AsRef::as_ref).collect();
    let more = if rollouts.len() > NAMED { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::state::Waiting;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn member(rollout: &str, class: &str, slot: Slot) -> Member {
        let class = Some(class.to_owned());
        Member { rollout: rollout.to_owned(), class, slot, commit: None, failed: None }
    }

    #[test]
    fn the_oldest_that_waits_goes_first_and_other_classes_do_not_count() {
        let waits = |minutes| Slot::Waits { since: at(minutes) };
        let others = vec![
            member("a/runs", "standard", Slot::OnTrial),
            member("a/old", "standard", waits(1)),
            member("a/same", "standard", waits(2)),
            member("z/same", "standard", waits(2)),
            member("a/young", "standard", waits(3)),
            member("a/rest", "standard", Slot::None),
            member("a/other", "batch", Slot::OnTrial),
        ];
        let fleet = Fleet { suspended: Vec::new(), others };
        let before = fleet.before("m/me", "standard", at(2));
        assert_eq!(before, ["a/runs", "a/old", "a/same"]);
        assert_eq!(fleet.before("m/me", "batch", at(2)), ["a/other"]);
        assert!(fleet.before("m/me", "none", at(2)).is_empty());
    }

    #[test]
    fn the_third_failure_within_five_minutes_holds_all_for_fifteen_from_the_last() {
        let two = [("a", at(0)), ("b", at(2))];
        assert_eq!(hold(two, at(2)), None);
        let three = [("a", at(0)), ("b", at(2)), ("c", at(5))];
        assert_eq!(hold(three, at(4)), None, "the third is to come");
        let held = hold(three, at(5)).unwrap();
        assert_eq!((held.since, held.until), (at(5), at(20)));
        assert_eq!(held.rollouts, ["a", "b", "c"]);
        assert_eq!(hold(three, at(20)), None);
        let slow = [("a", at(0)), ("b", at(3)), ("c", at(6))];
        assert_eq!(hold(slow, at(6)), None, "more than five minutes");
        // Each that fails meanwhile prolongs it; one that comes later does not begin it again.
        let four = [("a", at(0)), ("b", at(2)), ("c", at(5)), ("d", at(19))];
        assert_eq!(hold(four, at(30)).unwrap().until, at(34));
        let later = [("a", at(0)), ("b", at(2)), ("c", at(5)), ("d", at(20))];
        assert_eq!(hold(later, at(21)), None);
    }

    #[test]
    fn only_what_matters_to_others_is_known_of_a_rollout() {
        assert_eq!(Member::of("a/web", &State::default()), None);
        let waiting = |reason| {
            let class = Some("standard".to_owned());
            let waiting = Some(Waiting { since: at(1), reason, class });
            State { waiting, ..State::default() }
        };
        let member = Member::of("a/web", &waiting(Reason::TooManyTrials)).unwrap();
        assert_eq!(member.slot, Slot::Waits { since: at(1) });
        // Who waits for something else keeps nobody back.
        assert_eq!(Member::of("a/web", &waiting(Reason::OutsideWindow)), None);
        let failed = Some(Failed { at: at(3), commit: None, siblings: Vec::new() });
        let member = Member::of("a/web", &State { failed, ..State::default() }).unwrap();
        assert_eq!(member.slot, Slot::None);
    }
}
