//! Samples that are newer than what has surely arrived: for the guard lane alone.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tidegate_engine::judge::counter::{Reading, Side};

use super::arms::Group;
use super::history::Readings;
use super::ledger::{Ledger, Pace};
use super::link::Span;
use super::trial::Look;

/// Readings that no window is made of yet.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// The last look that they were asked for at.
    asked: Option<DateTime<Utc>>,
    /// By process, in order of time.
    found: BTreeMap<String, Found>,
}

#[derive(Debug)]
struct Found {
    /// Which arm it counts for, and the other one: a gateway counts for both.
    arm: Option<(Side, String)>,
    readings: Vec<Reading>,
}

impl Newest {
    /// One instant, just after the look: whatever was scraped before it is the newest there is.
    pub(super) fn next(&self, look: &Look<'_>) -> Option<Span> {
        if self.asked == Some(look.now) || look.now <= look.pace.since {
            return None;
        }
        let instant = look.now.timestamp() + 1;
        Some(Span { start: instant, end: instant, step: look.settings.scrape })
    }

    pub(super) fn asked(&mut self, look: &Look<'_>) {
        self.asked = Some(look.now);
    }

    pub(super) fn read(&mut self, group: &Group, found: Readings) {
        for (process, readings) in found {
            let arm = group.side.zip(group.twin(&process));
            let new = || Found { arm, readings: Vec::new() };
            let kept = self.found.entry(group.name(&process)).or_insert_with(new);
            let last = kept.readings.last().map(|last| last.at);
            let newer = readings.into_iter().filter(|reading| Some(reading.at) > last);
            kept.readings.extend(newer);
        }
    }

    /// The windows have these now.
    pub(super) fn forget(&mut self, until: DateTime<Utc>) {
        self.found.retain(|_, found| {
            found.readings.retain(|reading| reading.at > until);
            !found.readings.is_empty()
        });
    }

    /// The ledger as it would be with them.
    pub(super) fn after(&self, ledger: &Ledger, pace: &Pace) -> Ledger {
        let mut ledger = ledger.clone();
        for (name, found) in &self.found {
            if let Some((side, twin)) = &found.arm {
                ledger.meet_arm(name, twin, *side, pace.since);
            }
            ledger.read(name, &found.readings);
        }
        ledger
    }
}
