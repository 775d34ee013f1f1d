//! Samples to verdicts.
//!
//! Two lanes. The *guard lane* looks at every new sample against a limit no release may exceed; it
//! says Fail, or nothing. The *evidence lane* compares both arms window by window; it alone says
//! Pass. Everything is recomputed from all samples since the canary was ready: the same samples
//! give the same verdict, whoever asks and whenever. See [`evidence`] for why one may look at any
//! time.
//!
//! Where stable has no requests (weight 100, after a blue-green switch) its own windows of the hour
//! before the trial are the control arm, the latest first, each once.
//!
//! Errors: `sum of w_i E_i >= 1/false_rollback` is Fail, with weights that sum to 1 over the lanes
//! of all ratios. Each criterion passes by itself with probability at most `wrong_promote` when it
//! is beyond its margin; all must, so that together they pass no more often. Thresholds have no
//! stated error rate.
//!
//! ```
//! use chrono::{DateTime, TimeDelta};
//! use tidegate_engine::judge::{
//!     Analysis, Context, CountSeries, Counts, Criterion, GuardSample, Kind, Lane, Ratio, Samples,
//!     Series, Verdict, judge,
//! };
//!
//! let since = DateTime::UNIX_EPOCH;
//! let analysis = Analysis {
//!     criteria: vec![Criterion {
//!         name: "errors".to_owned(),
//!         weight: None,
//!         kind: Kind::Ratio(Ratio::ERRORS),
//!     }],
//!     ..Analysis::default()
//! };
//! // What fails within one sample may be one burst: it takes two.
//! let sample = |scrape: u32| GuardSample {
//!     at: since + TimeDelta::seconds(2 * i64::from(scrape)),
//!     canary: Some(Counts { total: 4 * u64::from(scrape), bad: 4 * u64::from(scrape) }),
//!     stable: Some(Counts { total: 36 * u64::from(scrape), bad: 0 }),
//! };
//! let at = sample(2).at;
//! let mut samples = Samples::empty(since);
//! let guard = vec![sample(1), sample(2)];
//! let series = CountSeries { guard, ..CountSeries::default() };
//! samples.series.insert("errors".to_owned(), Series::Counts(series));
//!
//! let context = Context { now: at, share: 0.1, plan_time: TimeDelta::hours(1) };
//! let judgement = judge(&analysis, &samples, &context);
//! assert!(matches!(judgement.verdict, Verdict::Fail(failure) if failure.lane == Lane::Guard));
//! ```

mod analysis;
pub mod counter;
mod detail;
pub mod evidence;
mod opinion;
mod outlook;
mod ratio;
mod samples;
mod share;
mod threshold;
mod verdict;
mod view;
pub mod words;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

pub use analysis::{
    Analysis, Bounds, Criterion, HardLimit, InvalidAnalysis, Kind, Margin, Op, PassMargin, Ratio,
    Threshold,
};
pub use evidence::Interval;
pub use opinion::Running;
pub use outlook::Outlook;
pub use samples::{CountSeries, Counts, GuardSample, History, Samples, Series, Window};
pub use share::Weighed;
pub use verdict::{Failure, Lane, Unclear, Verdict};
pub use view::{Evidence, Forecast, Guarded, MetricView, Standing};

use evidence::log_add;
use opinion::{Opinion, Weights};

/// What the judge must know beside the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Context {
    /// When the samples were asked for.
    pub now: DateTime<Utc>,
    /// The share of the traffic the canary has now, 0 to 1. An arm without a share is not missed.
    pub share: f64,
    /// How long the plan may take, from the first weight to the last. Half of it is what a Pass
    /// should take.
    pub plan_time: TimeDelta,
}

/// The verdict, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[must_use = "a judgement that is not looked at promotes or kills nothing"]
pub struct Judgement {
    /// What all criteria say together.
    pub verdict: Verdict,
    /// One for each criterion, in the order of the analysis.
    pub metrics: Vec<MetricView>,
}

/// What all samples say together.
///
/// Fail > Inconclusive (stable breaks the limit too) > Error > `NeedMoreData` > Pass. Nothing is
/// concluded from data that is not there: without samples it is `NeedMoreData`, after a grace
/// Error.
pub fn judge(analysis: &Analysis, samples: &Samples, context: &Context) -> Judgement {
    let weights = Weights::of(analysis);
    let mut opinions: Vec<_> = analysis
        .criteria
        .iter()
        .map(|criterion| Opinion::of(criterion, &weights, analysis, samples, context))
        .collect();
    let verdict = combine(&mut opinions, analysis);
    let metrics = opinions.into_iter().map(|opinion| opinion.view).collect();
    Judgement { verdict, metrics }
}

fn combine(opinions: &mut [Opinion], analysis: &Analysis) -> Verdict {
    let verdict = combined(opinions, analysis);
    for opinion in opinions {
        if let Verdict::Fail(failure) = &verdict
            && failure.metric == opinion.view.name
        {
            opinion.view.standing = Standing::Fail;
        }
        if opinion.view.regression.is_some() {
            opinion.view.text = opinion.view.description();
        }
        if let Some(error) = &opinion.error {
            opinion.view.text = format!("{}: {error}", opinion.view.name);
        }
    }
    verdict
}

fn combined(opinions: &[Opinion], analysis: &Analysis) -> Verdict {
    if let Some(failure) = failure(opinions, analysis.bounds) {
        return Verdict::Fail(failure);
    }
    let stands = |standing| {
        opinions.iter().map(|opinion| &opinion.view).find(|view| view.standing == standing)
    };
    if let Some(view) = stands(Standing::EnvironmentUnhealthy) {
        let why = Unclear::EnvironmentUnhealthy;
        return Verdict::Inconclusive { why, metric: view.name.clone() };
    }
    let broken = opinions.iter().find_map(|opinion| Some((opinion, opinion.error.clone()?)));
    if let Some((opinion, message)) = broken {
        return Verdict::Error { metric: opinion.view.name.clone(), message };
    }
    let waiting = opinions
        .iter()
        .map(|opinion| &opinion.view)
        .filter(|view| view.standing != Standing::Pass)
        // The one that takes longest; one that cannot tell takes longer than any.
        .reduce(|slow, view| {
            let longer = match (slow.eta, view.eta) {
                (Some(slow), Some(this)) => this > slow,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if longer { view } else { slow }
        });
    match waiting {
        Some(view) => Verdict::NeedMoreData { eta: view.eta, metric: view.name.clone() },
        // Nothing measured proves nothing.
        None if opinions.is_empty() => {
            Verdict::NeedMoreData { eta: None, metric: "none".to_owned() }
        }
        None => Verdict::Pass,
    }
}

/// The weighted sum of all evidence against the bound; what weighs most gives the name.
fn failure(opinions: &[Opinion], bounds: Bounds) -> Option<Failure> {
    let plain = opinions.iter().find_map(|opinion| opinion.failure.clone());
    let terms = || opinions.iter().flat_map(|opinion| &opinion.terms);
    let total = terms().fold(f64::NEG_INFINITY, |sum, (log, _)| log_add(sum, *log));
    if total < -bounds.false_rollback().ln() {
        return plain;
    }
    let heaviest = terms().max_by(|(a, _), (b, _)| a.total_cmp(b));
    heaviest.map(|(_, failure)| failure.clone()).or(plain)
}

#[cfg(test)]
mod monte_carlo;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
