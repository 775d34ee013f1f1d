//! What is remembered of one trial's samples. All of it can be read again from the source.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::SamplesWanted;
use tidegate_engine::judge::{Samples, Series};

use super::arms::{Arms, ByCriterion};
use super::counting::Counting;
use super::ledger::Pace;
use super::link::{Answers, Question, Span};
use super::source::Settings;
use super::values::Values;
use crate::resolve::{Query, Resolved};

/// One look: whom, when and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) arms: &'a Arms<'a>,
    pub(super) settings: &'a Settings,
    pub(super) pace: Pace,
    pub(super) now: DateTime<Utc>,
    /// What is older has arrived in the store, in Unix seconds.
    pub(super) until: i64,
}

impl<'a> Look<'a> {
    pub(super) fn new(
        resolved: &Resolved,
        settings: &'a Settings,
        arms: &'a Arms<'a>,
        wanted: &SamplesWanted,
        now: DateTime<Utc>,
    ) -> Self {
        let window = resolved.plan.analysis.window;
        let scrape = TimeDelta::seconds(settings.scrape);
        let pace = Pace { since: wanted.since, window, scrape };
        Self { arms, settings, pace, now, until: (now - settings.delay).timestamp() }
    }

    /// All instants at which counters are read: multiples of the scrape interval, so that everybody
    /// asks for the same ones, from before the evidence began.
    pub(super) fn instants(&self) -> Span {
        let step = self.settings.scrape;
        let aligned = |second: i64| second.div_euclid(step) * step;
        Span { start: aligned(self.since()) - 2 * step, end: aligned(self.until), step }
    }

    /// All instants at which values are read: the end of each window, whenever and however often
    /// one looks.
    pub(super) fn window_ends(&self) -> Span {
        let step = self.pace.window.num_seconds().max(1);
        let start = self.since() + 1 + step;
        Span { start, end: start + (self.until - start).div_euclid(step) * step, step }
    }

    /// When the evidence began, in whole Unix seconds before it.
    pub(super) fn since(&self) -> i64 {
        self.pace.since.timestamp()
    }
}

/// One criterion's part.
#[derive(Debug)]
enum Meter {
    Counts(Box<Counting>),
    Values(Values),
}

/// One trial's samples.
#[derive(Debug)]
pub(super) struct Trial {
    source: String,
    since: DateTime<Utc>,
    queries: ByCriterion<Query>,
    meters: ByCriterion<Meter>,
    /// Why a criterion has no samples at this look.
    trouble: ByCriterion<String>,
}

impl Trial {
    pub(super) fn new(source: &str, since: DateTime<Utc>, queries: &ByCriterion<Query>) -> Self {
        let meter = |query: &Query| match query {
            Query::Counters(query) => Meter::Counts(Box::new(Counting::new(query.clone()))),
            Query::Scalar(query) => Meter::Values(Values::new(query.clone())),
        };
        Self {
            source: source.to_owned(),
            since,
            queries: queries.clone(),
            meters: queries.iter().map(|(name, query)| (name.clone(), meter(query))).collect(),
            trouble: BTreeMap::new(),
        }
    }

    /// It is the same trial with the same questions.
    pub(super) fn is_for(
        &self,
        source: &str,
        since: DateTime<Utc>,
        queries: &ByCriterion<Query>,
    ) -> bool {
        self.source == source && self.since == since && self.queries == *queries
    }

    /// A new look: who is there now.
    pub(super) fn begin(&mut self, look: &Look<'_>) {
        self.trouble.clear();
        for (name, meter) in &mut self.meters {
            let Meter::Counts(counting) = meter else { continue };
            if let Err(trouble) = counting.meet(look) {
                self.trouble.insert(name.clone(), trouble);
            }
        }
    }

    /// What must be asked next. Nothing: all is read up to the look's instant.
    pub(super) fn questions(&self, look: &Look<'_>) -> Vec<Question> {
        let sound = self.meters.iter().filter(|(name, _)| !self.trouble.contains_key(*name));
        let mut questions: Vec<_> = sound
            .flat_map(|(_, meter)| match meter {
                Meter::Counts(counting) => counting.questions(look),
                Meter::Values(values) => values.questions(look),
            })
            .collect();
        questions.sort();
        questions.dedup();
        questions
    }

    /// Takes the answers to the last questions in.
    pub(super) fn take(&mut self, look: &Look<'_>, answers: &Answers) {
        for (name, meter) in &mut self.meters {
            if self.trouble.contains_key(name) {
                continue;
            }
            let taken = match meter {
                Meter::Counts(counting) => counting.take(look, answers),
                Meter::Values(values) => values.take(look, answers),
            };
            if let Err(trouble) = taken {
                self.trouble.insert(name.clone(), trouble);
            }
        }
    }

    /// All that is known.
    pub(super) fn samples(&self, look: &Look<'_>) -> Samples {
        let mut samples = Samples::empty(self.since);
        for (name, meter) in &self.meters {
            let series = match (self.trouble.get(name), meter) {
                (Some(trouble), _) => {
                    let message = format!("metric source {} {trouble}", self.source);
                    Series::Unavailable { message }
                }
                (None, Meter::Counts(counting)) => Series::Counts(counting.series(look)),
                (None, Meter::Values(values)) => Series::Scalar(values.series()),
            };
            samples.series.insert(name.clone(), series);
        }
        samples
    }
}
