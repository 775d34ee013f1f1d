//! Mixtures with a closed form: no grid, but the null must not change from window to window.

use statrs::function::beta::{checked_beta_reg, ln_beta};
use statrs::function::gamma::{checked_gamma_ur, ln_gamma};

/// The logarithm of the evidence that the canary's share of all errors is above `share`, from
/// totals.
///
/// The share under the alternative is Beta(`a`, `b`) cut off below `share`. With `share` a limit
/// and `canary` and `stable` the bad and the good requests of one arm, it is the evidence against
/// "rate <= limit". `None` for arguments out of range, and where an incomplete beta function is too
/// small for an `f64`.
pub fn beta_mixture(canary: u64, stable: u64, share: f64, a: f64, b: f64) -> Option<f64> {
    if !(share > 0.0 && share < 1.0 && a > 0.0 && b > 0.0) {
        return None;
    }
    let (x, y) = (canary as f64, stable as f64);
    // 1 - I_s(a, b) = I_{1-s}(b, a), without the loss of digits.
    let upper = |a: f64, b: f64| Some(checked_beta_reg(b, a, 1.0 - share).ok()?.ln());
    let log = ln_beta(a + x, b + y) + upper(a + x, b + y)?
        - ln_beta(a, b)
        - upper(a, b)?
        - x * share.ln()
        - y * (-share).ln_1p();
    log.is_finite().then_some(log)
}

/// The logarithm of the evidence that a rate is above `limit`, from `events` in `exposure`.
///
/// The rate under the alternative is Gamma(`shape`, `rate`) cut off below `limit`. `None` for
/// arguments out of range, and where an incomplete gamma function is too small for an `f64`.
pub fn gamma_mixture(events: u64, exposure: f64, limit: f64, shape: f64, rate: f64) -> Option<f64> {
    if !(exposure >= 0.0 && limit > 0.0 && shape > 0.0 && rate > 0.0) {
        return None;
    }
    let x = events as f64;
    let upper = |shape: f64, at: f64| Some(checked_gamma_ur(shape, at).ok()?.ln());
    let log = shape * rate.ln() - ln_gamma(shape) + ln_gamma(shape + x)
        - (shape + x) * (rate + exposure).ln()
        + upper(shape + x, (rate + exposure) * limit)?
        - upper(shape, rate * limit)?
        - x * limit.ln()
        + exposure * limit;
    log.is_finite().then_some(log)
}
