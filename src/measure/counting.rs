//! One ratio's counts: what is asked next, and what came of it.

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_api::MeasuredBy;
use tidegate_engine::judge::counter::Side;
use tidegate_engine::judge::{CountSeries, History};

use super::arms::{Group, created, groups};
use super::fold::{Counters, readings};
use super::history::{Readings, history};
use super::ledger::Ledger;
use super::link::{Answers, Question, Span, answer};
use super::newest::Newest;
use super::trial::Look;
use crate::resolve::CounterQuery;

/// Scrapes that are read again: some arrive late.
const OVERLAP: i64 = 4;
/// Values that are asked for at once, over all processes.
const AT_ONCE: i64 = 200_000;
/// Instants of one question: most sources refuse more than 11,000.
const MOST_INSTANTS: i64 = 5_000;
/// How often stable's past is asked for before the trial goes on without.
const ATTEMPTS: u8 = 3;
/// Stable's pods whose past is asked for.
const PAST_PODS: usize = 200;
/// How finely the last day is read, in seconds.
const DAY_STEP: i64 = 300;

/// One ratio's counts so far.
#[derive(Debug)]
pub(super) struct Counting {
    query: CounterQuery,
    ledger: Ledger,
    /// The last instant that was read, in Unix seconds.
    read_to: Option<i64>,
    /// What is newer, for the guard lane alone.
    newest: Newest,
    past: Past,
}

/// Stable before the trial.
#[derive(Debug)]
enum Past {
    /// Asked for so often without an answer, the last time at this look.
    Unknown(u8, Option<DateTime<Utc>>),
    /// `None`: there is none, or it cannot be had.
    Known(Option<History>),
}

impl Counting {
    pub(super) fn new(query: CounterQuery) -> Self {
        Self {
            query,
            ledger: Ledger::default(),
            read_to: None,
            newest: Newest::default(),
            past: Past::Unknown(0, None),
        }
    }

    /// Who is there now.
    pub(super) fn meet(&mut self, look: &Look<'_>) -> Result<(), String> {
        if self.query.by == MeasuredBy::Backend {
            let service = look.arms.stable_service.map(|_| ());
            return service
                .ok_or_else(|| "is asked by backend, and there is no Service".to_owned());
        }
        for (side, pod) in look.arms.pods() {
            let gone = pod.gone.then_some(look.now);
            self.ledger.meet(&pod.name, side, created(side, pod, look.pace.since), gone);
        }
        let is_here = |name: &str| look.arms.pods().any(|(_, pod)| pod.name == name);
        self.ledger.leave(is_here, look.now);
        Ok(())
    }

    pub(super) fn questions(&self, look: &Look<'_>) -> Vec<Question> {
        let mut questions = Vec::new();
        for (span, groups) in self.next(look).into_iter().chain(self.next_newest(look)) {
            for group in groups {
                let texts = [group.texts.total, group.texts.second, group.texts.read];
                let texts = texts.into_iter().chain(group.started);
                questions.extend(texts.map(|text| Question { text, span }));
            }
        }
        if let Some((day, hour, group)) = self.next_past(look) {
            for span in [day, hour] {
                let texts = [group.texts.total.clone(), group.texts.second.clone()];
                questions.extend(texts.map(|text| Question { text, span }));
            }
        }
        questions
    }

    /// What is read next.
    fn next(&self, look: &Look<'_>) -> Option<(Span, Vec<Group>)> {
        let Span { start: first, end: last, step } = look.instants();
        if last <= look.since() || self.read_to.is_some_and(|read_to| read_to >= last) {
            return None;
        }
        let start = self.read_to.map_or(first, |read_to| (read_to - OVERLAP * step).max(first));
        let (pods, groups) = self.groups(look);
        let processes = i64::try_from(pods.len()).unwrap_or(i64::MAX).max(1);
        let instants = (AT_ONCE / processes).clamp(64, MOST_INSTANTS);
        let end = last.min(start + instants * step);
        Some((Span { start, end, step }, groups))
    }

    /// The newest samples, delayed or not: a broken release is stopped on what there is.
    fn next_newest(&self, look: &Look<'_>) -> Option<(Span, Vec<Group>)> {
        let span = self.newest.next(look)?;
        Some((span, self.groups(look).1))
    }

    /// The processes worth asking for, and what is asked.
    fn groups(&self, look: &Look<'_>) -> (Vec<String>, Vec<Group>) {
        let pods = self.ledger.names(look.now, look.pace.forget());
        let groups = groups(&self.query, look.arms, look.settings, &pods);
        (pods, groups)
    }

    /// The last day, the last hour, and stable's counters. `None`: known, or not yet to be had.
    fn next_past(&self, look: &Look<'_>) -> Option<(Span, Span, Group)> {
        let Past::Unknown(asked, last) = self.past else { return None };
        let has_begun = look.now.timestamp() > look.since();
        if asked >= ATTEMPTS || last == Some(look.now) || !has_begun {
            return None;
        }
        let mut pods = look.arms.stable_names();
        pods.truncate(PAST_PODS);
        let mut groups = groups(&self.query, look.arms, look.settings, &pods).into_iter();
        let group = groups.find(|group| group.side != Some(Side::Canary))?;
        // At once, with what has arrived by now: the guard lane needs it from the first sample on.
        let known = look.since().min(look.until);
        let span = |back: TimeDelta, step: i64| {
            let end = known.div_euclid(step) * step;
            let steps = (back.num_seconds() / step).max(1);
            Span { start: end - steps * step, end, step }
        };
        let window = look.pace.window.num_seconds().max(1);
        Some((span(TimeDelta::days(1), DAY_STEP), span(TimeDelta::hours(1), window), group))
    }

    pub(super) fn take(&mut self, look: &Look<'_>, answers: &Answers) -> Result<(), String> {
        if let Some((day, hour, group)) = self.next_past(look) {
            let asked = if let Past::Unknown(asked, _) = self.past { asked + 1 } else { 1 };
            let past = |span| past(answers, &group, span);
            self.past = match past(day).and_then(|day| Ok(history(&day, &past(hour)?))) {
                Ok(history) => Past::Known(history),
                // The trial can be judged without: the past makes it surer, not different.
                Err(_) => Past::Unknown(asked, Some(look.now)),
            };
        }
        if let Some((span, groups)) = self.next_newest(look) {
            for group in &groups {
                // Without them the guard lane judges what the windows are made of.
                if let Ok(found) = current(answers, group, span) {
                    self.newest.read(group, found);
                }
            }
            self.newest.asked(look);
        }
        let Some((span, groups)) = self.next(look) else { return Ok(()) };
        for group in &groups {
            let found = current(answers, group, span)?;
            for (process, readings) in found {
                let name = group.name(&process);
                if let Some((side, twin)) = group.side.zip(group.twin(&process)) {
                    self.ledger.meet_arm(&name, &twin, side, look.pace.since);
                }
                self.ledger.read(&name, &readings);
            }
        }
        self.read_to = Some(span.end);
        if let Some(until) = DateTime::from_timestamp(span.end, 0) {
            self.ledger.thin(&look.pace, until);
            self.newest.forget(until);
        }
        Ok(())
    }

    pub(super) fn series(&self, look: &Look<'_>) -> CountSeries {
        let until = self.read_to.and_then(|read_to| DateTime::from_timestamp(read_to, 0));
        let windows = until.map(|until| self.ledger.windows(&look.pace, until));
        let guard = self.newest.after(&self.ledger, &look.pace).guard(&look.pace);
        let history = if let Past::Known(history) = &self.past { history.clone() } else { None };
        CountSeries { windows: windows.unwrap_or_default(), guard, history }
    }
}

fn current(answers: &Answers, group: &Group, span: Span) -> Result<Readings, String> {
    let get = |text: &String| answer(answers, &Question { text: text.clone(), span });
    let started = group.started.as_ref().map(get).transpose()?;
    let counters = Counters {
        total: get(&group.texts.total)?,
        second: get(&group.texts.second)?,
        second_is_good: group.texts.second_is_good,
        read: Some(get(&group.texts.read)?),
        started: started.unwrap_or_default(),
        label: &group.label,
    };
    readings(&counters).map_err(|error| error.to_string())
}

fn past(answers: &Answers, group: &Group, span: Span) -> Result<Readings, String> {
    let get = |text: &String| answer(answers, &Question { text: text.clone(), span });
    let counters = Counters {
        total: get(&group.texts.total)?,
        second: get(&group.texts.second)?,
        second_is_good: group.texts.second_is_good,
        read: None,
        started: &[],
        label: &group.label,
    };
    readings(&counters).map_err(|error| error.to_string())
}
