//! `tidegate verdicts`: how often the judge is wrong and how fast it is, counted against what is
//! promised.

pub mod report;
mod worlds;

use tidegate_engine::judge::Bounds;

use self::worlds::{SCRAPE, Weather};
use crate::simulate::World;
use crate::simulate::statistics::{Share, Statistics, many, quantile};

/// One promise, in one world.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is promised.
    pub promise: Promise,
    /// In which circumstances.
    pub name: String,
    world: World,
    /// What is measured, and what it may be.
    pub bar: Bar,
}

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// A release as good as what runs is not sent back.
    GoodStays,
    /// A release that errs five times as often is found.
    WorseIsFound,
    /// A release that breaks outright is stopped.
    BrokenIsStopped,
    /// A release that errs three times as often is not promoted.
    WorseIsNotPromoted,
    /// After a switch, a release is compared with what was recorded before.
    SwitchIsJudged,
    /// A service with nearly no traffic can be released.
    QuietIsReleased,
}

impl Promise {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 6] = [
        Self::GoodStays,
        Self::WorseIsFound,
        Self::BrokenIsStopped,
        Self::WorseIsNotPromoted,
        Self::SwitchIsJudged,
        Self::QuietIsReleased,
    ];
}

/// What is measured, and what it may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// At most this share of the runs is sent back.
    SentBack(f64),
    /// At most this share of the runs is promoted.
    Promoted(f64),
    /// The median from the first traffic to the abort is at most this, in seconds. `None`: it is
    /// shown, and nothing is promised.
    Found(Option<f64>),
    /// At most this share of the runs is not promoted, marked as unproven, within so many seconds
    /// of the commit.
    NotReleased(f64, f64),
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measured {
    /// A share of the runs.
    Share(Share),
    /// A median in seconds, and its interval of 95 %. Infinite: not within the hour.
    Median {
        /// Half of the runs took no longer.
        median: f64,
        /// The median may really be from here ...
        low: f64,
        /// ... to here.
        high: f64,
    },
}

/// Whether a promise is kept, as far as the runs can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The whole interval is within the bar.
    Yes,
    /// The whole interval is beyond the bar.
    No,
    /// The bar is within the interval: more runs would tell.
    Open,
    /// Nothing is promised.
    NotPromised,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What is promised.
    pub promise: Promise,
    /// In which circumstances.
    pub name: String,
    /// What it may be.
    pub bar: Bar,
    /// What it is.
    pub measured: Measured,
    /// How many runs.
    pub runs: usize,
}

impl Line {
    /// Whether the promise is kept.
    pub fn held(&self) -> Held {
        let (low, high, bar) = match (self.measured, self.bar) {
            (Measured::Share(share), Bar::SentBack(bar) | Bar::Promoted(bar)) => {
                (share.low, share.high, bar)
            }
            (Measured::Share(share), Bar::NotReleased(bar, _)) => (share.low, share.high, bar),
            (Measured::Median { low, high, .. }, Bar::Found(Some(bar))) => (low, high, bar),
            (_, Bar::Found(_)) | (Measured::Median { .. }, _) => return Held::NotPromised,
        };
        match (low <= bar, high <= bar) {
            (_, true) => Held::Yes,
            (true, false) => Held::Open,
            (false, false) => Held::No,
        }
    }
}

const RATES: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
const MINUTE: f64 = 60.0;

/// Everything that is promised of the shipped presets.
pub fn cases() -> Vec<Case> {
    let mut cases = good_stays();
    cases.extend(worse_is_found());
    cases.extend(broken_is_stopped());
    cases.extend(worse_is_not_promoted());
    cases.push(Case {
        promise: Promise::SwitchIsJudged,
        name: "`standard`, .1 % to .3 %, 200 req/s".to_owned(),
        world: worlds::by_errors(worlds::switched(Bounds::STANDARD, 200.0, 0.001, 0.003)),
        bar: Bar::Found(Some(5.0 * MINUTE)),
    });
    cases.push(Case {
        promise: Promise::QuietIsReleased,
        name: "`standard`, .1 req/s".to_owned(),
        world: worlds::quiet(Bounds::STANDARD, 0.1),
        bar: Bar::NotReleased(0.05, 45.0 * MINUTE),
    });
    cases
}

fn good_stays() -> Vec<Case> {
    let case = |weather: Weather, (preset, bounds, most): (&str, Bounds, f64), rate: f64| Case {
        promise: Promise::GoodStays,
        name: format!("`{preset}`, {}, {rate} req/s", weather.name()),
        world: worlds::healthy(weather, bounds, rate),
        bar: Bar::SentBack(most),
    };
    let standard = ("standard", Bounds::STANDARD, 0.005);
    let all = Weather::ALL.into_iter();
    let mut cases: Vec<_> =
        all.flat_map(|weather| RATES.map(|rate| case(weather, standard, rate))).collect();
    // Its bound is for errors that come by themselves or to both versions.
    let sensitive = ("sensitive", Bounds::SENSITIVE, 0.05);
    for weather in [Weather::Calm, Weather::SharedIncidents] {
        cases.push(case(weather, sensitive, 100.0));
    }
    cases
}

fn worse_is_found() -> Vec<Case> {
    let presets = [("standard", Bounds::STANDARD, 20.0), ("sensitive", Bounds::SENSITIVE, 8.0)];
    let case = |(preset, bounds, minutes): (&str, Bounds, f64)| Case {
        promise: Promise::WorseIsFound,
        name: format!("`{preset}`, .1 % to .5 %, 100 req/s"),
        world: worlds::by_errors(worlds::worse(bounds, 100.0, 0.001, 0.005)),
        bar: Bar::Found(Some(minutes * MINUTE)),
    };
    presets.map(case).to_vec()
}

/// Two scrapes and thirty canary requests, where that many requests can tell.
fn broken_is_stopped() -> Vec<Case> {
    let mut cases = Vec::new();
    for errors in [1.0, 0.5, 0.2, 0.1, 0.05] {
        for rate in RATES {
            let scrapes = 2.0 * SCRAPE.num_seconds() as f64;
            let time = scrapes + 30.0 / (rate * 0.05);
            // One scrape alone may be a burst.
            let is_known = requests_to_know(errors) <= (time - scrapes / 2.0) * rate * 0.05;
            cases.push(Case {
                promise: Promise::BrokenIsStopped,
                name: format!("`standard`, .1 % to {} %, {rate} req/s", errors * 100.0),
                world: worlds::by_errors(worlds::worse(Bounds::STANDARD, rate, 0.001, errors)),
                bar: Bar::Found(is_known.then_some(time)),
            });
        }
    }
    cases
}

/// Requests that any test of "at most 5 %" needs on average to refute it with the guard lane's part
/// of the probability of error, when the rate is `errors`: Wald, "Sequential tests of statistical hypotheses",
/// 1945.
fn requests_to_know(errors: f64) -> f64 {
    let limit = tidegate_engine::defaults::HARD_LIMIT;
    let good =
        if errors < 1.0 { (1.0 - errors) * ((1.0 - errors) / (1.0 - limit)).ln() } else { 0.0 };
    let information = errors * (errors / limit).ln() + good;
    let bound = Bounds::STANDARD.false_rollback() * tidegate_engine::defaults::GUARD_PART;
    -bound.ln() / information
}

fn worse_is_not_promoted() -> Vec<Case> {
    let mut cases = Vec::new();
    for (stable, canary) in [(0.001, 0.003), (0.005, 0.015)] {
        for rate in [100.0, 1000.0] {
            cases.push(Case {
                promise: Promise::WorseIsNotPromoted,
                name: format!(
                    "`standard`, {} % to {} %, {rate} req/s",
                    stable * 100.0,
                    canary * 100.0
                ),
                world: worlds::stepped(Bounds::STANDARD, rate, stable, canary),
                bar: Bar::Promoted(0.05),
            });
        }
    }
    cases
}

/// How many runs a case gets: shares of rare things need all, medians a fifth.
const fn runs_of(case: &Case, runs: usize) -> usize {
    match case.bar {
        Bar::SentBack(_) => runs,
        Bar::Promoted(_) | Bar::Found(_) | Bar::NotReleased(..) => runs.div_ceil(5),
    }
}

/// Measures every case; the same seed gives the same lines. `done` is told after each of them how
/// many are done.
pub fn measure(
    cases: &[Case],
    runs: usize,
    seed: u64,
    done: &mut dyn FnMut(usize, &Line),
) -> Vec<Line> {
    let mut lines = Vec::with_capacity(cases.len());
    for (index, case) in cases.iter().enumerate() {
        let runs = runs_of(case, runs);
        // Far apart, so that no two cases throw the same dice.
        let first = seed.wrapping_add((index as u64) << 32);
        let line = case.line(&many(&case.world, first, runs, &|_| ()));
        done(index + 1, &line);
        lines.push(line);
    }
    lines
}

impl Case {
    fn line(&self, sum: &Statistics) -> Line {
        let measured = match self.bar {
            Bar::SentBack(_) => Measured::Share(Share::new(sum.aborted, sum.runs)),
            Bar::Promoted(_) => Measured::Share(Share::new(sum.promoted, sum.runs)),
            Bar::Found(_) => median(&sum.seconds_to_detect, sum.runs),
            Bar::NotReleased(_, seconds) => {
                let in_time = sum.seconds_to_promotion.iter().filter(|time| **time <= seconds);
                let released = in_time.count().min(sum.unproven);
                Measured::Share(Share::new(sum.runs - released, sum.runs))
            }
        };
        let (promise, name, bar) = (self.promise, self.name.clone(), self.bar);
        Line { promise, name, bar, measured, runs: sum.runs }
    }
}

/// The median of all runs, those without an end at infinity. Its interval is that of the ranks.
fn median(sorted: &[f64], runs: usize) -> Measured {
    let ranks = Share::new(runs / 2, runs);
    let all: Vec<_> = sorted
        .iter()
        .copied()
        .chain(std::iter::repeat(f64::INFINITY))
        .take(runs.max(sorted.len()))
        .collect();
    let at = |q| quantile(&all, q).unwrap_or(f64::INFINITY);
    Measured::Median { median: at(0.5), low: at(ranks.low), high: at(ranks.high) }
}
