//! What one turn of the machine carries along.

use chrono::{DateTime, TimeDelta, Utc};

use super::rest::deployed_revision;
use super::{Decision, Wake};
use crate::defaults;
use crate::effect::{Effect, Notice, RevertOutcome, Severity};
use crate::fleet::{self, Hold};
use crate::observed::{Ask, Observed, Workload};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::state::{
    Answer, Ended, GitRevision, Origin, Outcome, Request, Revision, Stable, Stage, State, Trial,
};

/// The next state in the making, and why.
pub(super) struct Turn<'a> {
    pub(super) plan: &'a Plan,
    pub(super) seen: &'a Observed,
    pub(super) now: DateTime<Utc>,
    pub(super) next: State,
    reason: Reason,
    message: String,
    wake: Option<DateTime<Utc>>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        seen: &'a Observed,
        state: &State,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            plan,
            seen,
            now,
            next: state.clone(),
            reason: Reason::Stable,
            message: String::new(),
            wake: None,
        }
    }

    /// Why this turn ends as it does; the last one said counts.
    pub(super) fn say(&mut self, reason: Reason, message: impl Into<String>) {
        self.reason = reason;
        self.message = message.into();
    }

    /// Looks again at this time, or earlier.
    pub(super) fn wake_at(&mut self, at: DateTime<Utc>) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// A deadline: whether it has passed; if not, the turn wakes for it.
    pub(super) fn is_over(&mut self, since: DateTime<Utc>, limit: TimeDelta) -> bool {
        let at = since.checked_add_signed(limit).unwrap_or(DateTime::<Utc>::MAX_UTC);
        if self.now >= at {
            return true;
        }
        self.wake_at(at);
        false
    }

    /// Whether it is not the time for this; if so, that is said, and the turn wakes when it is.
    pub(super) fn is_outside_window(&mut self, what: &str) -> bool {
        if self.plan.windows.is_open(self.now) {
            return false;
        }
        let message = match self.plan.windows.opens(self.now) {
            Some(at) => {
                self.wake_at(at);
                format!("{what} when the next window opens, {}", at.format("%a %d %b %H:%M UTC"))
            }
            None => format!("{what} in a window, and none ever opens"),
        };
        self.say(Reason::OutsideWindow, message);
        true
    }

    /// Releases of so many Rollouts failed at once that none is reverted.
    pub(super) fn fleet_hold(&self) -> Option<Hold> {
        let others = self.seen.fleet.others.iter();
        let fails = others.filter_map(|other| Some((&*other.rollout, other.failed.as_ref()?.at)));
        let own = self.next.failed.as_ref().map(|failed| (&*self.plan.rollout, failed.at));
        fleet::hold(fails.chain(own), self.now)
    }

    /// Tells people, once it is written down.
    pub(super) fn notify(&mut self, severity: Severity, reason: Reason, message: String) {
        let id = self.next.notices;
        self.next.notices = self.next.notices.saturating_add(1);
        self.next.outbox.push(Notice { id, at: self.now, severity, reason, message });
        let excess = self.next.outbox.len().saturating_sub(defaults::OUTBOX_SIZE);
        self.next.outbox.drain(..excess);
    }

    /// Tells people once per trial.
    pub(super) fn notify_once(
        &mut self,
        trial: &mut Trial,
        severity: Severity,
        reason: Reason,
        message: String,
    ) {
        if !trial.told.contains(&reason) {
            trial.told.push(reason);
            self.notify(severity, reason, message);
        }
    }

    /// Whether this is what serves.
    pub(super) fn is_stable(&self, revision: &Revision) -> bool {
        self.next.stable.as_ref().is_some_and(|stable| stable.revision == *revision)
    }

    /// Takes the request of a person, once; what is not for `me` stays for a later stage. It is
    /// refused unless it is granted in this very turn.
    pub(super) fn take_ask(&mut self, about: &About, me: impl FnOnce(&Ask) -> bool) -> Option<Ask> {
        let ask = self.ask()?;
        if let Some(reason) = ask.fault(&about.revision, about.git.as_ref()) {
            self.answer(ask, Answer::Refused(reason));
            return None;
        }
        if ask.what.leads_on() && !self.seen.fleet.suspended.is_empty() {
            self.answer(ask, Answer::Refused(Reason::Suspended));
            return None;
        }
        if !me(&ask) {
            self.next.request = Some(Request { ask, answer: Answer::Waiting });
            return None;
        }
        self.answer(ask.clone(), Answer::Refused(Reason::RequestNotNow));
        Some(ask)
    }

    /// Refuses what is asked for: it comes too late, and the next trial is not meant.
    pub(super) fn refuse_ask(&mut self, about: &About) {
        let _ = self.take_ask(about, |_| true);
    }

    /// The request that was taken in this turn is done.
    pub(super) const fn grant(&mut self, reason: Reason) {
        if let Some(request) = &mut self.next.request {
            request.answer = Answer::Granted(reason);
        }
    }

    /// What is asked for and not yet answered: the newest, else one that waits for its stage.
    fn ask(&self) -> Option<Ask> {
        let is_new = |ask: &&Ask| self.next.answered.as_ref() != Some(&ask.token);
        let waits = |request: &&Request| request.answer == Answer::Waiting;
        let waiting = || self.next.request.as_ref().filter(waits).map(|request| &request.ask);
        self.seen.ask.as_ref().filter(is_new).or_else(waiting).cloned()
    }

    fn answer(&mut self, ask: Ask, answer: Answer) {
        self.next.answered = Some(ask.token.clone());
        self.next.request = Some(Request { ask, answer });
    }

    /// The pods that are going to serve from now on came past all of this.
    pub(super) fn now_stable(&mut self, revision: &Revision, git: Option<GitRevision>) {
        self.next.quarantine.retain(|failed| failed.revision != *revision);
        self.next.stable = Some(Stable { revision: revision.clone(), git });
    }

    /// Pods that nobody judged serve.
    pub(super) fn say_bypassed(&mut self, template: &Revision) {
        let message = format!("{template} rolled out past the gate, unjudged; it is stable now");
        self.notify(Severity::Critical, Reason::GateBypassed, message.clone());
        self.say(Reason::GateBypassed, message);
    }

    pub(super) fn forget_delivered(&mut self) {
        let delivered = &self.seen.delivered;
        self.next.outbox.retain(|notice| !delivered.contains(&notice.id));
    }

    /// Writes down how a trial ended.
    pub(super) fn end(&mut self, trial: &Trial, outcome: Outcome) {
        self.next.last = Some(Ended {
            trial: trial.id.clone(),
            canary: trial.canary.clone(),
            origin: trial.origin.clone(),
            at: self.now,
            outcome,
        });
    }

    pub(super) fn finish(self, effects: Vec<Effect>) -> Decision {
        let busy = self.next.trial.as_ref().is_some_and(|trial| !is_rest(&trial.stage));
        let look = if busy || !effects.is_empty() {
            defaults::LOOK_INTERVAL
        } else {
            defaults::REST_INTERVAL
        };
        let wake = if self.seen.workload.is_none() && effects.is_empty() {
            Wake::OnChange
        } else {
            let look = self.now.checked_add_signed(look).unwrap_or(DateTime::<Utc>::MAX_UTC);
            Wake::At(self.wake.map_or(look, |wake| wake.min(look)))
        };
        Decision { next: self.next, effects, wake, reason: self.reason, message: self.message }
    }
}

/// The revision that a request can be meant for.
pub(super) struct About {
    pub(super) revision: Revision,
    pub(super) git: Option<GitRevision>,
}

impl From<&Trial> for About {
    fn from(trial: &Trial) -> Self {
        let git = match &trial.origin {
            Origin::Git { bad, .. } => Some(bad.clone()),
            Origin::OutOfBand { .. } | Origin::Unknown => None,
        };
        Self { revision: trial.canary.clone(), git }
    }
}

impl From<&Workload> for About {
    fn from(workload: &Workload) -> Self {
        Self { revision: workload.template.clone(), git: deployed_revision(workload) }
    }
}

/// Stages that people end, not machines.
fn is_rest(stage: &Stage) -> bool {
    matches!(
        stage,
        Stage::Aborted { .. }
            | Stage::Reverting { waiting: Some(RevertOutcome::PullRequest { .. }), .. }
    )
}
