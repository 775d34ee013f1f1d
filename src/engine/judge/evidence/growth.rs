//! How much traffic a verdict takes.

/// What averaging over the grid costs a Fail, in nats; fitted to simulations.
pub const FAIL_COST: f64 = 1.5;
/// What averaging over the grid costs a Pass, in nats; fitted to simulations.
pub const PASS_COST: f64 = 1.0;

/// Steps of the golden section: each leaves .618 of the interval, 40 leave 4e-9 of it. The maximum
/// is flat, its value is exact to twice as many digits.
const STEPS: u32 = 40;

/// Evidence for a Fail per canary request, in nats, when the rates are `canary` and `stable` and
/// stable has `load` requests for each of the canary's.
///
/// The maximum over `s` in (0, 1) of
/// `p_c ln(1 + s k/rho) + k p_s ln(1 - s) - absolute s k/rho`, with `k` the load. 0 where the rates
/// are within the margin.
pub fn fail_growth(canary: f64, stable: f64, load: f64, relative: f64, absolute: f64) -> f64 {
    let scale = load / relative;
    maximum(|s| canary * (s * scale).ln_1p() + load * stable * (-s).ln_1p() - absolute * s * scale)
}

/// Evidence for a Pass per canary request, in nats; arguments as for [`fail_growth`].
///
/// The maximum over `a` in (0, 1) of `p_c ln a + k p_s ln(1 + rho (1 - a)/k) + absolute (1 - a)`. 0
/// where the canary is not within the margin.
pub fn pass_growth(canary: f64, stable: f64, load: f64, relative: f64, absolute: f64) -> f64 {
    maximum(|a| {
        let spare = 1.0 - a;
        canary * a.ln() + load * stable * (relative * spare / load).ln_1p() + absolute * spare
    })
}

/// Canary requests until evidence that grows by `growth` nats per request reaches `1/bound`, in the
/// median within a factor of .6 to 1.5. `None`: never.
pub fn requests_needed(bound: f64, cost: f64, growth: f64, dispersion: f64) -> Option<f64> {
    let needed = dispersion * (cost - bound.ln()) / growth;
    (growth > 0.0 && needed.is_finite()).then_some(needed)
}

/// The maximum of a concave function over (0, 1) by golden section, at least 0; 0 for anything that
/// is not a number.
fn maximum(f: impl Fn(f64) -> f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let (mut low, mut high) = (1e-9, 1.0 - 1e-9);
    let (mut left, mut right) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
    let (mut at_left, mut at_right) = (f(left), f(right));
    for _ in 0..STEPS {
        if at_left > at_right {
            high = right;
            (right, at_right) = (left, at_left);
            left = high - GOLDEN * (high - low);
            at_left = f(left);
        } else {
            low = left;
            (left, at_left) = (right, at_right);
            right = low + GOLDEN * (high - low);
            at_right = f(right);
        }
    }
    // `max` of a number and a non-number is the number.
    at_left.max(at_right).max(0.0)
}
