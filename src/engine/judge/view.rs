//! What people are shown of a verdict.

use chrono::TimeDelta;
use serde::Serialize;

use super::{Counts, Margin};

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
    /// Evidence of a regression. `None`: not a ratio.
    pub regression: Option<Evidence>,
    /// Evidence of safety, for the margin that must be proven. `None`: not a ratio.
    pub safety: Option<Evidence>,
    /// Evidence that the hard limit is broken. `None`: there is none.
    pub guard: Option<Evidence>,
    /// The hard limit: a rate. `None`: there is none.
    pub hard_limit: Option<f64>,
    /// What must be proven; after a pass the tightest that is. `None`: not a ratio.
    pub required: Option<Margin>,
    /// The tightest margin that is proven: "proven no worse than". `None`: none.
    pub proven: Option<Margin>,
    /// How much more stable's errors vary than single ones would. `None`: not known.
    pub dispersion: Option<f64>,
    /// Canary requests still needed if it is healthy. `None`: none, or it cannot be told.
    pub requests_needed: Option<u64>,
    /// Expected time to a Pass if it is healthy. `None`: passed, or it cannot be told.
    #[serde(with = "crate::seconds_option")]
    pub eta: Option<TimeDelta>,
    /// The latest value of a threshold. `None`: not a threshold, or no value.
    pub value: Option<f64>,
    /// One line for people.
    pub text: String,
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
            regression: None,
            safety: None,
            guard: None,
            hard_limit: None,
            required: None,
            proven: None,
            dispersion: None,
            requests_needed: None,
            eta: None,
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
        format!("{} vs {}{ratio}", arm("canary", self.canary), arm("stable", self.stable))
    }

    /// The line for people, from everything else.
    pub(super) fn describe(&mut self) {
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
        self.text = [
            Some(format!("{}: {}.", self.name, self.comparison())),
            evidence,
            Some(standing),
            proven,
            dispersion,
            Some(".".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect();
    }

    fn forecast(&self) -> String {
        match (self.requests_needed, self.eta) {
            (Some(needed), Some(eta)) => format!(
                ": about {} more canary requests if healthy, {} ({} to {})",
                count(needed),
                duration(eta),
                // Nine in ten lie in between, by simulation.
                duration(eta * 6 / 10),
                duration(eta * 15 / 10)
            ),
            (Some(needed), None) => {
                format!(": about {} more canary requests if healthy", count(needed))
            }
            (None, _) => String::new(),
        }
    }
}

/// `7/1,830 (0.38 %)`.
pub(super) fn of_requests(counts: Counts) -> String {
    let rate = counts.rate().map_or_else(|| "no requests".to_owned(), percent);
    format!("{}/{} ({rate})", count(counts.bad), count(counts.total))
}

/// `0.38 %`: two digits that matter.
pub(super) fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    match percent {
        _ if percent == 0.0 => "0 %".to_owned(),
        _ if percent >= 10.0 => format!("{percent:.0} %"),
        _ if percent >= 1.0 => format!("{} %", (percent * 10.0).round() / 10.0),
        _ if percent >= 0.1 => format!("{percent:.2} %"),
        _ => format!("{percent:.3} %"),
    }
}

/// `36,410`: thousands apart.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `e^log`, readable.
fn power(log: f64) -> String {
    if log < 100.0_f64.ln() {
        format!("{:.1}", log.exp())
    } else if log < 1e9_f64.ln() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 100 and 10^9"
        )]
        let whole = log.exp().round() as u64;
        count(whole)
    } else {
        format!("10^{:.0}", (log / std::f64::consts::LN_10).floor())
    }
}

/// `50 s`, `12 min`, `3 h`: one unit.
pub(super) fn duration(time: TimeDelta) -> String {
    let seconds = time.num_seconds();
    match seconds {
        _ if seconds < 120 => format!("{seconds} s"),
        _ if seconds < 2 * 3600 => format!("{} min", time.num_minutes()),
        _ if seconds < 48 * 3600 => format!("{} h", time.num_hours()),
        _ => format!("{} days", time.num_days()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [(7, "7"), (1830, "1,830"), (36_410, "36,410"), (123_456, "123,456")]
        {
            assert_eq!(count(number), text);
        }
        for (rate, text) in [
            (0.0, "0 %"),
            (0.331, "33 %"),
            (0.0123, "1.2 %"),
            (0.05, "5 %"),
            (0.00383, "0.38 %"),
            (1e-5, "0.001 %"),
        ] {
            assert_eq!(percent(rate), text);
        }
        assert_eq!(power(0.3_f64.ln()), "0.3");
        assert_eq!(power(1333.4_f64.ln()), "1,333");
        assert_eq!(power(2000.0), "10^868");
        assert_eq!(power(f64::NEG_INFINITY), "0.0");
    }

    #[test]
    fn a_bar_is_never_out_of_its_frame() {
        let bar = |log_e| Evidence { log_e, limit: 3.0 }.progress();
        for (log_e, percent) in [(-5.0, "0"), (1.5, "50"), (9.0, "100"), (f64::NEG_INFINITY, "0")] {
            assert_eq!(format!("{:.0}", bar(log_e) * 100.0), percent);
        }
    }
}
