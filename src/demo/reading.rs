//! Cumulative counters as they were read; `judge::counter` says what came between two moments.

use std::io::BufRead as _;

use chrono::{DateTime, Utc};
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
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
}
