//! Stable before the trial.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use tidegate_engine::judge::counter::{Counter, Reading};
use tidegate_engine::judge::{Counts, History};

/// Readings of stable's processes, by process.
pub(super) type Readings = BTreeMap<String, Vec<Reading>>;

/// The last day's counts and the last hour's windows. `None`: stable had no requests.
pub(super) fn history(day: &Readings, hour: &Readings) -> Option<History> {
    let lines = day.values().map(|readings| line(readings));
    let sums = lines.filter_map(|line| line.last_key_value().map(|(_, counts)| *counts));
    let day = sums.fold(Counts::default(), Counts::plus);
    let windows = windows(hour);
    (day.total > 0 || !windows.is_empty()).then_some(History { day, windows })
}

/// What each process counted between two instants that follow each other; a process that has no
/// reading at one of them is not in there.
fn windows(hour: &Readings) -> Vec<Vec<Counts>> {
    let lines: Vec<_> = hour.values().map(|readings| line(readings)).collect();
    let ends: BTreeSet<_> = lines.iter().flat_map(BTreeMap::keys).copied().collect();
    let ends: Vec<_> = ends.into_iter().collect();
    let between = |ends: &[DateTime<Utc>]| {
        let (Some(begin), Some(end)) = (ends.first(), ends.last()) else { return Vec::new() };
        let of = |line: &BTreeMap<_, Counts>| Some(line.get(end)?.since(*line.get(begin)?));
        lines.iter().filter_map(of).collect()
    };
    ends.windows(2).map(between).filter(|window| !window.is_empty()).collect()
}

/// One process' counts since its first reading.
fn line(readings: &[Reading]) -> BTreeMap<DateTime<Utc>, Counts> {
    let mut counter = Counter::default();
    let mut line = BTreeMap::new();
    for reading in readings {
        counter.fold(reading, false);
        line.extend(counter.counts().map(|counts| (reading.at, counts)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(values: &[(i64, u64, u64)]) -> Vec<Reading> {
        let reading = |(second, total, bad): &(i64, u64, u64)| Reading {
            at: DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap(),
            total: Some(*total),
            bad: Some(*bad),
            started: None,
        };
        values.iter().map(reading).collect()
    }

    fn counts(total: u64, bad: u64) -> Counts {
        Counts { total, bad }
    }

    #[test]
    fn days_are_added_up_across_pods_and_restarts() {
        let day = Readings::from([
            ("a".to_owned(), readings(&[(0, 1000, 10), (300, 1100, 12), (600, 40, 0)])),
            ("b".to_owned(), readings(&[(300, 5, 0), (600, 25, 1)])),
        ]);
        let history = history(&day, &Readings::new()).unwrap();
        assert_eq!(history.day, counts(160, 3));
        assert_eq!(history.windows, Vec::<Vec<Counts>>::new());
    }

    #[test]
    fn hours_are_told_pod_by_pod_oldest_first() {
        let hour = Readings::from([
            ("a".to_owned(), readings(&[(0, 100, 1), (15, 110, 1), (30, 130, 4)])),
            ("b".to_owned(), readings(&[(15, 7, 0), (30, 9, 0)])),
        ]);
        let history = history(&Readings::new(), &hour).unwrap();
        assert_eq!(history.windows, [vec![counts(10, 0)], vec![counts(20, 3), counts(2, 0)]]);
    }

    #[test]
    fn without_requests_nothing_is_known() {
        assert_eq!(history(&Readings::new(), &Readings::new()), None);
    }
}
