//! What one turn of the machine carries along.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Decision, Wake};
use crate::defaults;
use crate::effect::{Effect, Notice, RevertOutcome, Severity};
use crate::observed::{Ask, Observed};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::state::{Ended, GitRevision, Outcome, Revision, Stable, Stage, State, Trial};

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

    /// Takes the request of a person, once; what is not for `me` stays for a later stage.
    pub(super) fn take_ask(&mut self, me: impl FnOnce(&Ask) -> bool) -> Option<Ask> {
        let ask = self.seen.ask.as_ref()?;
        if self.next.answered.as_ref() == Some(&ask.token) || !me(ask) {
            return None;
        }
        self.next.answered = Some(ask.token.clone());
        Some(ask.clone())
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

/// Stages that people end, not machines.
fn is_rest(stage: &Stage) -> bool {
    matches!(
        stage,
        Stage::Aborted { .. }
            | Stage::Reverting { waiting: Some(RevertOutcome::PullRequest { .. }), .. }
    )
}
