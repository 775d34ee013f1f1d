//! Verdicts from whole sets of samples.

mod guard;

use super::*;

pub(super) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

pub(super) fn seconds(n: i64) -> TimeDelta {
    TimeDelta::seconds(n)
}

pub(super) fn context(at: i64, share: f64) -> Context {
    Context { now: start() + seconds(at), share, plan_time: TimeDelta::hours(1) }
}

fn criterion(name: &str, kind: Kind) -> Criterion {
    Criterion { name: name.to_owned(), weight: None, kind }
}

fn errors() -> Analysis {
    let criteria = vec![criterion("errors", Kind::Ratio(Ratio::ERRORS))];
    Analysis { criteria, ..Analysis::default() }
}

fn samples(series: Series) -> Samples {
    let mut samples = Samples::empty(start());
    samples.series.insert("errors".to_owned(), series);
    samples
}

/// Windows of 15 s with the same counts, on four stable pods that are alike.
pub(super) fn steady(windows: i64, canary: Counts, stable: Counts) -> CountSeries {
    let quarter = Counts { total: stable.total / 4, bad: stable.bad / 4 };
    let window = |index| Window {
        end: start() + seconds(15 * index),
        canary: Some(canary),
        stable: Some(stable),
        stable_pods: vec![quarter; 4],
    };
    CountSeries { windows: (1..=windows).map(window).collect(), ..CountSeries::default() }
}

pub(super) fn counts(total: u64, bad: u64) -> Counts {
    Counts { total, bad }
}

fn lane(verdict: &Verdict) -> Option<Lane> {
    if let Verdict::Fail(failure) = verdict { Some(failure.lane) } else { None }
}

fn needs_more(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::NeedMoreData { .. })
}

#[test]
fn nothing_is_concluded_from_nothing() {
    let nothing = Samples::empty(start());
    assert!(needs_more(&judge(&errors(), &nothing, &context(60, 0.1)).verdict));
    let later = judge(&errors(), &nothing, &context(200, 0.1)).verdict;
    assert_eq!(
        later,
        Verdict::Error { metric: "errors".to_owned(), message: "no data for 3 min".to_owned() }
    );
    // And then nothing more happens, however long it stays so.
    let day = judge(&errors(), &nothing, &context(86_400, 0.1)).verdict;
    assert!(matches!(day, Verdict::Error { .. }));
}

#[test]
fn no_criteria_prove_nothing() {
    let judgement = judge(&Analysis::default(), &Samples::empty(start()), &context(900, 0.1));
    assert!(needs_more(&judgement.verdict) && judgement.metrics.is_empty());
}

#[test]
fn a_sick_environment_is_not_the_releases_doing() {
    let series = steady(4, counts(100, 30), counts(900, 270));
    let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(61, 0.1));
    let why = Unclear::EnvironmentUnhealthy;
    assert_eq!(judgement.verdict, Verdict::Inconclusive { why, metric: "errors".to_owned() });
    assert_eq!(judgement.metrics[0].standing, Standing::EnvironmentUnhealthy);
}

#[test]
fn a_canary_far_worse_than_a_sick_stable_still_fails() {
    let series = steady(40, counts(100, 90), counts(900, 90));
    let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(601, 0.1));
    assert_eq!(lane(&judgement.verdict), Some(Lane::Evidence), "{judgement:#?}");
}

#[test]
fn what_stable_always_did_is_no_reason_to_stop_a_release() {
    let mut series = steady(20, counts(100, 8), counts(900, 72));
    let without = judge(&errors(), &samples(Series::Counts(series.clone())), &context(301, 0.1));
    assert!(matches!(without.verdict, Verdict::Inconclusive { .. }));
    series.history = Some(History { day: counts(1_000_000, 80_000), windows: Vec::new() });
    let with = judge(&errors(), &samples(Series::Counts(series)), &context(301, 0.1));
    assert!((with.metrics[0].hard_limit.unwrap() - 0.24).abs() < 1e-12);
    assert!(needs_more(&with.verdict) || with.verdict == Verdict::Pass, "{with:#?}");
}

#[test]
fn a_regression_below_the_hard_limit_is_found_by_comparison() {
    let series = steady(40, counts(150, 3), counts(1350, 4));
    let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(601, 0.1));
    assert_eq!(lane(&judgement.verdict), Some(Lane::Evidence), "{judgement:#?}");
}

#[test]
fn a_difference_nobody_would_notice_fails_nobody() {
    // Twice stable's rate, but by less than .02 percentage points.
    let series = steady(400, counts(100_000, 20), counts(900_000, 90));
    let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(6001, 0.1));
    assert_eq!(lane(&judgement.verdict), None, "{judgement:#?}");
}

#[test]
fn a_healthy_release_passes_with_the_margin_its_traffic_affords() {
    for (canary, proven) in [(10, 0.005), (600, 0.001)] {
        let mut windows = 0;
        let view = loop {
            windows += 1;
            let series = steady(windows, counts(canary, 0), counts(9 * canary, 0));
            let at = context(15 * windows + 1, 0.1);
            let judgement = judge(&errors(), &samples(Series::Counts(series)), &at);
            if judgement.verdict == Verdict::Pass {
                break judgement.metrics[0].clone();
            }
            assert!(needs_more(&judgement.verdict));
        };
        assert!(windows * 15 <= 1800, "within half of the plan's time, took {windows} windows");
        assert!((view.proven.unwrap().absolute() - proven).abs() < 1e-12, "{view:#?}");
        assert!(view.text.contains("-> PASS. Proven no worse than 1.5 x stable + 0."));
        assert_eq!((view.eta, view.requests_needed), (None, None));
    }
}

#[test]
fn a_promise_narrows_the_margin() {
    let ratio = Ratio { pass: PassMargin::Auto { slo: Some(0.999) }, ..Ratio::ERRORS };
    let analysis =
        Analysis { criteria: vec![criterion("errors", Kind::Ratio(ratio))], ..Analysis::default() };
    let series = steady(4, counts(10, 0), counts(90, 0));
    let judgement = judge(&analysis, &samples(Series::Counts(series)), &context(61, 0.1));
    assert!((judgement.metrics[0].required.unwrap().absolute() - 0.0005).abs() < 1e-12);
}

#[test]
fn little_traffic_gets_an_estimate_not_a_verdict() {
    let series = steady(8, counts(10, 0), counts(190, 0));
    let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(121, 0.05));
    let Verdict::NeedMoreData { eta: Some(eta), .. } = judgement.verdict else {
        panic!("{judgement:#?}")
    };
    assert!(eta > seconds(300) && eta < seconds(3000), "{eta}");
    let text = &judgement.metrics[0].text;
    assert!(
        text.starts_with("errors: canary 0/80 (0 %) vs stable 0/1,520 (0 %). Evidence of "),
        "{text}"
    );
    assert!(text.contains("-> NEED MORE DATA: about "), "{text}");
}

#[test]
fn no_traffic_is_no_information() {
    let series = steady(100, Counts::default(), Counts::default());
    let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(1501, 0.1));
    let expected = Verdict::NeedMoreData { eta: None, metric: "errors".to_owned() };
    assert_eq!(judgement.verdict, expected);
}

#[test]
fn an_absent_canary_is_an_error_after_a_grace_and_neither_pass_nor_fail() {
    let mut series = steady(40, counts(150, 150), counts(1350, 4));
    for window in &mut series.windows {
        window.canary = None;
    }
    let series = samples(Series::Counts(series));
    assert!(needs_more(&judge(&errors(), &series, &context(179, 0.1)).verdict));
    let judgement = judge(&errors(), &series, &context(601, 0.1));
    assert_eq!(
        judgement.verdict,
        Verdict::Error {
            metric: "errors".to_owned(),
            message: "no series of the canary for 10 min".to_owned()
        }
    );
    // Without a share of the traffic it is not missed.
    assert!(needs_more(&judge(&errors(), &series, &context(601, 0.0)).verdict));
}

#[test]
fn an_absent_stable_is_an_error_only_while_it_has_traffic() {
    let mut series = steady(40, counts(150, 0), counts(1350, 0));
    for window in &mut series.windows {
        window.stable = None;
    }
    let series = samples(Series::Counts(series));
    let error = judge(&errors(), &series, &context(601, 0.5)).verdict;
    assert!(matches!(error, Verdict::Error { message, .. } if message.contains("of stable")));
    assert!(needs_more(&judge(&errors(), &series, &context(601, 1.0)).verdict));
}

#[test]
fn proof_stays_at_weight_100_and_the_guard_stays_awake() {
    let mut series = steady(200, counts(100, 0), counts(900, 0));
    for index in 201..=300 {
        let end = start() + seconds(15 * index);
        let (canary, stable) = (Some(counts(1000, 2)), Some(Counts::default()));
        series.windows.push(Window { end, canary, stable, stable_pods: Vec::new() });
    }
    let judgement = judge(&errors(), &samples(Series::Counts(series.clone())), &context(4501, 1.0));
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
    assert_eq!(judgement.metrics[0].canary, Some(counts(20_000, 0)));
    for index in 301..=302 {
        let end = start() + seconds(15 * index);
        let (canary, stable) = (Some(counts(1000, 300)), Some(Counts::default()));
        series.windows.push(Window { end, canary, stable, stable_pods: Vec::new() });
    }
    let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(4531, 1.0));
    assert_eq!(lane(&judgement.verdict), Some(Lane::Guard));
}

#[test]
fn harm_that_begins_late_is_found_after_a_pass() {
    let mut series = steady(240, counts(150, 0), counts(1350, 3));
    let pass = judge(&errors(), &samples(Series::Counts(series.clone())), &context(3601, 0.1));
    assert_eq!(pass.verdict, Verdict::Pass);
    let mut found = None;
    for index in 241..=300 {
        let end = start() + seconds(15 * index);
        let (canary, stable) = (Some(counts(150, 4)), Some(counts(1350, 3)));
        series.windows.push(Window { end, canary, stable, stable_pods: Vec::new() });
        let at = context(15 * index + 1, 0.1);
        let judgement = judge(&errors(), &samples(Series::Counts(series.clone())), &at);
        if lane(&judgement.verdict) == Some(Lane::Evidence) {
            found = Some(index - 240);
            break;
        }
    }
    // Six minutes could be an incident; what goes on is none.
    assert!(found.is_some_and(|windows| (25..=40).contains(&windows)), "{found:?}");
}

pub(super) fn two() -> Analysis {
    let below = Threshold::new(Op::Below, 0.5, 3, 5, 3).unwrap();
    let mut analysis = errors();
    analysis.criteria.push(criterion("queue", Kind::Threshold(below)));
    analysis
}

fn queue(samples: &mut Samples, values: &[Option<f64>]) {
    let values = (1_i64..).zip(values).map(|(i, value)| (start() + seconds(60 * i), *value));
    samples.series.insert("queue".to_owned(), Series::Scalar(values.collect()));
}

#[test]
fn all_must_pass_and_one_fail_is_a_fail() {
    let series = steady(40, counts(600, 0), counts(5400, 0));
    let mut samples = samples(Series::Counts(series));
    queue(&mut samples, &[Some(0.1), Some(0.2)]);
    let verdict = judge(&two(), &samples, &context(121, 0.1)).verdict;
    assert_eq!(verdict, Verdict::NeedMoreData { eta: None, metric: "queue".to_owned() });
    queue(&mut samples, &[Some(0.1), Some(0.2), Some(0.3)]);
    assert_eq!(judge(&two(), &samples, &context(181, 0.1)).verdict, Verdict::Pass);
    queue(&mut samples, &[Some(0.9), Some(0.9), None, Some(0.9)]);
    let judgement = judge(&two(), &samples, &context(241, 0.1));
    let Verdict::Fail(failure) = judgement.verdict else { panic!("{:?}", judgement.verdict) };
    assert_eq!(failure.message, "queue: 0.9, wanted < 0.5; violated 3 times among 5 samples");
}

#[test]
fn an_error_blocks_a_pass_but_not_the_guard_of_other_data() {
    let unavailable = Series::Unavailable { message: "HTTP 503".to_owned() };
    let mut healthy = samples(Series::Counts(steady(40, counts(600, 0), counts(5400, 0))));
    healthy.series.insert("queue".to_owned(), unavailable.clone());
    let verdict = judge(&two(), &healthy, &context(601, 0.1)).verdict;
    let message = "HTTP 503".to_owned();
    assert_eq!(verdict, Verdict::Error { metric: "queue".to_owned(), message });
    let mut sick = samples(Series::Counts(steady(2, counts(600, 300), counts(5400, 0))));
    sick.series.insert("queue".to_owned(), unavailable);
    assert_eq!(lane(&judge(&two(), &sick, &context(31, 0.1)).verdict), Some(Lane::Guard));
}

#[test]
fn values_that_stop_coming_are_an_error_after_a_grace() {
    let mut samples = samples(Series::Counts(steady(80, counts(600, 0), counts(5400, 0))));
    queue(&mut samples, &[Some(0.1), Some(0.2), Some(0.3), None, None, Some(f64::NAN), None]);
    assert_eq!(judge(&two(), &samples, &context(350, 0.1)).verdict, Verdict::Pass);
    let stale = judge(&two(), &samples, &context(421, 0.1)).verdict;
    let message = "no value for 4 min".to_owned();
    assert_eq!(stale, Verdict::Error { metric: "queue".to_owned(), message });
}

#[test]
fn the_wrong_kind_of_series_is_an_error() {
    let verdict = judge(&errors(), &samples(Series::Scalar(Vec::new())), &context(1, 0.1)).verdict;
    assert!(matches!(verdict, Verdict::Error { .. }));
}

#[test]
fn windows_out_of_order_and_twice_count_once() {
    let series = steady(20, counts(100, 1), counts(900, 3));
    let mut shuffled = series.clone();
    shuffled.windows.extend(series.windows.clone());
    let judged = |series| judge(&errors(), &samples(Series::Counts(series)), &context(301, 0.1));
    assert_eq!(judged(series), judged(shuffled));
}

#[test]
fn sensitive_fails_no_later_than_standard() {
    let sensitive = Analysis { bounds: Bounds::SENSITIVE, ..errors() };
    let mut first = [None, None];
    for windows in 1..60 {
        let series = samples(Series::Counts(steady(windows, counts(150, 2), counts(1350, 4))));
        for (analysis, first) in [&sensitive, &errors()].into_iter().zip(&mut first) {
            let verdict = judge(analysis, &series, &context(15 * windows + 1, 0.1)).verdict;
            if lane(&verdict).is_some() && first.is_none() {
                *first = Some(windows);
            }
        }
    }
    assert!(first[0].unwrap() < first[1].unwrap(), "{first:?}");
}

#[test]
fn judgements_are_readable_by_machines() {
    let series = steady(8, counts(40, 0), counts(760, 1));
    let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(121, 0.05));
    let json = serde_json::to_value(&judgement).unwrap();
    assert_eq!(json["metrics"][0]["standing"], "NeedMoreData");
    assert!(json["metrics"][0]["safety"]["logE"].is_number());
    assert!(json["metrics"][0]["eta"].is_number());
}

#[test]
fn nothing_that_cannot_be_asked_becomes_an_analysis() {
    assert!(Margin::new(f64::NAN, 0.0).is_err() && Margin::new(1.5, -0.1).is_err());
    assert!(Bounds::new(0.0, 0.05).is_err() && Bounds::new(0.01, f64::NAN).is_err());
    assert!(HardLimit::new(0.9, 3.0).is_err() && HardLimit::new(0.05, f64::INFINITY).is_err());
    assert!(Threshold::new(Op::Below, f64::NAN, 1, 1, 1).is_err());
    assert!(Threshold::new(Op::Below, 1.0, 3, 2, 1).is_err());
    assert_eq!(
        Margin::new(0.0, 0.0).unwrap_err().to_string(),
        "margin 0 x stable + 0: expected 0.01 to 100 and 0 to 1"
    );
}

/// Stable answers and has no requests; in the hour before it had 240 windows like this one.
fn switched(windows: i64, canary: Counts, before: Counts) -> CountSeries {
    let quarter = Counts { total: before.total / 4, bad: before.bad / 4 };
    let mut series = steady(windows, canary, counts(0, 0));
    let day = Counts { total: before.total * 5760, bad: before.bad * 5760 };
    series.history = Some(History { day, windows: vec![vec![quarter; 4]; 240] });
    series
}

#[test]
fn after_a_switch_stable_s_past_is_the_control_arm() {
    let good = switched(12, counts(1_500, 1), counts(1_500, 4));
    let judgement = judge(&errors(), &samples(Series::Counts(good)), &context(181, 1.0));
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
    // 1 % is far below the hard limit, and four times as bad as an hour ago.
    let bad = switched(40, counts(1_500, 16), counts(1_500, 4));
    let judgement = judge(&errors(), &samples(Series::Counts(bad)), &context(601, 1.0));
    assert_eq!(lane(&judgement.verdict), Some(Lane::Evidence), "{judgement:#?}");
}

#[test]
fn the_past_counts_once_and_then_no_more_is_proven() {
    // A fixed margin: with the automatic one, what is shown depends on the time that is left.
    let pass = PassMargin::Fixed(Margin::new(1.5, 0.002).unwrap());
    let kind = Kind::Ratio(Ratio { pass, ..Ratio::ERRORS });
    let fixed = Analysis { criteria: vec![criterion("errors", kind)], ..Analysis::default() };
    let looks = |windows| {
        let mut series = switched(windows, counts(60, 0), counts(60, 0));
        if let Some(history) = &mut series.history {
            history.windows.truncate(5);
        }
        let judgement = judge(&fixed, &samples(Series::Counts(series)), &context(15, 1.0));
        assert!(needs_more(&judgement.verdict), "{judgement:#?}");
        let view = &judgement.metrics[0];
        (view.stable, view.safety.map(|evidence| evidence.log_e.to_bits()))
    };
    assert_eq!(looks(5), looks(400));
    assert_eq!(looks(5).0, Some(counts(300, 0)));
}

#[test]
fn a_stable_that_does_not_answer_has_no_past() {
    let mut series = switched(12, counts(1_500, 1), counts(1_500, 4));
    for window in &mut series.windows {
        window.stable = None;
    }
    let judgement = judge(&errors(), &samples(Series::Counts(series)), &context(100, 1.0));
    assert!(needs_more(&judgement.verdict), "{judgement:#?}");
}
