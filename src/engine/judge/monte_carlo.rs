//! How often the judge is wrong, by simulation with fixed seeds. A bound `b` over `n` repetitions
//! may be missed by three standard errors, `3 sqrt(b (1 - b) / n)`.

use super::evidence::{
    Block, BlockShare, Limit, NonInferiority, RateRatio, difference_interval, ratio_interval,
};
use super::*;

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0, at most 1.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// How many of the gaps of a Poisson process fit.
    fn poisson(&mut self, mean: f64) -> u64 {
        let mut time = -self.uniform().ln();
        let mut count = 0;
        while time < mean {
            count += 1;
            time -= self.uniform().ln();
        }
        count
    }

    /// By the gaps between bad requests, which are geometric.
    fn binomial(&mut self, n: u64, p: f64) -> u64 {
        let mut at = 0.0;
        let mut count = 0;
        loop {
            at += (self.uniform().ln() / (-p).ln_1p()).floor() + 1.0;
            if at > n as f64 {
                return count;
            }
            count += 1;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Weather {
    /// Every request by itself.
    Calm,
    /// One window in twenty is twenty times as bad, for both arms.
    Shared,
    /// Errors come ten at a time, to one arm.
    Bursts,
}

impl Weather {
    /// Two arms of 30 and 570 requests a window, where the canary is `worse` times as bad as .5 %.
    fn window(self, dice: &mut SplitMix64, worse: f64) -> Block {
        let incident = matches!(self, Self::Shared) && dice.uniform() < 0.05;
        let p = if incident { 0.1 } else { 0.005 };
        let mut arm = |mean: f64, p: f64| {
            let total = dice.poisson(mean);
            let bad = match self {
                Self::Calm | Self::Shared => dice.binomial(total, p),
                Self::Bursts => (dice.poisson(mean * p / 10.0) * 10).min(total),
            };
            Counts { total, bad }
        };
        let canary = arm(30.0, worse * p);
        Block::new(canary, arm(570.0, p))
    }
}

const REPETITIONS: u32 = 1000;
const WINDOWS: u32 = 60;

/// The share of repetitions in which the evidence ever reaches 20.
fn reached(seed: u64, mut trial: impl FnMut(&mut SplitMix64) -> bool) -> f64 {
    let mut dice = SplitMix64(seed);
    let count = (0..REPETITIONS).filter(|_| trial(&mut dice)).count();
    count as f64 / f64::from(REPETITIONS)
}

fn most(bound: f64) -> f64 {
    bound + 3.0 * (bound * (1.0 - bound) / f64::from(REPETITIONS)).sqrt()
}

fn share(seed: u64, weather: Weather, worse: f64, relative: f64) -> f64 {
    reached(seed, |dice| {
        let mut evidence = BlockShare::restarting(relative);
        (0..WINDOWS).any(|_| {
            evidence.fold(&weather.window(dice, worse), DateTime::UNIX_EPOCH);
            evidence.log_e() >= 20.0_f64.ln()
        })
    })
}

#[test]
fn shares_are_wrong_no_more_often_than_promised_in_any_weather() {
    for (seed, weather) in [(1, Weather::Calm), (2, Weather::Shared), (3, Weather::Bursts)] {
        let wrong = share(seed, weather, 1.0, 1.0);
        assert!(wrong <= most(0.05), "{weather:?}: {wrong}");
        let wrong = share(seed + 10, weather, 1.5, 1.5);
        assert!(wrong <= most(0.05), "{weather:?} on the margin: {wrong}");
    }
    let found = share(4, Weather::Calm, 10.0, 1.5);
    assert!(found >= 0.97, "{found}");
}

#[test]
fn rates_are_wrong_no_more_often_than_promised_unless_errors_come_in_bursts() {
    let wrong = |seed, weather: Weather| {
        reached(seed, |dice| {
            let mut evidence = RateRatio::new(1.0, 0.0);
            (0..WINDOWS).any(|_| {
                evidence.fold(&weather.window(dice, 1.0));
                evidence.log_e() >= 20.0_f64.ln()
            })
        })
    };
    for (seed, weather) in [(5, Weather::Calm), (6, Weather::Shared)] {
        assert!(wrong(seed, weather) <= most(0.05), "{weather:?}");
    }
    // Why verdicts rest on shares.
    assert!(wrong(7, Weather::Bursts) > 0.1);
}

#[test]
fn a_release_exactly_on_the_margin_passes_no_more_often_than_promised() {
    let passes = |seed, worse| {
        reached(seed, |dice| {
            let mut evidence = NonInferiority::new(1.5, 0.005);
            (0..WINDOWS).any(|_| {
                evidence.fold(&Weather::Calm.window(dice, worse), 1.0);
                evidence.log_e() >= 20.0_f64.ln()
            })
        })
    };
    // 1.5 * .5 % + .5 pp is 2.5 times .5 %.
    let wrong = passes(8, 2.5);
    assert!(wrong <= most(0.05), "{wrong}");
    let right = passes(9, 0.2);
    assert!(right >= 0.5, "{right}");
}

#[test]
fn a_release_exactly_at_the_hard_limit_is_stopped_no_more_often_than_promised() {
    let wrong = reached(10, |dice| {
        let mut evidence = Limit::new(0.05);
        (0..300).any(|_| {
            let total = dice.poisson(3.0);
            evidence.fold(Counts { total, bad: dice.binomial(total, 0.05) }, 1.0);
            evidence.log_e() >= 20.0_f64.ln()
        })
    });
    assert!(wrong <= most(0.05), "{wrong}");
}

/// Looks after each sixth window.
fn missed(seed: u64, mut window: impl FnMut(&mut SplitMix64) -> Block, miss: Miss) -> f64 {
    reached(seed, |dice| {
        let mut blocks = Vec::new();
        (1..=WINDOWS).any(|count| {
            blocks.push(window(dice));
            count % 6 == 0 && miss(&blocks)
        })
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they were counts")]
fn counts_of(block: &Block) -> (Counts, Counts) {
    let counts = |total: f64, bad: f64| Counts { total: total as u64, bad: bad as u64 };
    let canary = counts(block.canary_total, block.canary_bad);
    (canary, counts(block.stable_total, block.stable_bad))
}

/// Whether an interval of these windows misses the truth.
type Miss<'a> = &'a dyn Fn(&[Block]) -> bool;

#[test]
fn intervals_miss_the_truth_no_more_often_than_they_say_at_any_look_in_any_weather() {
    let is_outside = |interval: Interval, truth: f64| {
        interval.low > truth || interval.high.is_some_and(|high| high < truth)
    };
    for (seed, weather, ratio) in [
        (30, Weather::Calm, 1.0),
        (31, Weather::Calm, 4.0),
        (32, Weather::Shared, 1.0),
        (33, Weather::Bursts, 2.0),
    ] {
        let miss = |blocks: &[Block]| is_outside(ratio_interval(blocks, 0.05), ratio);
        let missed = missed(seed, |dice| weather.window(dice, ratio), &miss);
        assert!(missed <= most(0.05), "{weather:?}, {ratio}: {missed}");
    }
    for (seed, rate) in [(34, 0.002), (35, 0.03)] {
        let window = |dice: &mut SplitMix64| {
            let (total, stable) = (dice.poisson(30.0), dice.poisson(570.0));
            let canary = Counts { total, bad: dice.binomial(total, rate) };
            Block::new(canary, Counts { total: stable, bad: 0 })
        };
        let miss = |blocks: &[Block]| {
            let mut arms = (Counts::default(), Counts::default());
            for (canary, stable) in blocks.iter().map(counts_of) {
                arms = (arms.0.plus(canary), arms.1.plus(stable));
            }
            let interval = difference_interval(arms.0, arms.1, 1.0, 0.05);
            interval.is_some_and(|interval| is_outside(interval, rate))
        };
        let missed = missed(seed, window, &miss);
        assert!(missed <= most(0.05), "{rate}: {missed}");
    }
}

/// Looks after each of 40 windows; the first verdict that is not `NeedMoreData`.
fn verdict(dice: &mut SplitMix64, bounds: Bounds, worse: f64) -> Option<Verdict> {
    let since = DateTime::UNIX_EPOCH;
    let criteria = ["errors", "slow"].map(|name| Criterion {
        name: name.to_owned(),
        weight: None,
        kind: Kind::Ratio(Ratio::ERRORS),
    });
    let analysis = Analysis { criteria: criteria.to_vec(), bounds, ..Analysis::default() };
    let mut all = [CountSeries::default(), CountSeries::default()];
    for index in 1..=40 {
        let end = since + TimeDelta::seconds(15 * index);
        let total = [dice.poisson(30.0), dice.poisson(30.0)];
        let mut samples = Samples::empty(since);
        for (name, series) in ["errors", "slow"].into_iter().zip(&mut all) {
            let mut arm =
                |total, worse: f64| Some(Counts { total, bad: dice.binomial(total, 0.01 * worse) });
            let (canary, stable) = (arm(total[0], worse), arm(9 * total[1], 1.0));
            series.windows.push(Window { end, canary, stable, stable_pods: Vec::new() });
            samples.series.insert(name.to_owned(), Series::Counts(series.clone()));
        }
        let context = Context { now: end, share: 0.1, plan_time: TimeDelta::hours(1) };
        let verdict = judge(&analysis, &samples, &context).verdict;
        if !matches!(verdict, Verdict::NeedMoreData { .. }) {
            return Some(verdict);
        }
    }
    None
}

#[test]
fn good_releases_are_sent_back_no_more_often_than_promised_and_bad_ones_nearly_always() {
    let sent_back = |seed, bounds, worse, repetitions: u32| {
        let mut dice = SplitMix64(seed);
        let fails = (0..repetitions)
            .filter(|_| matches!(verdict(&mut dice, bounds, worse), Some(Verdict::Fail(_))))
            .count();
        fails as f64 / f64::from(repetitions)
    };
    let wrong = sent_back(20, Bounds::SENSITIVE, 1.0, 300);
    assert!(wrong <= 0.05 + 3.0 * (0.05 * 0.95 / 300.0_f64).sqrt(), "{wrong}");
    let wrong = sent_back(21, Bounds::STANDARD, 1.0, 300);
    assert!(wrong < f64::EPSILON, "{wrong}");
    let found = sent_back(22, Bounds::STANDARD, 12.0, 100);
    assert!(found >= 0.97, "{found}");
}
