//! What befalls pods that nobody wrote into the scenario: drawn by the dice of the run.

use chrono::TimeDelta;
use rand_distr::{Distribution, Geometric, Poisson};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use crate::seconds::to_seconds;

/// What befalls pods by chance, before the trial as well as during it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unrest {
    /// Hit all pods of both versions at once: a database, a network.
    pub shared: Option<Incidents>,
    /// Hit one pod each, of either version: a node, a neighbour.
    pub of_pods: Option<Incidents>,
    /// How many errors come at once, on average, on one pod; 1: each by itself.
    pub burst: f64,
    /// Standard deviation, over pods, of the logarithm of the latency.
    pub speed_spread: f64,
}

impl Unrest {
    /// Nothing befalls anybody.
    pub const NONE: Self = Self { shared: None, of_pods: None, burst: 1.0, speed_spread: 0.0 };
}

/// Times in which errors are more frequent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    /// How many begin in an hour, on average: in all, or on each pod.
    pub per_hour: f64,
    /// How long each lasts.
    #[serde(with = "crate::seconds")]
    pub lasts: TimeDelta,
    /// Errors are this many times as frequent.
    pub times: f64,
}

/// The incidents of one run.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    unrest: Unrest,
    shared: Vec<TimeDelta>,
    /// When incidents of a pod begin: of stable's pods and of the canary's.
    of_pods: [Vec<Vec<TimeDelta>>; 2],
}

impl Drawn {
    pub(super) const fn none() -> Self {
        let of_pods = [Vec::new(), Vec::new()];
        Self { unrest: Unrest::NONE, shared: Vec::new(), of_pods }
    }

    /// `span`: outside of it nothing happens. `pods`: of each version.
    pub(super) fn new(
        unrest: Unrest,
        span: (TimeDelta, TimeDelta),
        pods: u32,
        dice: &mut Pcg64Mcg,
    ) -> Self {
        let shared = begins(unrest.shared, span, dice);
        let of_pods = [(), ()]
            .map(|()| (0..pods).map(|_| begins(unrest.of_pods, span, dice)).collect::<Vec<_>>());
        Self { unrest, shared, of_pods }
    }

    /// How many times as frequent errors are on a pod at an instant.
    pub(super) fn times(&self, at: TimeDelta, pod: u32, canary: bool) -> f64 {
        let hit = |incidents: Option<Incidents>, begins: &[TimeDelta]| {
            incidents.map_or(1.0, |incidents| {
                let is_on =
                    begins.iter().any(|begin| *begin < at && at <= *begin + incidents.lasts);
                if is_on { incidents.times } else { 1.0 }
            })
        };
        let [stable, ours] = &self.of_pods;
        let arm = if canary { ours } else { stable };
        let own = arm.get(pod as usize).map_or(&[][..], Vec::as_slice);
        hit(self.unrest.shared, &self.shared) * hit(self.unrest.of_pods, own)
    }

    /// How much slower a pod is than its law, given its luck.
    pub(super) fn slower(&self, luck: f64) -> f64 {
        (self.unrest.speed_spread * luck).exp()
    }

    /// Errors of `total` requests that come in bursts. `None`: each comes by itself.
    pub(super) fn bursts(&self, total: u64, rate: f64, dice: &mut Pcg64Mcg) -> Option<u64> {
        let mean = self.unrest.burst;
        if mean <= 1.0 {
            return None;
        }
        let size = Geometric::new(1.0 / mean).ok()?;
        let count = poisson(total as f64 * rate / mean, dice);
        // The law counts the failures before a success: one less than the size.
        let bad = (0..count).fold(0_u64, |sum, _| sum.saturating_add(size.sample(dice) + 1));
        Some(bad.min(total))
    }
}

fn begins(
    incidents: Option<Incidents>,
    (begin, end): (TimeDelta, TimeDelta),
    dice: &mut Pcg64Mcg,
) -> Vec<TimeDelta> {
    let Some(incidents) = incidents else { return Vec::new() };
    let seconds = to_seconds(end - begin);
    let count = poisson(incidents.per_hour * seconds / 3600.0, dice);
    let instant = |dice: &mut Pcg64Mcg| {
        #[expect(clippy::cast_possible_truncation, reason = "within the span, in milliseconds")]
        let offset = (super::traffic::uniform(dice) * seconds * 1000.0) as i64;
        begin + TimeDelta::milliseconds(offset)
    };
    (0..count).map(|_| instant(dice)).collect()
}

pub(super) fn poisson(mean: f64, dice: &mut Pcg64Mcg) -> u64 {
    let Ok(law) = Poisson::new(mean) else { return 0 };
    let drawn: f64 = law.sample(dice);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a Poisson number is a whole, non-negative one; `as` saturates"
    )]
    let drawn = drawn as u64;
    drawn
}
