//! Is the canary proven to be no worse than the margin?

use super::{Block, Mixture};

/// What share of the margin's rate the canary may really have; .001 is "no errors at all".
const SHARES: [f64; 12] = [0.001, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];

/// Against "canary >= relative * stable + absolute": refuting it proves non-inferiority.
///
/// A window multiplies by `a^X_c * b^X_s * exp(absolute * n_c * (1 - a))` with
/// `b = 1 + n_c relative (1 - a) / n_s`, averaged over shares `a` below 1. The expectation is at
/// most 1 on and above the margin by the same bound as for [`super::RateRatio`]. Without any error
/// the evidence is about `exp(absolute * n_c)`: the rule of three.
///
/// Each window's logarithm is divided by `dispersion`, at least 1, known before the window: valid
/// for a fixed one by Jensen's inequality, and about right for errors that come in clusters of that
/// size.
#[derive(Clone, Debug)]
pub struct NonInferiority {
    relative: f64,
    absolute: f64,
    products: Mixture<12>,
}

impl NonInferiority {
    /// `relative` is positive, `absolute` is not negative.
    pub const fn new(relative: f64, absolute: f64) -> Self {
        Self { relative, absolute, products: Mixture::plain() }
    }

    /// One more window.
    pub fn fold(&mut self, block: &Block, dispersion: f64) {
        if !block.compares() {
            return;
        }
        let dispersion = dispersion.max(1.0);
        let load = block.canary_total * self.relative / block.stable_total;
        let allowed = self.absolute * block.canary_total;
        self.products.fold(&SHARES.map(|a| {
            let b = load * (1.0 - a);
            let log =
                block.canary_bad * a.ln() + block.stable_bad * b.ln_1p() + allowed * (1.0 - a);
            log / dispersion
        }));
    }

    /// The natural logarithm of the evidence so far.
    pub fn log_e(&self) -> f64 {
        self.products.log_e()
    }
}

/// One window's factor for one share, for the reference value.
#[cfg(test)]
pub(super) fn single_factor(block: &Block, relative: f64, absolute: f64, a: f64) -> f64 {
    let b = 1.0 + block.canary_total * relative * (1.0 - a) / block.stable_total;
    block.canary_bad * a.ln()
        + block.stable_bad * b.ln()
        + absolute * block.canary_total * (1.0 - a)
}
