//! What is borne with: a burst, an incident, pods that differ.

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

#[test]
fn what_fails_within_one_sample_leaves_nothing_however_much_it_is() {
    let mut evidence = Limit::new(0.05);
    evidence.fold(Counts { total: 1000, bad: 1000 }, 1.0);
    assert!(evidence.log_e() > 1000.0);
    assert!(evidence.without_worst() <= 1e-9, "{}", evidence.without_worst());
    evidence.fold(Counts { total: 5, bad: 5 }, 1.0);
    assert!(evidence.without_worst() > 4000.0_f64.ln());
}

#[test]
fn evidence_without_the_worst_sample_is_fair_at_the_limit() {
    let mut sum = 0.0;
    for (bad, p) in binomial(4, 0.05).into_iter().enumerate() {
        for (more, q) in binomial(5, 0.05).into_iter().enumerate() {
            let mut evidence = Limit::new(0.05);
            evidence.fold(Counts { total: 4, bad: bad as u64 }, 1.0);
            evidence.fold(Counts { total: 5, bad: more as u64 }, 1.0);
            assert!(evidence.without_worst() <= evidence.log_e() + 1e-12);
            sum += p * q * evidence.without_worst().exp();
        }
    }
    assert!(sum <= 1.0 + 1e-9, "{sum}");
}

#[test]
fn dispersion_divides_what_a_sample_says() {
    let failures = Counts { total: 10, bad: 10 };
    let (mut plain, mut tempered) = (Limit::new(0.05), Limit::new(0.05));
    plain.fold(failures, 1.0);
    tempered.fold(failures, 10.0);
    assert!(tempered.log_e() < plain.log_e() / 5.0);
}

/// Calm windows of 15 s, and in between so many in which the canary errs as much as all of stable.
fn incident(windows: i64) -> BlockShare {
    let mut evidence = BlockShare::restarting(1.5).with_stretch(TimeDelta::minutes(6));
    for index in 0..60 + windows {
        let is_calm = index < 30 || index >= 30 + windows;
        let window = if is_calm { block(0, 75, 2, 1425) } else { block(2, 75, 2, 1425) };
        evidence.fold(&window, at(15 * (index + 1)));
    }
    evidence
}

#[test]
fn an_incident_that_ends_leaves_nothing_and_harm_that_goes_on_does() {
    let over = incident(20);
    assert!(over.outside().unwrap() < 1.0, "{:?}", over.outside());
    let (short, long) = (incident(24), incident(60));
    assert!(short.outside().unwrap() < 1.0);
    assert!(long.outside().unwrap() > 2667.0_f64.ln(), "{:?}", long.outside());
    assert!(long.outside().unwrap() < long.log_e());
}

#[test]
fn pods_that_are_alike_have_no_spread_and_those_that_are_not_do() {
    let pods = |bad: [u64; 6]| bad.map(|bad| Counts { total: 10_000, bad });
    let of = |windows: &[[u64; 6]]| {
        let mut spread = Spread::default();
        for window in windows {
            spread.fold(&pods(*window));
        }
        spread.estimate(1.0)
    };
    assert!(of(&[]).abs() < f64::EPSILON);
    assert!(of(&[[0; 6]]).abs() < f64::EPSILON);
    // Poisson errors around 100: nothing more than chance.
    assert!(of(&[[104, 96, 110, 88, 99, 103]]).abs() < f64::EPSILON);
    // Half and half again: a standard deviation of .44 of the mean.
    let known = of(&[[300, 700, 300, 700, 300, 700], [300, 700, 300, 700, 300, 700]]);
    assert!(known > 0.35 && known < 0.5, "{known}");
    // Another number of pods: nobody knows which is which.
    let mut spread = Spread::default();
    spread.fold(&pods([300, 700, 300, 700, 300, 700]));
    spread.fold(&pods([100; 6])[..5]);
    assert!(spread.estimate(1.0).abs() < f64::EPSILON);
}
