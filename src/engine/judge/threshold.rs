//! One number against a limit.

use chrono::{DateTime, Utc};

use super::Threshold;

/// What the samples of one threshold say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    /// Enough violations close to each other, at some time.
    pub(super) failed: bool,
    /// Enough samples satisfy it.
    pub(super) passed: bool,
    /// How many do.
    pub(super) satisfied: usize,
    /// The latest value.
    pub(super) latest: Option<f64>,
    /// When it was had.
    pub(super) seen: Option<DateTime<Utc>>,
}

/// Folds all samples after `since`. What is no finite number is missing: it neither satisfies nor
/// violates.
pub(super) fn find(
    threshold: Threshold,
    samples: &[(DateTime<Utc>, Option<f64>)],
    since: DateTime<Utc>,
) -> Finding {
    let mut last = since;
    let valid: Vec<_> = samples
        .iter()
        .filter_map(|(at, value)| {
            let value = value.filter(|value| value.is_finite())?;
            let is_new = *at > last;
            last = last.max(*at);
            is_new.then_some((*at, value))
        })
        .collect();
    let violations: Vec<_> = valid
        .iter()
        .enumerate()
        .filter(|(_, (_, value))| !threshold.op().holds(*value, threshold.limit()))
        .map(|(index, _)| index)
        .collect();
    // `failures` violations lie within `of` samples when the first and the last of them do.
    let failed = violations
        .windows(threshold.failures())
        .any(|run| run.last().zip(run.first()).is_some_and(|(z, a)| z - a < threshold.of()));
    let satisfied = valid.len() - violations.len();
    Finding {
        failed,
        passed: satisfied >= threshold.min_samples(),
        satisfied,
        latest: valid.last().map(|(_, value)| *value),
        seen: valid.last().map(|(at, _)| *at),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::Op;
    use super::*;

    fn found(values: &[Option<f64>]) -> Finding {
        let start = DateTime::UNIX_EPOCH;
        let samples: Vec<_> = (1_i32..)
            .zip(values)
            .map(|(index, value)| (start + TimeDelta::seconds(i64::from(index)), *value))
            .collect();
        let below = Threshold::new(Op::Below, 10.0, 2, 3, 3).unwrap();
        find(below, &samples, start)
    }

    #[test]
    fn what_is_no_number_neither_passes_nor_fails() {
        let none = [None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), None];
        let finding = found(&none);
        assert!(!finding.failed && !finding.passed);
        assert_eq!((finding.satisfied, finding.latest, finding.seen), (0, None, None));
    }

    #[test]
    fn enough_good_samples_pass() {
        assert!(!found(&[Some(1.0), Some(2.0)]).passed);
        assert!(found(&[Some(1.0), None, Some(2.0), Some(3.0)]).passed);
    }

    #[test]
    fn two_violations_among_three_valid_samples_fail() {
        assert!(found(&[Some(11.0), Some(1.0), Some(11.0)]).failed);
        assert!(found(&[Some(11.0), None, Some(1.0), Some(f64::NAN), Some(11.0)]).failed);
        assert!(!found(&[Some(11.0), Some(1.0), Some(1.0), Some(11.0)]).failed);
        // The limit itself is not below it.
        assert!(found(&[Some(10.0), Some(10.0)]).failed);
    }

    #[test]
    fn a_failure_stays_one() {
        let values = [Some(11.0), Some(11.0), Some(1.0), Some(1.0), Some(1.0), Some(1.0)];
        assert!(found(&values).failed);
    }

    #[test]
    fn the_same_sample_twice_counts_once() {
        let start = DateTime::UNIX_EPOCH;
        let at = start + TimeDelta::seconds(1);
        let below = Threshold::new(Op::Below, 10.0, 2, 3, 3).unwrap();
        let finding = find(below, &[(at, Some(11.0)), (at, Some(11.0))], start);
        assert!(!finding.failed);
    }
}
