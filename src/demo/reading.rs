//! Cumulative counters as they were read, and what happened between two moments.

use std::collections::BTreeMap;
use std::io::BufRead as _;

use chrono::{DateTime, TimeDelta, Utc};
use prometheus_parse::{Sample, Scrape, Value};

use super::service::{DURATIONS, REQUESTS, START_TIME};

/// The counters of one pod, or of one set of backends, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// When they were read.
    pub at: DateTime<Utc>,
    /// Requests answered since the start.
    pub total: u64,
    /// Requests answered with a status from 500 on since the start.
    pub errors: u64,
    /// Upper bound in seconds and the number of answers that took at most so long; ascending.
    pub buckets: Vec<(f64, u64)>,
    /// When the process started; `None`: it does not say.
    pub start_time: Option<DateTime<Utc>>,
}

/// Why an exposition is no reading.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// Not the Prometheus text format.
    #[error("the exposition cannot be parsed")]
    Parse(#[source] std::io::Error),
    /// It does not count requests at all: that is not the same as no requests.
    #[error("the exposition has no series of {REQUESTS}")]
    NoSeries,
    /// A counter is negative or not a number.
    #[error("{0} is not a count")]
    NotACount(f64),
}

impl Reading {
    /// Reads an exposition in the Prometheus text format. Where requests are counted and no error
    /// is, there were none: the series is born with the first.
    ///
    /// # Errors
    /// [`ReadingError`]: then there is no reading, which is not a reading of zeros.
    pub fn parse(text: &[u8], at: DateTime<Utc>) -> Result<Self, ReadingError> {
        let scrape = Scrape::parse_at(text.lines(), at).map_err(ReadingError::Parse)?;
        let mut reading = Self { at, total: 0, errors: 0, buckets: Vec::new(), start_time: None };
        let mut counted = false;
        for sample in &scrape.samples {
            match (sample.metric.as_str(), &sample.value) {
                (REQUESTS, Value::Counter(value)) => {
                    let value = count(*value)?;
                    counted = true;
                    reading.total += value;
                    reading.errors += if is_error(sample) { value } else { 0 };
                }
                (DURATIONS, Value::Histogram(buckets)) => {
                    for bucket in buckets {
                        let value = count(bucket.count)?;
                        add(&mut reading.buckets, bucket.less_than, value);
                    }
                }
                (START_TIME, Value::Gauge(seconds)) => reading.start_time = moment(*seconds),
                _ => {}
            }
        }
        reading.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        if counted { Ok(reading) } else { Err(ReadingError::NoSeries) }
    }
}

fn is_error(sample: &Sample) -> bool {
    sample.labels.get("code").is_some_and(|code| code.starts_with('5'))
}

/// The same bound in another series (another method, say) is the same bucket.
fn add(buckets: &mut Vec<(f64, u64)>, bound: f64, value: u64) {
    match buckets.iter_mut().find(|bucket| bucket.0.total_cmp(&bound).is_eq()) {
        Some(bucket) => bucket.1 += value,
        None => buckets.push((bound, value)),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be at least 0 and below 2^53, where every count is exact"
)]
fn count(value: f64) -> Result<u64, ReadingError> {
    if (0.0..9_007_199_254_740_992.0).contains(&value) {
        Ok(value.round() as u64)
    } else {
        Err(ReadingError::NotACount(value))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float is cut to the range of integers, and what is no moment is none"
)]
fn moment(seconds: f64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis((seconds * 1e3).round() as i64)
}

/// What a pod's counters are compared with where nothing was read before the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// The pod was created after counting began: its first reading counts in full.
    Zero,
    /// The pod is older: what it did before counting began is unknown and does not count.
    FirstReading,
}

/// A span of time: after `from`, up to and with `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Exclusive start.
    pub from: DateTime<Utc>,
    /// Inclusive end.
    pub to: DateTime<Utc>,
    /// How old the last reading may be at `to`; two scrape intervals are usual.
    pub max_age: TimeDelta,
}

/// What was counted in a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Increments {
    /// Requests answered.
    pub requests: u64,
    /// Those with a status from 500 on.
    pub errors: u64,
    /// Upper bound in seconds and the number of answers that took at most so long; ascending.
    pub buckets: Vec<(f64, u64)>,
    /// A counter went back a little, which a process does not do: two sources are mixed. What
    /// went back counts as nothing.
    pub suspect: bool,
}

impl Increments {
    /// Adds those of another pod, or of the next window.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.suspect |= other.suspect;
        for (bound, value) in &other.buckets {
            add(&mut self.buckets, *bound, *value);
        }
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    fn step(&mut self, before: Option<&Reading>, after: &Reading) {
        let fresh = before.is_none_or(|before| is_reset(before, after));
        let before = before.filter(|_| !fresh);
        let base = before.map_or((0, 0), |before| (before.total, before.errors));
        self.suspect |= after.total < base.0 || after.errors < base.1;
        self.requests += after.total.saturating_sub(base.0);
        self.errors += after.errors.saturating_sub(base.1);
        let old: BTreeMap<u64, u64> = before
            .map(|before| before.buckets.iter().map(|(le, n)| (le.to_bits(), *n)).collect())
            .unwrap_or_default();
        for (bound, value) in &after.buckets {
            let base = old.get(&bound.to_bits()).copied().unwrap_or_default();
            add(&mut self.buckets, *bound, value.saturating_sub(base));
        }
    }
}

/// Whether the process began anew between two readings: it says so, or it counts less than half.
/// A smaller drop is no restart but two sources with a skew.
fn is_reset(before: &Reading, after: &Reading) -> bool {
    let restarted = matches!(
        (before.start_time, after.start_time),
        (Some(before), Some(after)) if before != after
    );
    restarted || after.total.saturating_mul(2) < before.total
}

/// Differences the readings of one pod (oldest first) over a window. `None`: the readings do not
/// cover it, which is missing data and not "nothing happened".
pub fn increments(readings: &[Reading], baseline: Baseline, window: Window) -> Option<Increments> {
    let end = readings.partition_point(|reading| reading.at <= window.to);
    let readings = readings.get(..end)?;
    let (first, last) = (readings.first()?, readings.last()?);
    let unread = first.at > window.from && baseline == Baseline::FirstReading;
    if unread || last.at <= window.from || window.to - last.at > window.max_age {
        return None;
    }
    let mut sum = Increments::default();
    let mut highest: Option<&Reading> = None;
    for reading in readings {
        if reading.at > window.from {
            sum.step(highest, reading);
        }
        // After a small drop the counter must first come back to where it was, or what it counts
        // on its way would be counted twice.
        let drops = |before: &&Reading| !is_reset(before, reading) && reading.total < before.total;
        highest = highest.filter(drops).or(Some(reading));
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn reading(seconds: i64, total: u64, errors: u64) -> Reading {
        let buckets = vec![(0.1, total - errors), (f64::INFINITY, total)];
        Reading { at: at(seconds), total, errors, buckets, start_time: Some(at(0)) }
    }

    fn window(from: i64, to: i64) -> Window {
        Window { from: at(from), to: at(to), max_age: TimeDelta::seconds(2) }
    }

    const TEXT: &str = "# TYPE http_requests_total counter\n\
        http_requests_total{code=\"200\",method=\"GET\"} 90\n\
        http_requests_total{code=\"503\",method=\"GET\"} 3\n\
        # TYPE http_request_duration_seconds histogram\n\
        http_request_duration_seconds_bucket{method=\"GET\",le=\"+Inf\"} 93\n\
        http_request_duration_seconds_bucket{method=\"GET\",le=\"0.1\"} 80\n\
        # TYPE process_start_time_seconds gauge\n\
        process_start_time_seconds 12.5\n";

    #[test]
    fn an_exposition_is_read() {
        let reading = Reading::parse(TEXT.as_bytes(), at(20)).unwrap();
        assert_eq!((reading.total, reading.errors), (93, 3));
        assert_eq!(reading.buckets, [(0.1, 80), (f64::INFINITY, 93)]);
        assert_eq!(reading.start_time, DateTime::from_timestamp_millis(12_500));
    }

    #[test]
    fn an_absent_error_series_is_zero_errors() {
        let text: String = TEXT
            .lines()
            .filter(|l| !l.contains("503"))
            .fold(String::new(), |text, line| text + line + "\n");
        let reading = Reading::parse(text.as_bytes(), at(20)).unwrap();
        assert_eq!((reading.total, reading.errors), (90, 0));
    }

    #[test]
    fn an_absent_request_series_is_no_reading() {
        let refused = Reading::parse(b"process_start_time_seconds 1\n", at(20));
        assert!(matches!(refused, Err(ReadingError::NoSeries)), "{refused:?}");
    }

    #[test]
    fn a_new_pod_counts_from_zero_and_an_old_one_from_its_first_reading() {
        let readings = [reading(1, 10, 1), reading(2, 30, 2)];
        let new = increments(&readings, Baseline::Zero, window(0, 2)).unwrap();
        assert_eq!((new.requests, new.errors), (30, 2));
        assert_eq!(increments(&readings, Baseline::FirstReading, window(0, 2)), None);
        let old = increments(&readings, Baseline::FirstReading, window(1, 2)).unwrap();
        assert_eq!((old.requests, old.errors), (20, 1));
        assert_eq!(old.buckets, [(0.1, 19), (f64::INFINITY, 20)]);
    }

    #[test]
    fn windows_side_by_side_lose_nothing() {
        let readings: Vec<Reading> =
            (0_u32..=9).map(|n| reading(n.into(), u64::from(n) * 7, u64::from(n))).collect();
        let mut sum = Increments::default();
        for from in [0, 3, 6] {
            sum.merge(&increments(&readings, Baseline::Zero, window(from, from + 3)).unwrap());
        }
        let whole = increments(&readings, Baseline::Zero, window(0, 9)).unwrap();
        assert_eq!(sum, whole);
        assert_eq!((whole.requests, whole.errors), (63, 9));
    }

    #[test]
    fn after_a_restart_everything_counts() {
        let mut again = reading(2, 60, 0);
        again.start_time = Some(at(1));
        let readings = [reading(1, 50, 5), again];
        let sum = increments(&readings, Baseline::FirstReading, window(1, 2)).unwrap();
        assert_eq!((sum.requests, sum.errors, sum.suspect), (60, 0, false));
    }

    #[test]
    fn a_fall_below_half_is_a_restart_and_a_small_one_is_suspect() {
        let fallen = [reading(1, 50, 0), reading(2, 20, 0)];
        let sum = increments(&fallen, Baseline::FirstReading, window(1, 2)).unwrap();
        assert_eq!((sum.requests, sum.suspect), (20, false));
        let skewed = [reading(1, 50, 0), reading(2, 48, 0)];
        let sum = increments(&skewed, Baseline::FirstReading, window(1, 2)).unwrap();
        assert_eq!((sum.requests, sum.suspect), (0, true));
    }

    #[test]
    fn after_a_small_drop_nothing_is_counted_twice() {
        let readings = [reading(1, 50, 0), reading(2, 48, 0), reading(3, 55, 0)];
        let sum = increments(&readings, Baseline::FirstReading, window(1, 3)).unwrap();
        assert_eq!((sum.requests, sum.suspect), (5, true));
        let later = increments(&readings, Baseline::FirstReading, window(2, 3)).unwrap();
        assert_eq!((later.requests, later.suspect), (5, false));
    }

    #[test]
    fn old_readings_are_missing_data() {
        let readings = [reading(1, 10, 0), reading(2, 20, 0)];
        assert_eq!(increments(&readings, Baseline::Zero, window(2, 4)), None);
        assert_eq!(increments(&readings, Baseline::Zero, window(0, 5)), None);
        assert!(increments(&readings, Baseline::Zero, window(0, 4)).is_some());
    }
}
