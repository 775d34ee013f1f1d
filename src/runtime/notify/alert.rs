//! Which alerts fire. Pure: they follow from the recorded state and the time, nothing else.
//!
//! | alert | severity | from | to |
//! |---|---|---|---|
//! | `TidegateAborted` | warning | the abort of a failure | rest, and 15 min at least |
//! | `TidegateTrafficNotHome` | critical | 30 s after the abort | traffic is on stable |
//! | `TidegateRevertSlow` | critical | 15 min in Reverting or Restoring | the revert is in sync |
//! | `TidegateNeedsPerson` | critical | a revert that cannot be made | a person acted |
//! | `TidegatePaused` | warning | no verdict in time, or no answer of a gate | somebody goes on |
//! | `TidegateGateBypassed` | critical | a template rolled out unjudged | 15 min later |
//! | `TidegateEngineBlocked` | warning | the condition `EngineBlocked` | its end |
//! | `TidegateStableConfigGone` | warning | the condition `StableConfigGone` | its end |
//! | `TidegateFleetHold` | critical | the third release that fails in 5 min | 15 min after the last |
//! | `TidegatePromoted` | info | the end of a trial | 5 min later |
//!
//! An alert that ends within the `group_wait` of an Alertmanager is dropped there: hence the 15
//! minutes. Labels are fixed; what changes while an alert fires is in its annotations.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tidegate_api::ConditionType;
use tidegate_engine::effect::RevertOutcome;
use tidegate_engine::fleet::Hold;
use tidegate_engine::reason::Reason;
use tidegate_engine::state::{Cause, Ended, Origin, Outcome, PausedBy, Stage, State, Trial};

use crate::kubernetes::json;

/// An abort is told for at least this long.
const ABORT: TimeDelta = TimeDelta::minutes(15);
/// A promotion is told for this long.
const PROMOTED: TimeDelta = TimeDelta::minutes(5);
/// Traffic may take this long to be home.
const HOME: TimeDelta = tidegate_engine::defaults::HOME_ALARM;
/// A revert may take this long until it is in sync.
const SYNCED: TimeDelta = tidegate_engine::defaults::REVERT_ALARM;

/// Whom an alert is about: its fixed labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Name of the cluster; empty: no label.
    pub cluster: String,
    /// Namespace of the Rollout.
    pub namespace: String,
    /// Its name.
    pub rollout: String,
    /// The class's own labels, such as `team`.
    pub labels: BTreeMap<String, String>,
}

/// One alert that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Identity: name, severity, subject.
    pub labels: BTreeMap<String, String>,
    /// What changes: revision, cause, numbers.
    pub annotations: BTreeMap<String, String>,
    /// Since when.
    pub from: DateTime<Utc>,
    /// When it ends. `None`: not known yet.
    pub to: Option<DateTime<Utc>>,
}

/// Conditions that people are told about for as long as they hold, and the alerts that do so.
const WARNINGS: [(ConditionType, &str); 2] = [
    (ConditionType::EngineBlocked, "TidegateEngineBlocked"),
    (ConditionType::StableConfigGone, "TidegateStableConfigGone"),
];

/// What the recorded conditions say beside the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Since when a revision serves that nobody judged.
    bypassed: Option<DateTime<Utc>>,
    /// The alert, since when, and what it says.
    warnings: Vec<(&'static str, DateTime<Utc>, String)>,
}

impl Standing {
    /// Of a recorded status.
    pub fn of(status: &Value) -> Self {
        let holds = |kind: ConditionType| {
            let mut all = json::list(status, "/conditions").iter();
            let found = all.find(|found| found["type"] == kind.as_str())?;
            let since = json::text(found, "/lastTransitionTime")?.parse().ok()?;
            (found["status"] == "True").then_some((since, found))
        };
        let warnings = WARNINGS.into_iter().filter_map(|(kind, alert)| {
            let (since, found) = holds(kind)?;
            Some((alert, since, found["message"].as_str().unwrap_or_default().to_owned()))
        });
        Self {
            bypassed: holds(ConditionType::GateBypassed).map(|(since, _)| since),
            warnings: warnings.collect(),
        }
    }
}

/// The alerts that fire now, each once.
pub fn alerts(
    subject: &Subject,
    state: &State,
    standing: &Standing,
    now: DateTime<Utc>,
) -> Vec<Alert> {
    let mut found = Found { subject, now, siblings: siblings(state), alerts: Vec::new() };
    if let Some(trial) = &state.trial {
        found.on_trial(trial);
    }
    // The next trial may have begun: the alerts of the last one run their time all the same.
    if let Some(ended) = &state.last {
        found.at_rest(ended);
    }
    for (alert, since, message) in &standing.warnings {
        found.fires(alert, "warning", *since, None, vec![("summary", message.clone())]);
    }
    if let Some(since) = standing.bypassed {
        let words = vec![("summary", "a template rolled out past the gate".to_owned())];
        found.until("TidegateGateBypassed", "critical", since, ABORT, words);
    }
    found.alerts
}

/// The one alert of all Rollouts: releases of so many failed at once that none is reverted.
pub fn hold_alert(cluster: &str, hold: &Hold) -> Alert {
    let mut labels = BTreeMap::new();
    let fixed =
        [("alertname", "TidegateFleetHold"), ("severity", "critical"), ("cluster", cluster)];
    for (key, value) in fixed.into_iter().filter(|(_, value)| !value.is_empty()) {
        labels.insert(key.to_owned(), value.to_owned());
    }
    let (count, until) = (hold.rollouts.len(), hold.until.format("%H:%M UTC"));
    let summary = format!(
        "releases of {count} Rollouts failed at once: traffic is on stable, and no release that \
         fails before {until} is reverted"
    );
    let words = [("summary", summary), ("rollouts", hold.rollouts.join(", "))];
    let annotations = words.into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
    Alert { labels, annotations, from: hold.since, to: Some(hold.until) }
}

struct Found<'a> {
    subject: &'a Subject,
    now: DateTime<Utc>,
    /// Who else was on trial with the commit that failed last; empty: nobody.
    siblings: String,
    alerts: Vec<Alert>,
}

impl Found<'_> {
    fn on_trial(&mut self, trial: &Trial) {
        let told =
            |text: &str| vec![("revision", trial.canary.to_string()), ("summary", text.to_owned())];
        let why = |cause: &Cause| {
            let mut words = told(&cause.message());
            words.extend(why(cause, &trial.origin));
            words
        };
        if let Some(gate) = trial.held_by() {
            let text = format!("gate {gate} did not answer in time: a person decides");
            self.fires("TidegatePaused", "warning", trial.stage.since(), None, told(&text));
        }
        match &trial.stage {
            Stage::Aborting { cause, since } if cause.is_failure() => {
                self.fires("TidegateAborted", "warning", *since, None, why(cause));
                let late = *since + HOME;
                if self.now >= late {
                    let text = "traffic is not back on stable";
                    self.fires("TidegateTrafficNotHome", "critical", late, None, told(text));
                }
            }
            Stage::Reverting { cause, order, since, waiting } => {
                let mut words = why(cause);
                if let Some(waiting) = waiting {
                    words.push(("revert", outcome_text(waiting)));
                }
                self.fires("TidegateAborted", "warning", order.at, None, words);
                self.revert_slow(trial, order.at.min(*since));
            }
            Stage::Restoring { cause, revert, since } if cause.is_failure() => {
                let mut words = why(cause);
                if let Some(revert) = revert {
                    words.push(("revert", outcome_text(revert)));
                }
                self.fires("TidegateAborted", "warning", *since, None, words);
                self.revert_slow(trial, *since);
            }
            Stage::Aborted { cause, revert, since } => {
                let mut words = why(cause);
                if let Some(revert) = revert {
                    words.push(("revert", outcome_text(revert)));
                }
                self.until("TidegateAborted", "warning", *since, ABORT, words.clone());
                if revert.as_ref().is_some_and(needs_person) {
                    self.fires("TidegateNeedsPerson", "critical", *since, None, words);
                }
            }
            Stage::Paused { by: PausedBy::Inconclusive, since, .. } => {
                let text = "no verdict in time: a person decides";
                self.fires("TidegatePaused", "warning", *since, None, told(text));
            }
            Stage::Aborting { .. }
            | Stage::Restoring { .. }
            | Stage::Paused { .. }
            | Stage::Settling { .. }
            | Stage::Starting { .. }
            | Stage::Shifting { .. }
            | Stage::Baking { .. }
            | Stage::FastForward { .. }
            | Stage::Promoting { .. }
            | Stage::Watching { .. } => {}
        }
    }

    fn revert_slow(&mut self, trial: &Trial, since: DateTime<Utc>) {
        let late = since + SYNCED;
        if self.now >= late {
            let text = "traffic is on stable, and Git is not put right yet";
            let words = vec![("revision", trial.canary.to_string()), ("summary", text.to_owned())];
            self.fires("TidegateRevertSlow", "critical", late, None, words);
        }
    }

    fn at_rest(&mut self, ended: &Ended) {
        let mut words = vec![("revision", ended.canary.to_string())];
        match &ended.outcome {
            Outcome::Promoted => {
                words.push(("summary", "promoted: it is stable now".to_owned()));
                self.until("TidegatePromoted", "info", ended.at, PROMOTED, words);
            }
            Outcome::Aborted { cause: Cause::Bypassed, .. } => {
                words.push(("summary", Cause::Bypassed.message()));
                self.until("TidegateGateBypassed", "critical", ended.at, ABORT, words);
            }
            Outcome::Aborted { cause, revert } if cause.is_failure() => {
                words.push(("summary", cause.message()));
                words.extend(why(cause, &ended.origin));
                if let Some(revert) = revert {
                    words.push(("revert", outcome_text(revert)));
                }
                self.until("TidegateAborted", "warning", ended.at, ABORT, words);
            }
            Outcome::Aborted { .. } | Outcome::Watched { .. } => {}
        }
    }

    fn until(
        &mut self,
        name: &str,
        severity: &str,
        from: DateTime<Utc>,
        lasts: TimeDelta,
        words: Vec<(&str, String)>,
    ) {
        let to = from + lasts;
        if self.now < to {
            self.fires(name, severity, from, Some(to), words);
        }
    }

    fn fires(
        &mut self,
        name: &str,
        severity: &str,
        from: DateTime<Utc>,
        to: Option<DateTime<Utc>>,
        words: Vec<(&str, String)>,
    ) {
        // Ours win over the class's: an alert must not lose its name.
        let mut labels = self.subject.labels.clone();
        let fixed = [
            ("alertname", name),
            ("severity", severity),
            ("cluster", &self.subject.cluster),
            ("namespace", &self.subject.namespace),
            ("rollout", &self.subject.rollout),
        ];
        for (key, value) in fixed.into_iter().filter(|(_, value)| !value.is_empty()) {
            labels.insert(key.to_owned(), value.to_owned());
        }
        if self.alerts.iter().any(|alert| alert.labels == labels) {
            return;
        }
        let mut annotations: BTreeMap<_, _> =
            words.into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
        if name == "TidegateAborted" && !self.siblings.is_empty() {
            annotations.insert("siblings".to_owned(), self.siblings.clone());
        }
        self.alerts.push(Alert { labels, annotations, from, to });
    }
}

/// Who else was on trial with the commit of this trial, or of the last one, when it failed.
fn siblings(state: &State) -> String {
    let last = || state.last.as_ref().map(|last| &last.origin);
    let origin = state.trial.as_ref().map(|trial| &trial.origin).or_else(last);
    let Some(Origin::Git { bad, .. }) = origin else { return String::new() };
    let failed = state.failed.as_ref().filter(|failed| failed.commit.as_ref() == Some(bad));
    failed.map(|failed| failed.siblings.join(", ")).unwrap_or_default()
}

/// The documented reason of an abort, and who wrote what no commit brought.
fn why(cause: &Cause, origin: &Origin) -> Vec<(&'static str, String)> {
    let Origin::OutOfBand { writer } = origin else {
        return vec![("reason", cause.reason().to_string())];
    };
    let reason = if cause.is_blame() { Reason::NotFromGit } else { cause.reason() };
    let mut words = vec![("reason", reason.to_string())];
    words.extend(writer.iter().map(|writer| ("writer", writer.clone())));
    words
}

/// Nothing goes on without somebody.
const fn needs_person(outcome: &RevertOutcome) -> bool {
    match outcome {
        RevertOutcome::Conflict { .. }
        | RevertOutcome::CulpritUnknown
        | RevertOutcome::NoBaseline
        | RevertOutcome::NotOnBranch
        | RevertOutcome::Refused { .. } => true,
        RevertOutcome::Pushed { .. }
        | RevertOutcome::AlreadyReverted { .. }
        | RevertOutcome::PullRequest { .. }
        | RevertOutcome::Retry { .. } => false,
    }
}

/// What became of a revert, for people.
pub(crate) fn outcome_text(outcome: &RevertOutcome) -> String {
    match outcome {
        RevertOutcome::Pushed { commit } => format!("commit {commit}"),
        RevertOutcome::AlreadyReverted { tip } => format!("{tip} has the old content already"),
        RevertOutcome::PullRequest { url } => url.clone(),
        RevertOutcome::Conflict { paths } => format!("conflict in {}", paths.join(", ")),
        RevertOutcome::CulpritUnknown => "no commit explains the template".to_owned(),
        RevertOutcome::NoBaseline => "there is no older state to go back to".to_owned(),
        RevertOutcome::NotOnBranch => "the deployed revision is not on the branch".to_owned(),
        RevertOutcome::Refused { message } => format!("refused: {message}"),
        RevertOutcome::Retry { message } => format!("tried again: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_engine::state::{Failed, GitRevision, Origin, Revision, TrialId};

    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn names(state: &State, after: TimeDelta) -> Vec<String> {
        let subject = Subject {
            cluster: "blue".to_owned(),
            namespace: "shop".to_owned(),
            rollout: "web".to_owned(),
            labels: BTreeMap::from([("alertname".to_owned(), "mine".to_owned())]),
        };
        let alerts = alerts(&subject, state, &Standing::default(), START + after);
        assert!(alerts.iter().all(|alert| alert.labels["cluster"] == "blue"));
        alerts.iter().map(|alert| alert.labels["alertname"].clone()).collect()
    }

    fn on_trial(stage: Stage) -> State {
        let trial = Trial {
            id: TrialId::new("t1"),
            canary: Revision::new("acanary"),
            origin: Origin::Unknown,
            started: START,
            ready: None,
            shared: None,
            home: None,
            skip: None,
            handed: false,
            gates: None,
            class: None,
            stands: None,
            alone: false,
            surged: false,
            told: Vec::new(),
            stage,
        };
        State { trial: Some(trial), ..State::default() }
    }

    fn bad() -> Cause {
        Cause::BadArtifact { message: "9 % of requests fail".to_owned() }
    }

    #[test]
    fn an_abort_fires_until_rest_and_fifteen_minutes_at_least() {
        let aborting = on_trial(Stage::Aborting { cause: bad(), since: START });
        assert_eq!(names(&aborting, TimeDelta::zero()), ["TidegateAborted"]);
        let late = names(&aborting, TimeDelta::seconds(31));
        assert_eq!(late, ["TidegateAborted", "TidegateTrafficNotHome"]);
        let ended = |outcome| State {
            last: Some(Ended {
                trial: TrialId::new("t1"),
                canary: Revision::new("acanary"),
                origin: Origin::Unknown,
                at: START,
                outcome,
            }),
            ..State::default()
        };
        let rest = ended(Outcome::Aborted { cause: bad(), revert: None });
        assert_eq!(names(&rest, TimeDelta::minutes(14)), ["TidegateAborted"]);
        assert!(names(&rest, TimeDelta::minutes(15)).is_empty());
        let quiet = ended(Outcome::Aborted { cause: Cause::RevertedByHand, revert: None });
        assert!(names(&quiet, TimeDelta::zero()).is_empty());
        let promoted = ended(Outcome::Promoted);
        assert_eq!(names(&promoted, TimeDelta::minutes(4)), ["TidegatePromoted"]);
        assert!(names(&promoted, TimeDelta::minutes(5)).is_empty());
        let past = ended(Outcome::Aborted { cause: Cause::Bypassed, revert: None });
        assert_eq!(names(&past, TimeDelta::minutes(1)), ["TidegateGateBypassed"]);
    }

    #[test]
    fn an_abort_names_who_is_on_trial_with_the_same_commit() {
        let mut state = on_trial(Stage::Aborting { cause: bad(), since: START });
        let siblings = vec!["shop/api".to_owned(), "shop/cart".to_owned()];
        let commit = GitRevision::new("c1");
        state.failed = Some(Failed { at: START, commit: Some(commit.clone()), siblings });
        let fired = |state: &State| {
            let fired = alerts(&Subject::default(), state, &Standing::default(), START);
            fired[0].annotations.get("siblings").cloned()
        };
        assert_eq!(fired(&state), None, "it was another trial");
        if let Some(trial) = &mut state.trial {
            trial.origin = Origin::Git { good: GitRevision::new("c0"), bad: commit };
        }
        assert_eq!(fired(&state).as_deref(), Some("shop/api, shop/cart"));
    }

    #[test]
    fn a_conflict_wakes_people_for_as_long_as_it_is_there() {
        let revert = Some(RevertOutcome::Conflict { paths: vec!["apps/web".to_owned()] });
        let held = on_trial(Stage::Aborted { cause: bad(), revert, since: START });
        assert_eq!(names(&held, TimeDelta::zero()), ["TidegateAborted", "TidegateNeedsPerson"]);
        assert_eq!(names(&held, TimeDelta::days(2)), ["TidegateNeedsPerson"]);
        let wanted = on_trial(Stage::Aborted { cause: bad(), revert: None, since: START });
        assert!(names(&wanted, TimeDelta::minutes(16)).is_empty());
    }

    #[test]
    fn a_revert_that_is_not_in_sync_after_a_quarter_of_an_hour_wakes_people() {
        let waiting = on_trial(Stage::Restoring { cause: bad(), revert: None, since: START });
        assert_eq!(names(&waiting, TimeDelta::minutes(14)), ["TidegateAborted"]);
        let late = names(&waiting, TimeDelta::minutes(15));
        assert_eq!(late, ["TidegateAborted", "TidegateRevertSlow"]);
    }

    #[test]
    fn a_condition_that_warns_fires_for_as_long_as_it_holds() {
        let status = |holds: &str| {
            let conditions = ["EngineBlocked", "StableConfigGone", "Ready"].map(|kind| {
                serde_json::json!({"type": kind, "status": holds, "message": "look here",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"})
            });
            Standing::of(&serde_json::json!({"conditions": conditions}))
        };
        let fire = |holds: &str| {
            let (subject, state) = (Subject::default(), State::default());
            let alerts = alerts(&subject, &state, &status(holds), START + TimeDelta::days(30_000));
            let name = |alert: Alert| {
                assert_eq!(alert.labels["severity"], "warning");
                assert_eq!(alert.annotations["summary"], "look here");
                alert.labels["alertname"].clone()
            };
            alerts.into_iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(fire("True"), ["TidegateEngineBlocked", "TidegateStableConfigGone"]);
        assert!(fire("False").is_empty());
    }

    #[test]
    fn what_did_not_come_from_git_is_told_with_who_wrote_it_until_the_end() {
        let origin = Origin::OutOfBand { writer: Some("kubectl-set".to_owned()) };
        let mut going = on_trial(Stage::Restoring { cause: bad(), revert: None, since: START });
        if let Some(trial) = &mut going.trial {
            trial.origin = origin.clone();
        }
        let ended = Ended {
            trial: TrialId::new("t1"),
            canary: Revision::new("acanary"),
            origin,
            at: START,
            outcome: Outcome::Aborted { cause: bad(), revert: None },
        };
        let rest = State { last: Some(ended), ..State::default() };
        for state in [going, rest] {
            let fired = alerts(&Subject::default(), &state, &Standing::default(), START);
            assert_eq!(fired[0].annotations["reason"], "NotFromGit");
            assert_eq!(fired[0].annotations["writer"], "kubectl-set");
            assert_eq!(fired[0].annotations["summary"], "9 % of requests fail");
        }
        let from_git = on_trial(Stage::Aborting { cause: bad(), since: START });
        let fired = alerts(&Subject::default(), &from_git, &Standing::default(), START);
        assert_eq!(fired[0].annotations["reason"], "AnalysisFailed");
    }

    #[test]
    fn a_healthy_trial_tells_nobody() {
        assert!(names(&on_trial(Stage::Baking { step: 0, since: START }), ABORT).is_empty());
        assert!(names(&State::default(), ABORT).is_empty());
    }
}
