//! What decides nothing, and people should know.

use super::turn::Turn;
use crate::defaults;
use crate::effect::Severity;
use crate::observed::EngineWork;
use crate::reason::Reason;
use crate::state::{GitRevision, Origin, Outcome, Stage, Trial};

/// In a trial: told once, each.
pub(super) fn on_trial(turn: &mut Turn<'_>, trial: &mut Trial) {
    let gone = &turn.seen.around.gone;
    if !gone.is_empty() {
        let message = config_gone(gone);
        turn.notify_once(trial, Severity::Warning, Reason::StableConfigGone, message);
    }
    let Some(work) = turn.seen.around.engine.clone() else { return };
    if is_held_back(&trial.stage) && is_of(trial, &work.revision) {
        let held = trial.stage.since();
        if turn.is_over(work.since.map_or(held, |since| since.max(held)), defaults::ENGINE_ALARM) {
            let message = engine_blocked(&work);
            turn.notify_once(trial, Severity::Warning, Reason::EngineBlocked, message);
        }
    }
}

/// After a trial whose template was written over: the engine should have gone on by itself.
pub(super) fn at_rest(turn: &mut Turn<'_>) {
    let Some(stable) = turn.next.stable.clone() else { return };
    let last = turn.next.last.as_ref();
    let ended = last.filter(|last| matches!(last.outcome, Outcome::Aborted { .. }));
    let work = turn.seen.around.engine.as_ref();
    let work = work.filter(|work| turn.next.overwritten.as_ref() == Some(&work.revision));
    let (Some(at), Some(work)) = (ended.map(|ended| ended.at), work.cloned()) else {
        turn.next.warned = None;
        return;
    };
    if turn.is_over(work.since.map_or(at, |since| since.max(at)), defaults::ENGINE_ALARM) {
        let message = engine_blocked(&work);
        if turn.next.warned.as_ref() != Some(&stable.revision) {
            turn.next.warned = Some(stable.revision);
            turn.notify(Severity::Warning, Reason::EngineBlocked, message.clone());
        }
        turn.say(Reason::EngineBlocked, message);
    }
}

/// Stages in which the failed template is kept from rolling out, or was written over.
fn is_held_back(stage: &Stage) -> bool {
    matches!(stage, Stage::Reverting { .. } | Stage::Restoring { .. } | Stage::Aborted { .. })
}

fn is_of(trial: &Trial, revision: &GitRevision) -> bool {
    matches!(&trial.origin, Origin::Git { bad, .. } if bad == revision)
}

/// What a person should know of an engine that does not come to an end.
pub(crate) fn engine_blocked(work: &EngineWork) -> String {
    let EngineWork { engine, revision, remedy, .. } = work;
    format!("{engine} is still at {} and applies nothing else: {remedy}", revision.short())
}

/// What a person should know of stable's pods.
pub(crate) fn config_gone(gone: &[String]) -> String {
    let gone = gone.join(", ");
    format!("stable's pods need {gone}, which is gone: none of them could be replaced")
}
