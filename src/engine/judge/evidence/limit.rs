//! Is one arm's rate above an absolute limit?

use super::{Mixture, log_grid};
use crate::judge::Counts;

/// The smallest alternative: 1.2 times the limit.
const WORSE: f64 = 1.2;
/// The largest alternative rate: short of 1, so that one good request does not rule it out for
/// ever.
const WORST: f64 = 0.98;
/// A limit above this leaves no room for alternatives.
const HIGHEST: f64 = 0.8;

/// Against "rate <= limit", from single requests: the guard lane.
///
/// A sample multiplies by `(p/limit)^X * ((1-p)/(1-limit))^(n-X)`, averaged over rates `p` from 1.2
/// times the limit to .98: the likelihood ratio of Bernoulli requests, whose expectation is at most
/// 1 for every rate up to the limit, also when it changes. Harm may begin with any sample: a
/// release that breaks after an hour is seen after a handful of requests too.
///
/// Within a sample requests are taken one by one: retries of one client that all fail count as
/// many. So there is [`Limit::without_worst`] too: the evidence that is left without the one sample
/// that says most. Leaving a sample out leaves an e-process, and the one with the least evidence is
/// at most that one.
///
/// Each sample's logarithm is divided by `dispersion`, at least 1: see
/// [`NonInferiority`](super::NonInferiority).
#[derive(Clone, Debug)]
pub struct Limit {
    bad: [f64; 20],
    good: [f64; 20],
    products: Mixture<20>,
    /// The largest factor of a sample so far, at least 1, by point.
    worst: [f64; 20],
}

impl Limit {
    /// `limit` is a rate above 0; above .8 it is taken as .8.
    pub fn new(limit: f64) -> Self {
        let limit = limit.clamp(1e-9, HIGHEST);
        let rates: [f64; 20] = log_grid(WORSE * limit, WORST);
        Self {
            bad: rates.map(|rate| (rate / limit).ln()),
            good: rates.map(|rate| ((1.0 - rate) / (1.0 - limit)).ln()),
            products: Mixture::restarting(),
            worst: [0.0; 20],
        }
    }

    /// One more sample: what came since the one before. Without requests it says nothing.
    pub fn fold(&mut self, counts: Counts, dispersion: f64) {
        if counts.total == 0 {
            return;
        }
        let bad = counts.bad.min(counts.total);
        let (good, bad) = ((counts.total - bad) as f64, bad as f64);
        let dispersion = dispersion.max(1.0);
        let factors = std::array::from_fn(|point| {
            let at = |logs: &[f64; 20]| logs.get(point).copied().unwrap_or(0.0);
            (bad * at(&self.bad) + good * at(&self.good)) / dispersion
        });
        self.products.fold(&factors);
        for (worst, factor) in self.worst.iter_mut().zip(factors) {
            *worst = worst.max(factor);
        }
    }

    /// Takes back what speaks against the arm so far. Evidence only falls by it.
    pub fn forget(&mut self) {
        if self.log_e() > 0.0 {
            (self.products, self.worst) = (Mixture::restarting(), [0.0; 20]);
        }
    }

    /// The natural logarithm of the evidence so far.
    pub fn log_e(&self) -> f64 {
        self.products.log_e()
    }

    /// The same without the sample that says most.
    pub fn without_worst(&self) -> f64 {
        self.products.without(&self.worst)
    }
}

/// Against "rate <= limit" for counts without a known number of trials, such as restarts per
/// pod-hour: a window multiplies by `r^X * exp(-n * limit * (r - 1))`, averaged over ratios
/// `r` from 1.2 to 100. After Howard and others, "Time-uniform Chernoff bounds", 2020.
#[derive(Clone, Debug)]
pub struct PoissonLimit {
    limit: f64,
    ratios: [f64; 20],
    products: Mixture<20>,
}

impl PoissonLimit {
    /// `limit` is in events per unit of exposure, positive.
    pub fn new(limit: f64) -> Self {
        Self { limit, ratios: log_grid(WORSE, 100.0), products: Mixture::plain() }
    }

    /// One more window: events, and the exposure in which they came.
    pub fn fold(&mut self, events: f64, exposure: f64) {
        let expected = exposure * self.limit;
        self.products.fold(&self.ratios.map(|r| events * r.ln() - expected * (r - 1.0)));
    }

    /// The natural logarithm of the evidence so far.
    pub fn log_e(&self) -> f64 {
        self.products.log_e()
    }
}
