//! The canary's share in the routes.

use std::time::Duration;

use serde_json::Value;
use tidegate_engine::plan::Weight;

use super::error::ActError;
use super::live::{Live, on_each};
use crate::kubernetes::{
    Cluster, Kind, Pair, RouteShare, Target, WEIGHT_ANNOTATION, is_accepted, json, patch,
};

/// A gateway that has not taken a route after this is not waited for.
const SILENT: Duration = Duration::from_secs(3);
/// How often is looked whether it has.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// From what a gateway's controller says to all of its proxies.
const SPREAD: Duration = Duration::from_secs(1);

fn pair(target: &Target) -> Option<Pair<'_>> {
    Some(Pair {
        namespace: &target.namespace,
        service: target.service()?,
        canary: &target.canary_service.name,
    })
}

/// Every route gives the canary this share of what the Service has.
///
/// A gateway learns of backends and of routes by different ways, and a request that is sent to a
/// backend it does not know yet is lost. So the canary is first named at weight 0; once the gateway
/// has taken that, asked again, it gets its share. A Service that is not there is never named: no
/// gateway takes such a route. Where it is gone its name goes, too.
pub(super) async fn split(
    cluster: &Cluster,
    target: &Target,
    weight: Weight,
) -> Result<(), ActError> {
    let Some(pair) = pair(target) else { return Ok(()) };
    if weight == Weight::ZERO {
        // Traffic first: what is asked below must not stand before it.
        write(cluster, target, pair, weight, |route| has_share(route, pair)).await?;
    }
    match Live::find(cluster, target, Kind::Service, pair.canary).await? {
        Some(_) => write(cluster, target, pair, weight, |_| true).await,
        None if weight == Weight::ZERO => home(cluster, target).await,
        None => {
            let object = Box::new(target.object(Kind::Service, pair.canary));
            Err(ActError::Missing { object })
        }
    }
}

/// Gives the canary this share in every route of which this holds.
async fn write(
    cluster: &Cluster,
    target: &Target,
    pair: Pair<'_>,
    weight: Weight,
    which: impl Fn(&Value) -> bool,
) -> Result<(), ActError> {
    let which = &which;
    on_each(target.routes.iter().map(String::as_str), |name| async move {
        let live = Live::need(cluster, target, Kind::HttpRoute, name).await?;
        let decide = |live: &Live| {
            if !which(&live.object) {
                return Ok(Vec::new());
            }
            splitting(&live.object, pair, weight).map_err(|what| live.unfit(what))
        };
        live.write(cluster, decide).await.map(drop)
    })
    .await
}

/// Every route names the Service alone again. One that is gone needs nothing.
///
/// The same as on the way in, the other way round: a gateway that forgets a backend before it takes
/// the route without it loses requests. So the canary's share goes first, and its name when the
/// gateways have taken that; one that stays silent is waited for only so long.
pub(super) async fn home(cluster: &Cluster, target: &Target) -> Result<(), ActError> {
    let Some(pair) = pair(target) else { return Ok(()) };
    on_each(target.routes.iter().map(String::as_str), |name| async move {
        let found = Live::find(cluster, target, Kind::HttpRoute, name).await?;
        let Some(mut live) = found else { return Ok(()) };
        if has_share(&live.object, pair) {
            let idle = |live: &Live| Ok(idling(&live.object, pair));
            live = live.write(cluster, idle).await?;
            let until = tokio::time::Instant::now() + SILENT;
            while !is_accepted(&live.object) && tokio::time::Instant::now() < until {
                tokio::time::sleep(ASKED_EVERY).await;
                let found = Live::find(cluster, target, Kind::HttpRoute, name).await?;
                let Some(now) = found else { return Ok(()) };
                live = now;
            }
            tokio::time::sleep(SPREAD).await;
        }
        live.write(cluster, |live| Ok(going_home(&live.object, pair))).await.map(drop)
    })
    .await
}

/// The canary is named with more than nothing.
fn has_share(route: &Value, pair: Pair<'_>) -> bool {
    !matches!(pair.share(route), RouteShare::Home | RouteShare::Split(Weight::ZERO))
}

/// The canary is named, and gets nothing. Where that cannot be written it goes home at once.
fn idling(route: &Value, pair: Pair<'_>) -> Vec<Value> {
    splitting(route, pair, Weight::ZERO).unwrap_or_else(|_| going_home(route, pair))
}

/// The rules that name the Service, by their place, with other backends.
fn rules<'a>(route: &'a Value, pair: Pair<'a>) -> impl Iterator<Item = (usize, &'a [Value])> {
    let rules = json::list(route, "/spec/rules").iter().enumerate();
    rules
        .filter(move |(_, rule)| pair.is_in(rule))
        .map(|(at, rule)| (at, json::list(rule, "/backendRefs")))
}

fn replacement(at: usize, old: &[Value], new: Vec<Value>) -> Option<Value> {
    (old != new).then(|| patch::add(&format!("/spec/rules/{at}/backendRefs"), new))
}

fn splitting(route: &Value, pair: Pair<'_>, weight: Weight) -> Result<Vec<Value>, String> {
    let weight = match pair.share(route) {
        RouteShare::Home => Weight::ZERO,
        RouteShare::Split(Weight::ZERO) if weight != Weight::ZERO && !is_accepted(route) => {
            return Ok(Vec::new());
        }
        RouteShare::Split(_) | RouteShare::Mixed => weight,
    };
    let mut operations = Vec::new();
    let mut is_named = false;
    for (at, backends) in rules(route, pair) {
        is_named = true;
        let new = pair.split(backends, weight).map_err(|what| format!("rule {at}: {what}"))?;
        operations.extend(replacement(at, backends, new));
    }
    if !is_named {
        return Err(format!("no rule names Service `{}`", pair.service));
    }
    let told = weight.percent().to_string();
    operations.extend(patch::entry(route, "annotations", WEIGHT_ANNOTATION, Some(&told)));
    Ok(operations)
}

fn going_home(route: &Value, pair: Pair<'_>) -> Vec<Value> {
    let homes = rules(route, pair)
        .filter_map(|(at, backends)| replacement(at, backends, pair.home(backends)));
    let mut operations: Vec<_> = homes.collect();
    operations.extend(patch::entry(route, "annotations", WEIGHT_ANNOTATION, None));
    operations
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PAIR: Pair<'_> = Pair { namespace: "shop", service: "web", canary: "web-canary" };

    fn route() -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"rules": [
            {"backendRefs": [{"name": "api", "port": 80, "weight": 1}]},
            {
                "backendRefs": [{"name": "web", "port": 80, "weight": 1}],
                "filters": [{"type": "RequestHeaderModifier"}],
                "timeouts": {"request": "5s"},
            },
        ]}})
    }

    fn weight(percent: u8) -> Weight {
        Weight::new(percent).expect("a percentage")
    }

    #[test]
    fn a_canary_gets_its_share_once_the_gateway_knows_it() {
        let mut named = route();
        named["metadata"] = json!({"generation": 2, "annotations": {WEIGHT_ANNOTATION: "0"}});
        named["spec"]["parentRefs"] = json!([{"name": "gateway"}]);
        named["spec"]["rules"][1]["backendRefs"] = json!([
            {"name": "web", "port": 80, "weight": 100},
            {"name": "web-canary", "port": 80, "weight": 0},
        ]);
        let first = splitting(&route(), PAIR, weight(20)).expect("can be split");
        assert_eq!(first, splitting(&route(), PAIR, Weight::ZERO).expect("can be split"));
        assert_eq!(splitting(&named, PAIR, weight(20)), Ok(Vec::new()), "not taken yet");
        let says = |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": 2});
        let conditions = json!([says("Accepted"), says("ResolvedRefs")]);
        named["status"]["parents"] =
            json!([{"parentRef": {"name": "gateway"}, "conditions": conditions}]);
        let then = splitting(&named, PAIR, weight(20)).expect("can be split");
        assert!(then.iter().any(|one| one["value"][1]["weight"] == 20), "{then:?}");
    }

    #[test]
    fn only_backends_of_rules_that_name_the_service_are_written() {
        let operations = splitting(&route(), PAIR, weight(20)).expect("can be split");
        assert_eq!(
            operations,
            [
                patch::add(
                    "/spec/rules/1/backendRefs",
                    json!([
                        {"name": "web", "port": 80, "weight": 100},
                        {"name": "web-canary", "port": 80, "weight": 0},
                    ])
                ),
                patch::add("/metadata/annotations", json!({})),
                patch::add("/metadata/annotations/tidegate.dev~1weight", "0"),
            ]
        );
    }

    #[test]
    fn home_is_where_it_began_and_then_nothing_more_happens() {
        let mut split = route();
        split["metadata"]["annotations"] = json!({WEIGHT_ANNOTATION: "20"});
        split["spec"]["rules"][1]["backendRefs"] = json!([
            {"name": "web", "port": 80, "weight": 80},
            {"name": "web-canary", "port": 80, "weight": 20},
        ]);
        assert_eq!(splitting(&split, PAIR, weight(20)), Ok(Vec::new()));
        let home = json!([{"name": "web", "port": 80, "weight": 1}]);
        assert_eq!(
            going_home(&split, PAIR),
            [
                patch::add("/spec/rules/1/backendRefs", home),
                patch::remove("/metadata/annotations/tidegate.dev~1weight"),
            ]
        );
        assert!(going_home(&route(), PAIR).is_empty());
    }

    #[test]
    fn the_share_goes_before_the_name() {
        let mut split = route();
        split["metadata"]["annotations"] = json!({WEIGHT_ANNOTATION: "100"});
        split["spec"]["rules"][1]["backendRefs"] = json!([
            {"name": "web", "port": 80, "weight": 0},
            {"name": "web-canary", "port": 80, "weight": 100},
        ]);
        assert!(has_share(&split, PAIR));
        let idle = json!([
            {"name": "web", "port": 80, "weight": 100},
            {"name": "web-canary", "port": 80, "weight": 0},
        ]);
        let operations = idling(&split, PAIR);
        assert_eq!(operations.first(), Some(&patch::add("/spec/rules/1/backendRefs", idle)));
        assert!(!has_share(&route(), PAIR));
    }

    #[test]
    fn a_route_that_does_not_name_the_service_is_not_split() {
        let other = Pair { service: "shop", ..PAIR };
        let refused = splitting(&route(), other, Weight::ZERO);
        assert_eq!(refused, Err("no rule names Service `shop`".to_owned()));
    }
}
