//! What stops a broken release at once, and what does not.

use super::*;

#[test]
fn four_failures_of_four_requests_suffice_beside_those_of_one_sample_and_three_do_not() {
    for (failures, fails) in [(3, false), (4, true)] {
        let sample = |at: i64, bad| GuardSample {
            at: start() + seconds(at),
            canary: Some(counts(bad, bad)),
            stable: Some(counts(57, 0)),
        };
        let mut series = CountSeries { guard: vec![sample(2, 100)], ..CountSeries::default() };
        let judgement =
            judge(&errors(), &samples(Series::Counts(series.clone())), &context(2, 0.05));
        assert!(needs_more(&judgement.verdict), "one sample may be one burst: {judgement:#?}");
        series.guard.push(sample(4, 100 + failures));
        let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(4, 0.05));
        assert_eq!(lane(&judgement.verdict) == Some(Lane::Guard), fails, "{judgement:#?}");
        assert_eq!(needs_more(&judgement.verdict), !fails);
    }
}

#[test]
fn one_sample_suffices_where_an_hour_of_stable_knew_no_bursts() {
    let sample = GuardSample {
        at: start() + seconds(2),
        canary: Some(counts(12, 10)),
        stable: Some(counts(57, 0)),
    };
    let stopped = |hour: Vec<Vec<Counts>>| {
        let history = History { day: counts(10_000, 10), windows: hour };
        let (guard, history) = (vec![sample], Some(history));
        let series = CountSeries { guard, history, ..CountSeries::default() };
        let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(2, 0.05));
        lane(&judgement.verdict) == Some(Lane::Guard)
    };
    let pods = |bad| vec![counts(100, bad), counts(100, 0), counts(100, 1)];
    assert!(stopped(vec![pods(1); 10]), "calm");
    assert!(stopped(vec![pods(0); 10]), "without an error");
    let mut bursty = vec![pods(0); 10];
    bursty[4] = pods(20);
    assert!(!stopped(bursty), "it had a burst");
    assert!(!stopped(vec![pods(1); 3]), "too little is known");
    assert!(!stopped(Vec::new()), "nothing is known");
}

#[test]
fn the_guard_says_what_it_saw() {
    let series = steady(2, counts(60, 20), counts(540, 1));
    let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(31, 0.1));
    let Verdict::Fail(failure) = judgement.verdict else { panic!("{:?}", judgement.verdict) };
    assert!(
        failure.message.starts_with("errors: canary 40/120 (33 %) above the limit of 5 %"),
        "{}",
        failure.message
    );
    assert_eq!(judgement.metrics[0].standing, Standing::Fail);
}
