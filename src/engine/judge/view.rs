//! What people are shown of a verdict.

use chrono::TimeDelta;
use serde::Serialize;

use super::evidence::Interval;
use super::words::{count, duration, of_requests, percent, points, power, times};
use super::{Counts, Margin, Outlook};
use crate::defaults;

/// Other weights of the plan that are named in one line.
const FORECASTS: usize = 2;

/// One criterion, for status, events and the command line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricView {
    /// The criterion.
    pub name: String,
    /// What its samples say.
    pub standing: Standing,
    /// The canary's counts in the evidence lane. `None`: not a ratio, or no data.
    pub canary: Option<Counts>,
    /// Stable's counts in the evidence lane. `None`: not a ratio, or no data.
    pub stable: Option<Counts>,
    /// The canary's bad requests per request. `None`: no requests.
    pub canary_rate: Option<f64>,
    /// Stable's bad requests per request. `None`: no requests.
    pub stable_rate: Option<f64>,
    /// The canary's rate over stable's. `None`: stable has no bad requests.
    pub ratio: Option<f64>,
    /// Between what the ratio is; see [`Judgement::detailed`](super::Judgement::detailed).
    pub interval: Option<Interval>,
    /// How much more of the canary's requests are bad, where stable has no bad ones; as above.
    pub difference: Option<Interval>,
    /// Evidence of a regression. `None`: not a ratio.
    pub regression: Option<Evidence>,
    /// Evidence of safety, for the margin that must be proven. `None`: not a ratio.
    pub safety: Option<Evidence>,
    /// Evidence that the hard limit is broken. `None`: there is none.
    pub guard: Option<Evidence>,
    /// The hard limit: a rate. `None`: there is none.
    pub hard_limit: Option<f64>,
    /// Both arms' counts in the guard lane. `None`: there is none.
    pub guarded: Option<Guarded>,
    /// The canary fails when it is worse than this. `None`: not a ratio.
    pub fail: Option<Margin>,
    /// What must be proven; after a pass the tightest that is. `None`: not a ratio.
    pub required: Option<Margin>,
    /// The tightest margin that is proven: "proven no worse than". `None`: none.
    pub proven: Option<Margin>,
    /// How much more stable's errors vary than single ones would. `None`: not known.
    pub dispersion: Option<f64>,
    /// Canary requests still needed if it is healthy. `None`: none, or it cannot be told.
    pub requests_needed: Option<u64>,
    /// Canary requests per second, lately. `None`: not a ratio.
    pub per_second: Option<f64>,
    /// Expected time to a Pass if it is healthy. `None`: passed, or it cannot be told.
    #[serde(with = "crate::seconds_option")]
    pub eta: Option<TimeDelta>,
    /// What a Pass takes with another share of the traffic. `None`: passed, or it cannot be told.
    pub outlook: Option<Outlook>,
    /// The time to a Pass at other weights of the plan; see
    /// [`Judgement::detailed`](super::Judgement::detailed).
    pub forecasts: Vec<Forecast>,
    /// The canary's share of the requests, where it is not the one that was asked for; see
    /// [`Judgement::detailed`](super::Judgement::detailed).
    pub share_off: Option<f64>,
    /// The latest value of a threshold. `None`: not a threshold, or no value.
    pub value: Option<f64>,
    /// One line for people.
    pub text: String,
}

/// Both arms in the guard lane: also what no window has yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Guarded {
    /// The canary's counts.
    pub canary: Counts,
    /// Stable's counts.
    pub stable: Counts,
}

/// The time to a Pass at another weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// The weight, in whole percent.
    pub weight: u8,
    /// Expected time if the canary is healthy.
    #[serde(with = "crate::seconds")]
    pub eta: TimeDelta,
}

/// Natural logarithm of evidence, and at how much of it the verdict falls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// What there is.
    pub log_e: f64,
    /// What it takes, for this criterion alone.
    pub limit: f64,
}

impl Evidence {
    /// How far it is, from 0 to 1, for a bar.
    pub fn progress(self) -> f64 {
        let share = self.log_e / self.limit;
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// It is there.
    pub fn is_reached(self) -> bool {
        self.log_e >= self.limit
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", power(self.log_e), power(self.limit))
    }
}

/// What the samples of one criterion say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Standing {
    /// Proven.
    Pass,
    /// The canary does harm.
    Fail,
    /// Not enough either way.
    NeedMoreData,
    /// Stable breaks the hard limit too.
    EnvironmentUnhealthy,
    /// The data could not be had.
    Error,
}

impl MetricView {
    /// Nothing known yet.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            standing: Standing::NeedMoreData,
            canary: None,
            stable: None,
            canary_rate: None,
            stable_rate: None,
            ratio: None,
            interval: None,
            difference: None,
            regression: None,
            safety: None,
            guard: None,
            hard_limit: None,
            guarded: None,
            fail: None,
            required: None,
            proven: None,
            dispersion: None,
            requests_needed: None,
            per_second: None,
            eta: None,
            outlook: None,
            forecasts: Vec::new(),
            share_off: None,
            value: None,
            text: String::new(),
        }
    }

    /// `canary 7/1,830 (0.38 %) vs stable 61/36,410 (0.17 %), ratio 2.3`.
    pub(super) fn comparison(&self) -> String {
        let arm = |name: &str, counts: Option<Counts>| {
            counts.map_or_else(
                || format!("{name} no data"),
                |counts| format!("{name} {}", of_requests(counts)),
            )
        };
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!(", ratio {ratio:.1}"));
        let (certain, interval) = (certain(), self.ratio.and(self.interval));
        let interval = match interval.map(|interval| (interval.low, interval.high)) {
            Some((low, Some(high))) => format!(" ({certain} {} to {})", times(low), times(high)),
            Some((low, None)) if low > 0.0 => format!(" ({certain} at least {})", times(low)),
            Some((_, None)) | None => String::new(),
        };
        let difference = self.difference.map_or_else(String::new, |Interval { low, high }| {
            let high = points(high.unwrap_or(1.0));
            format!(", difference {} to {high} ({certain})", points(low))
        });
        let (canary, stable) = (arm("canary", self.canary), arm("stable", self.stable));
        format!("{canary} vs {stable}{ratio}{interval}{difference}")
    }

    /// What is held against the canary when the evidence lane says Fail.
    pub(super) fn charge(&self) -> Option<String> {
        let (fail, regression) = self.fail.zip(self.regression)?;
        let (name, comparison) = (&self.name, self.comparison());
        Some(format!("{name}: {comparison}, more than {fail}; evidence {regression}"))
    }

    /// The line for people, from everything else.
    pub(super) fn description(&self) -> String {
        let evidence = self.regression.zip(self.safety).map(|(regression, safety)| {
            format!(" Evidence of regression {regression}, of safety {safety}")
        });
        let standing = match self.standing {
            Standing::Pass => " -> PASS".to_owned(),
            Standing::Fail => " -> FAIL".to_owned(),
            Standing::NeedMoreData => format!(" -> NEED MORE DATA{}", self.forecast()),
            Standing::EnvironmentUnhealthy => {
                " -> HOLD: stable breaks the hard limit too".to_owned()
            }
            Standing::Error => " -> ERROR".to_owned(),
        };
        let proven = self.proven.map(|proven| format!(". Proven no worse than {proven}"));
        let dispersion = self.dispersion.map(|dispersion| format!(". Dispersion {dispersion:.1}"));
        let share_off = self
            .share_off
            .map(|share| format!(". ShareOff: the canary got {} of the requests", percent(share)));
        [
            Some(format!("{}: {}.", self.name, self.comparison())),
            evidence,
            Some(standing),
            proven,
            dispersion,
            share_off,
            Some(".".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn forecast(&self) -> String {
        match (self.requests_needed, self.eta) {
            (Some(needed), Some(eta)) => format!(
                ": about {} more canary requests if healthy, {} ({} to {}){}{}",
                count(needed),
                duration(eta),
                // Nine in ten lie in between, by simulation.
                duration(eta * 6 / 10),
                duration(eta * 15 / 10),
                self.per_second
                    .map_or_else(String::new, |rate| format!(" at {} req/s", times(rate))),
                self.elsewhere(),
            ),
            (Some(needed), None) => {
                format!(": about {} more canary requests if healthy", count(needed))
            }
            (None, _) => String::new(),
        }
    }

    /// The next weights of the plan.
    fn elsewhere(&self) -> String {
        let some = self.forecasts.iter().take(FORECASTS);
        let at = |Forecast { weight, eta }: &Forecast| {
            format!("; at weight {weight} about {}", duration(*eta))
        };
        some.map(at).collect()
    }
}

/// `95 % always-valid`.
fn certain() -> String {
    format!("{:.0} % always-valid", (1.0 - defaults::INTERVAL_BOUND) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_never_out_of_its_frame() {
        let bar = |log_e| Evidence { log_e, limit: 3.0 }.progress();
        for (log_e, percent) in [(-5.0, "0"), (1.5, "50"), (9.0, "100"), (f64::NEG_INFINITY, "0")] {
            assert_eq!(format!("{:.0}", bar(log_e) * 100.0), percent);
        }
    }
}
