//! What breaking the glass writes. Pure.

use serde_json::{Value, json};
use tidegate_api::BREAK_GLASS_ANNOTATION;
use tidegate_engine::plan::Weight;

use crate::kubernetes::{POD_TEMPLATE_HASH, Pair, json as read, names, patch, sets};

/// A Service and its canary's, by name.
pub(super) struct OwnedPair {
    namespace: String,
    service: String,
    canary: String,
}

impl OwnedPair {
    pub(super) fn pair(&self) -> Pair<'_> {
        Pair { namespace: &self.namespace, service: &self.service, canary: &self.canary }
    }
}

/// Which Services may share a rule: each held one with a canary's of its own name, or of the user's.
pub(super) fn pairs(namespace: &str, services: &[Value], canary: Option<&str>) -> Vec<OwnedPair> {
    let names = services.iter().filter_map(read::name).filter(|name| Some(*name) != canary);
    names
        .map(|service| OwnedPair {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            canary: canary.map_or_else(|| names::canary_service_name(service), str::to_owned),
        })
        .collect()
}

/// Freed in the same write, whatever else is in it.
fn glass(live: &Value, why: &str) -> Vec<Value> {
    patch::entry(live, "annotations", BREAK_GLASS_ANNOTATION, Some(why))
}

/// The Service selects all pods of the workload again.
pub(super) fn service(live: &Value, why: &str) -> Vec<Value> {
    let mut operations = glass(live, why);
    if live.pointer("/spec/selector").is_some_and(|all| all.get(POD_TEMPLATE_HASH).is_some()) {
        operations.push(patch::remove(&format!("/spec/selector/{POD_TEMPLATE_HASH}")));
    }
    operations
}

/// The canary has no share in the route, but is named in it.
pub(super) fn idle(route: &Value, pairs: &[Pair<'_>], why: &str) -> Vec<Value> {
    let mut operations = glass(route, why);
    operations.extend(backends(route, pairs, |pair, backends| {
        let has_canary = pair.home(backends).len() < backends.len();
        has_canary.then(|| pair.split(backends, Weight::ZERO).ok()).flatten()
    }));
    operations
}

/// The canary is not even named.
pub(super) fn home(route: &Value, pairs: &[Pair<'_>]) -> Vec<Value> {
    backends(route, pairs, |pair, backends| Some(pair.home(backends)))
}

/// Operations that change the backends of each rule as asked, where that is a change.
fn backends(
    route: &Value,
    pairs: &[Pair<'_>],
    change: impl Fn(&Pair<'_>, &[Value]) -> Option<Vec<Value>>,
) -> Vec<Value> {
    let mut operations = Vec::new();
    for (at, rule) in read::list(route, "/spec/rules").iter().enumerate() {
        let before = read::list(rule, "/backendRefs");
        let mut after = before.to_vec();
        for pair in pairs.iter().filter(|pair| pair.is_in(rule)) {
            after = change(pair, &after).unwrap_or(after);
        }
        if after != before {
            operations.push(patch::add(&format!("/spec/rules/{at}/backendRefs"), json!(after)));
        }
    }
    operations
}

/// The template of what serves: of the Deployment's sets the one with most ready pods. `None`: it
/// is the Deployment's own already, or nothing serves.
pub(super) fn stable(deployment: &Value, all: &[Value]) -> Option<Value> {
    let ready = |set: &&Value| read::count(set, "/status/readyReplicas").unwrap_or(0);
    let own = all.iter().filter(|set| sets::is_owned(set, deployment));
    let serving = own.filter(|set| ready(set) > 0).max_by_key(ready)?;
    let is_other = sets::revision(serving) != sets::revision(deployment);
    let held = is_other && read::is_paused(deployment);
    held.then(|| read::template(serving).map(sets::without_hash)).flatten()
}

/// The Deployment rolls out what it carries; `stable`: that template instead of its own.
pub(super) fn deployment(live: &Value, stable: Option<Value>, why: &str) -> Vec<Value> {
    let mut operations = glass(live, why);
    operations.extend(stable.map(|template| patch::add("/spec/template", template)));
    if read::is_paused(live) {
        operations.push(patch::add("/spec/paused", false));
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glass_of(why: &str) -> Vec<Value> {
        let path = "/metadata/annotations/tidegate.dev~1break-glass";
        vec![patch::add("/metadata/annotations", json!({})), patch::add(path, why)]
    }

    #[test]
    fn a_service_is_freed_in_the_write_that_unpins_it() {
        let live =
            json!({"metadata": {}, "spec": {"selector": {"app": "web", "pod-template-hash": "1"}}});
        let mut wanted = glass_of("7");
        wanted.push(patch::remove("/spec/selector/pod-template-hash"));
        assert_eq!(service(&live, "7"), wanted);
        let free = json!({"metadata": {}, "spec": {"selector": {"app": "web"}}});
        assert_eq!(service(&free, "7"), glass_of("7"));
    }

    #[test]
    fn a_route_loses_the_canarys_share_and_then_its_name() {
        let services = [json!({"metadata": {"name": "web"}})];
        let all = pairs("shop", &services, None);
        let all: Vec<_> = all.iter().map(OwnedPair::pair).collect();
        let backend = |name: &str, weight: u64| json!({"name": name, "port": 80, "weight": weight});
        let other = json!({"backendRefs": [backend("other", 1)]});
        let split = json!([backend("web", 80), backend("web-canary", 20)]);
        let mut route = json!({"metadata": {}, "spec": {"rules": [other, {"backendRefs": split}]}});
        let mut wanted = glass_of("7");
        let idled = json!([backend("web", 100), backend("web-canary", 0)]);
        wanted.push(patch::add("/spec/rules/1/backendRefs", idled.clone()));
        assert_eq!(idle(&route, &all, "7"), wanted);
        route["spec"]["rules"][1]["backendRefs"] = idled;
        let at_rest = json!([backend("web", 1)]);
        assert_eq!(home(&route, &all), [patch::add("/spec/rules/1/backendRefs", at_rest.clone())]);
        route["spec"]["rules"][1]["backendRefs"] = at_rest;
        assert_eq!(home(&route, &all), Vec::<Value>::new(), "and then nothing more happens");
        assert_eq!(idle(&route, &all, "7"), glass_of("7"));
    }

    #[test]
    fn what_serves_is_written_back_in_the_write_that_frees_the_deployment() {
        let template = |image: &str, hash: Option<&str>| {
            let mut template =
                json!({"metadata": {"labels": {"app": "web"}}, "spec": {"image": image}});
            if let Some(hash) = hash {
                template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
            }
            template
        };
        let set = |image: &str, hash: &str, ready: u32| {
            json!({
                "metadata": {"name": hash, "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "Deployment", "uid": "d", "controller": true},
                ]},
                "spec": {"template": template(image, Some(hash))},
                "status": {"readyReplicas": ready},
            })
        };
        let all = [set("v0", "0", 0), set("v1", "1", 3)];
        let web = |image: &str, paused: bool| {
            json!({"metadata": {"uid": "d"},
                "spec": {"paused": paused, "template": template(image, None)}})
        };
        let found = stable(&web("v2", true), &all);
        assert_eq!(found, Some(template("v1", None)));
        assert_eq!(stable(&web("v1", true), &all), None);
        assert_eq!(stable(&web("v2", false), &all), None, "it rolls out already");
        assert_eq!(stable(&web("v2", true), &[]), None);
        let mut wanted = glass_of("7");
        wanted.push(patch::add("/spec/template", template("v1", None)));
        wanted.push(patch::add("/spec/paused", false));
        assert_eq!(deployment(&web("v2", true), found, "7"), wanted);
    }
}
