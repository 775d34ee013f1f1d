//! Events as lines: for people without a terminal, and as JSON for programs.

use std::time::Duration;

use serde::Serialize;

use super::recorder::Traffic;
use super::report::{ArmTraffic, Event, Evidence, VerdictView};

/// The event as a line for people, without a line break at its end; only a summary has several.
pub fn line(elapsed: Duration, event: &Event) -> String {
    let (kind, text) = describe(event);
    format!("{:>6.1}s  {kind:<9} {text}", elapsed.as_secs_f64())
}

/// The event as one JSON object with the field `elapsed`, in seconds.
///
/// # Errors
/// None that the types allow.
pub fn json(elapsed: Duration, event: &Event) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        elapsed: f64,
        #[serde(flatten)]
        event: &'a Event,
    }
    let millis = (elapsed.as_secs_f64() * 1e3).round() / 1e3;
    serde_json::to_string(&Line { elapsed: millis, event })
}

/// The first ten digits of a commit's id.
pub(super) fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}

/// A share as percent; missing data is a dash.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// Seconds as milliseconds; missing data is a dash.
pub(super) fn millis(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{:.0} ms", seconds * 1e3))
}

fn describe(event: &Event) -> (&'static str, String) {
    match event {
        Event::Narration { text } => ("", text.clone()),
        Event::Commit { id, subject, author } => {
            ("commit", format!("{} {subject} ({author})", short(id)))
        }
        Event::Synced { id } => ("synced", short(id).to_owned()),
        Event::Stage { stage } => ("stage", stage.clone()),
        Event::Weight { weight } => ("weight", format!("{weight} % to the canary")),
        Event::Verdict(verdict) => ("verdict", describe_verdict(verdict)),
        Event::Decision { reason, message } => ("decision", format!("{reason}: {message}")),
        Event::Reverted { id, subject } => ("reverted", format!("{} {subject}", short(id))),
        Event::Restored { version } => ("restored", format!("{version} is the template again")),
        Event::Promoted { version } => ("promoted", format!("{version} is stable now")),
        Event::Traffic { stable, canary } => {
            let stable = describe_arm("stable", stable);
            let canary = canary.as_ref().map(|arm| describe_arm(" | canary", arm));
            ("traffic", stable + &canary.unwrap_or_default())
        }
        Event::Summary { succeeded, requests, failures, lines } => {
            let end = if *succeeded { "done" } else { "not as it should be" };
            let mut text = format!("{end}: {requests} requests, {failures} failed");
            for line in lines {
                text.push_str("\n         ");
                text.push_str(line);
            }
            ("summary", text)
        }
    }
}

fn describe_verdict(view: &VerdictView) -> String {
    let evidence = |name: &str, evidence: Option<Evidence>| match evidence {
        Some(Evidence { log_e, limit }) => format!(" | {name} {log_e:.1} of {limit:.1}"),
        None => format!(" | {name} -"),
    };
    let mut text = view.verdict.clone();
    if !view.message.is_empty() {
        text = format!("{text}: {}", view.message);
    }
    text + &evidence("regression", view.regression)
        + &evidence("safety", view.safety)
        + &evidence("guard", view.guard)
}

fn describe_arm(name: &str, arm: &ArmTraffic) -> String {
    let Traffic { rate, error_rate, p50, p99, .. } = arm.traffic;
    format!(
        "{name} {}: {rate:.0} req/s, errors {}, p50 {}, p99 {}",
        arm.version,
        percent(error_rate),
        millis(p50),
        millis(p99)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_engine::reason::Reason;

    use super::*;

    const NOW: Duration = Duration::from_millis(12_345);

    fn traffic() -> Event {
        let traffic = Traffic {
            requests: 360,
            failures: 9,
            rate: 360.0,
            error_rate: Some(0.025),
            p50: Some(0.020),
            p99: Some(0.0654),
        };
        Event::Traffic {
            stable: ArmTraffic { version: "v1".to_owned(), traffic },
            canary: Some(ArmTraffic { version: "v2".to_owned(), traffic: Traffic::default() }),
        }
    }

    #[test]
    fn an_event_is_a_line() {
        let event = Event::Weight { weight: 10 };
        assert_eq!(line(NOW, &event), "  12.3s  weight    10 % to the canary");
        let event = Event::Decision {
            reason: Reason::AnalysisFailed,
            message: "9 of 27 requests failed".to_owned(),
        };
        let expected = "  12.3s  decision  AnalysisFailed: 9 of 27 requests failed";
        assert_eq!(line(NOW, &event), expected);
    }

    #[test]
    fn missing_data_is_a_dash_and_not_zero() {
        assert_eq!(
            line(NOW, &traffic()),
            "  12.3s  traffic   stable v1: 360 req/s, errors 2.5 %, p50 20 ms, p99 65 ms \
             | canary v2: 0 req/s, errors -, p50 -, p99 -"
        );
        let verdict = VerdictView { verdict: "NeedMoreData".to_owned(), ..VerdictView::default() };
        assert_eq!(
            line(NOW, &Event::Verdict(verdict)),
            "  12.3s  verdict   NeedMoreData | regression - | safety - | guard -"
        );
    }

    #[test]
    fn an_event_is_one_json_object() {
        let read =
            |event: &Event| -> Value { serde_json::from_str(&json(NOW, event).unwrap()).unwrap() };
        assert_eq!(
            read(&Event::Weight { weight: 10 }),
            json!({"elapsed": 12.345, "event": "weight", "weight": 10})
        );
        let traffic = read(&traffic());
        assert_eq!(traffic["stable"]["errorRate"], json!(0.025));
        assert_eq!(traffic["canary"]["version"], json!("v2"));
        assert_eq!(traffic["canary"]["p99"], Value::Null);
        let evidence = Some(Evidence { log_e: 3.5, limit: 6.9 });
        let verdict = VerdictView { guard: evidence, ..VerdictView::default() };
        assert_eq!(read(&Event::Verdict(verdict))["guard"], json!({"logE": 3.5, "limit": 6.9}));
    }
}
