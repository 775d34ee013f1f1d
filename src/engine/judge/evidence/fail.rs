//! Is the canary worse than the margin?

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Block, Mixture, log_grid};

/// Alternatives of [`RateRatio`]: the canary's rate is this many times what the margin allows.
/// From barely worse to total failure of a service that errs once in a hundred.
const RATIOS: (f64, f64) = (1.2, 100.0);

/// Fractions [`BlockShare`] bets: small ones win on many errors, large ones on clear cases.
pub(super) const FRACTIONS: [f64; 10] = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.98];

/// Against "canary <= relative * stable + absolute", for errors that come one by one.
///
/// For an alternative ratio `R = r * relative` a window multiplies by
/// `a^X_c * b^X_s * exp(-absolute * n_c * (a - 1))` with
/// `a = R (n_c rho + n_s) / (rho (n_c R + n_s))` and `b = (n_c rho + n_s) / (n_c R + n_s)`, so that
/// `n_c rho (a - 1) + n_s (b - 1) = 0`. Since `E[a^X] <= exp(n p (a - 1))` for Poisson and
/// Bernoulli errors, the expectation is at most 1 whatever stable's rate does. After Lindon and
/// Malek, "Anytime-valid inference for multinomial count data", 2022.
///
/// Errors that come in bursts break it: it is for reports, [`BlockShare`] is for verdicts.
#[derive(Clone, Debug)]
pub struct RateRatio {
    relative: f64,
    absolute: f64,
    ratios: [f64; 20],
    products: Mixture<20>,
}

impl RateRatio {
    /// `relative` is positive, `absolute` is not negative.
    pub fn new(relative: f64, absolute: f64) -> Self {
        let ratios = log_grid(RATIOS.0, RATIOS.1);
        Self { relative, absolute, ratios, products: Mixture::plain() }
    }

    /// One more window.
    pub fn fold(&mut self, block: &Block) {
        if block.compares() {
            let factors = self.ratios.map(|r| ratio_factor(block, self.relative, self.absolute, r));
            self.products.fold(&factors);
        }
    }

    /// The natural logarithm of the evidence so far.
    pub fn log_e(&self) -> f64 {
        self.products.log_e()
    }
}

/// The logarithm of one window's factor for the alternative that is `r` times the margin.
pub(super) fn ratio_factor(block: &Block, relative: f64, absolute: f64, r: f64) -> f64 {
    let (canary, stable) = (block.canary_total, block.stable_total);
    let ratio = r * relative;
    let under_null = canary * relative + stable;
    let under_alternative = canary * ratio + stable;
    let a = ratio * under_null / (relative * under_alternative);
    let b = under_null / under_alternative;
    block.canary_bad * a.ln() + block.stable_bad * b.ln() - absolute * canary * (a - 1.0)
}

/// Against "canary <= relative * stable", whatever the errors of one window have to do with one
/// another.
///
/// The canary's share of a window's errors, `S = X_c / (X_c + X_s)`, is at most
/// `pi = n_c rho / (n_c rho + n_s)` in expectation when errors come in clusters of the same kind in
/// both arms. A window multiplies by `1 - f + f S / pi`, averaged over fractions `f`. A burst that
/// stays within one window is one vote, however many requests it hits; windows without errors do
/// not count. One window wins at most `1/pi`: even a total outage takes a few, hence the guard
/// lane.
///
/// An incident that lasts is a vote in every window it lasts. [`BlockShare::outside`] is what is
/// left without the stretch of time that says most: leaving a stretch out leaves an e-process, and
/// the one with the least evidence is at most that one.
#[derive(Clone, Debug)]
pub struct BlockShare {
    relative: f64,
    products: Mixture<10>,
    stretch: Option<Stretch>,
}

/// The stretch of time that says most.
#[derive(Clone, Debug)]
struct Stretch {
    lasts: TimeDelta,
    /// The windows of the latest stretch: when each ended, and its factors.
    latest: VecDeque<(DateTime<Utc>, [f64; 10])>,
    /// The largest product of any stretch up to that long so far, at least 1, by fraction.
    most: [f64; 10],
}

impl Stretch {
    fn fold(&mut self, end: DateTime<Utc>, factors: [f64; 10]) {
        self.latest.push_back((end, factors));
        while self.latest.front().is_some_and(|(begin, _)| *begin <= end - self.lasts) {
            self.latest.pop_front();
        }
        // Also shorter ones: what was lost before the harm began must not hide it.
        let mut sums = [0.0; 10];
        for (_, factors) in self.latest.iter().rev() {
            for ((sum, factor), most) in sums.iter_mut().zip(factors).zip(&mut self.most) {
                *sum += factor;
                *most = most.max(*sum);
            }
        }
    }
}

impl BlockShare {
    /// From the first window on. `relative` is positive.
    pub const fn new(relative: f64) -> Self {
        Self { relative, products: Mixture::plain(), stretch: None }
    }

    /// The harm may begin with any window. `relative` is positive.
    pub const fn restarting(relative: f64) -> Self {
        Self { relative, products: Mixture::restarting(), stretch: None }
    }

    /// Keeps the stretch of time that says most apart, too.
    #[must_use = "the process itself does not change"]
    pub fn with_stretch(self, lasts: TimeDelta) -> Self {
        let stretch = Stretch { lasts, latest: VecDeque::new(), most: [0.0; 10] };
        Self { stretch: Some(stretch), ..self }
    }

    /// One more window, and when it ended.
    pub fn fold(&mut self, block: &Block, end: DateTime<Utc>) {
        if !block.compares() || block.canary_bad + block.stable_bad <= 0.0 {
            return;
        }
        let expected = block.canary_total * self.relative;
        let expected = expected / (expected + block.stable_total);
        let share = block.canary_bad / (block.canary_bad + block.stable_bad);
        let payoff = share / expected - 1.0;
        let factors = FRACTIONS.map(|fraction| (fraction * payoff).ln_1p());
        self.products.fold(&factors);
        if let Some(stretch) = &mut self.stretch {
            stretch.fold(end, factors);
        }
    }

    /// The natural logarithm of the evidence so far.
    pub fn log_e(&self) -> f64 {
        self.products.log_e()
    }

    /// The same without the stretch of time that says most. `None`: none is kept apart.
    pub fn outside(&self) -> Option<f64> {
        self.stretch.as_ref().map(|stretch| self.products.without(&stretch.most))
    }
}

/// The bets with an absolute margin, `S = X_c / (X_c + X_s + n_s absolute / relative)`: valid only
/// when windows without errors are played too. Not for use, for the test of exactly that.
#[cfg(test)]
pub(super) fn share_factors_with_absolute(
    block: &Block,
    relative: f64,
    absolute: f64,
    play_empty: bool,
) -> [f64; 10] {
    if !play_empty && block.canary_bad + block.stable_bad <= 0.0 {
        return [0.0; 10];
    }
    let expected = block.canary_total * relative;
    let expected = expected / (expected + block.stable_total);
    let all = block.canary_bad + block.stable_bad + block.stable_total * absolute / relative;
    let payoff = block.canary_bad / all / expected - 1.0;
    FRACTIONS.map(|fraction| (fraction * payoff).ln_1p())
}
