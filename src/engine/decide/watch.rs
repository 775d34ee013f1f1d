//! Mode Observe: the plain rolling update is judged, nothing is touched.

use super::rest::remember_promoted;
use super::turn::{About, Turn};
use crate::effect::Severity;
use crate::judge::Verdict;
use crate::observed::Workload;
use crate::reason::Reason;
use crate::state::{Origin, Outcome, Trial};

/// One turn of Watching: ends with what would have happened.
pub(super) fn watch(turn: &mut Turn<'_>, trial: Trial, workload: &Workload) -> Option<Trial> {
    turn.refuse_ask(&About::from(&trial)); // nothing can be asked of one who only watches
    if turn.is_stable(&workload.template) {
        turn.say(Reason::RevertedByHand, "the template is stable's again");
        turn.end(&trial, Outcome::Watched { would_abort: None });
        return None;
    }
    if workload.template != trial.canary {
        turn.say(Reason::Superseded, "a newer template came");
        return ends(turn, &trial, None);
    }
    if let Some(harm) = harm(turn) {
        let message = format!("would have been aborted: {harm}{}", would_revert(turn, &trial));
        turn.notify(Severity::Warning, Reason::WouldAbort, message.clone());
        turn.say(Reason::WouldAbort, message);
        return ends(turn, &trial, Some(harm));
    }
    let passed = matches!(turn.seen.verdict, Verdict::Pass);
    if passed || turn.is_over(trial.started, turn.plan.limits.verdict) {
        let message = if passed { "would have been promoted" } else { "no verdict in time" };
        turn.say(Reason::Watching, message);
        if passed {
            remember_promoted(turn, trial.canary.clone());
        }
        return ends(turn, &trial, None);
    }
    turn.say(Reason::Watching, "the rolling update is watched; nothing is touched");
    Some(trial)
}

fn harm(turn: &Turn<'_>) -> Option<String> {
    if let Verdict::Fail(failure) = &turn.seen.verdict {
        return Some(failure.message.clone());
    }
    let trouble = turn.seen.canary.trouble.as_ref()?;
    trouble.kind.is_certain().then(|| trouble.message.clone())
}

fn would_revert(turn: &Turn<'_>, trial: &Trial) -> String {
    match (&trial.origin, &turn.plan.git) {
        (Origin::Git { good, bad }, Some(_)) => {
            format!("; {}..{} would be reverted", good.short(), bad.short())
        }
        _ => String::new(),
    }
}

/// What was watched serves now, whatever it was worth.
fn ends(turn: &mut Turn<'_>, trial: &Trial, would_abort: Option<String>) -> Option<Trial> {
    turn.end(trial, Outcome::Watched { would_abort });
    let git = match &trial.origin {
        Origin::Git { bad, .. } => Some(bad.clone()),
        Origin::OutOfBand { .. } | Origin::Unknown => None,
    };
    turn.now_stable(&trial.canary, git);
    None
}
