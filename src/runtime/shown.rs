//! A judgement as a Rollout's status and a trial's record have it. Pure.

use chrono::TimeDelta;
use tidegate_api::{
    ArmCounts, AtWeight, Between, BothArms, EvidenceStatus, MarginStatus, MetricStatus, Needs,
    Standing, StepMetric,
};
use tidegate_engine::judge::{self, Judgement, MetricView};

use super::status::shorten;

/// Metrics that are listed.
const METRICS: usize = 32;
/// Longest line of one metric, in characters.
const LONGEST: usize = 512;

/// Each metric in a line, the first ones with all their numbers.
pub(super) fn metrics(judgement: &Judgement, numbered: usize) -> Vec<MetricStatus> {
    let listed = judgement.metrics.iter().take(METRICS).enumerate();
    let status = |(index, view): (usize, &MetricView)| {
        let numbers = if index < numbered { numbers(view) } else { MetricStatus::default() };
        let message = shorten(&view.text, LONGEST);
        MetricStatus { name: view.name.clone(), message, ..numbers }
    };
    listed.map(status).collect()
}

/// The same in few words.
pub(super) fn briefly(judgement: &Judgement) -> Vec<StepMetric> {
    let listed = judgement.metrics.iter().take(METRICS);
    let status = |view: &MetricView| StepMetric {
        name: view.name.clone(),
        standing: Some(standing(view.standing)),
        canary: view.canary.map(counts),
        stable: view.stable.map(counts),
    };
    listed.map(status).collect()
}

fn numbers(view: &MetricView) -> MetricStatus {
    let evidence = |evidence: judge::Evidence| EvidenceStatus {
        found: digits(evidence.log_e),
        limit: digits(evidence.limit),
    };
    let margin = |margin: judge::Margin| MarginStatus {
        relative: digits(margin.relative()),
        absolute: digits(margin.absolute()),
    };
    let between = |interval: judge::Interval| Between {
        low: digits(interval.low),
        high: interval.high.map(digits),
    };
    MetricStatus {
        name: String::new(),
        message: String::new(),
        standing: Some(standing(view.standing)),
        canary: view.canary.map(counts),
        stable: view.stable.map(counts),
        ratio: view.ratio.map(digits),
        interval: view.interval.map(between),
        difference: view.difference.map(between),
        regression: view.regression.map(evidence),
        safety: view.safety.map(evidence),
        guard: view.guard.map(evidence),
        hard_limit: view.hard_limit.map(digits),
        guarded: view.guarded.map(|guarded| BothArms {
            canary: counts(guarded.canary),
            stable: counts(guarded.stable),
        }),
        fails_above: view.fail.map(margin),
        passes_below: view.required.map(margin),
        proven: view.proven.map(margin),
        dispersion: view.dispersion.map(digits),
        needs: needs(view),
        share_off: view.share_off.map(digits),
        value: view.value.map(digits),
    }
}

fn needs(view: &MetricView) -> Option<Needs> {
    let at_weights = view.forecasts.iter().filter_map(|forecast| {
        Some(AtWeight { weight: forecast.weight, seconds: seconds(forecast.eta)? })
    });
    Some(Needs {
        requests: view.requests_needed?,
        per_second: view.per_second.map(digits),
        seconds: view.eta.and_then(seconds),
        at_weights: at_weights.collect(),
    })
}

const fn standing(standing: judge::Standing) -> Standing {
    match standing {
        judge::Standing::Pass => Standing::Pass,
        judge::Standing::Fail => Standing::Fail,
        judge::Standing::NeedMoreData => Standing::NeedMoreData,
        judge::Standing::EnvironmentUnhealthy => Standing::EnvironmentUnhealthy,
        judge::Standing::Error => Standing::Error,
    }
}

const fn counts(counts: judge::Counts) -> ArmCounts {
    ArmCounts { requests: counts.total, bad: counts.bad }
}

fn seconds(time: TimeDelta) -> Option<u64> {
    u64::try_from(time.num_seconds()).ok()
}

/// Four digits: more would change with every look, and tell nobody anything.
fn digits(number: f64) -> f64 {
    format!("{number:.3e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::{Value, json};
    use tidegate_engine::judge::{
        Analysis, Context, CountSeries, Counts, Criterion, Kind, Ratio, Samples, Series, Window,
        judge,
    };

    use super::*;

    /// Ten minutes at weight 10, stable with one bad request in 900.
    fn judgement(metrics: usize) -> Judgement {
        let since = DateTime::UNIX_EPOCH;
        let mut analysis = Analysis::default();
        let mut samples = Samples::empty(since);
        let window = |index: i32| Window {
            end: since + TimeDelta::seconds(15) * index,
            canary: Some(Counts { total: 10, bad: 0 }),
            stable: Some(Counts { total: 90, bad: u64::from(index % 10 == 0) }),
            stable_pods: Vec::new(),
        };
        let windows: Vec<_> = (1..=10).map(window).collect();
        for index in 0..metrics {
            let name = format!("errors-{index}");
            let kind = Kind::Ratio(Ratio::ERRORS);
            analysis.criteria.push(Criterion { name: name.clone(), weight: None, kind });
            let series = CountSeries { windows: windows.clone(), ..CountSeries::default() };
            samples.series.insert(name, Series::Counts(series));
        }
        let now = since + TimeDelta::seconds(151);
        let context = Context { now, share: 0.1, plan_time: TimeDelta::hours(1) };
        judge(&analysis, &samples, &context).detailed(&analysis, &samples, &[25], None)
    }

    #[test]
    fn numbers_are_few_digits_and_what_is_unknown_is_absent() {
        let all = metrics(&judgement(1), 1);
        let shown = serde_json::to_value(&all[0]).unwrap();
        assert_eq!(shown["standing"], "NeedMoreData");
        assert_eq!(shown["canary"], json!({"requests": 100, "bad": 0}));
        assert_eq!(shown["stable"], json!({"requests": 900, "bad": 1}));
        assert_eq!(shown["interval"]["low"], 0.0);
        assert!(shown["interval"]["high"].as_f64() > Some(100.0), "one bad request says little");
        assert_eq!(shown["difference"], Value::Null, "there is a ratio");
        assert_eq!(shown["failsAbove"], json!({"relative": 1.5, "absolute": 0.0002}));
        assert_eq!(shown["needs"]["perSecond"], 0.6667);
        assert_eq!(shown["needs"]["atWeights"][0]["weight"], 25);
        assert_eq!(shown["proven"], Value::Null);
        assert!(!shown.to_string().contains("null"), "{shown}");
        assert_eq!(serde_json::from_value::<MetricStatus>(shown).unwrap(), all[0]);
    }

    #[test]
    fn a_status_stays_small_however_many_metrics_there_are() {
        let judgement = judgement(40);
        let shown = metrics(&judgement, 8);
        assert_eq!(shown.len(), METRICS);
        assert_eq!(shown.iter().filter(|metric| metric.standing.is_some()).count(), 8);
        assert!(shown.iter().all(|metric| !metric.message.is_empty()));
        assert!(serde_json::to_string(&shown[..8]).unwrap().len() < 12_000);
        assert_eq!(briefly(&judgement).len(), METRICS);
    }
}
