//! What is shown and decides nothing: it is calculated only for those who show it.

use super::evidence::{Block, difference_interval, ratio_interval};
use super::{
    Analysis, Forecast, Judgement, Kind, Lane, MetricView, Samples, Series, Verdict, Weighed, ratio,
};
use crate::defaults;

impl Judgement {
    /// With the intervals of ratios, the time to a Pass at other weights (in whole percent) than the
    /// canary's of now, and whether it gets the share that was asked for. The samples are those that
    /// were judged.
    pub fn detailed(
        mut self,
        analysis: &Analysis,
        samples: &Samples,
        weights: &[u8],
        weighed: Option<Weighed>,
    ) -> Self {
        for (criterion, view) in analysis.criteria.iter().zip(&mut self.metrics) {
            let series = samples.series.get(&criterion.name);
            if let (Kind::Ratio(_), Some(Series::Counts(series))) = (&criterion.kind, series) {
                let before = view.description();
                view.detail(&ratio::blocks(series, samples.since), weights);
                view.share_off = weighed.and_then(|weighed| weighed.off(series, samples.since));
                // What is wrong with the data stands there instead.
                if view.text == before {
                    view.text = view.description();
                }
            }
        }
        if let Verdict::Fail(failure) = &mut self.verdict
            && failure.lane == Lane::Evidence
            && let Some(view) = self.metrics.iter().find(|view| view.name == failure.metric)
            && let Some(charge) = view.charge()
        {
            failure.message = charge;
        }
        self
    }
}

impl MetricView {
    fn detail(&mut self, blocks: &[Block], weights: &[u8]) {
        let bound = defaults::INTERVAL_BOUND;
        let (Some(canary), Some(stable)) = (self.canary, self.stable) else { return };
        if canary.total > 0 && stable.total > 0 {
            self.interval = Some(ratio_interval(blocks, bound));
        }
        if stable.bad == 0 {
            let dispersion = self.dispersion.unwrap_or(1.0);
            self.difference = difference_interval(canary, stable, dispersion, bound);
        }
        let Some(outlook) = self.outlook else { return };
        self.forecasts = weights
            .iter()
            .filter_map(|weight| {
                let eta = outlook.at(f64::from(*weight) / 100.0)?;
                Some(Forecast { weight: *weight, eta })
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, counts, start, steady};
    use super::*;
    use crate::judge::{Criterion, Interval, Ratio, judge};

    fn judged(windows: i64, canary: (u64, u64), stable: (u64, u64)) -> Judgement {
        let criteria = ["errors", "slow"].map(|name| Criterion {
            name: name.to_owned(),
            weight: None,
            kind: Kind::Ratio(Ratio::ERRORS),
        });
        let analysis = Analysis { criteria: criteria.to_vec(), ..Analysis::default() };
        let mut samples = Samples::empty(start());
        let of = |(total, bad)| counts(total, bad);
        let series = Series::Counts(steady(windows, of(canary), of(stable)));
        samples.series.insert("errors".to_owned(), series);
        let unavailable = Series::Unavailable { message: "HTTP 503".to_owned() };
        samples.series.insert("slow".to_owned(), unavailable);
        let weighed = Some(Weighed { share: 0.1, since: start() });
        let plain = judge(&analysis, &samples, &context(15 * windows + 1, 0.1));
        let detailed = plain.clone().detailed(&analysis, &samples, &[25, 50], weighed);
        // Nothing that decides is touched.
        assert_eq!(plain.metrics[0].regression, detailed.metrics[0].regression);
        assert_eq!(
            std::mem::discriminant(&plain.verdict),
            std::mem::discriminant(&detailed.verdict)
        );
        detailed
    }

    #[test]
    fn the_line_has_the_interval_the_rate_and_the_time_at_other_weights() {
        let judgement = judged(8, (10, 0), (90, 1));
        let view = &judgement.metrics[0];
        let interval = view.interval.unwrap();
        assert!(interval.low <= 0.0 && interval.high.is_some_and(|high| high < 20.0), "{view:#?}");
        let begin = "errors: canary 0/80 (0 %) vs stable 8/720 (1.1 %), ratio 0.0 \
                     (95 % always-valid 0 to ";
        assert!(view.text.starts_with(begin), "{}", view.text);
        assert!(view.text.contains(" at 0.67 req/s; at weight 25 "), "{}", view.text);
        assert!(view.forecasts[1].eta < view.forecasts[0].eta, "{view:#?}");
        assert!(view.forecasts[0].eta < view.eta.unwrap(), "{view:#?}");
        assert_eq!(judgement.metrics[1].text, "slow: HTTP 503", "what is wrong stays");
    }

    #[test]
    fn a_share_that_is_off_is_told_and_changes_no_verdict() {
        let judgement = judged(8, (90, 0), (90, 0));
        let end = ". ShareOff: the canary got 50 % of the requests.";
        assert!(judgement.metrics[0].text.ends_with(end), "{}", judgement.metrics[0].text);
    }

    #[test]
    fn a_stable_without_errors_has_a_difference() {
        let judgement = judged(8, (100, 0), (900, 0));
        let view = &judgement.metrics[0];
        assert!(view.text.contains("vs stable 0/7,200 (0 %), difference -"), "{}", view.text);
        assert_eq!(view.interval.unwrap().high, None);
        let Interval { low, high } = view.difference.unwrap();
        assert!(low < 0.0 && high.is_some_and(|high| high > 0.0 && high < 0.02));
    }

    #[test]
    fn a_failure_says_how_sure_the_ratio_is() {
        let judgement = judged(40, (150, 3), (1350, 4));
        let Verdict::Fail(failure) = &judgement.verdict else { panic!("{judgement:#?}") };
        assert!(failure.message.contains(" (95 % always-valid "), "{failure:?}");
        assert!(failure.message.contains(", more than 1.5 x stable + 0.02 pp"), "{failure:?}");
        assert!(judgement.metrics[0].interval.unwrap().low > 1.5);
    }
}
