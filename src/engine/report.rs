//! What people see of a decision: columns, one sentence, and conditions. Pure: the controller
//! copies it into `.status`, the command line prints it.

use serde::{Deserialize, Serialize};

use crate::decide::{Decision, caution};
use crate::effect::RevertOutcome;
use crate::judge::Verdict;
use crate::observed::{Deployed, Observed, Pinned, RouteView, Workload};
use crate::plan::{Mode, Plan, Traffic};
use crate::reason::Reason;
use crate::state::{Phase, Promotion, Skip, Stage, State, Trial};

/// Longest message in a status, in characters.
const LONGEST: usize = 1000;

/// What people see of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where the rollout stands in one word.
    pub phase: Phase,
    /// Which step of how many, such as `2/5`. `None` outside of the steps.
    pub step: Option<String>,
    /// The canary's share that the stage asks for, in whole percent. `None` without a trial.
    pub asked: Option<u8>,
    /// The canary's share as read back, in whole percent; by pods it is the share of ready pods.
    /// `None` without a trial, and where it cannot be told.
    pub weight: Option<u8>,
    /// What the judge says, while the canary is judged.
    pub verdict: Option<VerdictWord>,
    /// Why the engine decided what it decided.
    pub reason: Reason,
    /// The same for people, in one line.
    pub message: String,
    /// Each kind once, in the order of [`ConditionKind::ALL`].
    pub conditions: Vec<Condition>,
}

/// A verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerdictWord {
    /// See [`Verdict::Pass`].
    Pass,
    /// See [`Verdict::Fail`].
    Fail,
    /// See [`Verdict::NeedMoreData`].
    NeedMoreData,
    /// See [`Verdict::Inconclusive`].
    Inconclusive,
    /// See [`Verdict::Error`].
    Error,
}

impl VerdictWord {
    /// The word, as people and `kubectl get` see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::Fail => "Fail",
            Self::NeedMoreData => "NeedMoreData",
            Self::Inconclusive => "Inconclusive",
            Self::Error => "Error",
        }
    }
}

/// One condition, as Kubernetes tools know them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// The same for people.
    pub message: String,
}

/// The kinds of conditions a rollout has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionKind {
    /// Something that serves has ready pods. True during a trial too, so that a wait for it blocks
    /// no engine.
    Ready,
    /// A trial goes on by itself, forward or back.
    Progressing,
    /// Nothing goes on without a person or a new commit.
    Stalled,
    /// What Git says and what runs are the same. Unknown when nobody knows what was deployed.
    Synced,
    /// The Deployment carries a template that is kept from rolling out.
    ChangesHeld,
    /// The revision that serves came past the gate: nobody judged it.
    GateBypassed,
    /// The GitOps engine does not get to an end with the commit that failed.
    EngineBlocked,
    /// Something that stable's pods need is gone.
    StableConfigGone,
}

impl ConditionKind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Ready,
        Self::Progressing,
        Self::Stalled,
        Self::Synced,
        Self::ChangesHeld,
        Self::GateBypassed,
        Self::EngineBlocked,
        Self::StableConfigGone,
    ];
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl From<&Verdict> for VerdictWord {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail(_) => Self::Fail,
            Verdict::NeedMoreData { .. } => Self::NeedMoreData,
            Verdict::Inconclusive { .. } => Self::Inconclusive,
            Verdict::Error { .. } => Self::Error,
        }
    }
}

/// What people see of a decision that rests on this look.
pub fn report(plan: &Plan, seen: &Observed, decision: &Decision) -> Report {
    let next = &decision.next;
    let trial = next.trial.as_ref();
    let is_judged = trial.is_some_and(|trial| trial.stage.is_judged(plan));
    Report {
        phase: next.phase(),
        step: trial.and_then(|trial| step(plan, &trial.stage)),
        asked: trial.map(|trial| trial.stage.weight(plan).percent()),
        weight: trial.and_then(|trial| weight(plan, seen, trial)),
        verdict: is_judged.then(|| VerdictWord::from(&seen.verdict)),
        reason: decision.reason,
        message: shorten(&decision.message),
        conditions: ConditionKind::ALL
            .iter()
            .map(|kind| condition(*kind, plan, seen, decision))
            .collect(),
    }
}

fn shorten(message: &str) -> String {
    if message.chars().count() <= LONGEST {
        return message.to_owned();
    }
    message.chars().take(LONGEST - 1).chain(std::iter::once('…')).collect()
}

/// Which step of how many, such as `2/5`. `None` outside of the steps.
pub fn step(plan: &Plan, stage: &Stage) -> Option<String> {
    if let Stage::Shifting { step, .. } | Stage::Baking { step, .. } | Stage::Paused { step, .. } =
        stage
    {
        Some(format!("{}/{}", step.saturating_add(1), plan.steps.len()))
    } else {
        None
    }
}

/// What was read back, never what was asked for.
fn weight(plan: &Plan, seen: &Observed, trial: &Trial) -> Option<u8> {
    if matches!(trial.stage, Stage::Watching { .. }) {
        return share_of_pods(seen.canary.ready, seen);
    }
    if !seen.canary.exists && seen.taken.desired > 0 && !is_taken(trial) {
        return share_of_pods(seen.taken.ready, seen);
    }
    if !seen.canary.exists {
        return Some(if is_taken(trial) { 100 } else { 0 });
    }
    match (&seen.traffic.pinned, plan.traffic) {
        (Pinned::To(pinned), Traffic::Routes) => match seen.traffic.route? {
            RouteView::Split(_) | RouteView::Home if *pinned == trial.canary => Some(100),
            RouteView::Split(weight) => Some(weight.percent()),
            RouteView::Home => Some(0),
        },
        (Pinned::To(pinned), Traffic::Pods | Traffic::Switch) => {
            Some(if *pinned == trial.canary { 100 } else { 0 })
        }
        (Pinned::All | Pinned::NoService, _) => share_of_pods(seen.canary.ready, seen),
        (Pinned::Mixed, _) => None,
    }
}

fn is_taken(trial: &Trial) -> bool {
    matches!(trial.stage, Stage::Promoting { part: Promotion::Releasing, .. })
}

fn share_of_pods(canary: u32, seen: &Observed) -> Option<u8> {
    let canary = u64::from(canary);
    let all = canary + u64::from(seen.stable.ready);
    let percent = canary.checked_mul(100)?.checked_add(all / 2)?.checked_div(all)?;
    u8::try_from(percent).ok()
}

fn condition(kind: ConditionKind, plan: &Plan, seen: &Observed, decision: &Decision) -> Condition {
    let next = &decision.next;
    let (status, reason, message) = match (kind, &seen.workload) {
        (_, None) => {
            let message = "the Deployment does not exist".to_owned();
            // Until somebody brings it back there is nothing to do.
            let stalled = kind == ConditionKind::Stalled && next.trial.is_none();
            (stalled.into(), Reason::WorkloadMissing, message)
        }
        (ConditionKind::Ready, Some(work)) => ready(seen, decision, work),
        (ConditionKind::Progressing, Some(_)) => {
            let stands = next.trial.as_ref().is_some_and(|trial| trial.stands.is_some());
            let is_paused = next.phase() == Phase::Paused || stands;
            let stalled = is_stalled(next, decision.reason);
            let goes_on = next.trial.is_some() && !stalled && !is_paused;
            (goes_on.into(), decision.reason, decision.message.clone())
        }
        (ConditionKind::Stalled, Some(_)) => {
            let stalled = is_stalled(next, decision.reason);
            (stalled.into(), decision.reason, decision.message.clone())
        }
        (ConditionKind::Synced, Some(work)) => synced(next, work),
        (ConditionKind::ChangesHeld, Some(work)) => held(next, work, decision),
        (ConditionKind::GateBypassed, Some(_)) => bypassed(plan, next),
        (ConditionKind::EngineBlocked, Some(_)) => blocked(seen, decision),
        (ConditionKind::StableConfigGone, Some(_)) => config_gone(seen, next),
    };
    Condition { kind, status, reason, message: shorten(&message) }
}

fn ready(
    seen: &Observed,
    decision: &Decision,
    work: &Workload,
) -> (ConditionStatus, Reason, String) {
    let trial = decision.next.trial.as_ref();
    let canary_may_serve = trial.is_some_and(|trial| {
        trial.skip == Some(Skip::StableDown) || matches!(trial.stage, Stage::Promoting { .. })
    });
    // Pods of a revision that became stable in this very turn were not looked at as stable's.
    let is_new = matches!(
        decision.reason,
        Reason::FirstSight
            | Reason::Promoted
            | Reason::GateBypassed
            | Reason::WouldAbort
            | Reason::Watching
    );
    let serves = seen.stable.ready > 0
        || canary_may_serve && seen.canary.ready > 0
        || trial.is_some() && seen.taken.ready > 0
        || trial.is_some_and(is_taken);
    if serves || is_new {
        let message = match &decision.next.stable {
            Some(stable) => format!("{} serves", stable.revision),
            None => "something serves".to_owned(),
        };
        (ConditionStatus::True, Reason::Stable, message)
    } else if work.desired == 0 {
        (ConditionStatus::True, Reason::Asleep, "scaled to 0".to_owned())
    } else {
        (ConditionStatus::False, Reason::StableDown, "stable has no ready pod".to_owned())
    }
}

/// Only a person or a new commit leads on.
fn is_stalled(next: &State, reason: Reason) -> bool {
    match next.trial.as_ref().map(|trial| &trial.stage) {
        Some(
            Stage::Aborted { .. }
            | Stage::Reverting { waiting: Some(RevertOutcome::PullRequest { .. }), .. },
        ) => true,
        Some(
            Stage::Settling { .. }
            | Stage::Starting { .. }
            | Stage::Shifting { .. }
            | Stage::Baking { .. }
            | Stage::Paused { .. }
            | Stage::FastForward { .. }
            | Stage::Promoting { .. }
            | Stage::Aborting { .. }
            | Stage::Reverting { .. }
            | Stage::Restoring { .. }
            | Stage::Watching { .. },
        ) => false,
        None => reason == Reason::Quarantined,
    }
}

fn synced(next: &State, work: &Workload) -> (ConditionStatus, Reason, String) {
    let stable = next.stable.as_ref();
    let is_stable = stable.is_some_and(|stable| stable.revision == work.template);
    match &work.deployed {
        Deployed::OutOfBand { writer } => {
            let by = writer.as_deref().unwrap_or("somebody");
            let message = format!("{by} wrote the template past Git");
            (ConditionStatus::False, Reason::NotFromGit, message)
        }
        Deployed::Unknown => {
            let message = "nobody knows which commit is deployed".to_owned();
            (ConditionStatus::Unknown, Reason::CulpritUnknown, message)
        }
        Deployed::Git { revision, .. } if !is_stable || next.trial.is_some() => {
            let message = format!("{} does not run yet", revision.short());
            (ConditionStatus::False, Reason::TrialStarted, message)
        }
        Deployed::Git { revision, .. } if next.overwritten.as_ref() == Some(revision) => {
            let message = format!("the engine is still at {}", revision.short());
            (ConditionStatus::False, Reason::Restoring, message)
        }
        Deployed::Git { revision, .. } => {
            let message = format!("{} runs", revision.short());
            (ConditionStatus::True, Reason::Stable, message)
        }
    }
}

fn held(next: &State, work: &Workload, decision: &Decision) -> (ConditionStatus, Reason, String) {
    let stable = next.stable.as_ref();
    let is_stable = stable.is_some_and(|stable| stable.revision == work.template);
    if work.paused && !is_stable {
        let message = format!("{} does not roll out by itself", work.template);
        (ConditionStatus::True, decision.reason, message)
    } else {
        (ConditionStatus::False, Reason::Stable, "nothing is kept back".to_owned())
    }
}

/// Whoever was promoted, or was there first, is remembered.
fn bypassed(plan: &Plan, next: &State) -> (ConditionStatus, Reason, String) {
    let unjudged = next
        .stable
        .as_ref()
        .filter(|stable| plan.mode == Mode::Enforce && !next.promoted.contains(&stable.revision));
    match unjudged {
        Some(stable) => {
            let message = format!("{} serves and nobody judged it", stable.revision);
            (ConditionStatus::True, Reason::GateBypassed, message)
        }
        None => (ConditionStatus::False, Reason::Stable, "the gate held".to_owned()),
    }
}

/// It holds from when people are told until the engine is done.
fn blocked(seen: &Observed, decision: &Decision) -> (ConditionStatus, Reason, String) {
    let told = match &decision.next.trial {
        Some(trial) => trial.told.contains(&Reason::EngineBlocked),
        None => decision.reason == Reason::EngineBlocked,
    };
    match &seen.around.engine {
        Some(work) if told => {
            (ConditionStatus::True, Reason::EngineBlocked, caution::engine_blocked(work))
        }
        Some(_) | None => {
            let message = "the engine is not kept from going on".to_owned();
            (ConditionStatus::False, Reason::Stable, message)
        }
    }
}

fn config_gone(seen: &Observed, next: &State) -> (ConditionStatus, Reason, String) {
    let gone = &seen.around.gone;
    if next.trial.is_some() && !gone.is_empty() {
        (ConditionStatus::True, Reason::StableConfigGone, caution::config_gone(gone))
    } else {
        let message = "nothing that stable's pods need is known to be gone".to_owned();
        (ConditionStatus::False, Reason::Stable, message)
    }
}

/// What is wrong with a report; every report that any test produces is checked.
pub fn check_conditions(report: &Report) -> Result<(), String> {
    let kinds: Vec<_> = report.conditions.iter().map(|condition| condition.kind).collect();
    let holds = |kind: ConditionKind| {
        let found = report.conditions.iter().find(|condition| condition.kind == kind);
        found.is_some_and(|condition| condition.status == ConditionStatus::True)
    };
    let in_trial = report.asked.is_some();
    let rules = [
        (kinds == ConditionKind::ALL, "each kind once, in order"),
        (
            !(holds(ConditionKind::Progressing) && holds(ConditionKind::Stalled)),
            "what is stalled does not progress",
        ),
        (
            !(holds(ConditionKind::Synced) && holds(ConditionKind::ChangesHeld)),
            "what is held back is not in sync",
        ),
        (
            !(holds(ConditionKind::Synced) && holds(ConditionKind::Stalled)),
            "where nothing is left to do nobody is waited for",
        ),
        (in_trial || !holds(ConditionKind::Progressing), "no progress without a trial"),
        (in_trial || report.verdict.is_none(), "no verdict without a trial"),
        (in_trial || report.weight.is_none(), "no weight without a trial"),
        (report.weight.is_none_or(|weight| weight <= 100), "a weight is a percentage"),
        (
            report.phase != Phase::Idle || !holds(ConditionKind::Progressing),
            "Idle does not progress",
        ),
        (!report.message.is_empty(), "a decision has a message"),
        (!report.message.contains('\n'), "a message is one line"),
        (
            report.conditions.iter().all(|condition| {
                !condition.message.is_empty() && condition.message.chars().count() <= LONGEST
            }),
            "a condition has a message that fits",
        ),
    ];
    match rules.iter().find(|(kept, _)| !kept) {
        Some((_, rule)) => Err(format!("{rule}: {report:?}")),
        None => Ok(()),
    }
}
