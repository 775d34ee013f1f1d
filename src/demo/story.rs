//! The story the demo tells: who commits what, and what must come of it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::state::{Outcome, Revision, State};

/// Where the story is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chapter {
    /// v1 becomes ready and serves.
    Opening,
    /// v2 is committed, and must be reverted.
    BadRelease,
    /// v1 serves again.
    Between,
    /// v3 is committed, and must be promoted.
    GoodRelease,
    /// Both happened.
    End,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cue {
    /// Nothing.
    Wait,
    /// Commit v2.
    CommitBad,
    /// The bad release is gone; breathe.
    Reverted,
    /// Commit v3.
    CommitGood,
    /// It is told.
    End,
    /// The chapter took too long or ended wrongly.
    GiveUp,
}

/// How long v1 serves before something happens.
const OPENING: TimeDelta = TimeDelta::seconds(4);
/// How long v1 serves between the releases.
const BETWEEN: TimeDelta = TimeDelta::seconds(2);
/// How long a chapter may take: far above what it takes, to end a demo that hangs.
const PATIENCE: TimeDelta = TimeDelta::seconds(90);

/// Follows the state and says when to do what.
#[derive(Debug)]
pub(super) struct Story {
    /// Where the story is.
    pub(super) chapter: Chapter,
    since: DateTime<Utc>,
    first: Option<Revision>,
}

impl Story {
    /// Begins.
    pub(super) fn new(now: DateTime<Utc>) -> Self {
        Self { chapter: Chapter::Opening, since: now, first: None }
    }

    /// What to do now. `serving`: v1's pods are ready and answer; `at_rest`: nothing is held, the
    /// sync has applied the tip.
    pub(super) fn next(&mut self, state: &State, at_rest: bool, now: DateTime<Utc>) -> Cue {
        if !at_rest && self.chapter == Chapter::Opening {
            self.since = now;
            return Cue::Wait;
        }
        let spent = now - self.since;
        if spent > PATIENCE && self.chapter != Chapter::End {
            return Cue::GiveUp;
        }
        match self.chapter {
            Chapter::Opening if spent >= OPENING => {
                self.first = stable(state);
                self.turn(Chapter::BadRelease, now, Cue::CommitBad)
            }
            Chapter::BadRelease => match outcome(state) {
                Some(Outcome::Aborted { revert: Some(_), .. }) if at_rest => {
                    self.turn(Chapter::Between, now, Cue::Reverted)
                }
                Some(Outcome::Promoted | Outcome::Watched { .. }) => Cue::GiveUp,
                _ => Cue::Wait,
            },
            Chapter::Between if spent >= BETWEEN => {
                self.turn(Chapter::GoodRelease, now, Cue::CommitGood)
            }
            Chapter::GoodRelease => match outcome(state) {
                Some(Outcome::Promoted) if at_rest && stable(state) != self.first => {
                    self.turn(Chapter::End, now, Cue::End)
                }
                // The bad release's end is still the last one until the good one's is told.
                Some(Outcome::Aborted { .. }) if stable(state) == self.first => Cue::Wait,
                Some(Outcome::Watched { .. }) => Cue::GiveUp,
                _ => Cue::Wait,
            },
            Chapter::Opening | Chapter::Between | Chapter::End => Cue::Wait,
        }
    }

    fn turn(&mut self, chapter: Chapter, now: DateTime<Utc>, cue: Cue) -> Cue {
        self.chapter = chapter;
        self.since = now;
        cue
    }
}

fn stable(state: &State) -> Option<Revision> {
    state.stable.as_ref().map(|stable| stable.revision.clone())
}

fn outcome(state: &State) -> Option<&Outcome> {
    if state.trial.is_some() {
        return None;
    }
    state.last.as_ref().map(|ended| &ended.outcome)
}

/// How often the controller looks: as fast as the guard lane gets new samples.
pub(super) const TURN: Duration = Duration::from_millis(100);
/// How often the branch is pulled.
pub(super) const PULL: Duration = Duration::from_secs(1);
/// How often the pods are scraped.
pub(super) const SCRAPE: Duration = Duration::from_millis(250);
