//! What holds for any samples.

use proptest::prelude::*;

use super::tests::{context, counts, seconds, start, two};
use super::*;

fn any_counts() -> impl Strategy<Value = Option<Counts>> {
    let number = || prop_oneof![0_u64..4, 0_u64..3000, any::<u64>()];
    prop_oneof![
        1 => Just(None),
        9 => (number(), number()).prop_map(|(total, bad)| Some(counts(total, bad))),
    ]
}

fn any_series() -> impl Strategy<Value = Series> {
    let end = -100_i64..5000;
    let window =
        (end.clone(), any_counts(), any_counts(), prop::collection::vec(any_counts(), 0..4))
            .prop_map(|(end, canary, stable, pods)| Window {
                end: start() + seconds(end),
                canary,
                stable,
                stable_pods: pods.into_iter().flatten().collect(),
            });
    let sample = (end.clone(), any_counts(), any_counts())
        .prop_map(|(at, canary, stable)| GuardSample { at: start() + seconds(at), canary, stable });
    let history = prop::option::of(any_counts().prop_map(|day| History {
        day: day.unwrap_or_default(),
        windows: vec![vec![day.unwrap_or_default(); 3]],
    }));
    let value = prop::option::of(any::<f64>());
    prop_oneof![
        8 => (prop::collection::vec(window, 0..12), prop::collection::vec(sample, 0..6), history)
            .prop_map(|(windows, guard, history)| Series::Counts(CountSeries {
                windows, guard, history,
            })),
        1 => prop::collection::vec((end, value), 0..9).prop_map(|values| Series::Scalar(
            values.into_iter().map(|(at, value)| (start() + seconds(at), value)).collect()
        )),
        1 => Just(Series::Unavailable { message: "no answer".to_owned() }),
    ]
}

proptest! {
    #[test]
    fn any_samples_get_a_judgement_and_absent_data_decides_nothing(
        errors_series in prop::option::of(any_series()),
        queue_series in prop::option::of(any_series()),
        at in -1000_i64..100_000,
        share in prop_oneof![Just(0.0), Just(1.0), any::<f64>()],
        plan in prop_oneof![Just(TimeDelta::MAX), Just(TimeDelta::MIN), Just(TimeDelta::zero())],
    ) {
        let mut samples = Samples::empty(start());
        let absent = errors_series.is_none() && queue_series.is_none();
        samples.series.extend(errors_series.map(|series| ("errors".to_owned(), series)));
        samples.series.extend(queue_series.map(|series| ("queue".to_owned(), series)));
        let context = Context { plan_time: plan, ..context(at, share) };
        let judgement = judge(&two(), &samples, &context);
        prop_assert_eq!(&judgement, &judge(&two(), &samples, &context));
        prop_assert_eq!(judgement.metrics.len(), 2);
        let decided = matches!(judgement.verdict, Verdict::Pass | Verdict::Fail(_));
        prop_assert!(!(absent && decided));
        for view in &judgement.metrics {
            for evidence in [view.regression, view.safety, view.guard].into_iter().flatten() {
                prop_assert!(evidence.log_e.is_finite() && evidence.limit.is_finite());
            }
        }
        prop_assert!(serde_json::to_string(&judgement).is_ok());
    }
}
