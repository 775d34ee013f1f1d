//! Between what the ratio, or the difference, of both rates is, at every look at once.

use serde::Serialize;

use super::fail::FRACTIONS;
use super::{Block, NonInferiority, PoissonLimit, Side, log_mean};
use crate::judge::Counts;

/// Ratios that are looked at. Below the first it is as good as 0, above the last without bound.
const RATIOS: (f64, f64) = (1e-4, 1e6);
/// Rates that are looked at.
const RATES: (f64, f64) = (1e-9, 1.0);
/// Halvings of their logarithms: 23 / 2^20 is exact to four digits.
const HALVINGS: u32 = 20;
/// Factors that are multiplied before the logarithm is taken, which is what takes time. Each is
/// between .02 and 1e24: eight of them are a number.
const AT_ONCE: usize = 8;

/// What holds the truth at every look at once, but with the probability that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// It is no less than this.
    pub low: f64,
    /// It is no more than this. `None`: nothing is known against any number.
    pub high: Option<f64>,
}

/// One window with errors: one vote, whatever the errors in it have to do with one another.
struct Vote {
    canary_total: f64,
    stable_total: f64,
    /// The canary's part of the errors.
    share: f64,
}

impl Vote {
    fn of(block: &Block) -> Option<Self> {
        let errors = block.canary_bad + block.stable_bad;
        (block.compares() && errors > 0.0).then(|| Self {
            canary_total: block.canary_total,
            stable_total: block.stable_total,
            share: block.canary_bad / errors,
        })
    }

    /// What a bet wins on the ratio being on that side of `ratio`.
    fn payoff(&self, ratio: f64, side: Side) -> f64 {
        let expected = self.canary_total * ratio;
        let expected = expected / (expected + self.stable_total);
        match side {
            Side::Worse => self.share / expected - 1.0,
            Side::Better => (1.0 - self.share) / (1.0 - expected) - 1.0,
        }
    }
}

/// How many times stable's rate the canary's is. It is wrong ever with probability `bound` at most.
///
/// All ratios that neither of two processes refutes, at half the bound each:
/// [`BlockShare`](super::BlockShare) against "canary <= ratio * stable", and the same with the arms
/// exchanged against "canary >= ratio * stable". The evidence of both is monotone in the ratio, so
/// that the ends are found by halving. Errors may come in bursts as long as a window holds each.
/// The ratio of all requests is always within: where bursts, or a ratio that changes, have it
/// elsewhere than most windows, the interval reaches as far as that.
pub fn ratio_interval(blocks: &[Block], bound: f64) -> Interval {
    let votes: Vec<_> = blocks.iter().filter_map(Vote::of).collect();
    let limit = (2.0 / bound).ln();
    let refutes = |ratio: f64, side| evidence(&votes, ratio, side) >= limit;
    let (least, most) = RATIOS;
    let low = if refutes(least, Side::Worse) {
        edge(least, most, |ratio| refutes(ratio, Side::Worse))
    } else {
        0.0
    };
    let high = refutes(most, Side::Better)
        .then(|| edge(most, least, |ratio| refutes(ratio, Side::Better)));
    match seen(blocks) {
        Some(seen) => Interval { low: low.min(seen), high: high.map(|high| high.max(seen)) },
        None => Interval { low, high },
    }
}

/// How much the canary's rate is above that of a stable without errors; wrong as
/// [`ratio_interval`] is. Errors are taken one by one, but for `dispersion`.
///
/// A third of the bound is for each of: the canary's rate is not lower, is not higher, and stable's
/// is not higher than said. `None`: an arm had no requests.
pub fn difference_interval(
    canary: Counts,
    stable: Counts,
    dispersion: f64,
    bound: f64,
) -> Option<Interval> {
    if canary.total == 0 || stable.total == 0 {
        return None;
    }
    let limit = (3.0 / bound).ln();
    let most = |arm| rate_at_most(arm, dispersion, limit);
    let low = rate_at_least(canary, dispersion, limit) - most(stable);
    Some(Interval { low, high: Some(most(canary)) })
}

/// The evidence of [`BlockShare`](super::BlockShare) from its first window on, for one ratio.
fn evidence(votes: &[Vote], ratio: f64, side: Side) -> f64 {
    let mut logs = [0.0; 10];
    for some in votes.chunks(AT_ONCE) {
        let mut products = [1.0; 10];
        for vote in some {
            let payoff = vote.payoff(ratio, side);
            for (product, fraction) in products.iter_mut().zip(FRACTIONS) {
                *product *= 1.0 + fraction * payoff;
            }
        }
        for (log, product) in logs.iter_mut().zip(products) {
            *log += product.ln();
        }
    }
    log_mean(&logs)
}

/// The number closest to `inside` that is still refuted, as `refuted` is.
fn edge(refuted: f64, inside: f64, is_refuted: impl Fn(f64) -> bool) -> f64 {
    let (mut refuted, mut inside) = (refuted.ln(), inside.ln());
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(refuted, inside);
        if is_refuted(middle.exp()) { refuted = middle } else { inside = middle }
    }
    refuted.exp()
}

/// The ratio of all requests. `None`: one of the arms had none, or stable had no errors.
fn seen(blocks: &[Block]) -> Option<f64> {
    let sum = |of: fn(&Block) -> f64| -> f64 {
        blocks.iter().filter(|block| block.compares()).map(of).sum()
    };
    let canary = sum(|block| block.canary_bad) / sum(|block| block.canary_total);
    let ratio = canary / (sum(|block| block.stable_bad) / sum(|block| block.stable_total));
    ratio.is_finite().then_some(ratio)
}

/// No rate below this is possible.
fn rate_at_least(arm: Counts, dispersion: f64, limit: f64) -> f64 {
    let is_refuted = |rate: f64| {
        let mut evidence = PoissonLimit::new(rate);
        let (bad, total) = tempered(arm, dispersion);
        evidence.fold(bad, total);
        evidence.log_e() >= limit
    };
    let (least, most) = RATES;
    if is_refuted(least) { edge(least, most, is_refuted) } else { 0.0 }
}

/// No rate above this is possible.
fn rate_at_most(arm: Counts, dispersion: f64, limit: f64) -> f64 {
    let is_refuted = |rate: f64| {
        let mut evidence = NonInferiority::new(1.0, rate);
        let (canary_bad, canary_total) = tempered(arm, dispersion);
        // Beside an arm that never errs only the rate on top counts.
        let block = Block { canary_total, canary_bad, stable_total: 1.0, stable_bad: 0.0 };
        evidence.fold(&block, 1.0);
        evidence.log_e() >= limit
    };
    let (least, most) = RATES;
    if is_refuted(most) { edge(most, least, is_refuted) } else { most }
}

/// Errors that come several at once say as much as fewer: both logarithms are linear in these.
fn tempered(arm: Counts, dispersion: f64) -> (f64, f64) {
    let dispersion = dispersion.max(1.0);
    (arm.bad.min(arm.total) as f64 / dispersion, arm.total as f64 / dispersion)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUND: f64 = 0.05;

    fn block(canary: (u64, u64), stable: (u64, u64)) -> Block {
        let counts = |(total, bad)| Counts { total, bad };
        Block::new(counts(canary), counts(stable))
    }

    fn blocks() -> impl Strategy<Value = Vec<Block>> {
        let arm = || (0_u64..400, prop_oneof![4 => 0_u64..3, 1 => 0_u64..60]);
        prop::collection::vec(
            (arm(), arm()).prop_map(|(canary, stable)| block(canary, stable)),
            0..40,
        )
    }

    fn high(interval: Interval) -> f64 {
        interval.high.unwrap_or(f64::INFINITY)
    }

    proptest! {
        #[test]
        fn the_ratio_that_was_seen_is_always_within(blocks in blocks()) {
            let interval = ratio_interval(&blocks, BOUND);
            prop_assert!(interval.low >= 0.0 && interval.low <= high(interval));
            if let Some(seen) = seen(&blocks) {
                prop_assert!(interval.low <= seen && seen <= high(interval), "{interval:?} {seen}");
            }
        }

        #[test]
        fn one_more_error_of_the_canary_moves_no_end_down(
            blocks in blocks(),
            at in any::<prop::sample::Index>(),
        ) {
            prop_assume!(!blocks.is_empty());
            let mut worse = blocks.clone();
            let at = &mut worse[at.index(blocks.len())];
            at.canary_bad = (at.canary_bad + 1.0).min(at.canary_total);
            let (before, after) = (ratio_interval(&blocks, BOUND), ratio_interval(&worse, BOUND));
            prop_assert!(after.low >= before.low * (1.0 - 1e-9), "{before:?} {after:?}");
            prop_assert!(high(after) >= high(before) * (1.0 - 1e-9), "{before:?} {after:?}");
        }

        #[test]
        fn who_asks_for_less_certainty_gets_a_narrower_one(blocks in blocks()) {
            let (sure, less) = (ratio_interval(&blocks, 0.01), ratio_interval(&blocks, 0.2));
            prop_assert!(sure.low <= less.low && high(less) <= high(sure), "{sure:?} {less:?}");
        }

        #[test]
        fn the_difference_that_was_seen_is_always_within(
            total in 1_u64..100_000, bad in 0_u64..200, stable in 1_u64..1_000_000,
            dispersion in 1.0..5.0,
        ) {
            let canary = Counts { total, bad };
            let stable = Counts { total: stable, bad: 0 };
            let interval = difference_interval(canary, stable, dispersion, BOUND).unwrap();
            let seen = canary.rate().unwrap();
            prop_assert!(interval.low <= seen && seen <= high(interval), "{interval:?} {seen}");
        }
    }

    #[test]
    fn it_narrows_as_data_comes() {
        let widths: Vec<_> = [5_usize, 20, 80, 320]
            .map(|windows| {
                let interval = ratio_interval(&vec![block((100, 4), (900, 18)); windows], BOUND);
                high(interval) / interval.low.max(1e-9)
            })
            .into();
        assert!(widths.windows(2).all(|pair| pair[1] < pair[0]), "{widths:?}");
        assert!(widths[3] < 1.3, "{widths:?}");
        let widths: Vec<_> = [100_u64, 1000, 10_000]
            .map(|total| {
                let canary = Counts { total, bad: total / 100 };
                let stable = Counts { total: 10 * total, bad: 0 };
                let interval = difference_interval(canary, stable, 1.0, BOUND).unwrap();
                high(interval) - interval.low
            })
            .into();
        assert!(widths.windows(2).all(|pair| pair[1] < pair[0]), "{widths:?}");
    }

    #[test]
    fn nothing_is_known_from_nothing() {
        let unknown = Interval { low: 0.0, high: None };
        assert_eq!(ratio_interval(&[], BOUND), unknown);
        assert_eq!(ratio_interval(&[block((100, 0), (900, 0)); 50], BOUND), unknown);
        assert_eq!(difference_interval(Counts::default(), Counts::default(), 1.0, BOUND), None);
    }

    #[test]
    fn an_arm_without_errors_bounds_one_side() {
        let none = ratio_interval(&[block((100, 0), (900, 2)); 50], BOUND);
        assert!(none.low <= 0.0 && high(none) < 1.5, "{none:?}");
        let only = ratio_interval(&[block((100, 2), (900, 0)); 50], BOUND);
        assert!(only.low > 5.0 && only.high.is_none(), "{only:?}");
        let counts = |total, bad| Counts { total, bad };
        let apart = difference_interval(counts(5000, 100), counts(45_000, 0), 1.0, BOUND).unwrap();
        assert!(apart.low > 0.01 && high(apart) < 0.04, "{apart:?}");
        let alike = difference_interval(counts(5000, 0), counts(45_000, 0), 1.0, BOUND).unwrap();
        assert!(alike.low < 0.0 && alike.low > -0.001 && high(alike) < 0.002, "{alike:?}");
    }

    #[test]
    fn a_burst_in_one_window_says_little() {
        let calm = vec![block((100, 1), (900, 9)); 40];
        let mut burst = calm.clone();
        burst[7].canary_bad = 90.0;
        let (calm, burst) = (ratio_interval(&calm, BOUND), ratio_interval(&burst, BOUND));
        assert!(burst.low < calm.low * 1.3, "{calm:?} {burst:?}");
    }
}
