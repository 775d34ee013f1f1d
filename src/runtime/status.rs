//! What is written into `.status`, and read back from it. Pure.
//!
//! The state of the engine is kept as JSON without nulls: an absent field and an empty one are the
//! same, whatever the API server makes of them.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Number, Value};
use tidegate_api::{
    Condition, ConditionType, GateKind, MetricStatus, Phase, RequestAnswer, RequestStatus,
    RevisionStatus, RolloutStatus, VerdictWord, WouldRevert,
};
use tidegate_engine::Decision;
use tidegate_engine::judge::Judgement;
use tidegate_engine::observed::{Deployed, Observed};
use tidegate_engine::plan::Plan;
use tidegate_engine::reason::Reason;
use tidegate_engine::report::{self, ConditionStatus, Report};
use tidegate_engine::state::{self, Answer, GitRevision, Origin, Outcome, Request, Stage, State};

use super::shown;
use super::trouble::Trouble;

/// The condition's reason while the spec cannot be followed.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// The condition's reason while `.status.state` cannot be read.
pub const UNREADABLE_STATE: &str = "UnreadableState";

/// Longest message of a condition, in characters: many faults are cut off.
const LONGEST: usize = 4000;
/// Metrics that have all their numbers here, so that a status stays small; a Trial has those of all.
const NUMBERED: usize = 8;

/// The controller's memory cannot be read. It is never begun anew: what is held would be lost.
#[derive(Debug, thiserror::Error)]
#[error("status.state cannot be read")]
pub struct UnreadableState(#[from] serde_json::Error);

/// The state that a Rollout's status holds; a new Rollout's is empty.
pub fn read_state(rollout: &Value) -> Result<State, UnreadableState> {
    match rollout.pointer("/status/state") {
        None | Some(Value::Null) => Ok(State::default()),
        Some(state) => Ok(serde_json::from_value(state.clone())?),
    }
}

/// What a turn came to, as far as the status tells it.
pub(super) struct Told<'a> {
    pub(super) plan: &'a Plan,
    pub(super) seen: &'a Observed,
    pub(super) decision: &'a Decision,
    /// `None`: nothing was to be judged.
    pub(super) judgement: Option<&'a Judgement>,
    pub(super) gate: Option<GateKind>,
    /// The generation of the spec that the plan is from.
    pub(super) generation: Option<i64>,
    /// The spec of today is wrong in this way; the trial goes on with the one before.
    pub(super) wrong: Option<&'a str>,
    /// What was not done, and why.
    pub(super) trouble: Option<Trouble>,
}

/// The whole status after a turn. `before`: what stands there; times of conditions that did not
/// change are kept.
pub(super) fn whole(told: &Told<'_>, before: &Value, now: DateTime<Utc>) -> Value {
    let Told { decision, generation, .. } = *told;
    let report = with_trouble(report::report(told.plan, told.seen, decision), told);
    let next = &decision.next;
    let old = Old::of(before);
    let status = RolloutStatus {
        observed_generation: generation,
        conditions: conditions(told, &report, &old, now),
        phase: Some(phase(next.phase())),
        step: report.step.clone(),
        weight: report.weight,
        verdict: report.verdict.map(verdict),
        revision: column(next),
        message: Some(report.message.clone()),
        stable: next.stable.as_ref().map(|stable| RevisionStatus {
            revision: stable.revision.to_string(),
            git: stable.git.as_ref().map(ToString::to_string),
        }),
        canary: next.trial.as_ref().map(|trial| RevisionStatus {
            revision: trial.canary.to_string(),
            git: bad_of(&trial.origin),
        }),
        trial: next.trial.as_ref().map(|trial| trial.id.to_string()),
        metrics: metrics(told, &old),
        request: next.request.as_ref().map(request),
        would_revert: would_revert(next),
        gate: told.gate,
        state: serde_json::to_value(next).ok(),
    };
    without_nulls(serde_json::to_value(status).unwrap_or_default())
}

/// What fails is said where people look first.
fn with_trouble(mut report: Report, told: &Told<'_>) -> Report {
    if let Some(trouble) = &told.trouble {
        let trouble = &trouble.message;
        report.message = shorten(&format!("{}; {trouble}", report.message), 1000);
        let progressing =
            |found: &&mut report::Condition| found.kind == report::ConditionKind::Progressing;
        if let Some(condition) = report.conditions.iter_mut().find(progressing) {
            condition.message = shorten(&format!("{}; {trouble}", condition.message), LONGEST);
        }
    }
    report
}

/// The status while the Rollout is being deleted: the state goes on, the rest stays.
pub(super) fn leaving(before: &Value, next: &State) -> Value {
    let mut status = before.clone();
    if !status.is_object() {
        status = Value::Object(Map::new());
    }
    status["state"] = serde_json::to_value(next).unwrap_or_default();
    status["phase"] = serde_json::to_value(phase(next.phase())).unwrap_or_default();
    status["message"] = "the Rollout is being deleted: its workload is set free".into();
    without_nulls(status)
}

/// The status of a Rollout that cannot be followed: everything stays, Stalled says why.
pub(super) fn stalled(
    before: &Value,
    generation: Option<i64>,
    reason: &str,
    message: &str,
    now: DateTime<Utc>,
) -> Value {
    let old = Old::of(before);
    let mut status = before.clone();
    if !status.is_object() {
        status = Value::Object(Map::new());
    }
    let mut list = old.conditions.clone();
    for new in stalling(reason, message, generation) {
        put(&mut list, settle(new, &old, now));
    }
    status["conditions"] = Value::Array(list);
    status["message"] = Value::String(shorten(message, 1000));
    if let Some(generation) = generation {
        status["observedGeneration"] = generation.into();
    }
    without_nulls(status)
}

/// The merge patch that turns `old` into `new`. `None`: they are equal.
pub(super) fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in after {
        match before.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(old) => {
                if let Some(change) = difference(old, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// What the status was, as far as it can be read.
struct Old {
    conditions: Vec<Value>,
    metrics: Vec<MetricStatus>,
    trial: Option<String>,
}

impl Old {
    fn of(status: &Value) -> Self {
        let part = |key: &str| status.get(key).cloned().unwrap_or_default();
        Self {
            conditions: part("conditions").as_array().cloned().unwrap_or_default(),
            metrics: serde_json::from_value(part("metrics")).unwrap_or_default(),
            trial: part("trial").as_str().map(str::to_owned),
        }
    }
}

fn conditions(told: &Told<'_>, report: &Report, old: &Old, now: DateTime<Utc>) -> Vec<Condition> {
    let mut list: Vec<Value> = Vec::new();
    for found in &report.conditions {
        let holds = match found.status {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        };
        let kind = kind_of(found.kind);
        let reason = found.reason.as_str();
        let new = condition(kind, holds, reason, &found.message, told.generation);
        list.push(settle(new, old, now));
    }
    let (holds, reason, message) = engine_waits(told);
    let new = condition(ConditionType::EngineWaits, holds, reason, message, told.generation);
    list.push(settle(new, old, now));
    let wrong = told.wrong.map(|wrong| format!("the trial goes on with the spec before: {wrong}"));
    let refused = told.trouble.as_ref().and_then(|trouble| {
        trouble.reason.map(|reason| (reason.as_str(), trouble.message.as_str()))
    });
    let stalls = wrong.as_deref().map(|wrong| (INVALID_SPEC, wrong)).or(refused);
    if let Some((reason, message)) = stalls {
        for new in stalling(reason, message, told.generation) {
            put(&mut list, settle(new, old, now));
        }
    }
    list.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect()
}

/// Only a person leads on.
fn stalling(reason: &str, message: &str, generation: Option<i64>) -> [Condition; 2] {
    [(ConditionType::Stalled, "True"), (ConditionType::Progressing, "False")]
        .map(|(kind, holds)| condition(kind, holds, reason, message, generation))
}

/// The GitOps engine is in the middle of an apply, and what we hold keeps it there.
fn engine_waits(told: &Told<'_>) -> (&'static str, &'static str, &'static str) {
    let stage = told.decision.next.trial.as_ref().map(|trial| &trial.stage);
    let held = matches!(stage, Some(Stage::Reverting { .. } | Stage::Aborted { .. }));
    let deployed = told.seen.workload.as_ref().map(|work| &work.deployed);
    if held && matches!(deployed, Some(Deployed::Git { applied: false, .. })) {
        let message = "the engine waits for the held Deployment and applies nothing until then";
        return ("True", Reason::Held.as_str(), message);
    }
    ("False", Reason::Stable.as_str(), "the engine does not wait for us")
}

fn condition(
    kind: ConditionType,
    holds: &str,
    reason: &str,
    message: &str,
    generation: Option<i64>,
) -> Condition {
    Condition {
        type_: kind.as_str().to_owned(),
        status: holds.to_owned(),
        reason: reason.to_owned(),
        message: shorten(message, LONGEST),
        observed_generation: generation,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

/// Gives a condition the time since when it is as it is.
fn settle(mut new: Condition, old: &Old, now: DateTime<Utc>) -> Value {
    let before = old.conditions.iter().find(|found| found["type"] == *new.type_);
    let since = before.filter(|found| found["status"] == *new.status);
    let kept = since
        .and_then(|found| found["lastTransitionTime"].as_str())
        .and_then(|text| text.parse::<Timestamp>().ok());
    new.last_transition_time = Time(kept.unwrap_or_else(|| instant(now)));
    serde_json::to_value(new).unwrap_or_default()
}

fn put(list: &mut Vec<Value>, new: Value) {
    match list.iter_mut().find(|found| found["type"] == new["type"]) {
        Some(found) => *found = new,
        None => list.push(new),
    }
}

/// Kubernetes' times have whole seconds.
fn instant(now: DateTime<Utc>) -> Timestamp {
    Timestamp::from_second(now.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The commit that is on trial, else the one that runs.
fn column(next: &State) -> Option<String> {
    let bad = next.trial.as_ref().and_then(|trial| match &trial.origin {
        Origin::Git { bad, .. } => Some(bad),
        Origin::OutOfBand { .. } | Origin::Unknown => None,
    });
    let git = bad
        .or_else(|| reverted_to(next))
        .or_else(|| next.stable.as_ref().and_then(|stable| stable.git.as_ref()));
    git.map(|git| git.short().to_owned())
}

fn request(request: &Request) -> RequestStatus {
    let Request { ask, answer } = request;
    let (answer, reason) = match answer {
        Answer::Waiting => (RequestAnswer::Waiting, None),
        Answer::Granted(reason) => (RequestAnswer::Granted, Some(reason)),
        Answer::Refused(reason) => (RequestAnswer::Refused, Some(reason)),
    };
    RequestStatus {
        what: ask.what.as_str().to_owned(),
        who: ask.who.clone(),
        revision: ask.revision.clone(),
        token: ask.token.clone(),
        answer,
        reason: reason.map(|reason| reason.as_str().to_owned()),
    }
}

/// The revert that the GitOps engine has not applied yet: stable's last good commit is older, and
/// what runs is what this one says.
fn reverted_to(next: &State) -> Option<&GitRevision> {
    next.overwritten.as_ref()?;
    let Outcome::Aborted { revert: Some(revert), .. } = &next.last.as_ref()?.outcome else {
        return None;
    };
    revert.restores()
}

fn bad_of(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Git { bad, .. } => Some(bad.to_string()),
        Origin::OutOfBand { .. } | Origin::Unknown => None,
    }
}

/// What the judge saw last stays until the trial is over.
fn metrics(told: &Told<'_>, old: &Old) -> Vec<MetricStatus> {
    let Some(trial) = &told.decision.next.trial else { return Vec::new() };
    match told.judgement {
        Some(judgement) => shown::metrics(judgement, NUMBERED),
        None if old.trial.as_deref() == Some(trial.id.as_str()) => old.metrics.clone(),
        None => Vec::new(),
    }
}

/// Mode Observe: stays until the next trial.
fn would_revert(next: &State) -> Option<WouldRevert> {
    let last = next.last.as_ref().filter(|_| next.trial.is_none())?;
    let Outcome::Watched { would_revert: Some(order), .. } = &last.outcome else { return None };
    let paths = serde_json::to_value(&order.paths).ok()?;
    Some(WouldRevert {
        good: order.good.to_string(),
        bad: order.bad.to_string(),
        paths: serde_json::from_value(paths).ok()?,
    })
}

/// Objects without the members that are null, all the way down, and numbers as the API server gives
/// them back: else the same would be written again and again.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        Value::Number(number) => whole_number(&number).map_or(Value::Number(number), Value::from),
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

/// A number with a fraction of 0 comes back without one.
fn whole_number(number: &Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let found = number.as_f64().filter(|_| number.is_f64())?;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and no larger than 2^53")]
    (found.fract() == 0.0 && found.abs() <= EXACT).then_some(found as i64)
}

pub(super) fn shorten(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

const fn kind_of(kind: report::ConditionKind) -> ConditionType {
    match kind {
        report::ConditionKind::Ready => ConditionType::Ready,
        report::ConditionKind::Progressing => ConditionType::Progressing,
        report::ConditionKind::Stalled => ConditionType::Stalled,
        report::ConditionKind::Synced => ConditionType::Synced,
        report::ConditionKind::ChangesHeld => ConditionType::ChangesHeld,
        report::ConditionKind::GateBypassed => ConditionType::GateBypassed,
        report::ConditionKind::EngineBlocked => ConditionType::EngineBlocked,
        report::ConditionKind::StableConfigGone => ConditionType::StableConfigGone,
    }
}

const fn phase(phase: state::Phase) -> Phase {
    match phase {
        state::Phase::Idle => Phase::Idle,
        state::Phase::Settling => Phase::Settling,
        state::Phase::Starting => Phase::Starting,
        state::Phase::Shifting => Phase::Shifting,
        state::Phase::Baking => Phase::Baking,
        state::Phase::Paused => Phase::Paused,
        state::Phase::FastForward => Phase::FastForward,
        state::Phase::Promoting => Phase::Promoting,
        state::Phase::Aborting => Phase::Aborting,
        state::Phase::Reverting => Phase::Reverting,
        state::Phase::Restoring => Phase::Restoring,
        state::Phase::Aborted => Phase::Aborted,
        state::Phase::Watching => Phase::Watching,
    }
}

pub(super) const fn verdict(word: report::VerdictWord) -> VerdictWord {
    match word {
        report::VerdictWord::Pass => VerdictWord::Pass,
        report::VerdictWord::Fail => VerdictWord::Fail,
        report::VerdictWord::NeedMoreData => VerdictWord::NeedMoreData,
        report::VerdictWord::Inconclusive => VerdictWord::Inconclusive,
        report::VerdictWord::Error => VerdictWord::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidegate_engine::effect::RevertOutcome;
    use tidegate_engine::state::{Cause, Ended, Revision, Stable, TrialId};

    #[test]
    fn numbers_are_as_the_api_server_gives_them_back() {
        let ours = json!({"low": 0.0, "high": 2.5, "list": [-3.0, 1e300], "count": 7});
        let back = json!({"low": 0, "high": 2.5, "list": [-3, 1e300], "count": 7});
        assert_eq!(difference(&back, &without_nulls(ours)), None);
    }

    #[test]
    fn after_a_revert_the_column_never_goes_back_to_the_commit_before() {
        let git = |name: &str| GitRevision::new(name);
        let stable = |at: &str| Some(Stable { revision: Revision::new("a1"), git: Some(git(at)) });
        let mut state = State { stable: stable("good"), ..State::default() };
        assert_eq!(column(&state).as_deref(), Some("good"));
        let revert = Some(RevertOutcome::Pushed { commit: git("revert") });
        let cause = Cause::BadArtifact { message: "bad".to_owned() };
        state.last = Some(Ended {
            trial: TrialId::new("t1"),
            canary: Revision::new("a2"),
            origin: Origin::Git { good: git("good"), bad: git("bad") },
            at: DateTime::UNIX_EPOCH,
            outcome: Outcome::Aborted { cause, revert },
        });
        state.overwritten = Some(git("bad"));
        assert_eq!(column(&state).as_deref(), Some("revert"));
        // The engine has applied it, and what came after.
        state.overwritten = None;
        for at in ["revert", "newer"] {
            state.stable = stable(at);
            assert_eq!(column(&state).as_deref(), Some(at));
        }
    }

    #[test]
    fn a_difference_carried_out_gives_the_new_value() {
        fn merge(target: &mut Value, patch: &Value) {
            let Some(patch) = patch.as_object() else {
                *target = patch.clone();
                return;
            };
            if !target.is_object() {
                *target = json!({});
            }
            for (key, value) in patch {
                if value.is_null() {
                    target.as_object_mut().unwrap().remove(key);
                } else {
                    merge(&mut target[key], value);
                }
            }
        }
        let old = json!({"state": {"trial": {"stage": {"Baking": {"step": 1}}}}, "a": [1], "b": 2});
        for new in [
            json!({"state": {"trial": {"stage": {"Promoting": {"part": "Filling"}}}}, "a": [2]}),
            json!({"state": {}, "c": {"d": {}}}),
            json!({}),
        ] {
            let mut changed = old.clone();
            merge(&mut changed, &difference(&old, &new).unwrap());
            assert_eq!(changed, new);
            assert_eq!(difference(&changed, &new), None);
        }
    }

    #[test]
    fn a_state_without_nulls_is_the_same_state() {
        let state = json!({"stable": {"revision": "a1", "git": null}, "trial": null,
            "outbox": [], "trials": 3});
        let read = |state: &Value| read_state(&json!({"status": {"state": state}})).unwrap();
        let written = without_nulls(serde_json::to_value(read(&state)).unwrap());
        assert!(!written.to_string().contains("null"), "{written}");
        assert_eq!(read(&written), read(&state));
        assert_eq!(read_state(&json!({})).unwrap(), State::default());
        assert!(read_state(&json!({"status": {"state": {"trials": "many"}}})).is_err());
    }

    #[test]
    fn a_stalled_status_loses_nothing_and_keeps_its_times() {
        let before = json!({"phase": "Baking", "state": {"trials": 1}, "conditions": [
            {"type": "Ready", "status": "True", "reason": "Stable", "message": "serves",
             "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Stalled", "status": "False", "reason": "Stable", "message": "no",
             "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let first = stalled(&before, Some(2), INVALID_SPEC, "spec.a: found 1", at(1_800_000_000));
        assert_eq!(first["state"], before["state"]);
        assert_eq!(first["phase"], "Baking");
        assert_eq!(first["conditions"][0], before["conditions"][0]);
        assert_eq!(first["conditions"][1]["status"], "True");
        assert_eq!(first["conditions"][1]["observedGeneration"], 2);
        assert_eq!(first["conditions"][1]["lastTransitionTime"], "2027-01-15T08:00:00Z");
        let empty = stalled(&Value::Null, None, INVALID_SPEC, "x", at(1_800_000_000));
        assert_eq!(empty["state"], Value::Null, "there is nothing to remember");
        // And then nothing more happens.
        let second = stalled(&first, Some(2), INVALID_SPEC, "spec.a: found 1", at(1_800_000_060));
        assert_eq!(difference(&first, &second), None);
    }
}
