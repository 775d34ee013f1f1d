//! What the controller counts about itself, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidegate_engine::effect::RevertOutcome;
use tidegate_engine::state::Phase;

use super::Key;

/// Upper bounds of the buckets, in seconds: a turn is a few requests, or a timeout.
const BUCKETS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Counters and gauges of this process.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    turns: BTreeMap<&'static str, u64>,
    took: [u64; BUCKETS.len()],
    took_count: u64,
    took_seconds: f64,
    errors: BTreeMap<(&'static str, &'static str), u64>,
    phases: BTreeMap<Key, Phase>,
    reverts: BTreeMap<&'static str, u64>,
    alert_posts: BTreeMap<&'static str, u64>,
    notices: BTreeMap<&'static str, u64>,
    queued: u64,
    leads: bool,
}

impl Metrics {
    fn with(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// One turn ended. `result`: `done`, `conflict`, `failed`, ...
    pub(super) fn turn(&self, result: &'static str, took: Duration) {
        self.with(|counts| {
            *counts.turns.entry(result).or_default() += 1;
            let seconds = took.as_secs_f64();
            for (bucket, bound) in counts.took.iter_mut().zip(BUCKETS) {
                *bucket += u64::from(seconds <= bound);
            }
            counts.took_count += 1;
            counts.took_seconds += seconds;
        });
    }

    /// Something failed: in which part, and how.
    pub(super) fn error(&self, part: &'static str, kind: &'static str) {
        self.with(|counts| *counts.errors.entry((part, kind)).or_default() += 1);
    }

    /// Where a Rollout stands.
    pub(super) fn phase(&self, key: &Key, phase: Phase) {
        self.with(|counts| {
            counts.phases.insert(key.clone(), phase);
        });
    }

    /// The Rollout is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.with(|counts| {
            counts.phases.remove(key);
        });
    }

    /// A revert was answered.
    pub(super) fn revert(&self, outcome: &RevertOutcome) {
        let label = match outcome {
            RevertOutcome::Pushed { .. } => "pushed",
            RevertOutcome::AlreadyReverted { .. } => "already_reverted",
            RevertOutcome::PullRequest { .. } => "pull_request",
            RevertOutcome::Conflict { .. } => "conflict",
            RevertOutcome::CulpritUnknown => "culprit_unknown",
            RevertOutcome::NoBaseline => "no_baseline",
            RevertOutcome::NotOnBranch => "not_on_branch",
            RevertOutcome::Refused { .. } => "refused",
            RevertOutcome::Retry { .. } => "retry",
        };
        self.with(|counts| *counts.reverts.entry(label).or_default() += 1);
    }

    /// Alerts were posted to one Alertmanager.
    pub(super) fn alert_post(&self, delivered: bool) {
        let label = if delivered { "delivered" } else { "failed" };
        self.with(|counts| *counts.alert_posts.entry(label).or_default() += 1);
    }

    /// A notice was told.
    pub(super) fn notice(&self, reason: &'static str) {
        self.with(|counts| *counts.notices.entry(reason).or_default() += 1);
    }

    /// How many Rollouts are known.
    pub(super) fn queued(&self, known: usize) {
        self.with(|counts| counts.queued = u64::try_from(known).unwrap_or(u64::MAX));
    }

    /// This process leads.
    pub(super) fn leads(&self, leads: bool) {
        self.with(|counts| counts.leads = leads);
    }

    /// All of them, as `/metrics` shows them.
    pub fn text(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = Page::default();
        let version = env!("CARGO_PKG_VERSION");
        page.head("tidegate_build_info", "gauge", "Which build this is.");
        page.line("tidegate_build_info", &[("version", version)], 1);
        page.head("tidegate_leader", "gauge", "1 while this process may write.");
        page.line("tidegate_leader", &[], u64::from(counts.leads));
        page.head("tidegate_rollouts", "gauge", "Rollouts that are looked after.");
        page.line("tidegate_rollouts", &[], counts.queued);
        page.head("tidegate_reconciles_total", "counter", "Turns by how they ended.");
        for (result, count) in &counts.turns {
            page.line("tidegate_reconciles_total", &[("result", result)], *count);
        }
        counts.durations(&mut page);
        page.head("tidegate_errors_total", "counter", "Failures by part and kind.");
        for ((part, kind), count) in &counts.errors {
            page.line("tidegate_errors_total", &[("part", part), ("kind", kind)], *count);
        }
        page.head("tidegate_rollout_phase", "gauge", "1 for the phase a Rollout is in.");
        for (key, phase) in &counts.phases {
            let phase = format!("{phase:?}");
            let labels =
                [("namespace", &*key.namespace), ("rollout", &*key.name), ("phase", &*phase)];
            page.line("tidegate_rollout_phase", &labels, 1);
        }
        page.head("tidegate_reverts_total", "counter", "Answers to revert orders by outcome.");
        for (outcome, count) in &counts.reverts {
            page.line("tidegate_reverts_total", &[("outcome", outcome)], *count);
        }
        page.head("tidegate_notices_total", "counter", "Notices told to people by reason.");
        for (reason, count) in &counts.notices {
            page.line("tidegate_notices_total", &[("reason", reason)], *count);
        }
        page.head("tidegate_alert_posts_total", "counter", "Posts to Alertmanagers.");
        for (result, count) in &counts.alert_posts {
            page.line("tidegate_alert_posts_total", &[("result", result)], *count);
        }
        page.0
    }
}

impl Counts {
    fn durations(&self, page: &mut Page) {
        let name = "tidegate_reconcile_duration_seconds";
        page.head(name, "histogram", "How long turns take.");
        let bucket = format!("{name}_bucket");
        for (count, bound) in self.took.iter().zip(BUCKETS) {
            page.line(&bucket, &[("le", &bound.to_string())], *count);
        }
        page.line(&bucket, &[("le", "+Inf")], self.took_count);
        page.line(&format!("{name}_sum"), &[], self.took_seconds);
        page.line(&format!("{name}_count"), &[], self.took_count);
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Label values are names of Kubernetes or words of ours: nothing to escape but to be safe.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let escaped =
            |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_can_be_read_by_prometheus() {
        let metrics = Metrics::default();
        metrics.turn("done", Duration::from_millis(30));
        metrics.turn("failed", Duration::from_secs(20));
        metrics.error("record", "unavailable");
        metrics.phase(&crate::runtime::key("shop", "web"), Phase::Baking);
        metrics.revert(&RevertOutcome::CulpritUnknown);
        metrics.alert_post(false);
        metrics.notice("AnalysisFailed");
        metrics.queued(3);
        metrics.leads(true);
        let text = metrics.text();
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let page = prometheus_parse::Scrape::parse(lines).unwrap();
        let value = |name: &str| page.samples.iter().filter(|sample| sample.metric == name).count();
        assert_eq!(value("tidegate_reconciles_total"), 2);
        assert_eq!(value("tidegate_rollout_phase"), 1);
        assert!(text.contains("tidegate_reconcile_duration_seconds_bucket{le=\"0.05\"} 1\n"));
        assert!(text.contains("tidegate_reconcile_duration_seconds_bucket{le=\"+Inf\"} 2\n"));
        metrics.forget(&crate::runtime::key("shop", "web"));
        assert!(!metrics.text().contains("Baking"));
    }
}
