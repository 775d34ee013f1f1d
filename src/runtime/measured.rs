//! Samples to a verdict, for one turn.

use chrono::{DateTime, Utc};
use tidegate_engine::judge::{Context, Samples, Series, Verdict, judge};
use tidegate_engine::{Questions, SamplesWanted};

use super::reconcile::Followed;
use super::turns::{Measured, Turns};
use crate::observe::Seen;

impl Measured {
    /// Nothing was to be judged.
    pub(super) fn nothing() -> Self {
        let verdict = Verdict::NeedMoreData { eta: None, metric: String::new() };
        Self { verdict, judgement: None, queries: Vec::new() }
    }
}

impl Turns {
    /// What the judge makes of both arms' samples. Nothing that goes wrong here is an error of the
    /// turn: what could not be had is a verdict of its own, and traffic goes home without metrics.
    pub(super) fn measure(
        &self,
        followed: &Followed,
        seen: &Seen,
        asked: &Questions,
        now: DateTime<Utc>,
    ) -> Measured {
        let Some(wanted) = &asked.samples else { return Measured::nothing() };
        let plan = &followed.resolved.plan;
        let context = Context { now, share: wanted.share, plan_time: plan.time() };
        let samples = self.samples(followed, seen, wanted);
        let judgement = judge(&plan.analysis, &samples, &context);
        let verdict = judgement.verdict.clone();
        Measured { verdict, judgement: Some(judgement), queries: Vec::new() }
    }

    /// Both arms' samples, from the Rollout's metric source.
    fn samples(&self, followed: &Followed, _seen: &Seen, wanted: &SamplesWanted) -> Samples {
        let mut samples = Samples::empty(wanted.since);
        for criterion in &followed.resolved.plan.analysis.criteria {
            let source = &followed.resolved.source;
            let message = format!("the metric source {source} is not read by this build");
            samples.series.insert(criterion.name.clone(), Series::Unavailable { message });
        }
        samples
    }
}
