//! Requests in virtual time: how many reach each pod, how many fail, how many are slow.

use chrono::TimeDelta;
use rand::Rng;
use rand_distr::{Binomial, Distribution, Normal};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

use super::unrest::{Drawn, Unrest, poisson};

/// How one version answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Law {
    /// Share of requests that fail, 0 to 1.
    pub errors: f64,
    /// Median latency in seconds; latencies are log-normal.
    pub latency_median: f64,
    /// Standard deviation of the logarithm of the latency.
    pub latency_sigma: f64,
    /// Standard deviation, over pods, of the logarithm of the error rate: no two pods are alike.
    pub pod_spread: f64,
}

/// A time in which things are worse than the laws say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// When it begins, from the start of the scenario.
    #[serde(with = "crate::seconds")]
    pub at: TimeDelta,
    /// How long it lasts.
    #[serde(rename = "for", with = "crate::seconds")]
    pub lasts: TimeDelta,
    /// Whom it hits.
    pub arm: Hits,
    /// Share of requests that fail on top, 0 to 1.
    pub errors: f64,
    /// Latencies are this many times as long.
    pub slower: f64,
}

/// Whom a burst hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hits {
    /// Both arms: a database, a network.
    Both,
    /// The pods of the new version only.
    Canary,
    /// One pod of stable.
    StablePod,
    /// One pod of the new version.
    CanaryPod,
}

/// What one pod answered in one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// All requests.
    pub total: u64,
    /// Failed ones.
    pub errors: u64,
    /// Ones slower than each of the bounds asked for.
    pub slow: Vec<u64>,
}

impl std::ops::AddAssign<&Self> for Answers {
    fn add_assign(&mut self, other: &Self) {
        self.total += other.total;
        self.errors += other.errors;
        self.slow.resize(self.slow.len().max(other.slow.len()), 0);
        for (slow, more) in self.slow.iter_mut().zip(&other.slow) {
            *slow += more;
        }
    }
}

/// A stretch of time in which requests are answered.
#[derive(Clone, Copy, Debug)]
pub struct Interval<'a> {
    /// Its end, from the start of the scenario.
    pub end: TimeDelta,
    /// How long it is.
    pub lasts: TimeDelta,
    /// When things are worse.
    pub bursts: &'a [Burst],
    /// What counts as slow, in seconds: in ascending order.
    pub bounds: &'a [f64],
}

/// The dice, and what they decided about each pod.
#[derive(Clone, Debug)]
pub struct Traffic {
    dice: Pcg64Mcg,
    /// Per pod index, standard normal: how much worse than its law the pod is.
    luck: Vec<f64>,
    drawn: Drawn,
}

/// One arm during one interval.
#[derive(Clone, Copy, Debug)]
pub struct Arm<'a> {
    /// How its version answers.
    pub law: &'a Law,
    /// Its ready pods.
    pub pods: u32,
    /// Whether it is the canary.
    pub canary: bool,
    /// Requests per second that reach it.
    pub rate: f64,
}

impl Traffic {
    /// The same seed gives the same requests.
    pub fn new(seed: u64) -> Self {
        let dice = Pcg64Mcg::new(u128::from(seed) << 1 | 1);
        Self { dice, luck: Vec::new(), drawn: Drawn::none() }
    }

    /// With what befalls pods by chance between two instants; at most `pods` of each version.
    pub fn befallen(seed: u64, unrest: Unrest, span: (TimeDelta, TimeDelta), pods: u32) -> Self {
        let mut traffic = Self::new(seed);
        traffic.drawn = Drawn::new(unrest, span, pods, &mut traffic.dice);
        traffic
    }

    /// What each pod of an arm answered in an interval.
    pub fn answers(&mut self, arm: &Arm<'_>, during: &Interval<'_>) -> Vec<Answers> {
        let seconds = crate::seconds::to_seconds(during.lasts);
        let per_pod = arm.rate * seconds / f64::from(arm.pods.max(1));
        (0..arm.pods)
            .map(|pod| {
                let luck = self.luck_of(pod, arm.canary);
                let (errors, slower) = worse(during.bursts, during.end, arm.canary, pod == 0);
                let usual = arm.law.errors * (arm.law.pod_spread * luck).exp();
                let rate = usual * self.drawn.times(during.end, pod, arm.canary) + errors;
                let slower = slower * self.drawn.slower(luck);
                let total = poisson(per_pod, &mut self.dice);
                let burst = self.drawn.bursts(total, rate, &mut self.dice);
                let errors = burst.unwrap_or_else(|| self.binomial(total, rate.clamp(0.0, 1.0)));
                let slow = self.slow(total, arm.law, slower, during.bounds);
                Answers { total, errors, slow }
            })
            .collect()
    }

    /// Of those slower than a bound, some are slower than the next one too.
    fn slow(&mut self, total: u64, law: &Law, slower: f64, bounds: &[f64]) -> Vec<u64> {
        let (mut left, mut share) = (total, 1.0);
        bounds
            .iter()
            .map(|bound| {
                let beyond = law.slower_than(bound / slower.max(f64::MIN_POSITIVE));
                let p = if share > 0.0 { (beyond / share).clamp(0.0, 1.0) } else { 0.0 };
                left = self.binomial(left, p);
                share = beyond;
                left
            })
            .collect()
    }

    /// A number from 0 up to, not including, 1.
    pub fn uniform(&mut self) -> f64 {
        uniform(&mut self.dice)
    }

    fn luck_of(&mut self, pod: u32, canary: bool) -> f64 {
        let index = pod as usize * 2 + usize::from(canary);
        while self.luck.len() <= index {
            let luck = Normal::new(0.0, 1.0).map_or(0.0, |law| law.sample(&mut self.dice));
            self.luck.push(luck);
        }
        self.luck.get(index).copied().unwrap_or(0.0)
    }

    fn binomial(&mut self, n: u64, p: f64) -> u64 {
        Binomial::new(n, p).map_or(0, |law| law.sample(&mut self.dice))
    }
}

pub(super) fn uniform(dice: &mut Pcg64Mcg) -> f64 {
    // 53 bits: as many as a float holds.
    (dice.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// What bursts add to the error rate, and how many times slower they make things.
fn worse(bursts: &[Burst], at: TimeDelta, canary: bool, first: bool) -> (f64, f64) {
    bursts
        .iter()
        .filter(|burst| burst.at < at && at <= burst.at + burst.lasts)
        .filter(|burst| match burst.arm {
            Hits::Both => true,
            Hits::Canary => canary,
            Hits::StablePod => !canary && first,
            Hits::CanaryPod => canary && first,
        })
        .fold((0.0, 1.0), |(errors, slower), burst| (errors + burst.errors, slower * burst.slower))
}

impl Law {
    /// The share of requests slower than `bound` seconds; latencies are log-normal.
    pub fn slower_than(&self, bound: f64) -> f64 {
        if self.latency_median <= 0.0 || bound <= 0.0 {
            return 0.0;
        }
        let z = (bound / self.latency_median).ln() / self.latency_sigma.max(1e-9);
        0.5 * erfc(z / std::f64::consts::SQRT_2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAW: Law =
        Law { errors: 0.01, latency_median: 0.08, latency_sigma: 0.8, pod_spread: 0.0 };

    fn count(seed: u64, bursts: &[Burst]) -> Answers {
        let mut traffic = Traffic::new(seed);
        let arm = Arm { law: &LAW, pods: 4, canary: false, rate: 100.0 };
        let mut sum = Answers::default();
        for minute in 1..=60 {
            let end = TimeDelta::minutes(minute);
            let during =
                Interval { end, lasts: TimeDelta::minutes(1), bursts, bounds: &[0.1, 0.5] };
            for pod in &traffic.answers(&arm, &during) {
                sum += pod;
            }
        }
        sum
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        assert_eq!(count(7, &[]), count(7, &[]));
        assert_ne!(count(7, &[]), count(8, &[]));
    }

    #[test]
    fn an_hour_holds_what_the_laws_say() {
        let sum = count(1, &[]);
        // 360,000 requests, within 5 standard deviations.
        assert!(sum.total.abs_diff(360_000) < 3_000, "{sum:?}");
        assert!(sum.errors.abs_diff(3_600) < 300, "{sum:?}");
        // P(latency > 0.5 s) = 0.5 erfc(ln(0.5/0.08)/0.8/sqrt 2) = 0.01099.
        assert!(sum.slow[1].abs_diff(3_957) < 320, "{sum:?}");
        // P(latency > 0.1 s) = 0.5 erfc(ln(0.1/0.08)/0.8/sqrt 2) = 0.3901.
        assert!(sum.slow[0].abs_diff(140_450) < 1_700, "{sum:?}");
    }

    #[test]
    fn a_burst_hits_only_whom_it_names() {
        let burst = Burst {
            at: TimeDelta::zero(),
            lasts: TimeDelta::hours(1),
            arm: Hits::Canary,
            errors: 0.5,
            slower: 1.0,
        };
        assert_eq!(count(3, &[burst]), count(3, &[]));
        let both = Burst { arm: Hits::Both, ..burst };
        assert!(count(3, &[both]).errors > 150_000);
    }
}
