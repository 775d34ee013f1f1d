//! Where the traffic goes, read back from Services and routes.

use serde_json::Value;
use tidegate_api::HELD_LABEL;
use tidegate_engine::observed::{Pinned, RouteView, TrafficView};
use tidegate_engine::plan::Weight;
use tidegate_engine::state::{Promotion, Stage, State};

use super::workload::Sets;
use crate::kubernetes::{POD_TEMPLATE_HASH, Target, json};

/// What Services and routes say.
pub(super) fn view(
    target: &Target,
    services: &[Value],
    routes: &[Value],
    sets: &Sets<'_>,
    state: &State,
) -> TrafficView {
    let all = services.iter().chain(routes);
    let held = all.clone().filter(|object| target.is_labelled(object, HELD_LABEL)).count();
    TrafficView {
        route: route(target, routes),
        pinned: pinned(services, sets),
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
            part: Promotion::Filling | Promotion::Pinning | Promotion::Waiting,
            ..
        } => true,
        Stage::Settling { .. }
        | Stage::Promoting { part: Promotion::HandingOver | Promotion::Releasing, .. }
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
    let mut all = services.iter().map(|service| {
        let selector = service.get("spec").and_then(|spec| spec.get("selector"));
        match selector.and_then(|selector| selector.get(POD_TEMPLATE_HASH)?.as_str()) {
            None => Pinned::All,
            Some(hash) => {
                sets.labelled(hash).map_or(Pinned::Mixed, |set| Pinned::To(set.revision.clone()))
            }
        }
    });
    let Some(first) = all.next() else { return Pinned::NoService };
    if all.all(|other| other == first) { first } else { Pinned::Mixed }
}

/// What every route says, if its gateways have taken it.
fn route(target: &Target, routes: &[Value]) -> Option<RouteView> {
    if routes.len() < target.routes.len() || !routes.iter().all(is_accepted) {
        return None;
    }
    let service = target.service()?;
    let mut views = routes.iter().map(|route| split(route, service, &target.canary_service.name));
    let first = views.next()??;
    views.all(|other| other == Some(first)).then_some(first)
}

/// The canary's share of what the rules give to the Service and the canary's together. `None`: the
/// rules disagree.
fn split(route: &Value, service: &str, canary: &str) -> Option<RouteView> {
    let mut shares = json::list(route, "/spec/rules").iter().filter_map(|rule| {
        let weight = |name: &str| {
            let backends = json::list(rule, "/backendRefs").iter();
            let mut named = backends.filter(|backend| is_service(route, backend, name)).peekable();
            named.peek()?;
            Some(named.map(|backend| backend["weight"].as_u64().unwrap_or(1)).sum::<u64>())
        };
        match (weight(service), weight(canary)) {
            (None, None) => None,
            (Some(_), None) => Some(Some(RouteView::Home)),
            (stable, Some(canary)) => Some(share(stable.unwrap_or(0), canary)),
        }
    });
    // Where no rule is about the Service, none sends anything to the canary.
    let Some(first) = shares.next() else { return Some(RouteView::Home) };
    if shares.all(|other| other == first) { first } else { None }
}

/// Weights as whole percent. With both 0 nobody gets anything, the canary neither.
fn share(stable: u64, canary: u64) -> Option<RouteView> {
    let sum = stable.checked_add(canary)?;
    if sum == 0 {
        return Some(RouteView::Split(Weight::ZERO));
    }
    let percent = (canary.checked_mul(100)?.checked_add(sum / 2)?) / sum;
    Weight::new(u8::try_from(percent).ok()?).map(RouteView::Split)
}

/// The backend is the Service of this name beside the route.
pub(super) fn is_service(route: &Value, backend: &Value, name: &str) -> bool {
    let of = |key: &str| backend.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    backend["name"] == name
        && of("kind").is_none_or(|kind| kind == "Service")
        && of("group").is_none()
        && of("namespace").is_none_or(|at| json::text(route, "/metadata/namespace") == Some(at))
}

/// Every gateway that the route names has taken this generation of it with all its backends. One
/// that refuses the route as it is now sends it nothing, and is left out as long as another takes
/// it.
fn is_accepted(route: &Value) -> bool {
    let generation = json::number(route, "/metadata/generation");
    let mut taken = 0_usize;
    for parent in json::list(route, "/status/parents") {
        let named = json::list(route, "/spec/parentRefs");
        if !named.iter().any(|wanted| is_same_parent(wanted, &parent["parentRef"])) {
            continue;
        }
        let says = |kind: &str| {
            let mut all = json::list(parent, "/conditions").iter();
            let found = all.find(|found| found["type"] == kind)?;
            let is_current =
                generation.is_some() && json::number(found, "/observedGeneration") >= generation;
            is_current.then(|| found["status"] == "True")
        };
        match (says("Accepted"), says("ResolvedRefs")) {
            (Some(true), Some(true)) => taken += 1,
            (Some(false), _) => {}
            _ => return false,
        }
    }
    taken > 0
}

fn is_same_parent(one: &Value, other: &Value) -> bool {
    ["name", "namespace", "sectionName", "port"].iter().all(|key| {
        // A route need not name its own namespace; a controller may or may not repeat it.
        *key == "namespace" && (one.get(key).is_none() || other.get(key).is_none())
            || one.get(key) == other.get(key)
    })
}

#[cfg(test)]
mod tests;
