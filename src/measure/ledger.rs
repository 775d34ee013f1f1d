//! What was counted so far, process by process, across restarts. It grows by a point per window,
//! and not at all beyond the longest trial that is kept in full.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::judge::counter::{self, Counter, Pod, Reading, Side, Spacing};
use tidegate_engine::judge::{GuardSample, Window};

/// More windows than this are joined by twos: 8 hours of the usual 15 s.
const MOST_WINDOWS: i32 = 2048;
/// Scrapes that are kept one by one, for the guard lane.
const RECENT: i32 = 240;
/// A reading older than so many scrapes is no reading.
const STALE: i32 = 2;
/// A process silent for this many scrapes no longer holds the others up.
const FORGET: i32 = 20;
/// Two sayings of when a process started that differ by less are one: clocks are set.
const CLOCK: TimeDelta = TimeDelta::seconds(2);

/// Both arms' counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    tallies: BTreeMap<String, Tally>,
}

/// One process, added up. Points never fall.
#[derive(Clone, Debug)]
struct Tally {
    side: Side,
    created: DateTime<Utc>,
    gone: Option<DateTime<Utc>>,
    /// The first reading counts in full; otherwise counting starts with it.
    from_zero: bool,
    counter: Counter,
    started: Option<DateTime<Utc>>,
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: DateTime<Utc>,
    total: u64,
    bad: u64,
}

/// The evidence: since when, and how long its windows and the source's scrapes are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) since: DateTime<Utc>,
    pub(super) window: TimeDelta,
    pub(super) scrape: TimeDelta,
}

impl Pace {
    /// The windows up to an instant: all equally long, the longer the longer the trial.
    fn spacing(&self, until: DateTime<Utc>) -> Spacing {
        let mut window = self.window.max(TimeDelta::seconds(1));
        while until - self.since > window * MOST_WINDOWS {
            window = window * 2;
        }
        Spacing {
            since: self.since,
            window,
            stale: self.scrape * STALE,
            forget: self.scrape * FORGET,
        }
    }

    /// A process that is not heard of for so long is forgotten.
    pub(super) fn forget(&self) -> TimeDelta {
        self.scrape * FORGET
    }
}

impl Ledger {
    /// A process there is, or was. `created`: its counters are not older.
    pub(super) fn meet(
        &mut self,
        name: &str,
        side: Side,
        created: DateTime<Utc>,
        gone: Option<DateTime<Utc>>,
    ) {
        let new = || Tally::new(side, created, true);
        let tally = self.tallies.entry(name.to_owned()).or_insert_with(new);
        tally.gone = tally.gone.filter(|_| gone.is_some()).or(gone);
    }

    /// A gateway's process counts for an arm. Its counters are as old as itself, so counting starts
    /// with the first reading. If that is the arm's first one while `twin`, the other arm at the
    /// same process, was read before the evidence began, the arm was new: all of it counts.
    pub(super) fn meet_arm(&mut self, name: &str, twin: &str, side: Side, since: DateTime<Utc>) {
        if self.tallies.contains_key(name) {
            return;
        }
        let twin = self.tallies.get(twin).and_then(|twin| twin.points.first());
        let was_read = twin.is_some_and(|point| point.at <= since);
        let created = since + TimeDelta::milliseconds(1);
        self.tallies.insert(name.to_owned(), Tally::new(side, created, was_read));
    }

    /// Those that are not in the list any more are gone.
    pub(super) fn leave(&mut self, is_here: impl Fn(&str) -> bool, now: DateTime<Utc>) {
        for (name, tally) in &mut self.tallies {
            if !is_here(name) {
                tally.gone.get_or_insert(now);
            }
        }
    }

    /// Readings of a process; those that are known already count once.
    pub(super) fn read(&mut self, name: &str, readings: &[Reading]) {
        let Some(tally) = self.tallies.get_mut(name) else { return };
        for reading in readings {
            tally.read(reading);
        }
    }

    /// Those worth asking for: here, or gone for less than `forget`.
    pub(super) fn names(&self, now: DateTime<Utc>, forget: TimeDelta) -> Vec<String> {
        let is_worth = |tally: &Tally| tally.gone.is_none_or(|gone| now - gone <= forget);
        let worth = self.tallies.iter().filter(|(_, tally)| is_worth(tally));
        worth.map(|(name, _)| name.clone()).collect()
    }

    /// Drops points that no window needs.
    pub(super) fn thin(&mut self, pace: &Pace, until: DateTime<Utc>) {
        let spacing = pace.spacing(until);
        let recent = until - pace.scrape * RECENT;
        for tally in self.tallies.values_mut() {
            tally.thin(&spacing, recent);
        }
    }

    /// The windows up to an instant.
    pub(super) fn windows(&self, pace: &Pace, until: DateTime<Utc>) -> Vec<Window> {
        counter::windows(&self.pods(), &pace.spacing(until), until)
    }

    /// The guard samples, up to the last reading.
    pub(super) fn guard(&self, pace: &Pace) -> Vec<GuardSample> {
        counter::guard(&self.pods(), pace.since)
    }

    fn pods(&self) -> Vec<Pod> {
        self.tallies.values().map(Tally::pod).collect()
    }

    #[cfg(test)]
    fn counts(&self, pace: &Pace, until: DateTime<Utc>) -> (Vec<Window>, Vec<GuardSample>) {
        (self.windows(pace, until), self.guard(pace))
    }

    /// How many points are kept.
    #[cfg(test)]
    fn size(&self) -> usize {
        self.tallies.values().map(|tally| tally.points.len()).sum()
    }
}

impl Tally {
    fn new(side: Side, created: DateTime<Utc>, from_zero: bool) -> Self {
        Self {
            side,
            created,
            gone: None,
            from_zero,
            counter: Counter::default(),
            started: None,
            points: Vec::new(),
        }
    }

    fn read(&mut self, reading: &Reading) {
        if self.points.last().is_some_and(|last| last.at >= reading.at) {
            return;
        }
        if let Some(started) = reading.started {
            let is_same = self.started.is_some_and(|last| (started - last).abs() <= CLOCK);
            self.started = if is_same { self.started } else { Some(started) };
        }
        let started = reading.started.and(self.started);
        self.counter.fold(&Reading { started, ..*reading }, self.from_zero);
        if let Some(counts) = self.counter.counts() {
            let (total, bad) = (counts.total, counts.bad);
            self.points.push(Point { at: reading.at, total, bad });
        }
    }

    /// Keeps what is recent, the first point, where counting starts, and the last of each window.
    fn thin(&mut self, spacing: &Spacing, recent: DateTime<Utc>) {
        let window = spacing.window.num_milliseconds().max(1);
        // A window ends with what was read at its end; what was read before it began is one cell.
        let cell = |point: &Point| {
            let after = (point.at - spacing.since).num_milliseconds();
            if after <= 0 { 0 } else { (after - 1) / window + 1 }
        };
        let old = self.points.partition_point(|point| point.at < recent);
        let mut kept: Vec<Point> = Vec::new();
        for (index, point) in self.points.iter().enumerate() {
            let is_last = self.points.get(index + 1).is_none_or(|next| cell(next) != cell(point));
            let is_first = index == 0 && point.at > spacing.since;
            if index >= old || is_last || is_first {
                kept.push(*point);
            }
        }
        self.points = kept;
    }

    fn pod(&self) -> Pod {
        let reading = |point: &Point| Reading {
            at: point.at,
            total: Some(point.total),
            bad: Some(point.bad),
            started: None,
        };
        Pod {
            side: self.side,
            created: self.created,
            gone: self.gone,
            readings: self.points.iter().map(reading).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::judge::Counts;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn reading(second: i64, total: u64, bad: u64) -> Reading {
        Reading { at: at(second), total: Some(total), bad: Some(bad), started: None }
    }

    fn pace() -> Pace {
        Pace { since: at(0), window: TimeDelta::seconds(10), scrape: TimeDelta::seconds(2) }
    }

    /// A canary and an old pod of stable, read every 2 s; the canary restarts every 100 s.
    fn ledger(seconds: i64) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.meet("canary", Side::Canary, at(-5), None);
        ledger.meet("stable", Side::Stable, at(-9000), None);
        for second in (0..=seconds).step_by(2) {
            let count = |seconds: i64| u64::try_from(seconds).unwrap();
            let canary = reading(second, count(second % 100) * 3, count(second % 100));
            ledger.read("canary", &[canary]);
            ledger.read("stable", &[reading(second, 70_000 + count(second) * 30, 900)]);
        }
        ledger
    }

    #[test]
    fn what_is_thinned_gives_the_same_windows_and_the_same_sums() {
        let whole = ledger(3000);
        let mut thin = whole.clone();
        thin.thin(&pace(), at(3000));
        assert!(thin.size() * 2 < whole.size(), "{} of {}", thin.size(), whole.size());
        let (windows, guard) = whole.counts(&pace(), at(3000));
        let (thin_windows, thin_guard) = thin.counts(&pace(), at(3000));
        assert_eq!(windows.len(), 300);
        assert_eq!(thin_windows, windows);
        assert_eq!(thin_guard.last(), guard.last());
        assert_eq!(guard.last().unwrap().stable, Some(Counts { total: 90_000, bad: 0 }));
        // Again, and then nothing more happens.
        let size = thin.size();
        thin.thin(&pace(), at(3000));
        assert_eq!(thin.size(), size);
    }

    #[test]
    fn memory_does_not_grow_with_a_trial_of_days() {
        let mut ledger = Ledger::default();
        ledger.meet("canary", Side::Canary, at(0), None);
        let mut most = 0;
        for minute in 0..6 * 24 * 60_i64 {
            let second = minute * 60;
            let total = u64::try_from(second).unwrap();
            ledger.read("canary", &[reading(second, total, 0)]);
            ledger.thin(&pace(), at(second));
            most = most.max(ledger.size());
        }
        assert!(most < 2_400, "{most}");
        let pace = Pace { scrape: TimeDelta::seconds(60), ..pace() };
        let (windows, _) = ledger.counts(&pace, at(6 * 86_400));
        assert!(windows.len() < 2_100);
        let sum: u64 = windows.iter().filter_map(|window| window.canary).map(|c| c.total).sum();
        assert!(sum > 517_000, "{sum}");
    }

    #[test]
    fn the_same_readings_again_count_once() {
        let mut ledger = ledger(20);
        let before = ledger.counts(&pace(), at(20));
        ledger.read("canary", &[reading(18, 54, 18), reading(20, 60, 20)]);
        assert_eq!(ledger.counts(&pace(), at(20)), before);
    }

    #[test]
    fn a_clock_that_is_set_is_no_restart() {
        let mut ledger = Ledger::default();
        ledger.meet("canary", Side::Canary, at(0), None);
        let started = |reading: Reading, second| Reading { started: Some(at(second)), ..reading };
        ledger
            .read("canary", &[started(reading(2, 100, 1), -60), started(reading(4, 110, 1), -59)]);
        let total = |ledger: &Ledger| ledger.counts(&pace(), at(9)).1.last().unwrap().canary;
        assert_eq!(total(&ledger), Some(Counts { total: 110, bad: 1 }));
        ledger.read("canary", &[started(reading(6, 120, 2), 5)]);
        assert_eq!(total(&ledger), Some(Counts { total: 230, bad: 3 }));
    }

    #[test]
    fn those_that_left_are_asked_for_a_while() {
        let mut ledger = ledger(2);
        ledger.leave(|name| name == "canary", at(10));
        let names = |second| ledger.names(at(second), pace().forget());
        assert_eq!(names(50), ["canary", "stable"]);
        assert_eq!(names(51), ["canary"]);
    }
}
