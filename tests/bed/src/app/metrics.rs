//! What a pod counts, as libraries for frameworks do.

use std::collections::BTreeMap;
use std::time::Duration;

/// Upper bounds in seconds: the defaults of the Prometheus client libraries.
const CLASSIC: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Upper bounds in seconds: those the semantic conventions of OpenTelemetry advise for HTTP.
const OTEL: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Schema of the native histograms: 8 buckets for each power of two.
pub(super) const SCHEMA: i32 = 3;

/// Durations in seconds, counted by fixed bounds and by exponential ones.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    /// Not cumulative; the last one counts what is above all bounds.
    counts: Vec<u64>,
    /// By index; a bucket ends at 2^(index/8). `None`: only the classic form is kept.
    native: Option<BTreeMap<i32, u64>>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64], native: bool) -> Self {
        let counts = vec![0; bounds.len() + 1];
        Self { bounds, counts, native: native.then(BTreeMap::new), sum: 0.0 }
    }

    fn observe(&mut self, seconds: f64) {
        self.counts[self.bounds.partition_point(|bound| *bound < seconds)] += 1;
        self.sum += seconds;
        if let Some(native) = &mut self.native {
            #[expect(clippy::cast_possible_truncation, reason = "a duration's logarithm is small")]
            let index = (seconds.max(1e-9).log2() * f64::from(1 << SCHEMA)).ceil() as i32;
            *native.entry(index).or_default() += 1;
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    pub(super) fn native(&self) -> Option<&BTreeMap<i32, u64>> {
        self.native.as_ref()
    }

    /// Upper bound and the number of durations up to it; the last bound is infinite.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(&self.counts).scan(0, |total, (bound, count)| {
            *total += count;
            Some((bound, *total))
        })
    }
}

/// What kind of series a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A series' value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Number(f64),
    Histogram(Histogram),
}

/// Names and values, in the order they are shown.
pub(super) type Labels = Vec<(&'static str, String)>;

/// All series of one name.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) series: Vec<(Labels, Value)>,
}

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    method: String,
    code: u16,
    route: &'static str,
}

/// The counts of a pod. A series is born with the first request that it counts.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    /// Start of the process in Unix seconds.
    started: f64,
    requests: BTreeMap<Key, u64>,
    durations: BTreeMap<(String, u16), Histogram>,
    otel: BTreeMap<Key, Histogram>,
}

impl Metrics {
    pub(super) fn new(started: f64) -> Self {
        let (requests, durations, otel) = Default::default();
        Self { started, requests, durations, otel }
    }

    pub(super) fn count(&mut self, method: &str, code: u16, route: &'static str, took: Duration) {
        let seconds = took.as_secs_f64();
        let key = Key { method: method.to_owned(), code, route };
        *self.requests.entry(key.clone()).or_default() += 1;
        let durations = self.durations.entry((key.method.clone(), code));
        durations.or_insert_with(|| Histogram::new(CLASSIC, true)).observe(seconds);
        let otel = self.otel.entry(key);
        otel.or_insert_with(|| Histogram::new(OTEL, false)).observe(seconds);
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let requests = self.requests.iter().map(|(key, count)| {
            let labels = vec![
                ("code", key.code.to_string()),
                ("method", key.method.clone()),
                ("path", key.route.to_owned()),
            ];
            (labels, Value::Number(*count as f64))
        });
        let durations = self.durations.iter().map(|((method, code), histogram)| {
            let labels = vec![("code", code.to_string()), ("method", method.clone())];
            (labels, Value::Histogram(histogram.clone()))
        });
        let otel = self.otel.iter().map(|(key, histogram)| {
            let mut labels = vec![
                ("http_request_method", key.method.clone()),
                ("http_response_status_code", key.code.to_string()),
                ("http_route", key.route.to_owned()),
                ("network_protocol_version", "1.1".to_owned()),
                ("url_scheme", "http".to_owned()),
            ];
            if key.code >= 500 {
                labels.insert(0, ("error_type", key.code.to_string()));
            }
            (labels, Value::Histogram(histogram.clone()))
        });
        vec![
            Family {
                name: "http_requests_total",
                help: "Requests answered.",
                kind: Kind::Counter,
                series: requests.collect(),
            },
            Family {
                name: "http_request_duration_seconds",
                help: "Time to answer.",
                kind: Kind::Histogram,
                series: durations.collect(),
            },
            Family {
                name: "http_server_request_duration_seconds",
                help: "Duration of HTTP server requests.",
                kind: Kind::Histogram,
                series: otel.collect(),
            },
            Family {
                name: "process_start_time_seconds",
                help: "Start of the process in Unix seconds.",
                kind: Kind::Gauge,
                series: vec![(Vec::new(), Value::Number(self.started))],
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_belongs_to_it() {
        let mut histogram = Histogram::new(CLASSIC, true);
        for seconds in [0.005, 0.006, 60.0] {
            histogram.observe(seconds);
        }
        let cumulative: Vec<_> = histogram.cumulative().collect();
        assert_eq!(cumulative[..2], [(0.005, 1), (0.01, 2)]);
        assert_eq!(cumulative[10..], [(10.0, 2), (f64::INFINITY, 3)]);
        assert_eq!(histogram.count(), 3);
    }

    #[test]
    fn native_buckets_end_at_powers_of_the_eighth_root_of_2() {
        let mut histogram = Histogram::new(CLASSIC, true);
        for seconds in [1.0, 1.01, 2.0, 0.5, 0.0] {
            histogram.observe(seconds);
        }
        let native: Vec<_> = histogram.native().unwrap().clone().into_iter().collect();
        assert_eq!(native, [(-239, 1), (-8, 1), (0, 1), (1, 1), (8, 1)]);
    }

    #[test]
    fn an_error_series_is_born_with_the_first_error() {
        let mut metrics = Metrics::new(0.0);
        metrics.count("GET", 200, "/", Duration::from_millis(1));
        let codes = |metrics: &Metrics| -> Vec<String> {
            let families = metrics.families();
            families[0].series.iter().map(|(labels, _)| labels[0].1.clone()).collect()
        };
        assert_eq!(codes(&metrics), ["200"]);
        metrics.count("GET", 500, "/", Duration::from_millis(1));
        assert_eq!(codes(&metrics), ["200", "500"]);
        let families = metrics.families();
        assert_eq!(families[2].series[1].0[0], ("error_type", "500".to_owned()));
    }
}
