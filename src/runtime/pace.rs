//! When the status is written. Pure: time comes in.
//!
//! A step is written at once: effects rest on it. Words follow it within seconds, and measured
//! numbers less and less often the longer they are all that changes. That people were told of a
//! notice rides with the next write: a process that does not know it tells them again.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// Between two writes of which the second has only words that changed.
const WORDS: Duration = Duration::from_secs(10);
/// Between two writes of nothing but numbers: twice as long each time, up to the second.
const NUMBERS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(1));
/// At rest nobody waits for words.
const REST: Duration = Duration::from_mins(5);

/// What a write of the status would tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Where the Rollout stands, or whether a condition holds.
    Step,
    /// A verdict, a weight that was read back, a reason.
    Words,
    /// Numbers on the way, and that people were told.
    Numbers,
}

/// Of two whole statuses.
pub(super) fn change(old: &Value, new: &Value) -> Change {
    let differ =
        |words: &[&str], said: &[&str]| bare(old, new, words, said) != bare(new, new, words, said);
    if differ(&["message", "metrics", "verdict", "weight"], &["message", "reason"]) {
        Change::Step
    } else if differ(&["message", "metrics"], &["message"]) {
        Change::Words
    } else {
        Change::Numbers
    }
}

/// A status without some of its fields, and its conditions without some of theirs. Notices that
/// `next` does not have any more are left out: they were told.
fn bare(status: &Value, next: &Value, fields: &[&str], said: &[&str]) -> Value {
    let mut status = status.clone();
    if let Some(members) = status.as_object_mut() {
        members.retain(|field, _| !fields.contains(&field.as_str()));
    }
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        condition.retain(|field, _| !said.contains(&field.as_str()));
    }
    let left = next.pointer("/state/outbox").and_then(Value::as_array);
    if let Some(outbox) = status.pointer_mut("/state/outbox").and_then(Value::as_array_mut) {
        outbox.retain(|notice| left.is_some_and(|left| left.contains(notice)));
    }
    status
}

/// What a turn is like, as far as it matters to how soon it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mood {
    /// No trial, or one that waits for a person.
    pub(super) at_rest: bool,
    /// Something failed: that is said at once.
    pub(super) in_trouble: bool,
}

/// What was written last, and when.
#[derive(Debug, Default)]
pub(super) struct Pace {
    written: Option<Instant>,
    in_trouble: bool,
    /// Writes of nothing but numbers since the last other one.
    numbers: u32,
}

impl Pace {
    /// Whether this may be written now; else it waits, for a later turn or for more to tell.
    /// Who does not know when something was written last takes it that it was just now.
    pub(super) fn is_due(&mut self, change: Change, mood: Mood, now: Instant) -> bool {
        let written = *self.written.get_or_insert(now);
        let wait = match change {
            Change::Step => return true,
            _ if mood.in_trouble && !self.in_trouble => return true,
            _ if mood.at_rest && !mood.in_trouble && !self.in_trouble => REST,
            Change::Words => WORDS,
            Change::Numbers => {
                let (first, longest) = NUMBERS;
                first.saturating_mul(1 << self.numbers.min(8)).min(longest)
            }
        };
        now.saturating_duration_since(written) >= wait
    }

    /// It was written.
    pub(super) fn wrote(&mut self, change: Change, mood: Mood, now: Instant) {
        self.numbers = if change == Change::Numbers { self.numbers.saturating_add(1) } else { 0 };
        self.in_trouble = mood.in_trouble;
        self.written = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status() -> Value {
        json!({
            "phase": "Baking", "weight": 10, "verdict": "NeedMoreData", "message": "about 20 s",
            "metrics": [{"name": "errors", "message": "1 of 10"}],
            "conditions": [{"type": "Progressing", "status": "True", "reason": "NeedMoreData",
                "message": "about 20 s", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "state": {"trials": 1, "outbox": [{"id": 0}]},
        })
    }

    #[test]
    fn a_step_is_told_from_words_and_words_from_numbers() {
        let cases = [
            ("/phase", json!("Paused"), Change::Step),
            ("/conditions/0/status", json!("False"), Change::Step),
            ("/state/trials", json!(2), Change::Step),
            ("/state/outbox", json!([{"id": 0}, {"id": 1}]), Change::Step),
            ("/state/outbox", json!([{"id": 1}]), Change::Step),
            ("/verdict", json!("Pass"), Change::Words),
            ("/weight", json!(null), Change::Words),
            ("/conditions/0/reason", json!("BakeTime"), Change::Words),
            ("/message", json!("about 10 s"), Change::Numbers),
            ("/conditions/0/message", json!("about 10 s"), Change::Numbers),
            ("/metrics", json!([]), Change::Numbers),
            ("/state/outbox", json!([]), Change::Numbers),
        ];
        for (at, value, expected) in cases {
            let mut new = status();
            *new.pointer_mut(at).expect("a field") = value;
            assert_eq!(change(&status(), &new), expected, "{at}");
        }
        assert_eq!(change(&json!({}), &status()), Change::Step);
    }

    #[test]
    fn numbers_are_written_less_and_less_often_and_a_step_at_once() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let on_trial = Mood::default();
        assert!(
            !pace.is_due(Change::Numbers, on_trial, start),
            "nothing is known of the last write"
        );
        pace.wrote(Change::Step, on_trial, start);
        let mut written = Vec::new();
        for second in 0..200 {
            let now = start + Duration::from_secs(second);
            assert!(pace.is_due(Change::Step, on_trial, now));
            if pace.is_due(Change::Numbers, on_trial, now) {
                pace.wrote(Change::Numbers, on_trial, now);
                written.push(second);
            }
        }
        assert_eq!(written, [30, 90, 150]);
        let now = start + Duration::from_secs(190);
        assert!(pace.is_due(Change::Words, on_trial, now));
        pace.wrote(Change::Words, on_trial, now);
        assert!(pace.is_due(Change::Numbers, on_trial, now + NUMBERS.0));
    }

    #[test]
    fn at_rest_words_wait_and_trouble_does_not() {
        let (now, mut pace) = (Instant::now(), Pace::default());
        let rest = Mood { at_rest: true, in_trouble: false };
        let trouble = Mood { at_rest: true, in_trouble: true };
        pace.wrote(Change::Step, rest, now);
        assert!(!pace.is_due(Change::Words, rest, now + 6 * WORDS));
        assert!(pace.is_due(Change::Numbers, rest, now + REST));
        assert!(pace.is_due(Change::Numbers, trouble, now));
        pace.wrote(Change::Numbers, trouble, now);
        assert!(!pace.is_due(Change::Words, trouble, now), "it was said");
        // That it is over is said soon, too.
        assert!(pace.is_due(Change::Words, rest, now + WORDS));
    }
}
