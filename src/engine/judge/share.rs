//! Whether the canary gets the share of the requests that its weight asks for. It is told to people;
//! verdicts rest on the requests there were, whatever their share.

use chrono::{DateTime, Utc};

use super::evidence::beta_mixture;
use super::{CountSeries, Counts};
use crate::defaults;

/// The share of the traffic that is asked for, and since when the gateway has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighed {
    /// 0 to 1.
    pub share: f64,
    /// When it was read back.
    pub since: DateTime<Utc>,
}

impl Weighed {
    /// The share that the canary got, where it is off by more than half and not by chance.
    pub(super) fn off(self, series: &CountSeries, since: DateTime<Utc>) -> Option<f64> {
        let (mut canary, mut stable, mut last) = (0_u64, 0_u64, since);
        for window in &series.windows {
            let begin = last;
            last = last.max(window.end);
            if begin >= self.since && window.end > begin {
                let total = |counts: Option<Counts>| counts.map_or(0, |counts| counts.total);
                canary = canary.saturating_add(total(window.canary));
                stable = stable.saturating_add(total(window.stable));
            }
        }
        let limit = -(defaults::SHARE_BOUND / 2.0).ln();
        // The share first: of many requests that are split well the tail is too small a number.
        let is_above = |one: u64, other: u64, share: f64| {
            one as f64 > share * (one as f64 + other as f64)
                && beta_mixture(one, other, share, 1.0, 1.0).is_some_and(|found| found >= limit)
        };
        let too_much = is_above(canary, stable, self.share * defaults::SHARE_TIMES);
        let too_little = is_above(stable, canary, 1.0 - self.share / defaults::SHARE_TIMES);
        let all = canary as f64 + stable as f64;
        let is_split = self.share > 0.0 && self.share < 1.0;
        (is_split && (too_much || too_little)).then(|| canary as f64 / all)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{counts, seconds, start, steady};
    use super::*;

    fn off(share: f64, windows: i64, canary: u64, stable: u64) -> Option<f64> {
        let series = steady(windows, counts(canary, 0), counts(stable, 0));
        Weighed { share, since: start() }.off(&series, start())
    }

    #[test]
    fn what_is_about_the_share_is_not_off() {
        assert_eq!(off(0.1, 100, 10, 90), None);
        assert_eq!(off(0.1, 100, 14, 90), None);
        assert_eq!(off(0.1, 100, 8, 90), None);
        assert_eq!(off(0.1, 100, 1_000_000, 9_000_000), None);
        assert_eq!(off(0.1, 1, 3, 9), None, "by chance");
        assert_eq!(off(0.1, 100, 0, 0), None);
        assert_eq!(off(1.0, 100, 90, 10), None, "nothing is split");
        assert_eq!(off(0.0, 100, 10, 90), None);
    }

    #[test]
    fn far_too_much_and_far_too_little_are() {
        assert_eq!(off(0.1, 20, 25, 75), Some(0.25));
        assert_eq!(off(0.1, 20, 0, 100), Some(0.0));
        assert_eq!(off(0.5, 20, 20, 80), Some(0.2));
        assert_eq!(off(0.1, 100, 5_000_000, 5_000_000), Some(0.5));
    }

    #[test]
    fn windows_of_another_weight_do_not_count() {
        let series = steady(20, counts(50, 0), counts(50, 0));
        let weighed = Weighed { share: 0.1, since: start() + seconds(15 * 19 + 1) };
        assert_eq!(weighed.off(&series, start()), None);
    }
}
