//! Gates: who has a say before a trial goes on.
//!
//! At each place those of the plan are noted first, and asked from the next look on: a process that
//! dies in between knows which it had asked. What one said is noted as well, so that a gate that let
//! the trial go on is not asked again at the same place. Missing answers are neither yes nor no.

use chrono::{DateTime, TimeDelta, Utc};

use super::turn::Turn;
use crate::effect::Severity;
use crate::observed::GateSays;
use crate::plan::{Gate, OnTimeout};
use crate::reason::Reason;
use crate::state::{AskedGate, AtGates, Cause, GateAnswer, Place, Promotion, Stage, Trial};

/// Whether the trial may pass a place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Passage {
    /// Every gate lets it.
    Open,
    /// Not yet, and why.
    Waits(Reason, String),
    /// It ends.
    Ends(Cause),
}

/// What one gate came to in a turn.
enum Said {
    /// It is behind.
    Open,
    /// It spoke in this turn, or is still waited for.
    Waits(Reason, String),
    Ends(Cause),
}

/// The gates of a place. Their time runs from when they were asked, or from the end of the stage's
/// minimum time, whichever is later. Who leaves out the steps leaves out the gates.
pub(super) fn pass(
    turn: &mut Turn<'_>,
    trial: &mut Trial,
    place: Place,
    minimum: TimeDelta,
) -> Passage {
    let plan = turn.plan;
    let here: Vec<&Gate> = plan.gates.iter().filter(|gate| gate.at == place.at()).collect();
    if here.is_empty() || trial.skip.is_some() {
        return Passage::Open;
    }
    let known = trial.gates.take().filter(|at| at.place == place);
    let mut at = known.unwrap_or_else(|| AtGates { place, asked: Vec::new() });
    at.asked.retain(|asked| here.iter().any(|gate| gate.name == asked.gate));
    let since = trial.stage.since();
    let (mut told, mut ends) = (Vec::new(), None);
    for gate in here {
        let known = at.asked.iter_mut().find(|asked| asked.gate == gate.name);
        let said = if let Some(asked) = known {
            answer(turn, gate, asked, since, minimum)
        } else {
            at.asked.push(AskedGate { gate: gate.name.clone(), since: turn.now, answer: None });
            Said::Waits(Reason::GateWaiting, format!("gate {} is asked", gate.name))
        };
        match said {
            Said::Open => {}
            Said::Waits(reason, message) => told.push((reason, message)),
            Said::Ends(cause) => ends = ends.or(Some(cause)),
        }
    }
    trial.gates = Some(at);
    match ends {
        Some(cause) => Passage::Ends(cause),
        None => waits(told),
    }
}

/// What was said in this turn is the reason; what is waited for is told beside it.
fn waits(told: Vec<(Reason, String)>) -> Passage {
    let loudest = [Reason::GateTimedOut, Reason::GateOpened, Reason::GateWaiting];
    let reason = loudest.into_iter().find(|loud| told.iter().any(|(reason, _)| reason == loud));
    let Some(reason) = reason else { return Passage::Open };
    let messages: Vec<_> = told.into_iter().map(|(_, message)| message).collect();
    Passage::Waits(reason, messages.join("; "))
}

fn answer(
    turn: &mut Turn<'_>,
    gate: &Gate,
    asked: &mut AskedGate,
    since: DateTime<Utc>,
    minimum: TimeDelta,
) -> Said {
    let name = &gate.name;
    match asked.answer {
        Some(GateAnswer::Open | GateAnswer::LeftOut | GateAnswer::ByPerson) => return Said::Open,
        Some(GateAnswer::Held) => {
            let message = format!("gate {name} did not answer in time: a person decides");
            return Said::Waits(Reason::GateTimedOut, message);
        }
        None => {}
    }
    let seen = turn.seen.gates.get(name);
    let line = seen.map_or("", |seen| seen.line.as_str());
    match seen.map_or(GateSays::NotYet, |seen| seen.says) {
        GateSays::Refused => {
            return Said::Ends(Cause::GateRefused {
                message: with_line(format!("gate {name} refused"), line),
            });
        }
        GateSays::Open => {
            asked.answer = Some(GateAnswer::Open);
            return Said::Waits(
                Reason::GateOpened,
                with_line(format!("gate {name} is open"), line),
            );
        }
        GateSays::NotYet | GateSays::NotRun => {}
    }
    let late = asked.since.signed_duration_since(since);
    let limit = gate.timeout.checked_add(&minimum.max(late)).unwrap_or(TimeDelta::MAX);
    if turn.is_over(since, limit) {
        let message = with_line(format!("gate {name} did not answer in time"), line);
        return timed_out(turn, gate, asked, message);
    }
    let seconds = turn.now.signed_duration_since(asked.since).num_seconds();
    let message = with_line(format!("gate {name}: waits for {seconds} s"), line);
    Said::Waits(Reason::GateWaiting, message)
}

fn timed_out(turn: &mut Turn<'_>, gate: &Gate, asked: &mut AskedGate, message: String) -> Said {
    let (answer, message) = match gate.on_timeout {
        OnTimeout::Abort => return Said::Ends(Cause::GateTimedOut { message }),
        OnTimeout::Pause => (GateAnswer::Held, message),
        OnTimeout::Proceed => {
            (GateAnswer::LeftOut, format!("{message}: the trial goes on without its word"))
        }
    };
    asked.answer = Some(answer);
    turn.notify(Severity::Warning, Reason::GateTimedOut, message.clone());
    Said::Waits(Reason::GateTimedOut, message)
}

fn with_line(message: String, line: &str) -> String {
    if line.is_empty() { message } else { format!("{message}: {line}") }
}

/// The gates of a weight that is held, and at the last one, when it has passed, those of the
/// promotion.
pub(super) fn at_step(
    turn: &mut Turn<'_>,
    trial: &mut Trial,
    step: usize,
    has_passed: bool,
    minimum: TimeDelta,
) -> Passage {
    let is_last = step.saturating_add(1) >= turn.plan.steps.len();
    let is_beyond = is_last && is_at(trial, Place::Promotion);
    if !is_beyond {
        let passage = pass(turn, trial, Place::Step(step), minimum);
        if passage != Passage::Open || !is_last || !has_passed {
            return passage;
        }
    }
    pass(turn, trial, Place::Promotion, TimeDelta::zero())
}

fn is_at(trial: &Trial, place: Place) -> bool {
    trial.gates.as_ref().is_some_and(|at| at.place == place)
}

/// The gates of a canary that has all traffic, while the way back is one write.
pub(super) fn at_promoted(turn: &mut Turn<'_>, trial: &mut Trial, is_up: bool) -> Passage {
    if !is_up && is_at(trial, Place::Promoted) {
        let (reason, message) = begin_again(turn, trial);
        return Passage::Waits(reason, message);
    }
    if !is_up {
        return Passage::Open;
    }
    let minimum = turn.plan.limits.scale_down_delay;
    pass(turn, trial, Place::Promoted, minimum)
}

/// Pods that gates were asked about are not ready any more: they get their time anew, and what
/// comes of them is asked about again. Gates may take longer than pods do.
pub(super) fn begin_again(turn: &Turn<'_>, trial: &mut Trial) -> (Reason, String) {
    trial.gates = None;
    let since = turn.now;
    let (stage, reason) = if matches!(trial.stage, Stage::Promoting { .. }) {
        (Stage::Promoting { part: Promotion::Waiting, since }, Reason::ScaleDownDelay)
    } else {
        (Stage::Starting { since }, Reason::CanaryStarting)
    };
    trial.stage = stage;
    let message = "not all pods are ready any more: the gates are asked again when they are";
    (reason, message.to_owned())
}

/// What keeps the trial beside its gates is told with what they wait for; what a gate said is told
/// instead.
pub(super) fn say_beside(turn: &mut Turn<'_>, passage: &Passage, reason: Reason, message: String) {
    match passage {
        Passage::Waits(Reason::GateWaiting, gates) => {
            turn.say(reason, format!("{message}; {gates}"));
        }
        Passage::Waits(said, gates) => turn.say(*said, gates.clone()),
        Passage::Open | Passage::Ends(_) => turn.say(reason, message),
    }
}

/// A person takes the gates that are waited for as open. `false`: there are none.
pub(super) fn open_all(trial: &mut Trial) -> bool {
    set(trial, |answer| {
        let waits = matches!(answer, None | Some(GateAnswer::Held));
        waits.then_some(Some(GateAnswer::ByPerson))
    })
}

/// A person lets the gates that did not answer be asked anew. `false`: there are none.
pub(super) fn ask_anew(turn: &Turn<'_>, trial: &mut Trial) -> bool {
    let is_any = set(trial, |answer| (answer == Some(GateAnswer::Held)).then_some(None));
    let unanswered = trial.gates.iter_mut().flat_map(|at| &mut at.asked);
    for asked in unanswered.filter(|asked| is_any && asked.answer.is_none()) {
        asked.since = turn.now;
    }
    is_any
}

fn set(
    trial: &mut Trial,
    change: impl Fn(Option<GateAnswer>) -> Option<Option<GateAnswer>>,
) -> bool {
    let mut is_any = false;
    for asked in trial.gates.iter_mut().flat_map(|at| &mut at.asked) {
        if let Some(answer) = change(asked.answer) {
            asked.answer = answer;
            is_any = true;
        }
    }
    is_any
}

/// What was said at a place that lies behind, or on a way that is not gone on, counts no more.
pub(super) fn forget(trial: &mut Trial) {
    if let Some(at) = &trial.gates
        && !trial.is_still_at(at.place)
    {
        trial.gates = None;
    }
}
