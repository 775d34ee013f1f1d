//! How long a Pass takes, at any share of the traffic.

use chrono::TimeDelta;
use serde::Serialize;

use super::Margin;
use super::evidence::pass_growth;

/// What a Pass takes if the canary is as good as stable, whatever its share of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outlook {
    /// Evidence that is short, in nats, dispersion included.
    pub(super) short: f64,
    /// Bad requests per request, of both arms.
    pub(super) bad: f64,
    /// What must be proven.
    pub(super) margin: Margin,
    /// Requests per second, to both arms.
    pub(super) requests: f64,
}

impl Outlook {
    /// The time it takes with this share of the traffic, 0 to 1. `None`: it cannot be told.
    pub fn at(&self, share: f64) -> Option<TimeDelta> {
        let load = (1.0 - share) / share;
        let (relative, absolute) = (self.margin.relative(), self.margin.absolute());
        let growth = pass_growth(self.bad, self.bad, load, relative, absolute);
        time(self.short / growth / (self.requests * share))
    }
}

/// `None`: longer than a year, which is no plan.
pub(super) fn time(seconds: f64) -> Option<TimeDelta> {
    const YEAR: f64 = 365.0 * 86_400.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be below a year")]
    (0.0..YEAR).contains(&seconds).then(|| TimeDelta::milliseconds((seconds * 1000.0) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook() -> Outlook {
        let margin = Margin::new(1.5, 0.005).unwrap();
        Outlook { short: 4.0, bad: 0.001, margin, requests: 3.0 }
    }

    #[test]
    fn more_traffic_takes_less_time() {
        // By simulation 78, 21 and 9 in the median.
        for (share, minutes) in [(0.05, 124), (0.2, 32), (0.5, 14)] {
            let found = outlook().at(share).unwrap().num_minutes();
            assert!((minutes - 1..=minutes).contains(&found), "{share}: {found}");
        }
    }

    #[test]
    fn what_never_comes_has_no_time() {
        assert_eq!(outlook().at(0.0), None);
        assert_eq!(Outlook { requests: 0.0, ..outlook() }.at(0.2), None);
        assert_eq!(outlook().at(f64::NAN), None);
    }
}
