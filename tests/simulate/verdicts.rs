//! The promises, counted over few runs: what is grossly broken shows.

use tidegate::verdicts::{Held, Promise, cases, measure, report};

const RUNS: usize = 10;

#[test]
fn no_promise_is_broken_and_the_same_seed_measures_the_same() {
    // One world of each kind would do; an hour in each takes seconds.
    let cases: Vec<_> =
        cases().into_iter().filter(|case| case.name.contains(" 100 req/s")).collect();
    let lines = measure(&cases, RUNS, 1, &mut |_, _| ());
    assert_eq!(lines, measure(&cases, RUNS, 1, &mut |_, _| ()));
    for line in &lines {
        // Medians of two runs say little; shares of ten say when all goes wrong.
        let is_share = matches!(line.promise, Promise::GoodStays | Promise::WorseIsNotPromoted);
        assert!(!is_share || line.held() != Held::No, "{line:?}");
    }
    let document = report::document(&lines, RUNS, 1);
    for line in &lines {
        assert!(document.contains(&format!("| {} |", line.name)), "{}", line.name);
    }
}

#[test]
fn every_promise_is_measured() {
    let cases = cases();
    for promise in Promise::ALL {
        assert!(cases.iter().any(|case| case.promise == promise), "{promise:?}");
    }
}
