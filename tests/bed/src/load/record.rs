//! What became of the requests of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// Failures that an error lists.
const LISTED: usize = 8;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer with this status.
    Status(u16),
    /// No whole answer: refused, reset, broken off, out of time. The text says which.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "{status}"),
            Self::Failed(reason) => write!(formatter, "{reason}"),
        }
    }
}

/// One request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it was due: a client that had to wait was slow, too.
    pub sent: Instant,
    /// From then to the end of the answer.
    pub took: Duration,
    /// What came back.
    pub outcome: Outcome,
    /// Pod that answered, by its header `x-pod`; `None`: no pod did.
    pub pod: Option<String>,
    /// Version that answered, by its header `x-version`; `None`: no pod did.
    pub version: Option<String>,
}

impl Request {
    /// No whole answer, or one with a status from 400 on: a gateway without a route says 404, and
    /// to whoever asked this is as lost as any other.
    pub fn failed(&self) -> bool {
        self.status().is_none_or(|status| status >= 400)
    }

    /// Status of the answer; `None`: there was none.
    pub fn status(&self) -> Option<u16> {
        match self.outcome {
            Outcome::Status(status) => Some(status),
            Outcome::Failed(_) => None,
        }
    }

    /// When the answer ended, or the wait for it.
    pub fn ended(&self) -> Instant {
        self.sent + self.took
    }
}

/// Requests by what answered them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub requests: usize,
    /// Those that failed.
    pub failed: usize,
}

/// Requests in the order they were due.
#[derive(Clone, Debug)]
pub struct Record {
    requests: Vec<Request>,
    /// The same instant by both clocks.
    began: (Instant, DateTime<Utc>),
}

impl Default for Record {
    fn default() -> Self {
        Self::new(Instant::now(), Utc::now())
    }
}

impl Record {
    /// An empty record; both arguments are the same instant.
    pub(super) fn new(began: Instant, wall: DateTime<Utc>) -> Self {
        Self { requests: Vec::new(), began: (began, wall) }
    }

    pub(super) fn push(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// Answers come nearly in order: the sort is cheap.
    pub(super) fn sorted(mut self) -> Self {
        self.requests.sort_by_key(|request| request.sent);
        self
    }

    /// The requests, in the order they were due.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The time of day of an instant, as it stands in the logs of the servers.
    pub fn wall(&self, instant: Instant) -> DateTime<Utc> {
        let (began, wall) = self.began;
        let since = |duration| TimeDelta::from_std(duration).unwrap_or_default();
        wall + since(instant.saturating_duration_since(began))
            - since(began.saturating_duration_since(instant))
    }

    /// Those that were due from `from` on and before `to`.
    #[must_use]
    pub fn between(&self, from: Instant, to: Instant) -> Self {
        let first = self.requests.partition_point(|request| request.sent < from);
        let end = self.requests.partition_point(|request| request.sent < to).max(first);
        Self { requests: self.requests[first..end].to_vec(), began: self.began }
    }

    /// Those that were due from `from` on.
    #[must_use]
    pub fn since(&self, from: Instant) -> Self {
        let first = self.requests.partition_point(|request| request.sent < from);
        Self { requests: self.requests[first..].to_vec(), began: self.began }
    }

    /// Those that failed.
    pub fn failed(&self) -> Vec<&Request> {
        self.requests.iter().filter(|request| request.failed()).collect()
    }

    /// Failures per request; `None`: there was no request.
    pub fn error_rate(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.failed().len() as f64 / self.len() as f64)
    }

    /// Counts by version; under `None` is what no pod answered.
    pub fn by_version(&self) -> BTreeMap<Option<String>, Count> {
        self.count_by(|request| request.version.clone())
    }

    /// Counts by pod; under `None` is what no pod answered.
    pub fn by_pod(&self) -> BTreeMap<Option<String>, Count> {
        self.count_by(|request| request.pod.clone())
    }

    /// Counts by status or reason.
    pub fn by_outcome(&self) -> BTreeMap<String, Count> {
        self.count_by(|request| request.outcome.to_string())
    }

    fn count_by<K: Ord>(&self, key: impl Fn(&Request) -> K) -> BTreeMap<K, Count> {
        let mut counts: BTreeMap<K, Count> = BTreeMap::new();
        for request in &self.requests {
            let count = counts.entry(key(request)).or_default();
            count.requests += 1;
            count.failed += usize::from(request.failed());
        }
        counts
    }

    /// The share of the requests that pods answered which this version answered, from 0 to 1;
    /// `None`: no pod answered any.
    pub fn share(&self, version: &str) -> Option<f64> {
        let answered = self.requests.iter().filter_map(|request| request.version.as_deref());
        let (all, its) = answered.fold((0_u32, 0_u32), |(all, its), answered| {
            (all + 1, its + u32::from(answered == version))
        });
        (all > 0).then(|| f64::from(its) / f64::from(all))
    }

    /// The smallest latency that at least this share of the requests, from 0 to 1, do not exceed
    /// (nearest rank). Failures count with the time they took. `None`: there was no request.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut latencies: Vec<Duration> =
            self.requests.iter().map(|request| request.took).collect();
        latencies.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to what a vector can hold"
        )]
        let rank = (share.clamp(0.0, 1.0) * latencies.len() as f64).ceil() as usize;
        latencies.get(rank.max(1) - 1).copied()
    }

    /// The first of them for which this holds.
    pub fn first(&self, mut holds: impl FnMut(&Request) -> bool) -> Option<&Request> {
        self.requests.iter().find(|request| holds(request))
    }

    /// The last of them for which this holds.
    pub fn last(&self, mut holds: impl FnMut(&Request) -> bool) -> Option<&Request> {
        self.requests.iter().rev().find(|request| holds(request))
    }

    /// How many of them failed that were due before this instant: what users had to bear.
    pub fn count_bad_until(&self, until: Instant) -> usize {
        self.requests
            .iter()
            .take_while(|request| request.sent < until)
            .filter(|request| request.failed())
            .count()
    }

    /// Nothing failed that was due from `from` on and before `to`, and something was.
    ///
    /// # Errors
    /// How many failed, and the first of them; or that there was no request to judge by.
    pub fn assert_none_failed(&self, from: Instant, to: Instant) -> anyhow::Result<()> {
        let window = self.between(from, to);
        ensure!(
            !window.is_empty(),
            "no request was due between {} and {}: nothing is known",
            time(self.wall(from)),
            time(self.wall(to)),
        );
        let failed = window.failed();
        if failed.is_empty() {
            return Ok(());
        }
        let mut text = format!("{} of {} requests failed:", failed.len(), window.len());
        for request in failed.iter().take(LISTED) {
            text.push_str("\n  ");
            text.push_str(&self.describe(request));
        }
        if failed.len() > LISTED {
            text.push_str("\n  …");
        }
        bail!(text)
    }

    /// One line about a request.
    pub fn describe(&self, request: &Request) -> String {
        format!(
            "{} {} after {} ms from {} ({})",
            time(self.wall(request.sent)),
            request.outcome,
            request.took.as_millis(),
            request.pod.as_deref().unwrap_or("no pod"),
            request.version.as_deref().unwrap_or("no version"),
        )
    }
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} requests, {} failed", self.len(), self.failed().len())?;
        if let (Some(median), Some(tail)) = (self.quantile(0.5), self.quantile(0.99)) {
            write!(formatter, ", p50 {} ms, p99 {} ms", median.as_millis(), tail.as_millis())?;
        }
        for (version, count) in self.by_version() {
            let version = version.as_deref().unwrap_or("no pod");
            write!(formatter, "; {version}: {} ({} failed)", count.requests, count.failed)?;
        }
        Ok(())
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
