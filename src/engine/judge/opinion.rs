//! What one criterion says for itself, before all are put together.

mod running;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Analysis, Bounds, Context, Criterion, Evidence, Failure, Guarded, Kind, Lane, MetricView,
    Samples, Series, Standing, Threshold, outlook, ratio, threshold, words,
};
use crate::defaults;

pub use running::Running;

/// The criteria's parts of the false-rollback bound.
pub(super) struct Weights {
    evidence: f64,
    guard: f64,
    bound: f64,
}

impl Weights {
    pub(super) fn of(analysis: &Analysis) -> Self {
        let (mut evidence, mut guard) = (0.0, 0.0);
        for criterion in &analysis.criteria {
            if let Kind::Ratio(ratio) = &criterion.kind {
                evidence += weight(criterion);
                guard += if ratio.guard.is_some() { weight(criterion) } else { 0.0 };
            }
        }
        Self { evidence, guard, bound: analysis.bounds.false_rollback() }
    }

    /// The logarithm of a criterion's part in a lane.
    fn part(&self, criterion: &Criterion, lane: Lane) -> f64 {
        let guards = if self.guard > 0.0 { defaults::GUARD_PART } else { 0.0 };
        match lane {
            Lane::Guard => (guards * weight(criterion) / self.guard).ln(),
            Lane::Evidence => ((1.0 - guards) * weight(criterion) / self.evidence).ln(),
        }
    }

    /// How much evidence in one lane is a Fail by itself.
    fn limit(&self, criterion: &Criterion, lane: Lane) -> f64 {
        -self.bound.ln() - self.part(criterion, lane)
    }
}

fn weight(criterion: &Criterion) -> f64 {
    // Bounded, so that a sum of weights is a number too.
    criterion.weight.filter(|weight| *weight > 0.0).map_or(1.0, |weight| weight.clamp(1e-6, 1e6))
}

/// What one criterion says for itself.
pub(super) struct Opinion {
    pub(super) view: MetricView,
    /// Weighted evidence, in logarithms, with what it would be a Fail of.
    pub(super) terms: Vec<(f64, Failure)>,
    /// A Fail that is not a matter of evidence.
    pub(super) failure: Option<Failure>,
    /// What is wrong with the data.
    pub(super) error: Option<String>,
}

impl Opinion {
    pub(super) fn of(
        criterion: &Criterion,
        weights: &Weights,
        analysis: &Analysis,
        samples: &Samples,
        context: &Context,
    ) -> Self {
        let mut opinion = Self::new(&criterion.name);
        let missing = Missing { since: samples.since, grace: analysis.grace, context };
        match (&criterion.kind, samples.series.get(&criterion.name)) {
            (_, None) => opinion.error = missing.beyond_grace("no data", None),
            (_, Some(Series::Unavailable { message })) => opinion.error = Some(message.clone()),
            (Kind::Ratio(ratio), Some(Series::Counts(series))) => {
                let finding = ratio::find(ratio, series, samples.since, analysis.bounds, context);
                opinion.error = missing.arms(&finding);
                opinion.compare(criterion, weights, analysis.bounds, &finding);
            }
            (Kind::Threshold(threshold), Some(Series::Scalar(values))) => {
                let finding = threshold::find(*threshold, values, samples.since);
                opinion.error = missing.beyond_grace("no value", finding.seen);
                opinion.measure(*threshold, &finding);
            }
            (Kind::Ratio(_), Some(Series::Scalar(_))) => {
                opinion.error = Some("got values where counts were asked for".to_owned());
            }
            (Kind::Threshold(_), Some(Series::Counts(_))) => {
                opinion.error = Some("got counts where values were asked for".to_owned());
            }
        }
        opinion.settle();
        opinion
    }

    fn new(name: &str) -> Self {
        Self { view: MetricView::new(name), terms: Vec::new(), failure: None, error: None }
    }

    /// Data that is missing takes a pass away, never a failure.
    fn settle(&mut self) {
        if self.error.is_some()
            && matches!(self.view.standing, Standing::Pass | Standing::NeedMoreData)
        {
            self.view.standing = Standing::Error;
        }
    }

    fn compare(
        &mut self,
        criterion: &Criterion,
        weights: &Weights,
        bounds: Bounds,
        finding: &ratio::Finding,
    ) {
        let view = &mut self.view;
        view.canary = Some(finding.canary);
        view.stable = Some(finding.stable);
        view.canary_rate = finding.canary.rate();
        view.stable_rate = finding.stable.rate();
        view.ratio =
            view.canary_rate.zip(view.stable_rate.filter(|s| *s > 0.0)).map(|(c, s)| c / s);
        // Evidence that does not count because the rates are not apart is not shown as if it did.
        let shown = if finding.worse { finding.regression } else { finding.regression.min(0.0) };
        let limit = weights.limit(criterion, Lane::Evidence);
        view.regression = Some(Evidence { log_e: shown, limit });
        view.safety = Some(Evidence { log_e: finding.safety, limit: -bounds.wrong_promote().ln() });
        view.fail = Some(finding.fail);
        view.required = Some(finding.required);
        view.per_second = Some(finding.rate);
        view.proven = finding.proven;
        view.dispersion = finding.dispersion;
        if !finding.passed {
            view.requests_needed = finding.needed.and_then(whole);
            view.eta = finding.needed.and_then(|needed| outlook::time(needed / finding.rate));
            view.outlook = finding.outlook;
        }
        view.standing = if finding.passed { Standing::Pass } else { Standing::NeedMoreData };
        if finding.worse
            && let Some(message) = view.charge()
        {
            let weighted = finding.regression + weights.part(criterion, Lane::Evidence);
            self.terms.push((weighted, self.failure(Lane::Evidence, message)));
        }
        if let Some(guard) = finding.guard {
            self.guard(criterion, weights, &guard);
        }
    }

    fn guard(&mut self, criterion: &Criterion, weights: &Weights, guard: &ratio::Guard) {
        let limit = weights.limit(criterion, Lane::Guard);
        let evidence = Evidence { log_e: guard.canary, limit };
        self.view.guard = Some(evidence);
        self.view.hard_limit = Some(guard.limit);
        self.view.guarded = Some(Guarded { canary: guard.counts, stable: guard.stable_counts });
        if guard.stable >= -defaults::ENVIRONMENT_BOUND.ln() {
            // Not the release's doing: the relative comparison still counts, the limit does not.
            self.view.standing = Standing::EnvironmentUnhealthy;
            return;
        }
        let message = format!(
            "{}: canary {} above the limit of {}; evidence {evidence}",
            criterion.name,
            words::of_requests(guard.counts),
            words::percent(guard.limit),
        );
        let weighted = guard.canary + weights.part(criterion, Lane::Guard);
        self.terms.push((weighted, self.failure(Lane::Guard, message)));
    }

    fn measure(&mut self, threshold: Threshold, finding: &threshold::Finding) {
        self.view.value = finding.latest;
        let wanted = format!("{} {}", threshold.op().as_str(), threshold.limit());
        let latest = finding.latest.map_or_else(|| "no value".to_owned(), |v| v.to_string());
        let text = format!("{}: {latest}, wanted {wanted}", self.view.name);
        self.view.text = if finding.failed {
            let (failures, of) = (threshold.failures(), threshold.of());
            let message = format!("{text}; violated {failures} times among {of} samples");
            self.failure = Some(self.failure(Lane::Evidence, message.clone()));
            self.view.standing = Standing::Fail;
            message
        } else if finding.passed {
            self.view.standing = Standing::Pass;
            text
        } else {
            let (have, need) = (finding.satisfied, threshold.min_samples());
            format!("{text}; {have} of {need} good samples")
        };
    }

    fn failure(&self, lane: Lane, message: String) -> Failure {
        Failure { lane, metric: self.view.name.clone(), message }
    }
}

/// When data that is not there is an error.
struct Missing<'a> {
    since: DateTime<Utc>,
    grace: TimeDelta,
    context: &'a Context,
}

impl Missing<'_> {
    fn beyond_grace(&self, what: &str, seen: Option<DateTime<Utc>>) -> Option<String> {
        let silence = self.context.now - seen.unwrap_or(self.since);
        (silence > self.grace).then(|| format!("{what} for {}", words::duration(silence)))
    }

    /// An arm that gets no traffic need not have series; one that gets some must.
    fn arms(&self, finding: &ratio::Finding) -> Option<String> {
        let canary = (self.context.share > 0.0)
            .then(|| self.beyond_grace("no series of the canary", finding.canary_seen));
        let stable = (self.context.share < 1.0)
            .then(|| self.beyond_grace("no series of stable", finding.stable_seen));
        canary.flatten().or_else(|| stable.flatten())
    }
}

/// Whole requests, rounded up. `None`: more than anybody will send.
fn whole(requests: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be between 0 and 10^15"
    )]
    (0.0..1e15).contains(&requests).then(|| requests.ceil() as u64)
}
