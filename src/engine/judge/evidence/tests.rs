//! Reference values, exact expectations, and what must hold for any numbers.
//! The reference values were computed independently with numpy 2.4 and scipy 1.17.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::fail::{ratio_factor, share_factors_with_absolute};
use super::pass::single_factor;
use super::*;

fn block(canary_bad: u64, canary_total: u64, stable_bad: u64, stable_total: u64) -> Block {
    Block::new(
        Counts { total: canary_total, bad: canary_bad },
        Counts { total: stable_total, bad: stable_bad },
    )
}

/// Three windows with errors in both arms, in stable only, and more in the canary.
fn three() -> [Block; 3] {
    [block(1, 100, 3, 1900), block(0, 120, 2, 2000), block(4, 90, 5, 1800)]
}

#[track_caller]
fn close(value: f64, reference: f64) {
    assert!((value - reference).abs() < 1e-8, "{value} is not {reference}");
}

#[test]
fn beta_mixture_has_its_reference_values() {
    for (canary, stable, reference) in
        [(12, 88, 2.884_033_769_1), (0, 0, 0.0), (0, 50, -1.546_197_328_4), (5, 0, 7.083_629_680_5)]
    {
        close(beta_mixture(canary, stable, 0.05, 0.5, 9.5).unwrap(), reference);
    }
}

#[test]
fn gamma_mixture_has_its_reference_value() {
    close(gamma_mixture(12, 1000.0, 0.005, 1.0, 200.0).unwrap(), 2.685_474_719_1);
}

#[test]
fn closed_forms_refuse_what_is_out_of_range() {
    assert_eq!(beta_mixture(1, 1, 0.0, 1.0, 1.0), None);
    assert_eq!(beta_mixture(1, 1, f64::NAN, 1.0, 1.0), None);
    assert_eq!(gamma_mixture(1, -1.0, 0.1, 1.0, 1.0), None);
    assert_eq!(gamma_mixture(u64::MAX, f64::INFINITY, 0.1, 1.0, 1.0), None);
}

#[test]
fn rate_ratio_has_its_reference_values() {
    let one = block(12, 1000, 88, 19_000);
    close(ratio_factor(&one, 1.0, 0.0, 3.0), 3.652_329_483_6);
    for (relative, absolute, reference) in
        [(1.0, 0.0, 1.973_719_416_8), (1.2, 0.0002, 0.562_605_603_1)]
    {
        let mut evidence = RateRatio::new(relative, absolute);
        evidence.fold(&one);
        close(evidence.log_e(), reference);
    }
    let mut evidence = RateRatio::new(1.0, 0.0);
    for (window, reference) in three().iter().zip([0.345_598_55, -0.211_759_67, 4.793_786_82]) {
        evidence.fold(window);
        close(evidence.log_e(), reference);
    }
}

#[test]
fn block_share_has_its_reference_values() {
    let mut evidence = BlockShare::new(1.0);
    let mut half = 0.0;
    let mut mixed = Mixture::<10>::plain();
    let all = [1.036_736_88, 0.059_852_56, 1.439_759_3];
    let at_half = [1.098_612_29, 0.405_465_11, 2.047_692_84];
    let absolute = [0.735_906_28, -0.158_181_99, 1.008_209_11];
    for (index, window) in three().iter().enumerate() {
        evidence.fold(window, DateTime::UNIX_EPOCH);
        close(evidence.log_e(), all[index]);
        half += share_factors_with_absolute(window, 1.0, 0.0, true)[5];
        close(half, at_half[index]);
        mixed.fold(&share_factors_with_absolute(window, 1.0, 0.001, true));
        close(mixed.log_e(), absolute[index]);
    }
}

#[test]
fn likelihood_ratio_has_its_reference_values() {
    for (side, relative, absolute, reference) in [
        (Side::Worse, 1.0, 0.0, [0.358_163_62, -0.042_444_7, 4.604_452_09]),
        (Side::Worse, 1.5, 0.001, [-0.172_468_06, -0.663_758_06, 2.177_258_52]),
        (Side::Better, 1.5, 0.005, [-0.720_699_64, -0.340_444_74, -2.075_223_54]),
    ] {
        let mut evidence = LikelihoodRatio::new(side, relative, absolute, 0.002, 200.0);
        for (window, reference) in three().iter().zip(reference) {
            evidence.fold(window, 1.0);
            close(evidence.log_e(), reference);
        }
    }
    let window = block(0, 50, 0, 950);
    let closest = block::project(0.05, 0.01, &window, 1.5, 0.001);
    assert!((closest - 0.011_584_688_8).abs() < 1e-10, "{closest}");
}

#[test]
fn the_projection_without_a_margin_is_the_pooled_rate() {
    let window = block(4, 50, 20, 950);
    let pooled = block::project(0.04, 0.02, &window, 1.0, 0.0);
    assert!((pooled - 0.021).abs() < 1e-9);
    let log = 4.0 * (0.04 / pooled).ln()
        + 46.0 * (0.96 / (1.0 - pooled)).ln()
        + 20.0 * (0.02 / pooled).ln()
        + 930.0 * (0.98 / (1.0 - pooled)).ln();
    close(log, 1.649_564_405_7);
}

#[test]
fn non_inferiority_has_its_reference_values() {
    let clean = block(0, 1000, 0, 19_000);
    close(single_factor(&clean, 1.0, 0.005, 0.001), 4.995);
    let mut evidence = NonInferiority::new(1.0, 0.005);
    evidence.fold(&clean, 1.0);
    close(evidence.log_e(), 4.055_026_374_4);
    let mut evidence = NonInferiority::new(1.5, 0.005);
    evidence.fold(&block(1, 1000, 19, 19_000), 1.0);
    close(evidence.log_e(), 2.882_369_898_9);
}

#[test]
fn the_poisson_limit_has_its_reference_values() {
    let mut evidence = PoissonLimit::new(0.005);
    evidence.fold(12.0, 1000.0);
    close(evidence.log_e(), 1.642_981_371_8);
    for (bad, reference) in [(3.0, 148.0), (4.0, 984.0)] {
        let mut evidence = PoissonLimit::new(0.05);
        evidence.fold(bad, bad);
        assert!((evidence.log_e().exp() - reference).abs() < 1.0);
    }
}

#[test]
fn planning_has_its_reference_values() {
    // (stable, canary, relative, absolute, canary requests at 19, 4 and 1 stable requests for one)
    for (stable, canary, relative, absolute, needed) in [
        (0.001, 0.002, 1.0, 0.0, [12_429.0, 15_377.0, 26_461.0]),
        (0.001, 0.005, 1.0, 0.0, [1_225.0, 1_631.0, 3_089.0]),
        (0.001, 0.01, 1.0, 0.0, [367.0, 522.0, 1_052.0]),
        (0.001, 0.05, 1.0, 0.0, [41.0, 67.0, 148.0]),
    ] {
        for (load, needed) in [19.0, 4.0, 1.0].into_iter().zip(needed) {
            let growth = fail_growth(canary, stable, load, relative, absolute);
            let n = requests_needed(0.05, FAIL_COST, growth, 1.0).unwrap();
            assert!((n - needed).abs() < 0.6, "{n} is not {needed}");
        }
    }
    let growth = fail_growth(0.005, 0.001, 19.0, 1.2, 0.0002);
    assert!((requests_needed(0.05, FAIL_COST, growth, 1.0).unwrap() - 1_774.0).abs() < 0.6);
    for (relative, absolute, needed) in [
        (1.5, 0.005, [1_114.0, 1_154.0, 1_254.0]),
        (1.5, 0.002, [3_280.0, 3_538.0, 4_290.0]),
        (2.0, 0.0, [14_136.0, 18_290.0, 33_925.0]),
        (1.0, 0.01, [527.0, 532.0, 544.0]),
    ] {
        for (load, needed) in [19.0, 4.0, 1.0].into_iter().zip(needed) {
            let growth = pass_growth(0.001, 0.001, load, relative, absolute);
            let n = requests_needed(0.05, PASS_COST, growth, 1.0).unwrap();
            assert!((n - needed).abs() < 0.6, "{n} is not {needed}");
        }
    }
    assert_eq!(requests_needed(0.05, 1.0, pass_growth(0.5, 0.001, 19.0, 1.5, 0.005), 1.0), None);
}

/// The probabilities of 0 to n bad requests of n.
fn binomial(n: u64, p: f64) -> Vec<f64> {
    let mut row = vec![((1.0 - p).ln() * n as f64).exp()];
    for bad in 0..n {
        let last = *row.last().unwrap();
        row.push(last * (n - bad) as f64 / (bad + 1) as f64 * p / (1.0 - p));
    }
    row
}

/// The exact expectation of `e` over one window.
fn expectation(canary: (u64, f64), stable: (u64, f64), log_e: impl Fn(&Block) -> f64) -> f64 {
    let stables = binomial(stable.0, stable.1);
    let mut sum = 0.0;
    for (canary_bad, p) in binomial(canary.0, canary.1).into_iter().enumerate() {
        for (stable_bad, q) in stables.iter().enumerate() {
            let window = block(canary_bad as u64, canary.0, stable_bad as u64, stable.0);
            sum += p * q * log_e(&window).exp();
        }
    }
    sum
}

fn rate_ratio(relative: f64, absolute: f64) -> impl Fn(&Block) -> f64 {
    move |window| {
        let mut evidence = RateRatio::new(relative, absolute);
        evidence.fold(window);
        evidence.log_e()
    }
}

fn block_share(relative: f64) -> impl Fn(&Block) -> f64 {
    move |window| {
        let mut evidence = BlockShare::restarting(relative);
        evidence.fold(window, DateTime::UNIX_EPOCH);
        evidence.log_e()
    }
}

fn non_inferiority(relative: f64, absolute: f64) -> impl Fn(&Block) -> f64 {
    move |window| {
        let mut evidence = NonInferiority::new(relative, absolute);
        evidence.fold(window, 1.0);
        evidence.log_e()
    }
}

fn with_absolute(play_empty: bool) -> impl Fn(&Block) -> f64 {
    move |window| {
        let mut mixture = Mixture::<10>::plain();
        mixture.fold(&share_factors_with_absolute(window, 1.5, 0.001, play_empty));
        mixture.log_e()
    }
}

#[test]
fn exact_expectations_on_the_boundary_have_their_reference_values() {
    let near = |value: f64, reference: f64| {
        assert!((value - reference).abs() < 6e-5, "{value} is not {reference}");
        assert!(value <= 1.0 + 1e-9);
    };
    let (canary, stable) = ((20, 0.01), (380, 0.01));
    near(expectation(canary, stable, rate_ratio(1.0, 0.0)), 0.9302);
    near(expectation(canary, stable, block_share(1.0)), 1.0);
    near(expectation(canary, stable, non_inferiority(1.0, 0.0)), 0.9994);
    let canary = (20, 0.016);
    near(expectation(canary, stable, rate_ratio(1.5, 0.001)), 0.9028);
    near(expectation(canary, stable, with_absolute(true)), 0.9863);
    near(expectation(canary, stable, non_inferiority(1.5, 0.001)), 0.9986);
}

#[test]
fn leaving_out_empty_windows_would_break_bets_with_an_absolute_margin() {
    let (canary, stable) = ((3, 0.016), (57, 0.01));
    assert!(expectation(canary, stable, with_absolute(true)) <= 1.0 + 1e-9);
    assert!(expectation(canary, stable, with_absolute(false)) > 1.004);
}

#[test]
fn the_guard_is_fair_at_its_limit_also_over_two_samples() {
    for (first, second) in [(3, 4), (1, 6), (5, 5)] {
        let mut sum = 0.0;
        for (bad, p) in binomial(first, 0.05).into_iter().enumerate() {
            let mut evidence = Limit::new(0.05);
            evidence.fold(Counts { total: first, bad: bad as u64 }, 1.0);
            for (bad, q) in binomial(second, 0.05).into_iter().enumerate() {
                let mut evidence = evidence.clone();
                evidence.fold(Counts { total: second, bad: bad as u64 }, 1.0);
                sum += p * q * evidence.log_e().exp();
            }
        }
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }
}

#[test]
fn harm_after_a_healthy_hour_is_seen_within_a_handful_of_requests() {
    let mut evidence = Limit::new(0.05);
    for _ in 0..720 {
        evidence.fold(Counts { total: 25, bad: 0 }, 1.0);
    }
    assert!(evidence.log_e() < -5.0);
    let mut requests = 0;
    while evidence.log_e() < 4000.0_f64.ln() {
        evidence.fold(Counts { total: 1, bad: 1 }, 1.0);
        requests += 1;
    }
    assert!(requests <= 9, "{requests}");
}

#[test]
fn a_burst_within_one_window_is_one_vote() {
    let mut small = BlockShare::new(1.5);
    let mut large = BlockShare::new(1.5);
    small.fold(&block(1, 1000, 0, 19_000), DateTime::UNIX_EPOCH);
    large.fold(&block(1000, 1000, 0, 19_000), DateTime::UNIX_EPOCH);
    assert_eq!(small.log_e().to_bits(), large.log_e().to_bits());
}

#[test]
fn splitting_a_window_leaves_the_rate_ratio_as_it_is_but_not_the_votes() {
    let (whole, half) = (block(4, 200, 6, 3800), block(2, 100, 3, 1900));
    let (mut one, mut two) = (RateRatio::new(1.2, 0.001), RateRatio::new(1.2, 0.001));
    one.fold(&whole);
    two.fold(&half);
    two.fold(&half);
    close(one.log_e(), two.log_e());
    let (mut one, mut two) = (BlockShare::new(1.2), BlockShare::new(1.2));
    one.fold(&whole, DateTime::UNIX_EPOCH);
    two.fold(&half, DateTime::UNIX_EPOCH);
    two.fold(&half, DateTime::UNIX_EPOCH);
    assert!(two.log_e() > one.log_e() + 0.5);
}

#[test]
fn total_failure_does_not_overflow() {
    let mut evidence = RateRatio::new(1.0, 0.0);
    evidence.fold(&block(300, 300, 0, 5700));
    assert!(evidence.log_e() > 700.0 && evidence.log_e().is_finite());
    let mut guard = Limit::new(0.05);
    guard.fold(Counts { total: 1_000_000, bad: 1_000_000 }, 1.0);
    assert!(guard.log_e() > 1e6 && guard.log_e().is_finite());
}

#[test]
fn dispersion_sees_bursts_on_single_pods_and_ignores_shared_ones() {
    let pod = |bad| Counts { total: 1000, bad };
    let mut shared = Dispersion::default();
    let mut single = Dispersion::default();
    assert!(!shared.is_known());
    for _ in 0..50 {
        shared.fold(&[pod(40), pod(44), pod(36), pod(40)]);
        single.fold(&[pod(0), pod(160), pod(0), pod(0)]);
    }
    assert!((shared.estimate() - 1.0).abs() < 1e-12);
    assert!(single.estimate() > 100.0);
    // (20 + 50 * 480) / (20 + 50 * 3)
    assert!((single.estimate() - 24_020.0 / 170.0).abs() < 1e-9);
}

#[test]
fn dispersion_of_sums_compares_neighbours_in_time() {
    let mut calm = Dispersion::default();
    let mut bursty = Dispersion::default();
    for window in 0..100_u64 {
        calm.fold_sum(Counts { total: 1000, bad: 5 });
        bursty.fold_sum(Counts { total: 1000, bad: if window % 2 == 0 { 0 } else { 10 } });
    }
    assert!(calm.is_known() && (calm.estimate() - 1.0).abs() < 1e-12);
    assert!(bursty.estimate() > 5.0);
}

fn windows() -> impl Strategy<Value = Vec<(u64, u64, u64, u64)>> {
    let count = || prop_oneof![0_u64..5, 0_u64..2000, any::<u64>()];
    prop::collection::vec((count(), count(), count(), count()), 0..20)
}

proptest! {
    #[test]
    fn no_numbers_break_the_processes(windows in windows(), limit in 0.0_f64..2.0) {
        let mut share = BlockShare::restarting(1.5);
        let mut ratio = RateRatio::new(1.5, 0.001);
        let mut pass = NonInferiority::new(1.5, 0.001);
        let mut likelihood = LikelihoodRatio::new(Side::Worse, 1.5, 0.001, 0.0, 0.0);
        let mut guard = Limit::new(limit);
        let mut dispersion = Dispersion::default();
        for (a, b, c, d) in windows {
            let window = block(a, b, c, d);
            share.fold(&window, DateTime::UNIX_EPOCH);
            ratio.fold(&window);
            pass.fold(&window, dispersion.estimate());
            likelihood.fold(&window, 1.0);
            guard.fold(Counts { total: b, bad: a }, dispersion.estimate());
            dispersion.fold(&[Counts { total: b, bad: a }, Counts { total: d, bad: c }]);
        }
        for log_e in [share.log_e(), ratio.log_e(), pass.log_e(), likelihood.log_e(), guard.log_e()]
        {
            prop_assert!(!log_e.is_nan() && log_e < f64::INFINITY, "{log_e}");
        }
        prop_assert!(dispersion.estimate() >= 1.0 && dispersion.estimate().is_finite());
    }

    #[test]
    fn expectations_in_small_windows_are_at_most_one(
        canary in 1_u64..12, stable in 1_u64..40, p in 0.001_f64..0.1,
        relative in 1.0_f64..2.0, absolute in 0.0_f64..0.01,
    ) {
        let arms = |extra| ((canary, relative * p + extra), (stable, p));
        let (on_line, other) = arms(absolute);
        for log_e in [
            expectation(on_line, other, rate_ratio(relative, absolute)),
            expectation(on_line, other, non_inferiority(relative, absolute)),
        ] {
            prop_assert!(log_e <= 1.0 + 1e-9, "{log_e}");
        }
        // Bets on shares are exact for the same rate in both arms; a relative margin costs up to
        // the difference of odds and rates, below .1 % at rates up to 10 %.
        prop_assert!(expectation((canary, p), other, block_share(1.0)) <= 1.0 + 1e-9);
    }

    #[test]
    fn more_canary_errors_are_never_better(
        canary in 1_u64..500, stable in 1_u64..5000, bad in 0_u64..499, stable_bad in 0_u64..50,
    ) {
        prop_assume!(bad < canary && stable_bad <= stable);
        let (less, more) =
            (block(bad, canary, stable_bad, stable), block(bad + 1, canary, stable_bad, stable));
        prop_assert!(block_share(1.5)(&more) >= block_share(1.5)(&less) - 1e-12);
        prop_assert!(rate_ratio(1.5, 0.001)(&more) >= rate_ratio(1.5, 0.001)(&less) - 1e-12);
        let pass = non_inferiority(1.5, 0.001);
        prop_assert!(pass(&more) <= pass(&less) + 1e-12);
    }
}

mod spared;
