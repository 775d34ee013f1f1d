//! What a person asks for, in an annotation of the Rollout.
//!
//! `tidegate.dev/request: promote a1b2c3`, or with a token of its own as JSON:
//! `{"what": "abort", "revision": "a1b2c3", "hold": true, "token": "7f3a"}`. Words alone are a new
//! request each time they are written: the API server notes when that was. Who asks is not for
//! them to say: it is stamped beside it by the API server, from whom it let in.

use serde::Deserialize;
use serde_json::Value;
use tidegate_api::{REQUEST_ANNOTATION, REQUESTED_BY_ANNOTATION};
use tidegate_engine::observed::{Ask, What};
use tidegate_engine::state::{Promotion, Stage, State};

use super::status::shorten;
use crate::kubernetes::json as read;

#[derive(Deserialize)]
struct Request {
    what: String,
    #[serde(default)]
    hold: bool,
    #[serde(default)]
    revision: Option<String>,
    #[serde(default)]
    token: Option<String>,
}

/// What somebody asks for. `None`: nothing, or nothing that can be read.
pub(super) fn ask(rollout: &Value) -> Option<Ask> {
    let text = read::annotation(rollout, REQUEST_ANNOTATION)?.trim();
    let request = read_request(text)?;
    let what = match (request.what.as_str(), request.hold) {
        ("pause", _) => What::Pause,
        ("resume", _) => What::Resume,
        ("promote", _) => What::Promote,
        ("promote-full", _) => What::PromoteFull,
        ("abort", hold) => What::Abort { hold },
        ("abort-hold", _) => What::Abort { hold: true },
        ("retry", _) => What::Retry,
        _ => return None,
    };
    let (writer, at) = written(rollout);
    let token = request.token.unwrap_or_else(|| format!("{text}@{at}"));
    let stamped = read::annotation(rollout, REQUESTED_BY_ANNOTATION).map(str::to_owned);
    let who = stamped.unwrap_or(writer);
    Some(Ask {
        token: shorten(&token, 200),
        who: shorten(&who.replace('\n', " "), 200),
        what,
        revision: request.revision.map(|revision| shorten(&revision, 64)),
    })
}

/// The policy that asks for the right to a verb reads the same text without a parser: what it could
/// misread is no request.
fn read_request(text: &str) -> Option<Request> {
    if text.starts_with('{') {
        let is_plain = !text.contains('\\') && text.matches('{').count() == 1;
        return is_plain.then(|| serde_json::from_str(text).ok()).flatten();
    }
    let mut words = text.split_whitespace().map(str::to_owned);
    let (what, revision) = (words.next()?, words.next());
    let request = Request { what, hold: false, revision, token: None };
    words.next().is_none().then_some(request)
}

/// What somebody freed by break-glass is no longer ours to pin or to weigh: a trial that is on its
/// way goes home with the rest, and Git is left to whoever did it. `None`: nothing is freed, or no
/// trial needs it.
pub(super) fn freed(state: &State, freed: &[String]) -> Option<Ask> {
    let goes_on = match &state.trial.as_ref()?.stage {
        Stage::Settling { .. }
        | Stage::Starting { .. }
        | Stage::Shifting { .. }
        | Stage::Baking { .. }
        | Stage::Paused { .. }
        | Stage::FastForward { .. } => true,
        Stage::Promoting { part, .. } => {
            matches!(
                part,
                Promotion::Filling | Promotion::Pinning | Promotion::Waiting | Promotion::Spreading
            )
        }
        Stage::Aborting { .. }
        | Stage::Reverting { .. }
        | Stage::Restoring { .. }
        | Stage::Aborted { .. }
        | Stage::Watching { .. } => false,
    };
    let first = freed.first().filter(|_| goes_on)?;
    let canary = state.trial.as_ref().map(|trial| trial.canary.to_string());
    let who = format!("break-glass on {first}");
    Some(Ask {
        token: shorten(&format!("{who}@{}", state.trials), 200),
        who: shorten(&who, 200),
        what: What::Abort { hold: true },
        revision: canary,
    })
}

/// Who wrote the annotation last, and when.
fn written(rollout: &Value) -> (String, String) {
    let key = format!("f:{REQUEST_ANNOTATION}");
    let owns = |entry: &&Value| {
        entry
            .pointer("/fieldsV1/f:metadata/f:annotations")
            .is_some_and(|fields| fields.get(&key).is_some())
    };
    let entries = read::list(rollout, "/metadata/managedFields").iter().filter(owns);
    let newest = entries.max_by_key(|entry| read::text(entry, "/time").unwrap_or_default());
    let part = |pointer: &str| {
        newest.and_then(|entry| read::text(entry, pointer)).unwrap_or_default().to_owned()
    };
    let (manager, time) = (part("/manager"), part("/time"));
    (if manager.is_empty() { "somebody".to_owned() } else { manager }, time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidegate_engine::state::{Cause, Origin, Revision, Trial, TrialId};

    fn rollout(text: &str, time: &str) -> Value {
        json!({"metadata": {"annotations": {REQUEST_ANNOTATION: text}, "managedFields": [
            {"manager": "flux", "time": "2030-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}},
            {"manager": "kubectl-annotate", "time": time, "fieldsV1":
                {"f:metadata": {"f:annotations": {"f:tidegate.dev/request": {}}}}}]}})
    }

    #[test]
    fn a_word_is_a_new_request_each_time_it_is_written() {
        let first = ask(&rollout("abort", "2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(first.what, What::Abort { hold: false });
        assert_eq!(first.who, "kubectl-annotate");
        assert_eq!(Some(&first), ask(&rollout("abort", "2026-01-01T00:00:00Z")).as_ref());
        let second = ask(&rollout("abort", "2026-01-01T00:00:01Z")).unwrap();
        assert_ne!(first.token, second.token);
    }

    #[test]
    fn a_request_says_which_it_is_and_the_api_server_who_asks() {
        let text = r#"{"what": "abort", "hold": true, "revision": "a1", "token": "7f3a"}"#;
        let mut live = rollout(text, "2026-01-01T00:00:00Z");
        live["metadata"]["annotations"][REQUESTED_BY_ANNOTATION] = json!("ann\nx");
        let asked = Ask {
            token: "7f3a".to_owned(),
            who: "ann x".to_owned(),
            what: What::Abort { hold: true },
            revision: Some("a1".to_owned()),
        };
        assert_eq!(ask(&live), Some(asked));
        let words = ask(&rollout("promote  a1", "")).unwrap();
        assert_eq!((words.what, words.revision.as_deref()), (What::Promote, Some("a1")));
        let forged = ask(&rollout(r#"{"what": "pause", "who": "bob"}"#, "")).unwrap();
        assert_eq!(forged.who, "kubectl-annotate");
    }

    #[test]
    fn what_is_freed_ends_a_trial_on_its_way_and_nothing_else() {
        let freed = ["Service web: incident 7".to_owned()];
        let since = chrono::DateTime::UNIX_EPOCH;
        let with = |stage: Stage| State {
            trial: Some(Trial {
                id: TrialId::new("t3"),
                canary: Revision::new("acanary"),
                origin: Origin::Unknown,
                started: since,
                ready: None,
                shared: None,
                home: None,
                skip: None,
                handed: false,
                gates: None,
                class: None,
                stands: None,
                alone: false,
                surged: false,
                told: Vec::new(),
                stage,
            }),
            ..State::default()
        };
        let baking = with(Stage::Baking { step: 0, since });
        let asked = super::freed(&baking, &freed).unwrap();
        assert_eq!(asked.what, What::Abort { hold: true });
        assert_eq!(asked.who, "break-glass on Service web: incident 7");
        assert_eq!(super::freed(&baking, &[]), None);
        let handing = with(Stage::Promoting { part: Promotion::HandingOver, since });
        assert_eq!(super::freed(&handing, &freed), None);
        let going = with(Stage::Aborting { cause: Cause::Superseded, since });
        assert_eq!(super::freed(&going, &freed), None);
        assert_eq!(super::freed(&State::default(), &freed), None);
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        let sly = r#"{"x": {"what": "pause"}, "what": "promote"}"#;
        let escaped = r#"{"wh\u0061t": "promote"}"#;
        for text in ["", "destroy", "{\"what\": 1}", "Promote", "promote a1 b2", sly, escaped] {
            assert_eq!(ask(&rollout(text, "")), None, "{text}");
        }
        assert_eq!(ask(&json!({})), None);
    }
}
