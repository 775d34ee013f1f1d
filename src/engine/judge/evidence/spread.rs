//! How much pods of one version differ for good.

use crate::judge::Counts;

/// The standard deviation, over pods, of the logarithm of the rate, from an hour of stable's pods.
///
/// With `m` pods, `X_i` bad of `n_i`, and `mu_i` what is expected of each by its share of the
/// requests, `sum of (X_i - mu_i)^2` is `(m - 1)/m (phi sum of mu_i + tau^2 sum of mu_i^2)` on
/// average, where `phi` is the dispersion within windows. What chance alone could make of it, two
/// standard errors, is taken off: pods that are alike have a spread of 0, also where there are few
/// errors.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    pods: Vec<Counts>,
}

impl Spread {
    /// One more window, pod by pod, always in the same order. A window of another number of pods
    /// begins anew: nobody knows which pod is which.
    pub fn fold(&mut self, pods: &[Counts]) {
        if self.pods.len() != pods.len() {
            self.pods = vec![Counts::default(); pods.len()];
        }
        for (sum, pod) in self.pods.iter_mut().zip(pods) {
            *sum = sum.plus(*pod);
        }
    }

    /// The estimate, given the dispersion within windows. 0 where there are too few pods or errors
    /// to tell.
    pub fn estimate(&self, dispersion: f64) -> f64 {
        let count = self.pods.len() as f64;
        let all = self.pods.iter().fold(Counts::default(), |sum, pod| sum.plus(*pod));
        let Some(rate) = all.rate().filter(|rate| *rate > 0.0 && count >= 2.0) else {
            return 0.0;
        };
        let (mut squares, mut means, mut mean_squares) = (0.0, 0.0, 0.0);
        for pod in &self.pods {
            let mean = rate * pod.total as f64;
            let off = pod.bad.min(pod.total) as f64 - mean;
            squares += off * off;
            means += mean;
            mean_squares += mean * mean;
        }
        let by_chance = dispersion.max(1.0) * means;
        let error = 2.0 * by_chance * (2.0 / (count - 1.0)).sqrt();
        let spread = (squares * count / (count - 1.0) - by_chance - error) / mean_squares;
        if spread > 0.0 { spread.sqrt() } else { 0.0 }
    }
}
