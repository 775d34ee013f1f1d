//! How much more errors vary than single, independent ones would.

use crate::judge::Counts;

/// Degrees of freedom with which the estimate is drawn to 1: a window or two of 20 pods.
const PRIOR: f64 = 20.0;

/// Quasi-Poisson dispersion between stable's pods within one window: shocks that hit all pods alike
/// cancel, bursts on single pods do not.
///
/// `max(1, (20 + sum of (X_i - K n_i/N)^2 / (K n_i/N)) / (20 + degrees of freedom))` where `K` and
/// `N` are a window's sums over its pods.
#[derive(Clone, Debug, Default)]
pub struct Dispersion {
    squares: f64,
    freedom: f64,
    /// Kept to compare with the next window when there are no pods to compare.
    unpaired: Option<Counts>,
}

impl Dispersion {
    /// One more window, pod by pod. Windows of fewer than two pods with requests say nothing.
    pub fn fold(&mut self, pods: &[Counts]) {
        let busy = || pods.iter().filter(|pod| pod.total > 0);
        let (count, total, bad) = busy().fold((0.0, 0.0, 0.0), |(count, total, bad), pod| {
            (count + 1.0, total + pod.total as f64, bad + pod.bad.min(pod.total) as f64)
        });
        if count < 2.0 || bad <= 0.0 {
            return;
        }
        for pod in busy() {
            let expected = bad * pod.total as f64 / total;
            let off = pod.bad.min(pod.total) as f64 - expected;
            self.squares += off * off / expected;
        }
        self.freedom += count - 1.0;
    }

    /// One more window of which only the sum is known. Two neighbours in time are compared as two
    /// pods are; trends and shared shocks count too, so that the estimate is too large rather than
    /// too small.
    pub fn fold_sum(&mut self, stable: Counts) {
        match self.unpaired.take() {
            Some(before) => self.fold(&[before, stable]),
            None => self.unpaired = Some(stable),
        }
    }

    /// The estimate, at least 1.
    pub fn estimate(&self) -> f64 {
        ((self.squares + PRIOR) / (self.freedom + PRIOR)).max(1.0)
    }

    /// Whether anything was compared yet.
    pub fn is_known(&self) -> bool {
        self.freedom > 0.0
    }
}
