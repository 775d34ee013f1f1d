//! The judge for one who looks often: samples are folded as they come.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Missing, Opinion, Weights};
use crate::judge::ratio::RunningRatio;
use crate::judge::{
    Analysis, Context, CountSeries, GuardSample, Judgement, Kind, Threshold, Window, combine,
    threshold,
};

/// A judgement that grows with its samples. [`judge`](crate::judge::judge) folds all samples at
/// every look; this one folds each sample once, so that a simulated hour costs milliseconds. The
/// judgement is the same, as a test proves.
///
/// The guard lane sees guard samples alone: it never falls back on windows.
pub struct Running<'a> {
    analysis: &'a Analysis,
    weights: Weights,
    since: DateTime<Utc>,
    lines: Vec<Line>,
}

/// One criterion's samples so far.
enum Line {
    Ratio(Box<RunningRatio>),
    Threshold(Threshold, Vec<(DateTime<Utc>, Option<f64>)>),
}

impl<'a> Running<'a> {
    /// `before`: for each criterion what is known before its first sample; where there is none,
    /// nothing is known. `plan_time` is as in [`Context`].
    pub fn new(
        analysis: &'a Analysis,
        before: &[CountSeries],
        since: DateTime<Utc>,
        plan_time: TimeDelta,
    ) -> Self {
        let context = Context { now: since, share: 0.0, plan_time };
        let nothing = CountSeries::default();
        let lines = analysis.criteria.iter().enumerate().map(|(index, criterion)| {
            let before = before.get(index).unwrap_or(&nothing);
            match &criterion.kind {
                Kind::Ratio(ratio) => {
                    let bounds = analysis.bounds;
                    let running = RunningRatio::new(ratio, before, since, bounds, &context);
                    Line::Ratio(Box::new(running))
                }
                Kind::Threshold(threshold) => Line::Threshold(*threshold, Vec::new()),
            }
        });
        let lines = lines.collect();
        Self { analysis, weights: Weights::of(analysis), since, lines }
    }

    /// One more window of the criterion with this index.
    pub fn window(&mut self, criterion: usize, window: &Window) {
        if let Some(Line::Ratio(ratio)) = self.lines.get_mut(criterion) {
            ratio.window(window);
        }
    }

    /// One more guard sample of the criterion with this index.
    pub fn sample(&mut self, criterion: usize, sample: &GuardSample) {
        if let Some(Line::Ratio(ratio)) = self.lines.get_mut(criterion) {
            ratio.sample(sample);
        }
    }

    /// One more value of the criterion with this index.
    pub fn value(&mut self, criterion: usize, at: DateTime<Utc>, value: Option<f64>) {
        if let Some(Line::Threshold(_, values)) = self.lines.get_mut(criterion) {
            values.push((at, value));
        }
    }

    /// What all samples so far say together. `context.plan_time` is not looked at again.
    pub fn judge(&self, context: &Context) -> Judgement {
        let missing = Missing { since: self.since, grace: self.analysis.grace, context };
        let mut opinions: Vec<_> = self
            .analysis
            .criteria
            .iter()
            .zip(&self.lines)
            .map(|(criterion, line)| {
                let mut opinion = Opinion::new(&criterion.name);
                match line {
                    Line::Ratio(running) => {
                        let finding = running.finding();
                        opinion.error = missing.arms(&finding);
                        let bounds = self.analysis.bounds;
                        opinion.compare(criterion, &self.weights, bounds, &finding);
                    }
                    Line::Threshold(limits, values) => {
                        let finding = threshold::find(*limits, values, self.since);
                        opinion.error = missing.beyond_grace("no value", finding.seen);
                        opinion.measure(*limits, &finding);
                    }
                }
                opinion.settle();
                opinion
            })
            .collect();
        let verdict = combine(&mut opinions, self.analysis);
        let metrics = opinions.into_iter().map(|opinion| opinion.view).collect();
        Judgement { verdict, metrics }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::judge::{Counts, Criterion, History, Op, Ratio, Samples, Series, judge};

    fn analysis() -> Analysis {
        let criterion = |name: &str, kind| Criterion { name: name.to_owned(), weight: None, kind };
        let threshold = Threshold::new(Op::Below, 10.0, 2, 3, 3).unwrap();
        Analysis {
            criteria: vec![
                criterion("errors", Kind::Ratio(Ratio::ERRORS)),
                criterion("slow", Kind::Ratio(Ratio::SLOW)),
                criterion("queue", Kind::Threshold(threshold)),
            ],
            ..Analysis::default()
        }
    }

    fn counts() -> impl Strategy<Value = Counts> {
        (0_u64..3000, 0_u64..40).prop_map(|(total, bad)| Counts { total, bad })
    }

    proptest! {
        #[test]
        fn folding_as_samples_come_gives_the_same_judgements(
            more in prop::collection::vec((counts(), counts(), counts(), 0.0..20.0), 1..25),
            day in counts(),
        ) {
            let analysis = analysis();
            let since = DateTime::UNIX_EPOCH;
            let plan_time = TimeDelta::hours(1);
            let history = Some(History { day, windows: vec![vec![day; 3]; 4] });
            let before = CountSeries { history, ..CountSeries::default() };
            let mut running =
                Running::new(&analysis, &[before.clone(), before.clone()], since, plan_time);
            let mut whole = Samples::empty(since);
            let (mut series, mut values) = (before, Vec::new());
            let (mut canary, mut stable) = (Counts::default(), Counts::default());
            for (step, (first, second, third, value)) in (1_i32..).zip(&more) {
                let at = since + TimeDelta::seconds(15) * step;
                (canary, stable) = (canary.plus(*first), stable.plus(*second).plus(*third));
                let window = Window {
                    end: at,
                    canary: Some(*first),
                    stable: Some(second.plus(*third)),
                    stable_pods: vec![*second, *third],
                };
                let sample = GuardSample { at, canary: Some(canary), stable: Some(stable) };
                for criterion in 0..2 {
                    running.window(criterion, &window);
                    running.sample(criterion, &sample);
                }
                running.value(2, at, Some(*value));
                series.windows.push(window);
                series.guard.push(sample);
                values.push((at, Some(*value)));
                for name in ["errors", "slow"] {
                    whole.series.insert(name.to_owned(), Series::Counts(series.clone()));
                }
                whole.series.insert("queue".to_owned(), Series::Scalar(values.clone()));
                // A late look, too: data that stopped coming is an error for both.
                for late in [TimeDelta::zero(), TimeDelta::minutes(4)] {
                    let context = Context { now: at + late, share: 0.2, plan_time };
                    prop_assert_eq!(running.judge(&context), judge(&analysis, &whole, &context));
                }
            }
        }
    }
}
