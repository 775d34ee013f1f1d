//! What gateways say of a route.

use serde_json::Value;

use super::json;

/// Every gateway that the route names has taken this generation of it with all its backends. One
/// that refuses the route as it is now sends it nothing, and is left out as long as another takes
/// it.
pub fn is_accepted(route: &Value) -> bool {
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
