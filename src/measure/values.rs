//! One number for each window.

use chrono::{DateTime, Utc};
use prometheus_http_query::response::Sample;

use super::link::{Answers, Question, Span, answer};
use super::trial::Look;
use crate::resolve::ScalarQuery;

/// Values that are kept, the latest ones.
const KEPT: usize = 4096;
/// Values that are asked for at once.
const AT_ONCE: i64 = 2000;

/// One threshold's values so far.
#[derive(Debug)]
pub(super) struct Values {
    query: ScalarQuery,
    /// The last instant that was asked for, in Unix seconds.
    read_to: Option<i64>,
    found: Vec<(DateTime<Utc>, Option<f64>)>,
}

impl Values {
    pub(super) fn new(query: ScalarQuery) -> Self {
        Self { query, read_to: None, found: Vec::new() }
    }

    pub(super) fn questions(&self, look: &Look<'_>) -> Vec<Question> {
        self.question(look).into_iter().collect()
    }

    /// What is read next.
    fn question(&self, look: &Look<'_>) -> Option<Question> {
        let Span { start: first, step, .. } = look.window_ends();
        let start = self.read_to.map_or(first, |read_to| read_to + step);
        let steps = (look.until - start).div_euclid(step).min(AT_ONCE);
        let span = Span { start, end: start + steps * step, step };
        let text = self.query.text(&look.arms.canary_names(), look.arms.canary_service);
        (steps >= 0).then_some(Question { text, span })
    }

    pub(super) fn take(&mut self, look: &Look<'_>, answers: &Answers) -> Result<(), String> {
        let Some(question) = self.question(look) else { return Ok(()) };
        let series = answer(answers, &question)?;
        if series.len() > 1 {
            return Err(format!("answers with {} series, expected one", series.len()));
        }
        let samples = series.first().map_or(&[][..], |series| series.samples());
        let Span { start, end, step } = question.span;
        let mut at = start;
        while at <= end {
            let is_here = |time: f64| (time - at as f64).abs() < 0.5;
            let found = samples.iter().find(|sample| is_here(sample.timestamp()));
            let value = found.map(Sample::value).filter(|value| value.is_finite());
            self.found.extend(DateTime::from_timestamp(at, 0).map(|at| (at, value)));
            at += step;
        }
        self.read_to = Some(end);
        let surplus = self.found.len().saturating_sub(KEPT);
        self.found.drain(..surplus);
        Ok(())
    }

    pub(super) fn series(&self) -> Vec<(DateTime<Utc>, Option<f64>)> {
        self.found.clone()
    }
}
