//! The exact likelihood ratio of Bernoulli requests, for any margin on a line.

use super::{Block, log_mean};

/// How far, in log-odds, the alternatives of a Fail are above the margin.
const ABOVE: [f64; 10] = [0.2, 0.4, 0.7, 1.0, 1.4, 1.9, 2.5, 3.2, 4.0, 5.0];
/// How far, in log-odds, the alternatives of a Pass are off the margin.
const BELOW: [f64; 8] = [-0.2, -0.4, -0.7, -1.0, -1.5, -2.0, -3.0, -5.0];
/// Halvings of the projection.
const HALVINGS: u32 = 40;

/// Which side of the margin is to be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The canary is worse than the margin.
    Worse,
    /// The canary is better than the margin.
    Better,
}

/// Against "canary <= relative * stable + absolute", or the other side of it.
///
/// A window's factor is the likelihood of an alternative `(c, s)` over that of the point of the
/// margin's line closest to it in information. Its logarithm is concave along the line and has its
/// maximum 0 there, so the expectation is at most 1 on the line and below it. `s` is stable's rate
/// so far, known before the window; with counts of the last hour it stands in for stable where
/// stable has no traffic. Generalises Turner, Ly and Grünwald, "Generic E-variables for exact
/// sequential k-sample tests", 2024, to a margin.
#[derive(Clone, Debug)]
pub struct LikelihoodRatio {
    relative: f64,
    absolute: f64,
    offsets: &'static [f64],
    logs: Vec<f64>,
    stable_bad: f64,
    stable_total: f64,
}

impl LikelihoodRatio {
    /// `rate` and `requests` are what is known of stable before: a guess counts few requests.
    pub fn new(side: Side, relative: f64, absolute: f64, rate: f64, requests: f64) -> Self {
        let offsets: &'static [f64] = match side {
            Side::Worse => &ABOVE,
            Side::Better => &BELOW,
        };
        Self {
            relative,
            absolute,
            offsets,
            logs: vec![0.0; offsets.len()],
            stable_bad: rate * requests,
            stable_total: requests,
        }
    }

    /// One more window.
    pub fn fold(&mut self, block: &Block, dispersion: f64) {
        let highest = (0.98 / self.relative - self.absolute).max(1e-7);
        let stable = (self.stable_bad / self.stable_total).clamp(1e-7, highest);
        if block.compares() && stable.is_finite() {
            let margin = self.relative * stable + self.absolute;
            let odds = (margin / (1.0 - margin)).ln();
            for (log, offset) in self.logs.iter_mut().zip(self.offsets) {
                let canary = 1.0 / (1.0 + (-(odds + offset)).exp());
                let closest = project(canary, stable, block, self.relative, self.absolute);
                let line = self.relative * closest + self.absolute;
                let (bad, good) = (block.canary_bad, block.canary_total - block.canary_bad);
                let ours = bad * (canary / line).ln() + good * ((1.0 - canary) / (1.0 - line)).ln();
                let (bad, good) = (block.stable_bad, block.stable_total - block.stable_bad);
                let theirs =
                    bad * (stable / closest).ln() + good * ((1.0 - stable) / (1.0 - closest)).ln();
                *log += (ours + theirs) / dispersion.max(1.0);
            }
        }
        self.stable_bad += block.stable_bad;
        self.stable_total += block.stable_total;
    }

    /// The natural logarithm of the evidence so far.
    pub fn log_e(&self) -> f64 {
        log_mean(&self.logs)
    }
}

/// Stable's rate at the point of the line `canary = relative * stable + absolute` where the
/// expected log-likelihood under the alternative `(canary, stable)` is highest, by bisection of its
/// derivative `n_c rho (c - q)/(q(1-q)) + n_s (s - m)/(m(1-m))`.
pub(super) fn project(
    canary: f64,
    stable: f64,
    block: &Block,
    relative: f64,
    absolute: f64,
) -> f64 {
    const TINY: f64 = 1e-12;
    let on_line = (canary - absolute) / relative;
    #[expect(clippy::manual_clamp, reason = "`clamp` keeps what is not a number, these do not")]
    let highest = ((1.0 - TINY - absolute) / relative).min(1.0 - TINY).max(TINY);
    let mut low = stable.min(on_line).clamp(TINY, highest);
    let mut high = stable.max(on_line).clamp(TINY, highest);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        let line = relative * middle + absolute;
        let slope = block.canary_total * relative * (canary - line) / (line * (1.0 - line))
            + block.stable_total * (stable - middle) / (middle * (1.0 - middle));
        if slope > 0.0 { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}
