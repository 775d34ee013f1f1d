//! Mode Observe: the plain rolling update is judged, nothing is touched.

use super::rest::remember_promoted;
use super::revert::would_revert;
use super::turn::{About, Turn};
use crate::effect::{RevertOrder, Severity};
use crate::judge::Verdict;
use crate::observed::Workload;
use crate::reason::Reason;
use crate::state::{Origin, Outcome, Trial};

/// One turn of Watching: ends with what would have happened.
pub(super) fn watch(turn: &mut Turn<'_>, mut trial: Trial, workload: &Workload) -> Option<Trial> {
    if trial.ready.is_none() && turn.seen.canary.ready > 0 {
        trial.ready = Some(turn.now); // the evidence begins here
    }
    turn.refuse_ask(&About::from(&trial)); // nothing can be asked of one who only watches
    if turn.is_stable(&workload.template) {
        turn.say(Reason::RevertedByHand, "the template is stable's again");
        turn.end(&trial, Outcome::Watched { would_abort: None, would_revert: None });
        return None;
    }
    if workload.template != trial.canary {
        turn.say(Reason::Superseded, "a newer template came");
        return ends(turn, &trial, None, None);
    }
    if let Some(harm) = harm(turn) {
        let order = would_revert(turn, &trial, &harm);
        let range = order.as_ref().map_or_else(String::new, |order| {
            format!("; {}..{} would be reverted", order.good.short(), order.bad.short())
        });
        let message = format!("would have been aborted: {harm}{range}");
        turn.notify(Severity::Warning, Reason::WouldAbort, message.clone());
        turn.say(Reason::WouldAbort, message);
        return ends(turn, &trial, Some(harm), order);
    }
    let passed = matches!(turn.seen.verdict, Verdict::Pass);
    if passed || turn.is_over(trial.started, turn.plan.limits.verdict) {
        let message = if passed { "would have been promoted" } else { "no verdict in time" };
        turn.say(Reason::Watching, message);
        if passed {
            remember_promoted(turn, trial.canary.clone());
        }
        return ends(turn, &trial, None, None);
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

/// What was watched serves now, whatever it was worth.
fn ends(
    turn: &mut Turn<'_>,
    trial: &Trial,
    would_abort: Option<String>,
    would_revert: Option<RevertOrder>,
) -> Option<Trial> {
    turn.end(trial, Outcome::Watched { would_abort, would_revert });
    let git = match &trial.origin {
        Origin::Git { bad, .. } => Some(bad.clone()),
        Origin::OutOfBand { .. } | Origin::Unknown => None,
    };
    turn.now_stable(&trial.canary, git);
    None
}
