//! Strategies to steps. The same checks serve files and `resolve`.

use chrono::TimeDelta;
use tidegate_api as api;
use tidegate_engine::defaults;
use tidegate_engine::plan::{PromoteBy, Step, Traffic, Weight};

use super::invalid::{Fault, FieldPath, quoted};
use super::units;

/// The way to all traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) traffic: Traffic,
    pub(crate) steps: Vec<Step>,
}

/// The way when nothing is said.
pub(crate) fn default_way(has_routes: bool, promotion: PromoteBy) -> Way {
    let weights: &[u8] = match promotion {
        PromoteBy::HandOver => &defaults::WEIGHTS,
        PromoteBy::Surge => &defaults::SURGE_WEIGHTS,
    };
    let weights = weights.iter().filter_map(|percent| Weight::new(*percent));
    let steps = weights.map(|weight| Step::Weight { weight, bake: defaults::BAKE }).collect();
    Way { traffic: traffic(has_routes), steps }
}

fn traffic(has_routes: bool) -> Traffic {
    if has_routes { Traffic::Routes } else { Traffic::Pods }
}

/// A strategy as steps. `at`: where it stands.
pub(crate) fn way(
    strategy: &api::Strategy,
    has_routes: bool,
    promotion: PromoteBy,
    at: &FieldPath,
) -> Result<Way, Vec<Fault>> {
    match (&strategy.canary, &strategy.blue_green) {
        (Some(canary), None) => canary_way(canary, has_routes, promotion, &at.field("canary")),
        (None, Some(_)) if promotion == PromoteBy::Surge => {
            let expected = "canary: a preview is a second full set, and promotion is Surge";
            Err(vec![Fault::new(at, "blueGreen", expected)])
        }
        (None, Some(blue_green)) => blue_green_way(blue_green, &at.field("blueGreen")),
        (Some(_), Some(_)) => {
            Err(vec![Fault::new(at, "both canary and blueGreen", "exactly one of them")])
        }
        (None, None) => {
            Err(vec![Fault::new(at, "neither canary nor blueGreen", "exactly one of them")])
        }
    }
}

fn canary_way(
    canary: &api::Canary,
    has_routes: bool,
    promotion: PromoteBy,
    at: &FieldPath,
) -> Result<Way, Vec<Fault>> {
    let at = at.field("steps");
    let mut faults = Vec::new();
    let mut steps = Vec::new();
    let mut before = 0;
    for (index, step) in canary.steps.iter().enumerate() {
        let at = at.index(index);
        match (step.weight, &step.pause) {
            (Some(weight), None) => {
                let is_last = index + 1 == canary.steps.len();
                if let Some(fault) = weight_fault(weight, before, is_last, has_routes, &at) {
                    faults.push(fault);
                } else if weight == 100 && promotion == PromoteBy::Surge {
                    let expected = "at most 99: promotion is Surge, which rolls the rest out";
                    faults.push(Fault::new(&at.field("weight"), "100", expected));
                }
                before = before.max(weight.min(100));
                let bake_at = at.field("bake");
                let bake = span(step.bake.as_ref(), defaults::BAKE, &bake_at, &mut faults);
                if let (Some(weight), Some(bake)) = (Weight::new(weight), bake) {
                    steps.push(Step::Weight { weight, bake });
                }
            }
            (None, Some(pause)) => {
                if step.bake.is_some() {
                    let found = "bake beside pause";
                    faults.push(Fault::new(&at.field("bake"), found, "pause.duration instead"));
                }
                steps.extend(pause_step(pause, &at.field("pause"), &mut faults));
            }
            (Some(_), Some(_)) => {
                faults.push(Fault::new(&at, "both weight and pause", "exactly one of them"));
            }
            (None, None) => {
                faults.push(Fault::new(&at, "neither weight nor pause", "exactly one of them"));
            }
        }
    }
    if canary.steps.is_empty() {
        faults.push(Fault::new(&at, "an empty list", "at least 1 entry"));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if before < 100 && promotion == PromoteBy::HandOver {
        steps.push(Step::Weight { weight: Weight::FULL, bake: defaults::BAKE });
    }
    Ok(Way { traffic: traffic(has_routes), steps })
}

fn weight_fault(
    weight: u8,
    before: u8,
    is_last: bool,
    has_routes: bool,
    at: &FieldPath,
) -> Option<Fault> {
    let at = at.field("weight");
    let found = weight.to_string();
    if weight > 100 {
        Some(Fault::new(&at, found, "0 to 100"))
    } else if weight < before {
        Some(Fault::new(&at, found, format!("at least {before}: weights never fall")))
    } else if weight == 100 && before == 100 {
        Some(Fault::new(&at, "100 again", "weight 100 once, as the last step"))
    } else if weight == 100 && !is_last {
        Some(Fault::new(&at, "100 before the last step", "weight 100 once, as the last step"))
    } else if !has_routes && weight > 50 && weight < 100 {
        let expected = "at most 50, or 100: without routes the weight is a share of pods";
        Some(Fault::new(&at, found, expected))
    } else {
        None
    }
}

fn blue_green_way(blue_green: &api::BlueGreen, at: &FieldPath) -> Result<Way, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut steps = Vec::new();
    let preview = blue_green.preview.as_ref();
    let bake = span(preview, TimeDelta::zero(), &at.field("preview"), &mut faults);
    steps.extend(bake.map(|bake| Step::Weight { weight: Weight::ZERO, bake }));
    if let Some(pause) = &blue_green.pause {
        steps.extend(pause_step(pause, &at.field("pause"), &mut faults));
    }
    let bake = span(blue_green.bake.as_ref(), defaults::BAKE, &at.field("bake"), &mut faults);
    steps.extend(bake.map(|bake| Step::Weight { weight: Weight::FULL, bake }));
    if faults.is_empty() { Ok(Way { traffic: Traffic::Switch, steps }) } else { Err(faults) }
}

fn pause_step(pause: &api::Pause, at: &FieldPath, faults: &mut Vec<Fault>) -> Option<Step> {
    let Some(text) = &pause.duration else { return Some(Step::Pause { resume_after: None }) };
    let duration = span(Some(text), TimeDelta::zero(), &at.field("duration"), faults)?;
    Some(Step::Pause { resume_after: Some(duration) })
}

/// A time span, or the default where nothing is said. `None`: it is none, and the fault is told.
pub(crate) fn span(
    text: Option<&api::Duration>,
    default: TimeDelta,
    at: &FieldPath,
    faults: &mut Vec<Fault>,
) -> Option<TimeDelta> {
    let Some(text) = text else { return Some(default) };
    let span = units::duration(text.as_str());
    if span.is_none() {
        let expected = "a time span such as 90s or 1h30m, at most 366d";
        faults.push(Fault::new(at, quoted(text.as_str()), expected));
    }
    span
}
