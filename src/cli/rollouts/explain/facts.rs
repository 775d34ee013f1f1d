//! What is known of one trial, from its record and, while it runs, from the Rollout. Pure.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_api::{
    MetricStatus, Phase, StepRecord, TimedNote, TrialCause, TrialOutcome, TrialQuery, VerdictWord,
};

use crate::kubernetes::json as read;

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Facts {
    pub(super) namespace: String,
    pub(super) rollout: String,
    pub(super) trial: String,
    /// The revisions, by the hash of their pods.
    pub(super) stable: String,
    pub(super) canary: String,
    /// The commits, where they are known.
    pub(super) good: Option<String>,
    pub(super) bad: Option<String>,
    pub(super) started: String,
    /// `None`: it runs.
    pub(super) ended: Option<String>,
    pub(super) outcome: Option<TrialOutcome>,
    /// Where it is. `None`: it is over.
    pub(super) phase: Option<Phase>,
    pub(super) step: Option<String>,
    pub(super) weight: Option<u8>,
    pub(super) verdict: Option<VerdictWord>,
    pub(super) reason: Option<String>,
    /// Why traffic went back, or would have.
    pub(super) cause: Option<TrialCause>,
    pub(super) message: String,
    pub(super) revert: Option<String>,
    pub(super) metrics: Vec<MetricStatus>,
    pub(super) steps: Vec<StepRecord>,
    pub(super) notes: Vec<TimedNote>,
    pub(super) queries: Vec<TrialQuery>,
}

impl Facts {
    /// While it runs the Rollout knows more than the record, which is written now and then.
    pub(super) fn of(live: &Value, record: &Value) -> Self {
        let text = |pointer| read::text(record, pointer).map(str::to_owned);
        let outcome: Option<TrialOutcome> = part(record, "/status/outcome");
        let name = read::name(record).unwrap_or_default();
        let runs = outcome.is_none() && read::text(live, "/status/trial") == Some(name);
        let live = if runs { live } else { &Value::Null };
        let told = |pointer| read::text(live, pointer).or_else(|| read::text(record, pointer));
        let metrics: Vec<MetricStatus> = part(record, "/status/metrics");
        Self {
            namespace: text("/metadata/namespace").unwrap_or_default(),
            rollout: text("/spec/rollout").unwrap_or_default(),
            trial: name.to_owned(),
            stable: text("/spec/stable").unwrap_or_default(),
            canary: text("/spec/canary").unwrap_or_default(),
            good: text("/spec/good"),
            bad: text("/spec/bad"),
            started: text("/spec/started").unwrap_or_default(),
            ended: text("/status/ended"),
            outcome,
            phase: part(live, "/status/phase"),
            step: part(live, "/status/step"),
            weight: part(live, "/status/weight"),
            verdict: part(live, "/status/verdict"),
            reason: text("/status/reason"),
            cause: part(record, "/status/cause"),
            message: told("/status/message").unwrap_or_default().to_owned(),
            revert: text("/status/revert"),
            metrics: newest(part(live, "/status/metrics"), metrics),
            steps: part(record, "/status/steps"),
            notes: part(record, "/status/notes"),
            queries: part(record, "/status/queries"),
        }
    }
}

/// The Rollout's, and the record's where the Rollout has no numbers.
fn newest(live: Vec<MetricStatus>, recorded: Vec<MetricStatus>) -> Vec<MetricStatus> {
    if live.is_empty() {
        return recorded;
    }
    let numbered = |metric: MetricStatus| {
        let is_it = |other: &&MetricStatus| other.name == metric.name;
        let known = recorded.iter().find(is_it).filter(|_| metric.standing.is_none());
        known.cloned().unwrap_or(metric)
    };
    live.into_iter().map(numbered).collect()
}

/// What another version wrote, and this one cannot read, is not there.
fn part<T: DeserializeOwned + Default>(object: &Value, pointer: &str) -> T {
    let found = object.pointer(pointer).cloned();
    found.and_then(|found| serde_json::from_value(found).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn while_it_runs_the_rollout_knows_more_and_afterwards_the_record() {
        let live = json!({"status": {"trial": "t", "phase": "Baking", "weight": 25, "message": "new",
        "metrics": [
            {"name": "errors", "message": "new", "standing": "Pass"},
            {"name": "ninth", "message": "new"},
        ]}});
        let mut record = json!({"metadata": {"name": "t"}, "status": {"message": "old", "metrics": [
            {"name": "errors", "message": "old", "standing": "NeedMoreData"},
            {"name": "ninth", "message": "old", "standing": "Fail"},
        ]}});
        let messages = |facts: &Facts| -> Vec<String> {
            facts.metrics.iter().map(|metric| metric.message.clone()).collect()
        };
        let runs = Facts::of(&live, &record);
        assert_eq!((runs.phase, runs.weight), (Some(Phase::Baking), Some(25)));
        assert_eq!(runs.message, "new");
        assert_eq!(messages(&runs), ["new", "old"]);
        record["status"]["outcome"] = json!("Promoted");
        let over = Facts::of(&live, &record);
        assert_eq!((over.phase, over.weight), (None, None));
        assert_eq!(over.message, "old");
        assert_eq!(messages(&over), ["old", "old"]);
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        let record = json!({"metadata": {"name": "t"}, "status": {
            "metrics": "three", "queries": ["errors: up"], "outcome": "Unheard"}});
        let facts = Facts::of(&Value::Null, &record);
        assert!(facts.metrics.is_empty() && facts.queries.is_empty() && facts.outcome.is_none());
    }
}
