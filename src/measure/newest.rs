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
    /// Before there are windows, back to when the evidence began: what was counted until then, by
    /// people who tried a preview out, is no evidence.
    pub(super) fn next(&self, look: &Look<'_>) -> Option<Span> {
        if self.asked == Some(look.now) || look.now <= look.pace.since {
            return None;
        }
        let (end, step) = (look.now.timestamp() + 1, look.settings.scrape);
        let back = if look.until <= look.since() { end - look.since() } else { 0 };
        Some(Span { start: end - (back + step - 1) / step * step, end, step })
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

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::arms::Arms;
    use super::super::source::Settings;
    use super::*;

    #[test]
    fn what_was_counted_before_the_evidence_is_read_until_windows_have_it() {
        let at = |second| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        let settings = Settings::of(&tidegate_api::MetricSourceSpec::default());
        let (scrape, delay) = (settings.scrape, settings.delay);
        let arms = Arms {
            namespace: "shop",
            canary: &[],
            stable: &[],
            canary_service: "web-preview",
            stable_service: Some("web"),
        };
        let pace = Pace { since: at(0), window: delay, scrape: TimeDelta::seconds(scrape) };
        let span = |second: i64| {
            let until = (at(second) - delay).timestamp();
            let look = Look { arms: &arms, settings: &settings, pace, now: at(second), until };
            Newest::default().next(&look)
        };
        assert_eq!(span(0), None);
        for second in 1..=delay.num_seconds() {
            let span = span(second).unwrap();
            assert!(span.start <= at(0).timestamp() && span.end > at(second).timestamp());
            assert_eq!((span.end - span.start) % span.step, 0, "the end is an instant, too");
        }
        let span = span(delay.num_seconds() + 1).unwrap();
        assert_eq!(span.start, span.end);
    }
}
