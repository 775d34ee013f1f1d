//! The record of each trial, for people: never read for decisions, so that nothing waits for it
//! and nothing goes wrong when it cannot be written.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use tidegate_api::{ROLLOUT_LABEL, StepRecord, TRIAL_LABEL, TrialCause, TrialQuery};
use tidegate_engine::judge::Judgement;
use tidegate_engine::plan::Plan;
use tidegate_engine::reason::Reason;
use tidegate_engine::report::{self, VerdictWord};
use tidegate_engine::state::{
    Answer, Ended, Origin, Outcome, Request, Stage, State, Trial, TrialId,
};

use super::Key;
use super::notify::outcome_text;
use super::shown;
use super::status::{shorten, verdict};
use crate::kubernetes::{
    Cluster, ClusterError, Kind, ObjectName, Propagation, json as read, names,
};
use crate::measure::Asked;

/// Records of one Rollout that are kept.
const KEPT: usize = 20;
/// Notes of one record that are kept; the oldest go first.
const NOTES: usize = 256;
/// Longest text, in characters.
const LONGEST: usize = 1000;
/// Queries of one record that are kept.
const QUERIES: usize = 64;
/// Longest query, in characters.
const LONGEST_QUERY: usize = 8192;
/// Steps of one record that are kept.
const STEPS: usize = 32;
/// What is new is written together with what follows within this time.
const TOGETHER: TimeDelta = TimeDelta::minutes(2);

/// Writes the records.
#[derive(Debug)]
pub(super) struct Trials {
    cluster: Cluster,
    known: Mutex<BTreeMap<Key, Known>>,
}

/// What was written already, as far as this process remembers.
#[derive(Clone, Debug, Default)]
struct Known {
    created: Option<TrialId>,
    ended: Option<TrialId>,
    /// What is still to be written of the trial that was created last.
    draft: Draft,
}

/// What was decided since the last write. It is lost with the process: the record is for people,
/// and what happened meanwhile is in the Events and in Git.
#[derive(Clone, Debug, Default)]
struct Draft {
    notes: Vec<Value>,
    /// The reason that was noted last.
    reason: Option<Reason>,
    /// Where the trial was going when it was written last.
    way: Option<Way>,
    /// As they were judged last.
    metrics: Value,
    /// As they were judged last at each step, as far as this process has seen them.
    steps: Vec<StepRecord>,
    /// As they were asked last.
    queries: Vec<TrialQuery>,
    /// Since when there is something to write.
    since: Option<DateTime<Utc>>,
    /// It cannot wait.
    urgent: bool,
}

/// Where a trial is going, as far as people would want to read of it soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    On,
    Home,
    /// A person has to do something.
    Waits,
}

impl Way {
    fn of(trial: &Trial) -> Self {
        if trial.held_by().is_some() {
            return Self::Waits;
        }
        match &trial.stage {
            Stage::Settling { .. }
            | Stage::Starting { .. }
            | Stage::Shifting { .. }
            | Stage::Baking { .. }
            | Stage::FastForward { .. }
            | Stage::Promoting { .. }
            | Stage::Watching { .. } => Self::On,
            Stage::Aborting { .. } | Stage::Restoring { .. } => Self::Home,
            Stage::Reverting { waiting, .. } => {
                if waiting.is_some() {
                    Self::Waits
                } else {
                    Self::Home
                }
            }
            Stage::Paused { .. } | Stage::Aborted { .. } => Self::Waits,
        }
    }
}

impl Draft {
    /// Takes down what is new in a turn.
    fn take(&mut self, turn: &Recorded<'_>, way: Option<Way>) {
        if let Some(judgement) = turn.judgement {
            let shown = shown::metrics(judgement, usize::MAX);
            self.metrics = serde_json::to_value(shown).unwrap_or_default();
            if let Some(step) = &turn.step {
                // The one that goes on is told anew.
                self.steps.retain(|seen| seen.step != step.step);
                self.steps.push(step.record(judgement, turn.now));
            }
        }
        if !turn.queries.is_empty() {
            self.queries = turn.queries.iter().take(QUERIES).map(query).collect();
        }
        if self.reason == Some(turn.reason) && turn.request.is_none() {
            return;
        }
        self.reason = Some(turn.reason);
        self.notes.extend(turn.request.map(|request| asked(request, turn.now)));
        self.notes.push(note_of(turn));
        self.since.get_or_insert(turn.now);
        self.urgent |= turn.request.is_some() || way != self.way && way != Some(Way::On);
        self.way = way;
    }

    fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.since.is_some_and(|since| self.urgent || now - since >= TOGETHER)
    }

    /// It is written, all of it.
    fn clear(&mut self) {
        self.notes.clear();
        self.since = None;
        self.urgent = false;
    }
}

/// The step that a canary was judged at.
#[derive(Clone, Debug)]
pub(super) struct JudgedStep {
    step: String,
    weight: u8,
}

impl JudgedStep {
    /// `state`: the one that the look was for.
    pub(super) fn of(plan: &Plan, state: &State) -> Option<Self> {
        let at = &state.trial.as_ref()?.stage;
        Some(Self { step: report::step(plan, at)?, weight: at.weight(plan).percent() })
    }

    fn record(&self, judgement: &Judgement, now: DateTime<Utc>) -> StepRecord {
        StepRecord {
            step: self.step.clone(),
            weight: self.weight,
            at: time(now),
            verdict: Some(verdict(VerdictWord::from(&judgement.verdict))),
            metrics: shown::briefly(judgement),
        }
    }
}

/// What a turn came to, for the record.
pub(super) struct Recorded<'a> {
    pub(super) state: &'a State,
    pub(super) reason: Reason,
    pub(super) message: &'a str,
    /// A person's request, if it was answered in this turn.
    pub(super) request: Option<&'a Request>,
    pub(super) judgement: Option<&'a Judgement>,
    /// The step that was judged. `None`: none was.
    pub(super) step: Option<JudgedStep>,
    /// The queries that were asked, in full.
    pub(super) queries: &'a [Asked],
    pub(super) now: DateTime<Utc>,
}

impl Trials {
    pub(super) fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), known: Mutex::default() }
    }

    /// The Rollout is gone, and its records with it.
    pub(super) fn forget(&self, key: &Key) {
        self.known().remove(key);
    }

    /// Takes down what is new in a turn, and writes it when it is due: the beginning, that the
    /// trial turns round, waits for people or was asked something, the end; what lies between with
    /// these, two minutes later at most.
    pub(super) async fn record(
        &self,
        key: &Key,
        rollout: &Value,
        turn: &Recorded<'_>,
    ) -> Result<(), ClusterError> {
        let known = self.known().get(key).cloned().unwrap_or_default();
        if let Some(trial) = &turn.state.trial {
            if known.created.as_ref() != Some(&trial.id) {
                self.create(key, rollout, turn.state, trial).await?;
                self.remember(key, |known| {
                    known.created = Some(trial.id.clone());
                    known.draft = Draft::default();
                });
            }
            let way = Way::of(trial);
            let draft = self.remember(key, |known| {
                known.draft.take(turn, Some(way));
                known.draft.clone()
            });
            if draft.is_due(turn.now) {
                self.write(key, &trial.id, turn, &draft, None).await?;
                self.remember(key, |known| known.draft.clear());
            }
        }
        if let Some(ended) = &turn.state.last
            && known.ended.as_ref() != Some(&ended.trial)
        {
            let is_its = known.created.as_ref() == Some(&ended.trial);
            let mut draft = if is_its { known.draft } else { Draft::default() };
            draft.take(turn, None);
            self.write(key, &ended.trial, turn, &draft, Some(ended)).await?;
            self.remember(key, |known| {
                known.ended = Some(ended.trial.clone());
                known.draft.clear();
            });
        }
        Ok(())
    }

    async fn create(
        &self,
        key: &Key,
        rollout: &Value,
        state: &State,
        trial: &Trial,
    ) -> Result<(), ClusterError> {
        let stable = state.stable.as_ref().map(|stable| stable.revision.to_string());
        let record = record_of(key, rollout, stable.as_deref().unwrap_or("none"), trial);
        match self.cluster.create(Kind::Trial, &record).await {
            Ok(_) => self.prune(key).await,
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Adds the notes, and how it ended; what was written once stays.
    async fn write(
        &self,
        key: &Key,
        trial: &TrialId,
        turn: &Recorded<'_>,
        draft: &Draft,
        ended: Option<&Ended>,
    ) -> Result<(), ClusterError> {
        let name = trial.as_str();
        let Some(live) = self.cluster.get(Kind::Trial, &key.namespace, name).await? else {
            return Ok(());
        };
        let before = &live["status"];
        if ended.is_some() && before.get("outcome").is_some() {
            return Ok(());
        }
        let patch = json!({"status": status_of(before, turn, draft, ended)});
        let object = ObjectName::namespaced(Kind::Trial, &key.namespace, name);
        let version = read::resource_version(&live);
        self.cluster.patch_status(&object, &patch, version).await.map(drop)
    }

    async fn prune(&self, key: &Key) -> Result<(), ClusterError> {
        let selector = format!("{ROLLOUT_LABEL}={}", names::label_value(&key.name));
        let all = self.cluster.list(Kind::Trial, Some(&key.namespace), &selector).await?;
        for (name, uid) in too_many(all) {
            let object = ObjectName::namespaced(Kind::Trial, &key.namespace, &name);
            match self.cluster.delete(&object, &uid, None, Propagation::Background).await {
                Ok(_) => {}
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn remember<T>(&self, key: &Key, change: impl FnOnce(&mut Known) -> T) -> T {
        change(self.known().entry(key.clone()).or_default())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name and uid of the records beyond the last ones.
fn too_many(mut all: Vec<Value>) -> Vec<(String, String)> {
    let age = |record: &Value| {
        let created = read::text(record, "/spec/started").unwrap_or_default().to_owned();
        (created, read::name(record).unwrap_or_default().to_owned())
    };
    all.sort_by_key(age);
    let excess = all.len().saturating_sub(KEPT);
    let named = all.iter().take(excess);
    named
        .filter_map(|record| Some((read::name(record)?.to_owned(), read::uid(record)?.to_owned())))
        .collect()
}

fn record_of(key: &Key, rollout: &Value, stable: &str, trial: &Trial) -> Value {
    let mut spec = json!({
        "rollout": key.name,
        "stable": stable,
        "canary": trial.canary.as_str(),
        "started": time(trial.started),
    });
    if let Origin::Git { good, bad } = &trial.origin {
        spec["good"] = json!(good.as_str());
        spec["bad"] = json!(bad.as_str());
    }
    json!({
        "apiVersion": Kind::Trial.api_version(), "kind": Kind::Trial.as_str(),
        "metadata": {
            "name": trial.id.as_str(), "namespace": key.namespace,
            "labels": {
                ROLLOUT_LABEL: names::label_value(&key.name),
                TRIAL_LABEL: names::label_value(trial.id.as_str()),
            },
            "ownerReferences": [{
                "apiVersion": Kind::Rollout.api_version(), "kind": Kind::Rollout.as_str(),
                "name": key.name, "uid": read::uid(rollout).unwrap_or_default(),
            }],
        },
        "spec": spec,
    })
}

fn note_of(turn: &Recorded<'_>) -> Value {
    json!({
        "at": time(turn.now),
        "reason": turn.reason.as_str(),
        "message": shorten(turn.message, LONGEST),
    })
}

fn status_of(before: &Value, turn: &Recorded<'_>, draft: &Draft, ended: Option<&Ended>) -> Value {
    let mut notes = before["notes"].as_array().cloned().unwrap_or_default();
    notes.extend(draft.notes.iter().cloned());
    notes.drain(..notes.len().saturating_sub(NOTES));
    let mut status = json!({
        "reason": turn.reason.as_str(),
        "message": shorten(turn.message, LONGEST),
        "notes": notes,
    });
    if draft.metrics.is_array() {
        status["metrics"] = draft.metrics.clone();
    }
    if !draft.steps.is_empty() {
        status["steps"] = json!(steps_of(before, &draft.steps));
    }
    if !draft.queries.is_empty() {
        status["queries"] = json!(draft.queries);
    }
    if let Some(ended) = ended {
        status["ended"] = json!(time(ended.at));
        let (outcome, revert) = match &ended.outcome {
            Outcome::Promoted => ("Promoted", None),
            Outcome::Watched { .. } => ("Watched", None),
            Outcome::Aborted { revert, .. } => ("Aborted", revert.as_ref()),
        };
        status["outcome"] = json!(outcome);
        if let Some(cause) = cause(&ended.outcome) {
            status["cause"] = json!(cause);
        }
        if let Some(revert) = revert {
            status["revert"] = json!(shorten(&outcome_text(revert), LONGEST));
        }
    }
    status
}

fn cause(outcome: &Outcome) -> Option<TrialCause> {
    let (reason, message) = match outcome {
        Outcome::Aborted { cause, .. } => (cause.reason(), cause.message()),
        Outcome::Watched { would_abort: Some(why), .. } => (Reason::WouldAbort, why.clone()),
        Outcome::Watched { would_abort: None, .. } | Outcome::Promoted => return None,
    };
    let message = shorten(&message, LONGEST);
    Some(TrialCause { reason: reason.as_str().to_owned(), message })
}

/// All steps: those that another process has seen, and ours.
fn steps_of(before: &Value, ours: &[StepRecord]) -> Vec<Value> {
    let is_ours = |old: &&Value| ours.iter().any(|step| old["step"] == *step.step);
    let others = read::list(before, "/steps").iter().filter(|old| !is_ours(old)).cloned();
    let mut all: Vec<_> = others.chain(ours.iter().map(|step| json!(step))).collect();
    all.drain(..all.len().saturating_sub(STEPS));
    all
}

fn query(asked: &Asked) -> TrialQuery {
    TrialQuery {
        metric: asked.metric.clone(),
        query: shorten(&asked.query, LONGEST_QUERY),
        from: time(asked.from),
        to: time(asked.to),
        step_seconds: asked.step.num_seconds().unsigned_abs(),
    }
}

/// What a person asked for, as a note.
fn asked(request: &Request, now: DateTime<Utc>) -> Value {
    let Request { ask, answer } = request;
    let (word, reason) = match answer {
        Answer::Waiting => ("waits", None),
        Answer::Granted(reason) => ("granted", Some(reason)),
        Answer::Refused(reason) => ("refused", Some(reason)),
    };
    let of = ask.revision.as_ref().map(|revision| format!(" of {revision}")).unwrap_or_default();
    json!({
        "at": time(now),
        "reason": reason.map_or(word, |reason| reason.as_str()),
        "who": ask.who,
        "message": shorten(&format!("{}{of} was asked for: {word}", ask.what.as_str()), LONGEST),
    })
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_api as api;
    use tidegate_engine::effect::RevertOutcome;
    use tidegate_engine::judge::Verdict;
    use tidegate_engine::observed::{Ask, What};
    use tidegate_engine::state::{Cause, GitRevision, PausedBy, Revision};

    fn trial() -> Trial {
        Trial {
            id: TrialId::new("web-abcd-1"),
            canary: Revision::new("acanary"),
            origin: Origin::Git { good: GitRevision::new("1"), bad: GitRevision::new("2") },
            started: DateTime::UNIX_EPOCH,
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
            stage: Stage::Settling { since: DateTime::UNIX_EPOCH },
        }
    }

    fn request() -> Request {
        Request {
            ask: Ask {
                token: "1".to_owned(),
                who: "ann".to_owned(),
                what: What::Abort { hold: false },
                revision: Some("acanary".to_owned()),
            },
            answer: Answer::Granted(Reason::AbortedByPerson),
        }
    }

    #[test]
    fn a_record_and_its_end_are_what_the_schema_has() {
        let rollout = json!({"metadata": {"uid": "u"}});
        let record = record_of(&crate::runtime::key("shop", "web"), &rollout, "astable", &trial());
        let read: api::Trial = serde_json::from_value(record).unwrap();
        assert_eq!(read.spec.bad.as_deref(), Some("2"));
        let state = State::default();
        let request = request();
        let asked = Asked {
            metric: "errors".to_owned(),
            query: "u".repeat(LONGEST_QUERY + 1),
            from: DateTime::UNIX_EPOCH,
            to: DateTime::UNIX_EPOCH + TimeDelta::minutes(1),
            step: TimeDelta::seconds(15),
        };
        let turn = Recorded {
            state: &state,
            reason: Reason::Reverted,
            message: "done",
            request: Some(&request),
            judgement: None,
            step: None,
            queries: &[asked],
            now: DateTime::UNIX_EPOCH,
        };
        let commit = GitRevision::new("c0ffee");
        let ended = Ended {
            trial: trial().id,
            canary: Revision::new("acanary"),
            origin: trial().origin,
            at: DateTime::UNIX_EPOCH,
            outcome: Outcome::Aborted {
                cause: Cause::BadArtifact { message: "bad".to_owned() },
                revert: Some(RevertOutcome::Pushed { commit }),
            },
        };
        let before = json!({"notes": [{"at": "x", "reason": "TrialStarted", "message": "y"}]});
        let mut draft = Draft::default();
        draft.take(&turn, None);
        let status = status_of(&before, &turn, &draft, Some(&ended));
        let read: api::TrialStatus = serde_json::from_value(status).unwrap();
        assert_eq!(read.outcome, Some(api::TrialOutcome::Aborted));
        assert_eq!(read.revert.as_deref(), Some("commit c0ffee"));
        let cause = read.cause.unwrap();
        assert_eq!((&*cause.reason, &*cause.message), ("AnalysisFailed", "bad"));
        assert_eq!(read.queries[0].query.chars().count(), LONGEST_QUERY);
        assert_eq!(read.queries[0].to, "1970-01-01T00:01:00Z");
        assert_eq!(read.queries[0].step_seconds, 15);
        assert_eq!(read.notes.len(), 3);
        assert_eq!(read.notes[1].who.as_deref(), Some("ann"));
        assert_eq!(read.notes[1].message, "abort of acanary was asked for: granted");
    }

    #[test]
    fn what_matters_to_people_is_written_at_once_and_the_rest_together() {
        let (state, start) = (State::default(), DateTime::UNIX_EPOCH);
        let request = request();
        let turn = |reason, request, seconds| Recorded {
            state: &state,
            reason,
            message: "so it is",
            request,
            judgement: None,
            step: None,
            queries: &[],
            now: start + TimeDelta::seconds(seconds),
        };
        let way = |stage| Way::of(&Trial { stage, ..trial() });
        let on = way(Stage::Baking { step: 0, since: start });
        let paused = way(Stage::Paused { step: 0, since: start, by: PausedBy::Person });
        let mut draft = Draft::default();
        for (reason, seconds) in [(Reason::TrialStarted, 0), (Reason::Baking, 5)] {
            draft.take(&turn(reason, None, seconds), Some(on));
        }
        // The same again is no news.
        draft.take(&turn(Reason::Baking, None, 10), Some(on));
        let late = start + TOGETHER;
        assert_eq!(draft.notes.len(), 2);
        assert!(!draft.is_due(late - TimeDelta::seconds(1)));
        assert!(draft.is_due(late));
        draft.clear();
        assert!(!draft.is_due(late));
        let cases = [
            (Reason::PausedInconclusive, None, paused, true),
            (Reason::PausedByPerson, None, paused, false),
            (Reason::ResumedByPerson, None, on, false),
            (Reason::PromotedByPerson, Some(&request), on, true),
            (Reason::TrafficReturning, None, Way::Home, true),
            (Reason::Reverting, None, Way::Home, false),
        ];
        for (reason, request, way, expected) in cases {
            draft.clear();
            let turn = turn(reason, request, 100);
            draft.take(&turn, Some(way));
            assert_eq!(draft.is_due(turn.now), expected, "{reason:?}");
        }
    }

    #[test]
    fn a_step_is_told_as_it_was_judged_last_whichever_process_did() {
        let state = State::default();
        let verdict = Verdict::NeedMoreData { eta: None, metric: "errors".to_owned() };
        let judgement = Judgement { verdict, metrics: Vec::new() };
        let turn = |step: &str, seconds| Recorded {
            state: &state,
            reason: Reason::Baking,
            message: "so it is",
            request: None,
            judgement: Some(&judgement),
            step: Some(JudgedStep { step: step.to_owned(), weight: 5 }),
            queries: &[],
            now: DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds),
        };
        let mut draft = Draft::default();
        for (step, seconds) in [("2/4", 20), ("2/4", 25), ("3/4", 30)] {
            draft.take(&turn(step, seconds), Some(Way::On));
        }
        let old = |step: &str| json!({"step": step, "weight": 5, "at": "1970-01-01T00:00:09Z"});
        let before = json!({"steps": [old("1/4"), old("2/4")]});
        let status = status_of(&before, &turn("3/4", 30), &draft, None);
        let read: api::TrialStatus = serde_json::from_value(status).unwrap();
        let told: Vec<_> =
            read.steps.iter().map(|step| (step.step.as_str(), step.at.as_str())).collect();
        assert_eq!(
            told,
            [
                ("1/4", "1970-01-01T00:00:09Z"),
                ("2/4", "1970-01-01T00:00:25Z"),
                ("3/4", "1970-01-01T00:00:30Z"),
            ]
        );
        assert_eq!(read.steps[2].verdict, Some(api::VerdictWord::NeedMoreData));
    }

    #[test]
    fn the_oldest_records_go_first() {
        let record = |day: usize| {
            json!({"metadata": {"name": format!("t{day}"), "uid": format!("u{day}")},
                "spec": {"started": format!("2026-01-{day:02}T00:00:00Z")}})
        };
        let all: Vec<_> = (1..=22).rev().map(record).collect();
        let gone: Vec<_> = too_many(all).into_iter().map(|(name, _)| name).collect();
        assert_eq!(gone, ["t1", "t2"]);
        assert!(too_many(vec![record(1)]).is_empty());
    }
}
