//! What clients of the demo's service lived through.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

/// Answers kept one by one: at 600 a second those of the last 100 s.
const KEPT: usize = 60_000;

/// Failures kept one by one; all are counted.
const KEPT_FAILURES: usize = 10_000;

/// One request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was due to be sent: a client that had to wait is slow, too.
    pub sent: DateTime<Utc>,
    /// From then to the end of the answer.
    pub latency: Duration,
    /// Status of the answer; `None`: there was none.
    pub status: Option<u16>,
    /// Version that answered; `None`: no pod did.
    pub version: Option<String>,
    /// Pod that answered; `None`: none did.
    pub pod: Option<String>,
}

impl Record {
    /// No answer, or one with a status from 500 on.
    pub fn failed(&self) -> bool {
        self.status.is_none_or(|status| status >= 500)
    }

    /// When the answer ended.
    pub fn answered(&self) -> DateTime<Utc> {
        TimeDelta::from_std(self.latency).map_or(self.sent, |latency| self.sent + latency)
    }
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
}

/// Traffic in a window of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Requests that ended in it.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
    /// Requests per second.
    pub rate: f64,
    /// Failures per request; `None`: there was no request.
    pub error_rate: Option<f64>,
    /// Median latency in seconds; `None`: there was no request.
    pub p50: Option<f64>,
    /// The latency in seconds that one of 100 exceeds; `None`: there was no request.
    pub p99: Option<f64>,
}

/// Keeps the records of a load; shared by reference.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// In the order the answers came.
    recent: VecDeque<Record>,
    failures: VecDeque<Record>,
    by_version: BTreeMap<Option<String>, Totals>,
    overflow: u64,
}

impl Recorder {
    /// Keeps one record.
    pub fn record(&self, record: Record) {
        let mut book = self.book();
        let totals = book.by_version.entry(record.version.clone()).or_default();
        totals.requests += 1;
        totals.failures += u64::from(record.failed());
        if record.failed() {
            book.failures.push_back(record.clone());
            if book.failures.len() > KEPT_FAILURES {
                book.failures.pop_front();
            }
        }
        book.recent.push_back(record);
        if book.recent.len() > KEPT {
            book.recent.pop_front();
        }
    }

    /// Counts a request that was due and not sent, as too many were open.
    pub fn overflow(&self) {
        self.book().overflow += 1;
    }

    /// Requests that were due and not sent.
    pub fn overflows(&self) -> u64 {
        self.book().overflow
    }

    /// Sums over all versions.
    pub fn totals(&self) -> Totals {
        self.book().by_version.values().fold(Totals::default(), |sum, totals| Totals {
            requests: sum.requests + totals.requests,
            failures: sum.failures + totals.failures,
        })
    }

    /// Sums by version; `None` is what no pod answered.
    pub fn by_version(&self) -> BTreeMap<Option<String>, Totals> {
        self.book().by_version.clone()
    }

    /// The last failures, in the order their answers came.
    pub fn failures(&self) -> Vec<Record> {
        self.book().failures.iter().cloned().collect()
    }

    /// How many of the last failures were sent from `from` on and before `to`.
    pub fn failures_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> usize {
        let book = self.book();
        book.failures.iter().filter(|record| from <= record.sent && record.sent < to).count()
    }

    /// Traffic of all versions whose answers ended from `from` on and before `to`.
    pub fn traffic(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Traffic {
        let book = self.book();
        summarize(book.window(from, to), to - from)
    }

    /// The same by version; a version without answers is not in it.
    pub fn traffic_by_version(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> BTreeMap<Option<String>, Traffic> {
        let book = self.book();
        let mut versions: BTreeMap<&Option<String>, Vec<&Record>> = BTreeMap::new();
        for record in book.window(from, to) {
            versions.entry(&record.version).or_default().push(record);
        }
        versions
            .into_iter()
            .map(|(version, records)| (version.clone(), summarize(records, to - from)))
            .collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn window(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> impl Iterator<Item = &Record> {
        // Answers come nearly in order; how far a wait for the lock can swap them, nobody knows,
        // so a second more is looked at.
        let margin = from - TimeDelta::seconds(1);
        self.recent
            .iter()
            .rev()
            .take_while(move |record| record.answered() >= margin)
            .filter(move |record| (from..to).contains(&record.answered()))
    }
}

fn summarize<'a>(records: impl IntoIterator<Item = &'a Record>, window: TimeDelta) -> Traffic {
    let mut failures = 0;
    let mut latencies: Vec<Duration> = Vec::new();
    for record in records {
        failures += u64::from(record.failed());
        latencies.push(record.latency);
    }
    latencies.sort_unstable();
    let requests = latencies.len() as u64;
    let seconds = window.as_seconds_f64();
    Traffic {
        requests,
        failures,
        rate: if seconds > 0.0 { requests as f64 / seconds } else { 0.0 },
        error_rate: (requests > 0).then(|| failures as f64 / requests as f64),
        p50: percentile(&latencies, 50),
        p99: percentile(&latencies, 99),
    }
}

/// The smallest value that at least `percent` of 100 do not exceed (nearest rank), in seconds.
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).map(Duration::as_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(millis).unwrap()
    }

    fn record(sent: i64, latency: u64, status: u16, version: &str) -> Record {
        Record {
            sent: at(sent),
            latency: Duration::from_millis(latency),
            status: Some(status),
            version: Some(version.to_owned()),
            pod: None,
        }
    }

    #[test]
    fn a_window_has_what_was_answered_in_it() {
        let recorder = Recorder::default();
        recorder.record(record(0, 10, 200, "v1"));
        recorder.record(record(900, 99, 200, "v1"));
        recorder.record(record(900, 100, 500, "v2"));
        recorder.record(record(1_500, 400, 404, "v2"));
        let traffic = recorder.traffic(at(1_000), at(2_000));
        assert_eq!((traffic.requests, traffic.failures), (2, 1));
        assert_eq!(traffic.error_rate, Some(0.5));
        assert_eq!((traffic.p50, traffic.p99), (Some(0.1), Some(0.4)));
        let by_version = recorder.traffic_by_version(at(0), at(2_000));
        assert_eq!(by_version[&Some("v1".to_owned())].requests, 2);
        assert_eq!(by_version[&Some("v2".to_owned())].failures, 1);
        assert_eq!(by_version.len(), 2);
    }

    #[test]
    fn no_traffic_has_no_error_rate() {
        let recorder = Recorder::default();
        assert_eq!(recorder.traffic(at(0), at(1_000)), Traffic::default());
        assert_eq!(recorder.traffic(at(0), at(1_000)).error_rate, None);
    }

    #[test]
    fn a_request_without_answer_failed() {
        let recorder = Recorder::default();
        let lost = Record { status: None, version: None, ..record(500, 1, 200, "v1") };
        recorder.record(lost.clone());
        recorder.record(record(501, 1, 200, "v1"));
        assert_eq!(recorder.failures(), [lost]);
        assert_eq!(recorder.failures_between(at(500), at(501)), 1);
        assert_eq!(recorder.failures_between(at(501), at(9_999)), 0);
        assert_eq!(recorder.totals(), Totals { requests: 2, failures: 1 });
        assert_eq!(recorder.by_version()[&None], Totals { requests: 1, failures: 1 });
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_secs).collect();
        assert_eq!(percentile(&sorted, 50), Some(100.0));
        assert_eq!(percentile(&sorted, 99), Some(198.0));
        assert_eq!(percentile(&sorted[..1], 99), Some(1.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
