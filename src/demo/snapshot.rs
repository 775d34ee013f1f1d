//! All that the live view shows, and how events change it.

use std::collections::VecDeque;
use std::time::Duration;

use super::plain;
use super::recorder::Traffic;
use super::report::{ArmTraffic, Event, VerdictView};

/// Seconds of traffic that are shown.
pub const HISTORY: usize = 60;

/// Commits and decisions that are kept; more than any terminal has lines.
const KEPT: usize = 200;

/// All that the live view shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// What is happening now, one sentence.
    pub headline: String,
    /// Time since the start.
    pub elapsed: Duration,
    /// Name of the trial's stage; empty: not told yet.
    pub stage: String,
    /// The canary's share of traffic in percent, as it was read back.
    pub weight: u8,
    /// The revision that serves.
    pub stable: ArmView,
    /// The revision on trial; `version` is empty where there is none.
    pub canary: ArmView,
    /// What the judge last said.
    pub verdict: VerdictView,
    /// Commits of the config repository, newest first.
    pub commits: VecDeque<CommitLine>,
    /// What was decided and done, newest first.
    pub decisions: VecDeque<DecisionLine>,
    /// Without colours.
    pub monochrome: bool,
}

/// One arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmView {
    /// What serves in it.
    pub version: String,
    /// Its traffic by second, newest last, at most [`HISTORY`] of them; `None`: it had none of
    /// its own, as there was no such arm.
    pub history: VecDeque<Option<Traffic>>,
}

/// A commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitLine {
    /// Its id.
    pub id: String,
    /// First line of its message.
    pub subject: String,
    /// Whether it is what the sync last applied.
    pub synced: bool,
}

/// A decision or a deed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionLine {
    /// Time since the start.
    pub elapsed: Duration,
    /// Why, in one word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

impl ArmView {
    /// The last second's traffic; `None`: there is no such arm.
    pub fn now(&self) -> Option<&Traffic> {
        self.history.back()?.as_ref()
    }

    fn push(&mut self, arm: Option<&ArmTraffic>) {
        self.version = arm.map(|arm| arm.version.clone()).unwrap_or_default();
        self.history.push_back(arm.map(|arm| arm.traffic.clone()));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }
}

impl Snapshot {
    /// Changes what is shown by an event that happened `elapsed` after the start.
    pub fn apply(&mut self, elapsed: Duration, event: &Event) {
        self.elapsed = elapsed;
        match event {
            Event::Narration { text } => self.headline.clone_from(text),
            Event::Commit { id, subject, .. } => self.commit(id, subject),
            Event::Synced { id } => {
                for commit in &mut self.commits {
                    commit.synced = commit.id == *id;
                }
            }
            Event::Stage { stage } => self.stage.clone_from(stage),
            Event::Weight { weight } => self.weight = *weight,
            Event::Verdict(verdict) => self.verdict = verdict.clone(),
            Event::Decision { reason, message } => self.decide(reason.as_str(), message),
            Event::Reverted { id, subject } => {
                self.commit(id, subject);
                self.decide("Reverted", &format!("{} {subject}", plain::short(id)));
            }
            Event::Restored { version } => {
                self.decide("Restored", &format!("{version} is the template again"));
            }
            Event::Promoted { version } => {
                self.decide("Promoted", &format!("{version} is stable now"));
            }
            Event::Traffic { stable, canary } => {
                self.stable.push(Some(stable));
                self.canary.push(canary.as_ref());
            }
            Event::Summary { requests, failures, .. } => {
                self.headline = format!("Done: {requests} requests, {failures} failed");
            }
        }
    }

    /// A commit that was told before (as a revert, say) is not told again.
    fn commit(&mut self, id: &str, subject: &str) {
        if self.commits.iter().all(|commit| commit.id != id) {
            let (id, subject) = (id.to_owned(), subject.to_owned());
            self.commits.push_front(CommitLine { id, subject, synced: false });
            self.commits.truncate(KEPT);
        }
    }

    fn decide(&mut self, reason: &str, message: &str) {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        let elapsed = self.elapsed;
        self.decisions.push_front(DecisionLine { elapsed, reason, message });
        self.decisions.truncate(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revert_is_shown_once_and_can_be_synced() {
        let mut snapshot = Snapshot::default();
        let revert = || ("ab".to_owned(), "Revert it".to_owned());
        let (id, subject) = revert();
        snapshot.apply(Duration::from_secs(1), &Event::Reverted { id, subject });
        let ((id, subject), author) = (revert(), "Tidegate".to_owned());
        snapshot.apply(Duration::from_secs(2), &Event::Commit { id, subject, author });
        snapshot.apply(Duration::from_secs(3), &Event::Synced { id: "ab".to_owned() });
        assert_eq!(snapshot.commits.len(), 1);
        assert!(snapshot.commits[0].synced);
        assert_eq!(snapshot.decisions.len(), 1);
        assert_eq!(snapshot.decisions[0].elapsed, Duration::from_secs(1));
    }

    #[test]
    fn a_minute_of_traffic_is_kept_and_a_missing_arm_is_no_zero() {
        let mut snapshot = Snapshot::default();
        let event = Event::Traffic { stable: ArmTraffic::default(), canary: None };
        for second in 0..100 {
            snapshot.apply(Duration::from_secs(second), &event);
        }
        assert_eq!(snapshot.stable.history.len(), HISTORY);
        assert_eq!(snapshot.stable.now(), Some(&Traffic::default()));
        assert_eq!(snapshot.canary.now(), None);
    }
}
