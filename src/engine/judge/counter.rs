//! Readings of pods' counters to windows and guard samples.
//!
//! Counters are read pod by pod and subtracted here. A query that does so for us (`rate`,
//! `increase`) sees nothing before a series' second sample, and error series are born with their
//! first error: it hides errors of exactly the pods that are new.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Counts, GuardSample, Window};

/// More windows than any trial has; a window of a microsecond must not eat all memory.
const MOST: usize = 100_000;

/// Whose pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// On trial.
    Canary,
    /// Serves.
    Stable,
}

/// One pod's counters, read again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Whose it is.
    pub side: Side,
    /// When Kubernetes created it. Counters of a canary pod, and of a pod created after the
    /// evidence began, start at 0; the first reading of an older one is where counting starts.
    pub created: DateTime<Utc>,
    /// When it went. Its counts stay as they were last read.
    pub gone: Option<DateTime<Utc>>,
    /// In order of time. A reading that failed is not in here.
    pub readings: Vec<Reading>,
}

/// One reading. Both counters come from the same exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When.
    pub at: DateTime<Utc>,
    /// All requests since the process started. `None`: there is no such series (yet).
    pub total: Option<u64>,
    /// Bad ones of them. `None`: there is no such series; while there is one of all requests, that
    /// is no bad request.
    pub bad: Option<u64>,
    /// When the process started, if it says so: another instant is another process.
    pub started: Option<DateTime<Utc>>,
}

/// When to look, and how old a reading may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    /// The evidence begins; the first window begins here.
    pub since: DateTime<Utc>,
    /// How long a window is.
    pub window: TimeDelta,
    /// A reading older than this, two scrapes, is no reading: the window ends later.
    pub stale: TimeDelta,
    /// A pod silent for longer than this no longer holds the others up: its counts stay.
    pub forget: TimeDelta,
}

/// Adds up one pod's counters across restarts. Never falls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    last: Option<Reading>,
    highest: Counts,
    sum: Counts,
    /// A counter fell by less than a restart: two scrapers take turns.
    skewed: bool,
}

impl Counter {
    /// One more reading; `from_zero`: the first one counts in full.
    pub fn fold(&mut self, reading: &Reading, from_zero: bool) {
        let Some(total) = reading.total else { return };
        let restarted = self.last.is_some_and(|last| {
            let other = last.started.zip(reading.started).is_some_and(|(a, b)| a != b);
            // Two scrapers that take turns differ by a few requests, never by half of them.
            other || total.saturating_mul(2) < self.highest.total
        });
        if self.last.is_none() || restarted {
            let now = Counts { total, bad: reading.bad.unwrap_or(0) };
            if self.last.is_some() || from_zero {
                self.sum = self.sum.plus(now);
            }
            self.highest = now;
        } else {
            // A series of errors that is gone while its process runs was not scraped in full.
            let now = Counts { total, bad: reading.bad.unwrap_or(self.highest.bad) };
            self.skewed |= now.total < self.highest.total || now.bad < self.highest.bad;
            self.sum = self.sum.plus(now.since(self.highest));
            self.highest = Counts {
                total: now.total.max(self.highest.total),
                bad: now.bad.max(self.highest.bad),
            };
        }
        self.last = Some(*reading);
    }

    /// What came since counting started. `None`: there was no series yet.
    pub fn counts(&self) -> Option<Counts> {
        self.last.map(|_| self.sum)
    }

    /// A counter fell by less than a restart: two scrapers take turns. Nothing was counted twice.
    pub const fn is_skewed(&self) -> bool {
        self.skewed
    }
}

/// The evidence lane's windows up to `until`.
///
/// A window ends when every pod has a recent reading; where one has not, the window goes on, so
/// that nothing is lost and nothing is taken for zero.
pub fn windows(pods: &[Pod], spacing: &Spacing, until: DateTime<Utc>) -> Vec<Window> {
    let lines: Vec<_> = pods.iter().map(|pod| Line::of(pod, spacing.since)).collect();
    let mut found = Vec::new();
    let mut last = None;
    let mut end = Some(spacing.since);
    for _ in 0..=MOST {
        let Some(at) = end.filter(|at| *at <= until) else { break };
        let values: Option<Vec<_>> = lines.iter().map(|line| line.value(at, spacing)).collect();
        if let Some(values) = values
            && let Some(before) = last.replace(values.clone())
        {
            found.push(between(&lines, &before, &values, at));
        }
        end = at.checked_add_signed(spacing.window).filter(|next| *next > at);
    }
    found
}

/// The guard lane's samples: what both arms counted since the evidence began, at every reading.
pub fn guard(pods: &[Pod], since: DateTime<Utc>) -> Vec<GuardSample> {
    let mut steps: Vec<(DateTime<Utc>, Side, Counts)> = Vec::new();
    for pod in pods {
        let line = Line::of(pod, since);
        let mut before = line.before(since).unwrap_or_default();
        for (at, counts) in line.points.iter().filter(|(at, _)| *at > since) {
            steps.push((*at, pod.side, counts.since(before)));
            before = *counts;
        }
    }
    steps.sort_by_key(|(at, _, _)| *at);
    let mut samples: Vec<GuardSample> = Vec::new();
    for (at, side, more) in steps {
        let mut sample =
            samples.last().copied().unwrap_or(GuardSample { at, canary: None, stable: None });
        let arm = match side {
            Side::Canary => &mut sample.canary,
            Side::Stable => &mut sample.stable,
        };
        *arm = Some(arm.unwrap_or_default().plus(more));
        if samples.last().is_some_and(|last| last.at == at) {
            samples.pop();
        }
        samples.push(GuardSample { at, ..sample });
    }
    samples
}

/// One pod's counts over time; they never fall.
struct Line<'a> {
    pod: &'a Pod,
    /// Before its first reading it has counted nothing.
    from_zero: bool,
    points: Vec<(DateTime<Utc>, Counts)>,
}

impl<'a> Line<'a> {
    fn of(pod: &'a Pod, since: DateTime<Utc>) -> Self {
        let from_zero = pod.side == Side::Canary || pod.created > since;
        let mut counter = Counter::default();
        let mut points: Vec<(DateTime<Utc>, Counts)> = Vec::new();
        for reading in &pod.readings {
            if points.last().is_some_and(|(at, _)| *at >= reading.at) {
                continue;
            }
            counter.fold(reading, from_zero);
            // A reading without the series says that the pod answers, and nothing was counted yet.
            points.extend(counter.counts().map(|counts| (reading.at, counts)));
        }
        Self { pod, from_zero, points }
    }

    /// The last counts at or before an instant.
    fn before(&self, at: DateTime<Utc>) -> Option<Counts> {
        self.last(at).map(|(_, counts)| counts)
    }

    fn last(&self, at: DateTime<Utc>) -> Option<(DateTime<Utc>, Counts)> {
        let count = self.points.partition_point(|(read, _)| *read <= at);
        self.points.get(count.checked_sub(1)?).copied()
    }

    /// Whether it had a series by then.
    fn is_seen(&self, at: DateTime<Utc>) -> bool {
        self.last(at).is_some()
    }

    /// The counts at an instant; `None`: they are not known.
    fn value(&self, at: DateTime<Utc>, spacing: &Spacing) -> Option<Counts> {
        let last = self.last(at);
        let begin = self.pod.created.max(spacing.since);
        let (read, counts) = last.unwrap_or_else(|| (begin, Counts::default()));
        let age = at - read;
        let is_fresh = age <= spacing.stale && (last.is_some() || self.from_zero);
        let is_gone = self.pod.gone.is_some_and(|gone| gone <= at);
        (is_fresh || is_gone || age > spacing.forget).then_some(counts)
    }
}

fn between(lines: &[Line<'_>], before: &[Counts], after: &[Counts], end: DateTime<Utc>) -> Window {
    let mut window = Window { end, ..Window::default() };
    for ((line, before), after) in lines.iter().zip(before).zip(after) {
        if !line.is_seen(end) {
            continue;
        }
        let more = after.since(*before);
        let arm = match line.pod.side {
            Side::Canary => &mut window.canary,
            Side::Stable => {
                window.stable_pods.push(more);
                &mut window.stable
            }
        };
        *arm = Some(arm.unwrap_or_default().plus(more));
    }
    window
}

#[cfg(test)]
mod tests;
