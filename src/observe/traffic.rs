//! Where the traffic goes, read back from Services and routes.

use serde_json::Value;
use tidegate_api::HELD_LABEL;
use tidegate_engine::observed::{Pinned, RouteView, TrafficView};
use tidegate_engine::state::{Promotion, Stage, State};

use super::workload::Sets;
use crate::kubernetes::{POD_TEMPLATE_HASH, Pair, RouteShare, Target, is_accepted, json};

/// What Services and routes say. `others` are held like them and pinned to nothing of stable's.
pub(super) fn view(
    target: &Target,
    (services, routes, others): (&[Value], &[Value], &[Value]),
    sets: &Sets<'_>,
    state: &State,
) -> TrafficView {
    let all = services.iter().chain(routes).chain(others);
    let held = all.clone().filter(|object| target.is_labelled(object, HELD_LABEL)).count();
    TrafficView {
        route: route(target, routes),
        pinned: pinned(services, sets),
        freed: services.iter().any(is_freed),
        // On the way forward a hold that stopped half way is asked for again; on the way home one
        // that is left on any object is still to be released.
        held: held > 0 && (held == all.count() || !goes_forward(state)),
    }
}

/// The trial wants everything held.
fn goes_forward(state: &State) -> bool {
    state.trial.as_ref().is_some_and(|trial| match trial.stage {
        Stage::Starting { .. }
        | Stage::Shifting { .. }
        | Stage::Baking { .. }
        | Stage::Paused { .. }
        | Stage::FastForward { .. }
        | Stage::Promoting {
            part:
                Promotion::Filling
                | Promotion::Pinning
                | Promotion::Waiting
                | Promotion::Spreading,
            ..
        } => true,
        Stage::Settling { .. }
        | Stage::Promoting {
            part:
                Promotion::HandingOver
                | Promotion::Releasing
                | Promotion::Surging
                | Promotion::Surged,
            ..
        }
        | Stage::Aborting { .. }
        | Stage::Reverting { .. }
        | Stage::Restoring { .. }
        | Stage::Aborted { .. }
        | Stage::Watching { .. } => false,
    })
}

/// Whose pods the Services select. One that selects pods of no set serves nobody: that is no place
/// to leave it, so it counts as a disagreement.
fn pinned(services: &[Value], sets: &Sets<'_>) -> Pinned {
    // One that is free cannot be brought to agree with the others.
    let (free, ours): (Vec<_>, Vec<_>) = services.iter().partition(|service| is_freed(service));
    if ours.is_empty() && !free.is_empty() {
        return Pinned::All;
    }
    let mut all = ours.into_iter().map(|service| match hash_of(service) {
        None => Pinned::All,
        Some(hash) => sets.labelled(hash).map_or(Pinned::Mixed, Pinned::To),
    });
    let Some(first) = all.next() else { return Pinned::NoService };
    if all.all(|other| other == first) { first } else { Pinned::Mixed }
}

/// The hash whose pods alone a Service selects.
fn hash_of(service: &Value) -> Option<&str> {
    service.get("spec")?.get("selector")?.get(POD_TEMPLATE_HASH)?.as_str()
}

/// A person has set it free, and it is as in Git: it selects all pods of the workload.
fn is_freed(service: &Value) -> bool {
    json::break_glass(service).is_some() && hash_of(service).is_none()
}

/// What every route says, if its gateways have taken it.
fn route(target: &Target, routes: &[Value]) -> Option<RouteView> {
    if routes.len() < target.routes.len() || !routes.iter().all(is_accepted) {
        return None;
    }
    let pair = Pair {
        namespace: &target.namespace,
        service: target.service()?,
        canary: &target.canary_service.name,
    };
    let mut shares = routes.iter().map(|route| pair.share(route));
    let first = shares.next()?;
    if shares.any(|other| other != first) {
        return None;
    }
    match first {
        RouteShare::Home => Some(RouteView::Home),
        RouteShare::Split(weight) => Some(RouteView::Split(weight)),
        RouteShare::Mixed => None,
    }
}

#[cfg(test)]
mod tests;
