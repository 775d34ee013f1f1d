//! What can be wrong with a pod, as numbers.

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The knobs; the table in [`super`] says what each does. The environment has the same names in
/// upper case, and `PUT /bed/knobs` takes some of them as a JSON object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Knobs {
    /// Share of the requests that fail, from 0 to 1.
    pub error_rate: f64,
    /// Status of those that fail.
    pub error_status: u16,
    /// Times when more fail.
    pub error_burst: Option<Burst>,
    /// Median of the latency in milliseconds; 0: it answers at once.
    pub latency_median_ms: f64,
    /// Standard deviation of the latency's logarithm.
    pub latency_sigma: f64,
    /// How long after its start every latency is multiplied.
    pub warmup_ms: u64,
    /// What by.
    pub warmup_factor: f64,
    /// Time from the start until it listens.
    pub start_delay_ms: u64,
    /// Time from then until it is ready.
    pub ready_delay_ms: u64,
    /// Whether it gets ready at all.
    pub ready: bool,
    /// Whether `/healthz` says so.
    pub healthy: bool,
    /// Exit with 1 before listening.
    pub crash_on_start: bool,
    /// Exit with 1 so long after the start.
    pub crash_after_ms: Option<u64>,
    /// Answer nothing any more so long after the start.
    pub hang_after_ms: Option<u64>,
    /// On SIGTERM, go on serving for so long, not ready any more.
    pub drain_delay_ms: u64,
    /// SIGTERM is not heard: the kubelet has to kill.
    pub ignore_sigterm: bool,
    /// Whether probes and scrapes are counted as requests, as some frameworks do.
    pub count_probes: bool,
    /// Seed of errors and latencies. Each pod mixes its name in.
    pub seed: u64,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            error_rate: 0.0,
            error_status: 500,
            error_burst: None,
            latency_median_ms: 5.0,
            latency_sigma: 0.5,
            warmup_ms: 0,
            warmup_factor: 10.0,
            start_delay_ms: 0,
            ready_delay_ms: 0,
            ready: true,
            healthy: true,
            crash_on_start: false,
            crash_after_ms: None,
            hang_after_ms: None,
            drain_delay_ms: 1_000,
            ignore_sigterm: false,
            count_probes: false,
            seed: 1,
        }
    }
}

/// Errors that come in bursts: in the first `length_ms` of every `period_ms` of the clock on the
/// wall the error rate is at least `rate`. All pods have the same clock, so they fail together, as
/// they do when what they share fails. Written `PERIOD,LENGTH,RATE`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Burst {
    /// From the beginning of one burst to the next.
    pub period_ms: u64,
    /// How long each of them is.
    pub length_ms: u64,
    /// Error rate in it, from 0 to 1.
    pub rate: f64,
}

impl TryFrom<String> for Burst {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            let mut parts = text.split(',').map(str::trim);
            let burst = Self {
                period_ms: parts.next()?.parse().ok()?,
                length_ms: parts.next()?.parse().ok()?,
                rate: parts.next()?.parse().ok()?,
            };
            let fits = parts.next().is_none()
                && burst.period_ms > 0
                && burst.length_ms <= burst.period_ms
                && (0.0..=1.0).contains(&burst.rate);
            fits.then_some(burst)
        };
        read().ok_or_else(|| format!("`{text}` is no burst such as 60000,5000,0.5"))
    }
}

impl From<Burst> for String {
    fn from(burst: Burst) -> Self {
        format!("{},{},{}", burst.period_ms, burst.length_ms, burst.rate)
    }
}

impl Knobs {
    /// Reads the knobs from the environment; what is not there has its default.
    ///
    /// # Errors
    /// A variable that has no meaning: a test that misspells a number must not pass by accident.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let defaults = Self::default();
        let mut changes = Map::new();
        for name in defaults.to_map().keys() {
            let upper = name.to_uppercase();
            if let Some(text) = variable(&upper).filter(|text| !text.is_empty()) {
                // `500`, `true` and `null` are JSON; a burst is not, and is taken as it is.
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                defaults
                    .with(Map::from_iter([(name.clone(), value.clone())]))
                    .with_context(|| format!("environment variable {upper}"))?;
                changes.insert(name.clone(), value);
            }
        }
        defaults.with(changes)
    }

    /// These knobs with some of them changed.
    ///
    /// # Errors
    /// A name that is not known, or a value out of range.
    pub fn with(&self, changes: Map<String, Value>) -> anyhow::Result<Self> {
        let mut all = self.to_map();
        all.extend(changes);
        let knobs: Self = serde_json::from_value(Value::Object(all)).context("a knob is wrong")?;
        ensure!((0.0..=1.0).contains(&knobs.error_rate), "error_rate is not between 0 and 1");
        ensure!((100..=599).contains(&knobs.error_status), "error_status is no HTTP status");
        let positive = |number: f64| number.is_finite() && number >= 0.0;
        ensure!(positive(knobs.latency_median_ms), "latency_median_ms is not 0 or more");
        ensure!(knobs.latency_sigma <= 5.0 && positive(knobs.latency_sigma), "latency_sigma");
        ensure!(positive(knobs.warmup_factor), "warmup_factor is not 0 or more");
        Ok(knobs)
    }

    fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            // A struct of numbers is an object.
            Ok(_) | Err(_) => Map::new(),
        }
    }

    /// Share of requests that fail at this time of the clock on the wall.
    pub(super) fn error_rate_at(&self, unix_millis: u64) -> f64 {
        match self.error_burst {
            Some(burst) if unix_millis % burst.period_ms < burst.length_ms => {
                self.error_rate.max(burst.rate)
            }
            Some(_) | None => self.error_rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_environment_has_the_names_in_upper_case() {
        let knobs = Knobs::from_env(|name| {
            let value = match name {
                "ERROR_RATE" => "0.25",
                "READY" => "false",
                "CRASH_AFTER_MS" => "1500",
                "ERROR_BURST" => "60000,5000,0.5",
                "SEED" => "",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let expected = Knobs {
            error_rate: 0.25,
            ready: false,
            crash_after_ms: Some(1_500),
            error_burst: Some(Burst { period_ms: 60_000, length_ms: 5_000, rate: 0.5 }),
            ..Knobs::default()
        };
        assert_eq!(knobs.unwrap(), expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (name, value) in [
            ("ERROR_RATE", "1.5"),
            ("ERROR_RATE", "many"),
            ("READY", "no"),
            ("ERROR_BURST", "10,20,0.5"),
            ("LATENCY_MEDIAN_MS", "-1"),
        ] {
            let error =
                Knobs::from_env(|asked| (asked == name).then(|| value.to_owned())).unwrap_err();
            assert!(error.to_string().contains(name), "{error:#}");
        }
        assert!(Knobs::default().with(changes(json!({"eror_rate": 0.5}))).is_err());
    }

    #[test]
    fn a_change_leaves_the_others_alone() {
        let knobs = Knobs { error_rate: 0.5, seed: 9, ..Knobs::default() };
        let changed = knobs.with(changes(json!({"error_rate": 0.0, "crash_after_ms": 0})));
        let expected = Knobs { error_rate: 0.0, crash_after_ms: Some(0), ..knobs };
        assert_eq!(changed.unwrap(), expected);
        let back = expected.with(changes(json!({"crash_after_ms": null}))).unwrap();
        assert_eq!(back.crash_after_ms, None);
    }

    #[test]
    fn bursts_follow_the_clock_on_the_wall() {
        let burst = Burst { period_ms: 1_000, length_ms: 100, rate: 0.5 };
        let knobs = Knobs { error_rate: 0.01, error_burst: Some(burst), ..Knobs::default() };
        let in_percent =
            |millis| knobs.error_rate_at(millis).mul_add(100.0, 0.5).floor().to_string();
        assert_eq!([5_000, 5_099, 5_100, 5_999].map(in_percent), ["50", "50", "1", "1"]);
    }
}
