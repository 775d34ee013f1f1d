//! The backends of a route's rule: how a Service's share is split, read back and put right again.
//!
//! Nothing has to be remembered to go home. Where the Service is the only backend of a rule, its
//! weight times 100 is what is split, so that a hundredth of the sum is what it was. Where the
//! rule has other backends, their weights stay, and the Service's own weight is split: the sum is
//! what it was.

use serde_json::{Value, json};
use tidegate_engine::plan::Weight;

use super::json;

/// Annotation on a held route: the canary's weight in percent. Shares of small weights are
/// rounded, so that the backends alone do not always tell it.
pub const WEIGHT_ANNOTATION: &str = "tidegate.dev/weight";

/// The default of the Gateway API for a backend without a weight.
const DEFAULT_WEIGHT: u64 = 1;
/// The Gateway API's upper bound of a weight.
const MAX_WEIGHT: u64 = 1_000_000;

/// What a route says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteShare {
    /// No rule names the canary's Service.
    Home,
    /// Every rule that names the Service gives the canary this share of it.
    Split(Weight),
    /// Rules disagree.
    Mixed,
}

/// The two Services of a target.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The namespace of both and of the route.
    pub namespace: &'a str,
    /// Stable's.
    pub service: &'a str,
    /// The canary's.
    pub canary: &'a str,
}

impl Pair<'_> {
    fn names(&self, backend: &Value, name: &str) -> bool {
        let text = |key| backend.get(key).and_then(Value::as_str);
        text("name") == Some(name)
            && text("kind").is_none_or(|kind| kind == "Service")
            && text("group").is_none_or(str::is_empty)
            && text("namespace").is_none_or(|namespace| namespace == self.namespace)
    }

    fn is_service(&self, backend: &Value) -> bool {
        self.names(backend, self.service)
    }

    fn is_canary(&self, backend: &Value) -> bool {
        self.names(backend, self.canary)
    }

    /// A rule sends something to one of the two.
    pub fn is_in(&self, rule: &Value) -> bool {
        let backends = json::list(rule, "/backendRefs");
        backends.iter().any(|backend| self.is_service(backend) || self.is_canary(backend))
    }

    /// No backend but these two.
    fn is_alone(&self, backends: &[Value]) -> bool {
        backends.iter().all(|backend| self.is_service(backend) || self.is_canary(backend))
    }

    /// The backends with the canary's left out, and the Service's weights as in Git.
    pub fn home(&self, backends: &[Value]) -> Vec<Value> {
        let is_alone = self.is_alone(backends);
        let mut left = Vec::new();
        for backend in backends.iter().filter(|backend| !self.is_canary(backend)) {
            let mut backend = backend.clone();
            if self.is_service(&backend)
                && let Some(canary) = self.beside(backends, &backend)
            {
                let sum = weight_of(&backend) + weight_of(canary);
                let was = if is_alone && sum.is_multiple_of(100) { sum / 100 } else { sum };
                backend["weight"] = json!(was);
            }
            left.push(backend);
        }
        left
    }

    /// The backends with the Service's share split. `Err` says what cannot be split, and why.
    pub fn split(&self, backends: &[Value], weight: Weight) -> Result<Vec<Value>, String> {
        let is_alone = self.is_alone(backends);
        let percent = u64::from(weight.percent());
        let mut all = Vec::new();
        for backend in self.home(backends) {
            if !self.is_service(&backend) {
                all.push(backend);
                continue;
            }
            let own = weight_of(&backend);
            let (sum, share) = if is_alone {
                (own * 100, own * percent)
            } else {
                (own, (own * percent + 50) / 100)
            };
            let is_lost =
                own > 0 && ((share == 0) != (percent == 0) || (share == sum) != (percent == 100));
            if is_lost || sum > MAX_WEIGHT {
                return Err(format!(
                    "weight {own} of `{}` cannot be split at {weight}",
                    self.service
                ));
            }
            let mut canary = backend.clone();
            canary["name"] = json!(self.canary);
            canary["weight"] = json!(share);
            let mut service = backend;
            service["weight"] = json!(sum - share);
            all.extend([service, canary]);
        }
        Ok(all)
    }

    /// What a route says of the canary's share.
    pub fn share(&self, route: &Value) -> RouteShare {
        let rules: Vec<_> =
            json::list(route, "/spec/rules").iter().filter(|rule| self.is_in(rule)).collect();
        let backends = |rule: &Value| json::list(rule, "/backendRefs").to_vec();
        let is_split = |rule: &&Value| backends(rule).iter().any(|backend| self.is_canary(backend));
        if !rules.iter().any(is_split) {
            return RouteShare::Home;
        }
        let told = json::annotation(route, WEIGHT_ANNOTATION)
            .and_then(|weight| weight.parse().ok())
            .and_then(Weight::new);
        if let Some(weight) = told
            && rules.iter().all(|rule| {
                self.split(&backends(rule), weight).is_ok_and(|wanted| wanted == backends(rule))
            })
        {
            return RouteShare::Split(weight);
        }
        let mut shares = rules.iter().map(|rule| self.nearest(&backends(rule)));
        match shares.next().flatten() {
            Some(first) if shares.all(|share| share == Some(first)) => RouteShare::Split(first),
            _ => RouteShare::Mixed,
        }
    }

    /// The canary's share of what the two have, rounded; never rounded to nothing or everything.
    fn nearest(&self, backends: &[Value]) -> Option<Weight> {
        let sum = |is: &dyn Fn(&Value) -> bool| -> u64 {
            backends.iter().filter(|backend| is(backend)).map(weight_of).sum()
        };
        let canary = sum(&|backend| self.is_canary(backend));
        let all = canary + sum(&|backend| self.is_service(backend));
        let percent = match (canary, all) {
            (_, 0) => return None,
            (0, _) => 0,
            (canary, all) if canary == all => 100,
            (canary, all) => ((canary * 100 + all / 2) / all).clamp(1, 99),
        };
        u8::try_from(percent).ok().and_then(Weight::new)
    }

    /// The canary's backend that was split off from this one of the Service's.
    fn beside<'b>(&self, backends: &'b [Value], service: &Value) -> Option<&'b Value> {
        let port = service.get("port");
        backends.iter().find(|backend| self.is_canary(backend) && backend.get("port") == port)
    }
}

fn weight_of(backend: &Value) -> u64 {
    backend.get("weight").and_then(Value::as_u64).unwrap_or(DEFAULT_WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair<'_> = Pair { namespace: "shop", service: "web", canary: "web-canary" };

    fn weight(percent: u8) -> Weight {
        Weight::new(percent).expect("a percentage")
    }

    fn route(rules: &[Vec<Value>], told: Option<u8>) -> Value {
        let rules: Vec<_> = rules.iter().map(|backends| json!({"backendRefs": backends})).collect();
        let annotations =
            told.map_or_else(|| json!({}), |weight| json!({WEIGHT_ANNOTATION: weight.to_string()}));
        json!({"metadata": {"annotations": annotations}, "spec": {"rules": rules}})
    }

    /// Weights, whether the backend is alone, and what comes of 5 %.
    #[test]
    fn every_weight_finds_its_way_home() {
        let alone = |own: u64| vec![json!({"name": "web", "port": 80, "weight": own})];
        let beside = |own: u64| {
            vec![
                json!({"name": "other", "port": 80, "weight": 10}),
                json!({"name": "web", "port": 80, "weight": own, "filters": [{"type": "X"}]}),
            ]
        };
        let rules = [alone(1), alone(7), alone(100), alone(0), beside(90), beside(100), beside(40)];
        for backends in rules {
            let mut now = backends.clone();
            for percent in [0, 5, 25, 50, 100, 10, 0] {
                now = PAIR.split(&now, weight(percent)).expect("can be split");
                let seen = PAIR.share(&route(&[now.clone()], Some(percent)));
                assert_eq!(seen, RouteShare::Split(weight(percent)), "{now:?}");
                assert_eq!(PAIR.home(&now), backends, "{now:?}");
            }
        }
    }

    #[test]
    fn a_lone_backend_is_split_in_hundredths_and_keeps_its_filters() {
        let backends = [json!({"name": "web", "port": 80, "weight": 1, "filters": [{"a": 1}]})];
        let split = PAIR.split(&backends, weight(20)).expect("can be split");
        assert_eq!(
            split,
            [
                json!({"name": "web", "port": 80, "weight": 80, "filters": [{"a": 1}]}),
                json!({"name": "web-canary", "port": 80, "weight": 20, "filters": [{"a": 1}]}),
            ]
        );
    }

    #[test]
    fn the_weights_of_others_and_the_sum_stay() {
        let backends = [
            json!({"name": "web", "port": 80, "weight": 90}),
            json!({"name": "other", "port": 80, "weight": 10}),
            json!({"name": "web", "namespace": "elsewhere", "weight": 3}),
        ];
        let split = PAIR.split(&backends, weight(5)).expect("can be split");
        let weights: Vec<_> = split.iter().map(weight_of).collect();
        assert_eq!(weights, [85, 5, 10, 3]);
    }

    #[test]
    fn a_weight_too_small_to_be_split_is_said_and_not_rounded_away() {
        let small = [json!({"name": "web", "weight": 1}), json!({"name": "other", "weight": 1})];
        let refused = PAIR.split(&small, weight(5)).expect_err("1 cannot be split");
        assert_eq!(refused, "weight 1 of `web` cannot be split at 5%");
        assert!(PAIR.split(&small, weight(0)).is_ok());
        assert!(PAIR.split(&small, weight(100)).is_ok());
        let large = [json!({"name": "web", "weight": 20_000})];
        assert!(PAIR.split(&large, weight(5)).is_err());
    }

    #[test]
    fn each_port_of_the_service_is_split_for_itself() {
        let backends = [
            json!({"name": "web", "port": 80, "weight": 3}),
            json!({"name": "web", "port": 81, "weight": 1}),
        ];
        let split = PAIR.split(&backends, weight(10)).expect("can be split");
        let weights: Vec<_> = split.iter().map(weight_of).collect();
        assert_eq!(weights, [270, 30, 90, 10]);
        assert_eq!(PAIR.home(&split), backends);
    }

    #[test]
    fn a_route_is_read_as_it_is_whoever_wrote_it() {
        let home = vec![json!({"name": "web", "weight": 1})];
        let split = PAIR.split(&home, weight(25)).expect("can be split");
        let other = vec![json!({"name": "other", "weight": 1})];
        let cases = [
            (route(&[home.clone(), other.clone()], None), RouteShare::Home),
            (route(&[split.clone(), other], None), RouteShare::Split(weight(25))),
            (route(std::slice::from_ref(&split), Some(50)), RouteShare::Split(weight(25))),
            (route(&[split, home], Some(25)), RouteShare::Mixed),
        ];
        for (route, expected) in cases {
            assert_eq!(PAIR.share(&route), expected, "{route}");
        }
    }
}
