//! Series of counters to readings, process by process.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use prometheus_http_query::response::RangeVector;
use tidegate_engine::judge::counter::Reading;

/// Above this a float no longer holds every whole number.
const MOST: f64 = 9_007_199_254_740_992.0;

/// The answers for one pair of counters, all for the same instants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters<'a> {
    /// The counter of all.
    pub(super) total: &'a [RangeVector],
    /// The other counter.
    pub(super) second: &'a [RangeVector],
    /// The other counter counts the good ones.
    pub(super) second_is_good: bool,
    /// When the counter of all was read. `None`: at the instant it was asked for.
    pub(super) read: Option<&'a [RangeVector]>,
    /// When the processes started.
    pub(super) started: &'a [RangeVector],
    /// The label that names the process.
    pub(super) label: &'a str,
}

/// Why there are no readings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoReadings {
    #[error("answers with two series for {0}, expected one")]
    Twice(String),
    #[error("has requests but no series of the bound: is it one of the histogram's?")]
    NoBound,
}

/// Readings by process, in order of time. One that comes from the same scrape as the one before it
/// is not in here twice.
pub(super) fn readings(
    counters: &Counters<'_>,
) -> Result<BTreeMap<String, Vec<Reading>>, NoReadings> {
    let table = |series| table(series, counters.label);
    let (total, second) = (table(counters.total)?, table(counters.second)?);
    let read = counters.read.map(table).transpose()?;
    let started = table(counters.started)?;
    let mut found = BTreeMap::new();
    let mut is_bound_missing = false;
    for (name, totals) in total {
        let at = |of: &Table<'_>, instant: i64| of.get(name)?.get(&instant).copied();
        let mut readings: Vec<Reading> = Vec::new();
        for (instant, value) in totals {
            let Some(total) = whole(value) else { continue };
            // What was read cannot be later than the instant that was asked for.
            let when = match &read {
                Some(read) => at(read, instant).and_then(time),
                None => DateTime::from_timestamp_millis(instant),
            };
            let Some(when) = when.filter(|when| when.timestamp_millis() <= instant) else {
                continue;
            };
            if readings.last().is_some_and(|last| last.at >= when) {
                continue;
            }
            let second = at(&second, instant);
            let bad = match (counters.second_is_good, second) {
                (false, second) => second.and_then(whole),
                (true, Some(good)) => whole(good).map(|good| total.saturating_sub(good)),
                (true, None) => {
                    // Every series of a histogram has all of its bounds.
                    is_bound_missing |= total > 0;
                    continue;
                }
            };
            let started = at(&started, instant).and_then(time);
            readings.push(Reading { at: when, total: Some(total), bad, started });
        }
        if !readings.is_empty() {
            found.insert(name.to_owned(), readings);
        }
    }
    if found.is_empty() && is_bound_missing {
        return Err(NoReadings::NoBound);
    }
    Ok(found)
}

/// Values by process and by instant, in Unix milliseconds.
type Table<'a> = BTreeMap<&'a str, BTreeMap<i64, f64>>;

fn table<'a>(series: &'a [RangeVector], label: &str) -> Result<Table<'a>, NoReadings> {
    let mut table = Table::new();
    for one in series {
        let name = one.metric().get(label).map_or("", String::as_str);
        let values = one.samples().iter();
        let values = values.filter_map(|sample| {
            let at = time(sample.timestamp())?;
            Some((at.timestamp_millis(), sample.value()))
        });
        if table.insert(name, values.collect()).is_some() {
            return Err(NoReadings::Twice(name.to_owned()));
        }
    }
    Ok(table)
}

/// A count. What is no finite number, or below zero, is none.
fn whole(value: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be between 0 and 2^53"
    )]
    (0.0..=MOST).contains(&value).then(|| value.round() as u64)
}

/// An instant, from Unix seconds.
pub(super) fn time(seconds: f64) -> Option<DateTime<Utc>> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be before the year 5138")]
    let milliseconds = (0.0..1e11).contains(&seconds).then(|| (seconds * 1000.0).round() as i64)?;
    DateTime::from_timestamp_millis(milliseconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const START: f64 = 1_800_000_000.0;

    fn series(pod: &str, values: &[(f64, f64)]) -> RangeVector {
        let values: Vec<_> =
            values.iter().map(|(at, value)| json!([START + at, value.to_string()])).collect();
        serde_json::from_value(json!({"metric": {"pod": pod}, "values": values})).unwrap()
    }

    fn read_at(values: &[(f64, f64)]) -> RangeVector {
        let values: Vec<_> = values.iter().map(|(at, read)| (*at, START + read)).collect();
        series("a", &values)
    }

    fn counters<'a>(
        total: &'a [RangeVector],
        second: &'a [RangeVector],
        read: &'a [RangeVector],
    ) -> Counters<'a> {
        let read = Some(read);
        Counters { total, second, second_is_good: false, read, started: &[], label: "pod" }
    }

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_800_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn a_reading_has_the_time_of_its_scrape_and_is_there_once() {
        let total = [series("a", &[(2.0, 10.0), (4.0, 10.0), (6.0, 15.0)])];
        let bad = [series("a", &[(6.0, 1.0)])];
        let read = [read_at(&[(2.0, 1.3), (4.0, 1.3), (6.0, 5.3)])];
        let found = readings(&counters(&total, &bad, &read)).unwrap();
        let reading = |at, total, bad| Reading { at, total: Some(total), bad, started: None };
        assert_eq!(found["a"], [reading(at(1300), 10, None), reading(at(5300), 15, Some(1))]);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn what_is_no_count_is_no_reading() {
        let values = [(2.0, f64::NAN), (4.0, f64::INFINITY), (6.0, -1.0), (8.0, 1e300)];
        let total = [series("a", &values)];
        let read = [read_at(&[(2.0, 2.0), (4.0, 4.0), (6.0, 6.0), (8.0, 8.0)])];
        assert_eq!(readings(&counters(&total, &[], &read)).unwrap(), BTreeMap::new());
    }

    #[test]
    fn a_reading_without_a_time_or_from_the_future_is_none() {
        let total = [series("a", &[(2.0, 1.0), (4.0, 2.0)])];
        assert_eq!(readings(&counters(&total, &[], &[])).unwrap(), BTreeMap::new());
        let read = [read_at(&[(2.0, 90.0), (4.0, f64::NAN)])];
        assert_eq!(readings(&counters(&total, &[], &read)).unwrap(), BTreeMap::new());
    }

    #[test]
    fn the_slow_ones_are_those_that_were_not_fast() {
        let total = [series("a", &[(2.0, 10.0)])];
        let fast = [series("a", &[(2.0, 7.0)])];
        let read = [read_at(&[(2.0, 2.0)])];
        let asked = Counters { second_is_good: true, ..counters(&total, &fast, &read) };
        assert_eq!(readings(&asked).unwrap()["a"][0].bad, Some(3));
    }

    #[test]
    fn a_bound_that_is_none_is_an_error_and_not_zero_slow_ones() {
        let total = [series("a", &[(2.0, 10.0)])];
        let read = [read_at(&[(2.0, 2.0)])];
        let asked = Counters { second_is_good: true, ..counters(&total, &[], &read) };
        assert_eq!(readings(&asked), Err(NoReadings::NoBound));
    }

    #[test]
    fn two_series_of_one_pod_are_an_error() {
        let total = [series("a", &[(2.0, 1.0)]), series("a", &[(2.0, 9.0)])];
        assert_eq!(readings(&counters(&total, &[], &[])), Err(NoReadings::Twice("a".to_owned())));
    }
}
