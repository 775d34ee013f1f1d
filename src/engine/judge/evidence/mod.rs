//! Evidence that may be looked at as often as one likes.
//!
//! Each process here is an e-process: a number that starts at 1 and, when its null hypothesis is
//! true, is at most 1 in expectation at every stopping time. By Ville's inequality it then exceeds
//! `1/alpha` ever with probability at most `alpha`; looking every second costs nothing, and
//! evidence carries over from step to step while weights change. All are kept as natural
//! logarithms: 300 errors of 300 requests are more than an `f64` holds.
//!
//! | process | refutes | used for |
//! |---|---|---|
//! | [`BlockShare`] | canary <= relative * stable | Fail; one burst is one vote |
//! | [`NonInferiority`] | canary >= relative * stable + absolute | Pass |
//! | [`Limit`] | rate <= limit | the guard lane |
//! | [`RateRatio`] | canary <= relative * stable + absolute | reports; assumes single errors |
//! | [`LikelihoodRatio`] | either side of a margin | rates above 2 %; control from history |
//! | [`ratio_interval`] | all ratios outside of it | what people are shown |

mod block;
mod closed;
mod dispersion;
mod fail;
mod growth;
mod interval;
mod limit;
mod pass;
mod spread;

use crate::judge::Counts;

pub use block::{LikelihoodRatio, Side};
pub use closed::{beta_mixture, gamma_mixture};
pub use dispersion::Dispersion;
pub use fail::{BlockShare, RateRatio};
pub use growth::{FAIL_COST, PASS_COST, fail_growth, pass_growth, requests_needed};
pub use interval::{Interval, difference_interval, ratio_interval};
pub use limit::{Limit, PoissonLimit};
pub use pass::NonInferiority;
pub use spread::Spread;

/// One window of both arms, as numbers to calculate with: never more bad requests than requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// Requests to the canary.
    pub canary_total: f64,
    /// Bad ones of them.
    pub canary_bad: f64,
    /// Requests to stable.
    pub stable_total: f64,
    /// Bad ones of them.
    pub stable_bad: f64,
}

impl Block {
    /// More bad requests than requests happen when two counters are read at different instants:
    /// the surplus is cut off.
    pub fn new(canary: Counts, stable: Counts) -> Self {
        Self {
            canary_total: canary.total as f64,
            canary_bad: canary.bad.min(canary.total) as f64,
            stable_total: stable.total as f64,
            stable_bad: stable.bad.min(stable.total) as f64,
        }
    }

    /// Both arms had requests: without, the window says nothing about their difference.
    fn compares(&self) -> bool {
        self.canary_total > 0.0 && self.stable_total > 0.0
    }
}

/// The weight of harm that does not begin with the first window.
const LATER: f64 = 0.2;

/// An average of products, in logarithms: one product per point of a grid of alternatives.
///
/// With restarts it is also an average over the window in which the harm began: the process that
/// starts with the first window has weight .8, for most bad releases are bad from the beginning,
/// and the one that starts with the k-th `.2/(k(k-1))`. An average of e-processes is one. Harm that
/// begins after a healthy hour is so seen as fast as at once, for `ln(5k(k-1))` more evidence.
#[derive(Clone, Debug, PartialEq)]
struct Mixture<const N: usize> {
    logs: [f64; N],
    /// Windows so far; `None`: no restarts.
    starts: Option<u64>,
}

impl<const N: usize> Mixture<N> {
    const fn plain() -> Self {
        Self { logs: [0.0; N], starts: None }
    }

    const fn restarting() -> Self {
        Self { logs: [f64::NEG_INFINITY; N], starts: Some(0) }
    }

    /// Multiplies every product by its next factor, given as a logarithm.
    fn fold(&mut self, factors: &[f64; N]) {
        let begin = self.starts.map(|starts| {
            self.starts = Some(starts.saturating_add(1));
            let before = starts as f64;
            if starts == 0 { (1.0 - LATER).ln() } else { (LATER / before / (before + 1.0)).ln() }
        });
        for (log, factor) in self.logs.iter_mut().zip(factors) {
            let before = begin.map_or(*log, |begin| log_add(*log, begin));
            *log = before + factor;
        }
    }

    fn log_e(&self) -> f64 {
        self.with_unbegun(&self.logs)
    }

    /// With something taken out of every product, given as a logarithm.
    fn without(&self, taken: &[f64; N]) -> f64 {
        let mut logs = self.logs;
        for (log, taken) in logs.iter_mut().zip(taken) {
            *log -= taken;
        }
        self.with_unbegun(&logs)
    }

    fn with_unbegun(&self, logs: &[f64; N]) -> f64 {
        let begun = log_mean(logs);
        match self.starts {
            None => begun,
            // The processes that have not begun yet are still at 1.
            Some(0) => 0.0,
            Some(k) => log_add(begun, (LATER / k as f64).ln()),
        }
    }
}

/// `ln(e^x + e^y)`.
pub(crate) fn log_add(x: f64, y: f64) -> f64 {
    let (low, high) = if x < y { (x, y) } else { (y, x) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// The logarithm of the mean of `e^x`.
fn log_mean(logs: &[f64]) -> f64 {
    let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high == f64::NEG_INFINITY {
        return high;
    }
    let sum: f64 = logs.iter().map(|log| (log - high).exp()).sum();
    high + (sum / logs.len() as f64).ln()
}

/// `N` points from `low` to `high`, equally far apart in logarithms.
fn log_grid<const N: usize>(low: f64, high: f64) -> [f64; N] {
    let (first, last) = (low.ln(), high.ln());
    let step = (last - first) / (N.max(2) - 1) as f64;
    std::array::from_fn(|point| step.mul_add(point as f64, first).exp())
}

#[cfg(test)]
mod tests;
