//! What the world shows of where the traffic goes. Only what was read back counts.

use super::surge;
use crate::observed::{Observed, Pinned, RouteView};
use crate::plan::{Plan, Traffic, Weight};
use crate::state::{Revision, Trial};

/// The routes say this weight, and the gateway accepted it.
pub(super) fn at_weight(route: Option<RouteView>, weight: Weight) -> bool {
    route == Some(RouteView::Split(weight)) || (weight == Weight::ZERO && is_route_home(route))
}

/// No route sends anything to the canary's own Service.
pub(super) fn is_route_home(route: Option<RouteView>) -> bool {
    matches!(route, Some(RouteView::Home | RouteView::Split(Weight::ZERO)))
}

/// The Service would send requests to both sets. One that a person has set free does so whatever we
/// want: the canary's pods leave all the same, each after its requests.
pub(super) fn is_shared(seen: &Observed) -> bool {
    seen.traffic.pinned == Pinned::All && seen.canary.exists && !seen.traffic.freed
}

/// Something of ours is on Services or routes.
pub(super) fn is_held(seen: &Observed) -> bool {
    let traffic = &seen.traffic;
    traffic.held
        || matches!(traffic.pinned, Pinned::To(_) | Pinned::Mixed)
        || matches!(traffic.route, Some(RouteView::Split(_)))
}

/// The canary has its share of the traffic, and what has the rest is stable's.
pub(super) fn is_at(
    plan: &Plan,
    stable: &Revision,
    seen: &Observed,
    trial: &Trial,
    weight: Weight,
) -> bool {
    let pinned = &seen.traffic.pinned;
    match plan.traffic {
        Traffic::Routes => pinned.is_only(stable) && at_weight(seen.traffic.route, weight),
        Traffic::Pods | Traffic::Switch if weight == Weight::FULL => pinned.is_only(&trial.canary),
        Traffic::Pods if weight > Weight::ZERO => {
            let size = seen.workload.as_ref().map_or(0, |work| plan.canary_size(weight, work));
            matches!(pinned, Pinned::All | Pinned::NoService) && seen.canary.ready >= size
        }
        Traffic::Pods | Traffic::Switch => pinned.is_only(stable),
    }
}

/// All traffic is the canary's, whatever the Service still selects.
pub(super) fn is_filled(plan: &Plan, seen: &Observed, trial: &Trial) -> bool {
    match plan.traffic {
        Traffic::Routes => at_weight(seen.traffic.route, Weight::FULL),
        Traffic::Pods | Traffic::Switch => seen.traffic.pinned.is_only(&trial.canary),
    }
}

/// Services select the canary and the routes name the Service alone: the way back is one write.
pub(super) fn is_promoted(plan: &Plan, seen: &Observed, trial: &Trial) -> bool {
    seen.traffic.pinned.is_only(&trial.canary)
        && (plan.traffic != Traffic::Routes || seen.traffic.route == Some(RouteView::Home))
}

/// No request can reach the canary any more; of pods that the Deployment has taken, fewer and fewer.
pub(super) fn is_home(plan: &Plan, seen: &Observed, trial: &Trial) -> bool {
    if surge::is_out(seen, trial) && !surge::is_turned(seen, trial) {
        return false;
    }
    let pinned = &seen.traffic.pinned;
    if trial.surged && !seen.canary.exists {
        // The routes were home before the Deployment was given them.
        return !pinned.is(&trial.canary) && *pinned != Pinned::Mixed;
    }
    if !seen.canary.exists && !seen.traffic.held && !pinned.is(&trial.canary) {
        return true; // the hold comes before anything else: nothing of ours was ever written
    }
    let away = pinned.is(&trial.canary) || *pinned == Pinned::Mixed;
    let routed = plan.traffic == Traffic::Routes && !is_route_home(seen.traffic.route);
    !away && !is_shared(seen) && !routed
}

/// Every Service selects all pods, and every route names the Service alone.
pub(super) fn is_free(plan: &Plan, seen: &Observed) -> bool {
    matches!(seen.traffic.pinned, Pinned::All | Pinned::NoService)
        && (plan.traffic != Traffic::Routes || seen.traffic.route == Some(RouteView::Home))
}
