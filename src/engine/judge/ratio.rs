//! One ratio's samples, folded: what they say against the canary, for it, and against stable.

mod guard;
mod pairs;
mod running;

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use super::evidence::{
    Block, BlockShare, Dispersion, LikelihoodRatio, NonInferiority, PASS_COST, Side, Spread,
    log_add, pass_growth, requests_needed,
};
use super::outlook::Outlook;
use super::{Bounds, Context, CountSeries, Counts, History, Margin, PassMargin, Ratio, Window};
use crate::defaults;
use crate::seconds::to_seconds;

pub(super) use guard::Guard;
use pairs::Pairs;
pub(super) use pairs::blocks;
pub(super) use running::RunningRatio;

/// What the samples of one ratio say.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// Sums over the windows in which both arms had requests.
    pub(super) canary: Counts,
    /// As above; where stable had none, those of its past that the canary was compared with.
    pub(super) stable: Counts,
    /// What the canary's rate is compared with: wider where pods are known to differ.
    pub(super) fail: Margin,
    /// Evidence of a regression.
    pub(super) regression: f64,
    /// The canary's rate is above the margin, so that the evidence counts.
    pub(super) worse: bool,
    /// The guard lane.
    pub(super) guard: Option<Guard>,
    /// Evidence of safety, at its highest, for the margin that must be proven.
    pub(super) safety: f64,
    /// The margin that must be proven; after a pass the tightest that is.
    pub(super) required: Margin,
    /// The tightest margin that is proven.
    pub(super) proven: Option<Margin>,
    /// What had to be proven was, at some time.
    pub(super) passed: bool,
    /// How errors of stable vary; `None`: not known.
    pub(super) dispersion: Option<f64>,
    /// Canary requests still needed if it is healthy; `None`: cannot be told.
    pub(super) needed: Option<f64>,
    /// What that takes with another share of the traffic.
    pub(super) outlook: Option<Outlook>,
    /// Canary requests per second, lately.
    pub(super) rate: f64,
    /// When each arm was last seen.
    pub(super) canary_seen: Option<DateTime<Utc>>,
    /// As above.
    pub(super) stable_seen: Option<DateTime<Utc>>,
}

/// Folds all samples; the same samples always give the same finding.
pub(super) fn find(
    ratio: &Ratio,
    series: &CountSeries,
    since: DateTime<Utc>,
    bounds: Bounds,
    context: &Context,
) -> Finding {
    let mut fold = Fold::new(ratio, series, since, bounds, context);
    for window in &series.windows {
        fold.window(window);
    }
    fold.finish(guard::guard(ratio, series, since))
}

/// So many of stable's past windows are compared with one of the canary's.
const PAST_AT_ONCE: usize = 4;
/// The part that the usual one of shares and rates has in the evidence of a regression.
const USUAL_PART: f64 = 0.95;

/// One rung of what may be proven.
struct Rung {
    margin: Margin,
    evidence: NonInferiority,
    /// The highest it ever was.
    best: f64,
}

struct Fold {
    fail: Margin,
    /// Evidence at which a margin is proven.
    limit: f64,
    bound: f64,
    /// Half of the plan's time, in seconds.
    horizon: f64,
    since: DateTime<Utc>,
    /// Stable's counts of the day before.
    day: Counts,
    pairs: Pairs,
    /// Stable's windows of the hour before, for the comparison of rates, several at a time.
    past_rates: Vec<Counts>,
    canary: Counts,
    stable: Counts,
    recent: VecDeque<Recent>,
    share: BlockShare,
    /// Where stable has no requests any more: the rates, against those of its past.
    rates: LikelihoodRatio,
    /// The part of the rates in the evidence of a regression. Known with the first window that
    /// compares, before its errors are: all traffic was switched at once, or it was not.
    rates_part: Option<f64>,
    /// Incidents are borne with; how much certainty is asked of what lies outside of one, less than
    /// of the whole.
    outside: Option<f64>,
    /// From the tightest up to, not including, the widest.
    tighter: Vec<Rung>,
    widest: Rung,
    dispersion: Dispersion,
    passed: bool,
    canary_seen: Option<DateTime<Utc>>,
    stable_seen: Option<DateTime<Utc>>,
}

/// One of the latest windows.
struct Recent {
    begin: DateTime<Utc>,
    canary: Counts,
    stable: Counts,
}

impl Fold {
    fn new(
        ratio: &Ratio,
        series: &CountSeries,
        since: DateTime<Utc>,
        bounds: Bounds,
        context: &Context,
    ) -> Self {
        let history = series.history.as_ref();
        let (dispersion, spread) = learnt(history);
        let fail = widened(ratio.fail, spread);
        let pairs = Pairs::new(history, since);
        let known = pairs.past.iter().fold(Counts::default(), |sum, window| sum.plus(*window));
        let share = BlockShare::restarting(fail.relative());
        let is_patient = bounds.false_rollback() <= defaults::PATIENT_BOUND;
        let (tighter, widest) = ladder(ratio);
        let rung = |margin: Margin| Rung {
            margin,
            evidence: NonInferiority::new(margin.relative(), margin.absolute()),
            best: 0.0,
        };
        Self {
            fail,
            limit: -bounds.wrong_promote().ln(),
            bound: bounds.wrong_promote(),
            horizon: to_seconds(context.plan_time) / 2.0,
            since,
            day: history.map_or_else(Counts::default, |history| history.day),
            past_rates: pairs.past.clone(),
            pairs,
            canary: Counts::default(),
            stable: Counts::default(),
            recent: VecDeque::new(),
            share: if is_patient { share.with_stretch(defaults::INCIDENT) } else { share },
            rates: LikelihoodRatio::new(
                Side::Worse,
                fail.relative(),
                fail.absolute(),
                known.rate().unwrap_or_default(),
                known.total as f64,
            ),
            rates_part: None,
            outside: is_patient
                .then(|| defaults::OUTSIDE_BOUND.ln() - bounds.false_rollback().ln()),
            tighter: tighter.into_iter().map(rung).collect(),
            widest: rung(widest),
            dispersion,
            passed: false,
            canary_seen: None,
            stable_seen: None,
        }
    }

    fn window(&mut self, window: &Window) {
        let Some(begin) = self.pairs.begin(window) else { return };
        self.canary_seen = window.canary.map(|_| window.end).or(self.canary_seen);
        self.stable_seen = window.stable.map(|_| window.end).or(self.stable_seen);
        // Known before the window: what it says of itself must not temper it.
        let dispersion = self.dispersion.estimate();
        if let Some(stable) = window.stable {
            learn(&mut self.dispersion, &window.stable_pods, stable);
        }
        let (Some(canary), Some(stable)) = (window.canary, window.stable) else { return };
        let is_switched = canary.total > 0 && stable.total == 0;
        let stable = self.pairs.control(canary, stable);
        if self.recent.len() >= defaults::RECENT_WINDOWS {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { begin, canary, stable });
        if canary.total == 0 || stable.total == 0 {
            return;
        }
        self.canary = self.canary.plus(canary);
        self.stable = self.stable.plus(stable);
        let block = Block::new(canary, stable);
        let part = if is_switched { USUAL_PART } else { 1.0 - USUAL_PART };
        self.rates_part.get_or_insert(part);
        if is_switched {
            let before = self.past_rates();
            self.rates.fold(&Block::new(canary, before), dispersion);
        } else {
            self.share.fold(&block, window.end);
        }
        for rung in self.tighter.iter_mut().chain(std::iter::once(&mut self.widest)) {
            rung.evidence.fold(&block, dispersion);
            rung.best = rung.best.max(rung.evidence.log_e());
        }
        if !self.passed
            && let Some(proven) = self.proven()
        {
            self.passed = proven.absolute() <= self.required().margin.absolute();
        }
    }

    /// The latest past windows that were not compared yet, several at a time: the past is what
    /// limits the comparison, and harm shows early.
    fn past_rates(&mut self) -> Counts {
        let begin = self.past_rates.len().saturating_sub(PAST_AT_ONCE);
        sum(&self.past_rates.split_off(begin))
    }

    /// Evidence of a regression, on shares and, where stable has no requests any more, on rates:
    /// a mean of both is an e-process too.
    fn regression(&self) -> f64 {
        let shares = self.share.log_e();
        let shares = self
            .share
            .outside()
            .zip(self.outside)
            .map_or(shares, |(outside, spared)| shares.min(outside + spared));
        let rates = self.rates_part.unwrap_or(1.0 - USUAL_PART);
        log_add(shares + (1.0 - rates).ln(), self.rates.log_e() + rates.ln())
    }

    fn proven(&self) -> Option<Margin> {
        self.proven_rung().map(|rung| rung.margin)
    }

    /// The tightest margin that is proven.
    fn proven_rung(&self) -> Option<&Rung> {
        self.tighter
            .iter()
            .chain(std::iter::once(&self.widest))
            .find(|rung| rung.best >= self.limit)
    }

    /// The tightest margin the traffic affords; the widest when it affords none.
    ///
    /// Taking the margin from the data costs no error: the evidence for a wider margin is never
    /// smaller, so all of them together are wrong no more often than the one at the true rate.
    fn required(&self) -> &Rung {
        let left = (self.horizon - to_seconds(self.pairs.end - self.since)).max(0.0);
        let affordable = self.canary.total as f64 + self.rate() * left;
        let is_affordable =
            |rung: &&Rung| self.needed(rung.margin).is_some_and(|needed| needed <= affordable);
        self.tighter.iter().find(is_affordable).unwrap_or(&self.widest)
    }

    /// Canary requests, from the first, that prove a margin if the canary is as good as stable.
    fn needed(&self, margin: Margin) -> Option<f64> {
        requests_needed(self.bound, PASS_COST, self.growth(margin), self.dispersion.estimate())
    }

    fn growth(&self, margin: Margin) -> f64 {
        let p = self.known();
        let (canary, stable) = self.latest();
        let load = stable.total as f64 / canary.total as f64;
        pass_growth(p, p, load, margin.relative(), margin.absolute())
    }

    /// Stable's rate, as far as it is known.
    fn known(&self) -> f64 {
        let known = self.stable.plus(self.day);
        // Half an error on top: no error so far is not "never errs".
        (known.bad.min(known.total) as f64 + 0.5) / (known.total as f64 + 1.0)
    }

    fn latest(&self) -> (Counts, Counts) {
        self.recent.iter().fold(Default::default(), |(canary, stable): (Counts, Counts), recent| {
            (canary.plus(recent.canary), stable.plus(recent.stable))
        })
    }

    /// Canary requests per second, lately.
    fn rate(&self) -> f64 {
        self.per_second(self.latest().0)
    }

    /// As many of the latest requests.
    fn per_second(&self, latest: Counts) -> f64 {
        let Some(first) = self.recent.front() else { return 0.0 };
        let seconds = to_seconds(self.pairs.end - first.begin);
        if seconds > 0.0 { latest.total as f64 / seconds } else { 0.0 }
    }

    /// Evidence on shares knows no absolute margin; the rates must be apart by it too, over all
    /// windows or over the latest ones. This can only take alarms away.
    fn is_worse(&self) -> bool {
        let exceeds = |canary: Counts, stable: Counts| {
            canary.rate().zip(stable.rate()).is_some_and(|(c, s)| c > self.fail.allows(s))
        };
        let (canary, stable) = self.latest();
        exceeds(self.canary, self.stable) || exceeds(canary, stable)
    }

    fn finish(&self, guard: Option<Guard>) -> Finding {
        // Once passed, what was proven is what had to be.
        let proven = self.proven_rung().filter(|_| self.passed);
        let required = proven.unwrap_or_else(|| self.required());
        let whole = self.needed(required.margin);
        let growth = self.growth(required.margin);
        let short = whole.filter(|_| !self.passed).map(|whole| {
            let spent = (self.canary.total as f64 / whole).min(1.0);
            let short = self.limit - required.evidence.log_e() + PASS_COST * (1.0 - spent);
            self.dispersion.estimate() * short.max(0.0)
        });
        let (canary, stable) = self.latest();
        let outlook = short.map(|short| Outlook {
            short,
            bad: self.known(),
            margin: required.margin,
            requests: self.per_second(canary.plus(stable)),
        });
        Finding {
            canary: self.canary,
            stable: self.stable,
            fail: self.fail,
            regression: self.regression(),
            worse: self.is_worse(),
            guard,
            safety: required.best,
            required: required.margin,
            proven: self.proven(),
            passed: self.passed,
            dispersion: self.dispersion.is_known().then(|| self.dispersion.estimate()),
            needed: short.map(|short| short / growth),
            outlook,
            rate: self.rate(),
            canary_seen: self.canary_seen,
            stable_seen: self.stable_seen,
        }
    }
}

/// The margins that may be proven: from the tightest on, and the widest.
fn ladder(ratio: &Ratio) -> (Vec<Margin>, Margin) {
    match ratio.pass {
        PassMargin::Fixed(margin) => (Vec::new(), margin),
        PassMargin::Auto { slo } => {
            let usable = slo.filter(|slo| *slo > 0.0 && *slo < 1.0);
            let widest = usable.map_or(f64::INFINITY, |slo| (1.0 - slo) / 2.0);
            let mut rungs: Vec<_> = defaults::PASS_LADDER
                .into_iter()
                .filter(|absolute| *absolute <= widest)
                .map(|absolute| ratio.fail.with_absolute(absolute))
                .collect();
            let last = rungs.pop().unwrap_or_else(|| ratio.fail.with_absolute(widest));
            (rungs, last)
        }
    }
}

fn sum(pods: &[Counts]) -> Counts {
    pods.iter().fold(Counts::default(), |sum, pod| sum.plus(*pod))
}

/// Pods are compared where they are told apart, neighbours in time where not.
fn learn(dispersion: &mut Dispersion, pods: &[Counts], stable: Counts) {
    if pods.len() > 1 {
        dispersion.fold(pods);
    } else {
        dispersion.fold_sum(stable);
    }
}

/// What an hour of stable says of it: the dispersion within windows, and how much pods differ.
fn learnt(history: Option<&History>) -> (Dispersion, f64) {
    let (mut dispersion, mut spread) = (Dispersion::default(), Spread::default());
    for window in history.iter().flat_map(|history| &history.windows) {
        learn(&mut dispersion, window, sum(window));
        spread.fold(window);
    }
    let spread = spread.estimate(dispersion.estimate());
    (dispersion, spread)
}

/// The margin that one pod of stable's kind is hardly ever beyond, given how much they differ.
fn widened(margin: Margin, spread: f64) -> Margin {
    let wide = (defaults::POD_DEVIATIONS * spread).exp().min(defaults::MOST_RELATIVE);
    margin.with_relative(margin.relative().max(wide))
}
