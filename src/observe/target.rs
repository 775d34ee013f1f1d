//! Which objects belong to a Rollout.

use kube::ResourceExt;
use serde_json::Value;
use tidegate_api::{HELD_LABEL, ROLLOUT_LABEL, Rollout, TRIAL_LABEL};
use tidegate_engine::plan::{Mode, Traffic};

use super::trouble::time;
use crate::kubernetes::{
    CanaryService, Cluster, ClusterError, Kind, POD_TEMPLATE_HASH, Pair, Target, json, names,
};
use crate::resolve::nearest::{nearest, one_of};
use crate::resolve::{Fault, FieldPath, ObjectKey, Resolved};

/// What keeps a Rollout from trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// The Deployment does not exist.
    WorkloadMissing,
    /// An older Rollout has the Deployment.
    WorkloadTaken,
    /// The Deployment ends its pods before it makes new ones: two revisions must not run at once.
    StrategyRecreate,
    /// A person paused the Deployment before it was ours.
    WorkloadPaused,
    /// A Service that the Rollout names does not exist.
    ServiceMissing,
    /// A Service that the Rollout names does not select the pods.
    ServiceSelectsOthers,
    /// A Service selects the pods and is not named: it would send requests to the canary at any
    /// weight.
    ServiceNotHeld,
    /// A route that the Rollout names does not exist.
    RouteMissing,
    /// A route that the Rollout names does not have the Service as a backend.
    RouteWithoutService,
    /// Somebody else has a Service of the name that the canary's would get.
    CanaryServiceTaken,
}

impl Problem {
    /// The reason as conditions have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkloadMissing => "WorkloadMissing",
            Self::WorkloadTaken => "WorkloadTaken",
            Self::StrategyRecreate => "StrategyRecreate",
            Self::WorkloadPaused => "WorkloadPaused",
            Self::ServiceMissing => "ServiceMissing",
            Self::ServiceSelectsOthers => "ServiceSelectsOthers",
            Self::ServiceNotHeld => "ServiceNotHeld",
            Self::RouteMissing => "RouteMissing",
            Self::RouteWithoutService => "RouteWithoutService",
            Self::CanaryServiceTaken => "CanaryServiceTaken",
        }
    }
}

/// Why there is no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetFault {
    /// The API server could not be asked.
    #[error("the objects of the Rollout cannot be looked for")]
    Cluster(#[from] ClusterError),
    /// The objects do not allow a trial.
    #[error(transparent)]
    Unfit(Box<Unfit>),
}

/// The objects do not allow a trial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(faults))]
pub struct Unfit {
    /// Everything that is wrong; never empty.
    pub faults: Vec<(Problem, Fault)>,
    /// What there is all the same: a trial that is running already goes on, or home, with it.
    pub target: Target,
}

fn told(faults: &[(Problem, Fault)]) -> String {
    faults.iter().map(|(_, fault)| fault.to_string()).collect::<Vec<_>>().join("; ")
}

/// Objects around a Rollout at one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    deployment: Option<Value>,
    /// All of the namespace.
    services: Vec<Value>,
    /// All of the namespace.
    routes: Vec<Value>,
    /// All of the namespace; only read where the Deployment carries another one's label.
    rollouts: Vec<Value>,
}

/// The target of a Rollout: Services that select its pods, routes with one of them as a backend.
pub async fn find_target(
    cluster: &Cluster,
    rollout: &Rollout,
    resolved: &Resolved,
) -> Result<Target, TargetFault> {
    survey(cluster, rollout).await?.target(rollout, resolved)
}

/// Reads what is around a Rollout.
pub async fn survey(cluster: &Cluster, rollout: &Rollout) -> Result<Survey, ClusterError> {
    let namespace = rollout.namespace().unwrap_or_default();
    let all = |kind| cluster.list(kind, Some(&namespace), "");
    let (deployment, services, routes) = futures::future::try_join3(
        cluster.get(Kind::Deployment, &namespace, rollout.spec.workload_ref.name.as_str()),
        all(Kind::Service),
        all(Kind::HttpRoute),
    )
    .await?;
    let label = names::label_value(&rollout.name_any());
    let other = deployment.as_ref().and_then(|found| json::label(found, ROLLOUT_LABEL));
    let rollouts = match other {
        Some(other) if other != label => all(Kind::Rollout).await?,
        Some(_) | None => Vec::new(),
    };
    Ok(Survey { deployment, services, routes, rollouts })
}

impl Survey {
    /// A route has one of the Rollout's Services as a backend: weights can be the gateway's.
    pub fn routes_found(&self, rollout: &Rollout) -> bool {
        let named = rollout.spec.services.as_ref();
        let own = rollout.spec.canary_service.as_ref().map(tidegate_api::Name::as_str);
        let shared = &rollout.spec.shared_services;
        self.services.iter().filter_map(json::name).any(|name| {
            let is_ours = match named {
                Some(named) => named.iter().any(|service| service.as_str() == name),
                None => {
                    self.selects_pods(name, own)
                        && !shared.iter().any(|service| service.as_str() == name)
                }
            };
            is_ours && self.routes.iter().any(|route| has_backend(route, name))
        })
    }

    /// Puts the target together, or says everything that is wrong with it.
    pub fn target(&self, rollout: &Rollout, resolved: &Resolved) -> Result<Target, TargetFault> {
        let key =
            ObjectKey { kind: "Rollout", namespace: rollout.namespace(), name: rollout.name_any() };
        let acts = resolved.plan.mode == Mode::Enforce;
        let mut finder = Finder { survey: self, resolved, key, faults: Vec::new() };
        finder.workload(rollout, acts);
        let (services, routes) = finder.paths(&names::label_value(&rollout.name_any()));
        let canary_service = finder.canary_service(&services, acts);
        if acts {
            finder.unnamed_services(&services);
        }
        let faults = finder.faults;
        let target = Target {
            namespace: rollout.namespace().unwrap_or_default(),
            rollout: rollout.name_any(),
            uid: rollout.uid().unwrap_or_default(),
            workload: resolved.workload.clone(),
            services,
            canary_service,
            routes,
        };
        if faults.is_empty() {
            Ok(target)
        } else {
            Err(TargetFault::Unfit(Box::new(Unfit { faults, target })))
        }
    }

    fn service(&self, name: &str) -> Option<&Value> {
        self.services.iter().find(|service| json::name(service) == Some(name))
    }

    fn route(&self, name: &str) -> Option<&Value> {
        self.routes.iter().find(|route| json::name(route) == Some(name))
    }

    /// The Service selects the pods of the Deployment, pinned or not, and is not a canary's.
    fn selects_pods(&self, name: &str, canary_service: Option<&str>) -> bool {
        let Some(service) = self.service(name) else { return false };
        let is_canary = canary_service == Some(name)
            || json::label(service, TRIAL_LABEL).is_some()
            || is_made_for_canary(service);
        let labels = self.deployment.as_ref().and_then(|deployment| {
            deployment.pointer("/spec/template/metadata/labels")?.as_object()
        });
        let selector = service.pointer("/spec/selector").and_then(Value::as_object);
        let (Some(labels), Some(selector)) = (labels, selector) else { return false };
        let mut wanted = selector.iter().filter(|(key, _)| *key != POD_TEMPLATE_HASH).peekable();
        !is_canary
            && wanted.peek().is_some()
            && wanted.all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// We made it together with a canary's set.
fn is_made_for_canary(service: &Value) -> bool {
    json::controller(service)
        .is_some_and(|owner| owner["kind"] == Kind::ControllerRevision.as_str())
}

fn has_backend(route: &Value, service: &str) -> bool {
    let namespace = json::text(route, "/metadata/namespace").unwrap_or_default();
    let service = Pair { namespace, service, canary: service };
    json::list(route, "/spec/rules").iter().any(|rule| service.is_in(rule))
}

/// A search on its way: what is known, and what was found wrong so far.
struct Finder<'a> {
    survey: &'a Survey,
    resolved: &'a Resolved,
    key: ObjectKey,
    faults: Vec<(Problem, Fault)>,
}

impl<'a> Finder<'a> {
    fn fault(&mut self, problem: Problem, fault: Fault) {
        self.faults.push((problem, fault.of(&self.key)));
    }

    fn object(&self, kind: Kind, name: &str) -> ObjectKey {
        let namespace = self.key.namespace.clone();
        ObjectKey { kind: kind.as_str(), namespace, name: name.to_owned() }
    }

    fn workload(&mut self, rollout: &Rollout, acts: bool) {
        let name = &self.resolved.workload;
        let Some(deployment) = &self.survey.deployment else {
            let at = FieldPath::of("spec.workloadRef.name");
            let fault =
                Fault::new(&at, format!("{name:?}"), "the name of a Deployment that exists");
            self.fault(Problem::WorkloadMissing, fault);
            return;
        };
        if !acts {
            return; // two revisions run, or do not, as without us
        }
        let key = self.object(Kind::Deployment, name);
        if json::text(deployment, "/spec/strategy/type") == Some("Recreate") {
            let expected = "RollingUpdate: stable and canary run at once";
            let fault = Fault::new(&FieldPath::of("spec.strategy.type"), "Recreate", expected);
            self.fault(Problem::StrategyRecreate, fault.of(&key));
        }
        if let Some(older) = self.older(rollout) {
            let at = FieldPath::of("spec.workloadRef.name");
            let found = format!("{name:?}, which Rollout {older} has");
            let expected = "a Deployment that no older Rollout has";
            self.fault(Problem::WorkloadTaken, Fault::new(&at, found, expected));
        }
        // Where our label is, it was the gate.
        if json::is_paused(deployment) && json::label(deployment, ROLLOUT_LABEL).is_none() {
            let expected = "false: `kubectl rollout resume` it first";
            let fault = Fault::new(&FieldPath::of("spec.paused"), "true", expected);
            self.fault(Problem::WorkloadPaused, fault.of(&key));
        }
    }

    /// The Rollout that had the Deployment first.
    fn older(&self, rollout: &Rollout) -> Option<&str> {
        let deployment = self.survey.deployment.as_ref()?;
        let label = json::label(deployment, ROLLOUT_LABEL)?;
        let all = &self.survey.rollouts;
        let age = |found: &Value| {
            let uid = json::uid(found).unwrap_or_default().to_owned();
            (time(found, "/metadata/creationTimestamp"), uid)
        };
        let own = all.iter().find(|found| json::uid(found) == rollout.uid().as_deref());
        let other = all.iter().find(|found| {
            let name = json::name(found).unwrap_or_default();
            names::label_value(name) == label
                && json::text(found, "/spec/workloadRef/name") == Some(&self.resolved.workload)
        })?;
        let is_older = own.is_none_or(|own| age(other) < age(own));
        is_older.then(|| json::name(other)).flatten()
    }

    /// The Services to pin, the one behind the routes first, and those routes.
    fn paths(&mut self, label: &str) -> (Vec<String>, Vec<String>) {
        let mut services = match &self.resolved.services {
            Some(named) => self.named_services(named),
            None => self.found_services(label),
        };
        let by_routes = self.resolved.plan.traffic == Traffic::Routes;
        let named = self.resolved.routes.as_ref().filter(|_| by_routes);
        let candidates = if let Some(named) = named {
            self.named_routes(named)
        } else {
            self.found_routes(label)
        };
        let is_behind =
            |service: &String| candidates.iter().any(|route| has_backend(route, service));
        if let Some(first) = services.iter().position(is_behind) {
            let service = services.remove(first);
            services.insert(0, service);
        }
        let mut routes = Vec::new();
        for route in candidates {
            let name = json::name(route).unwrap_or_default().to_owned();
            if services.first().is_some_and(|service| has_backend(route, service))
                || is_held(route, label)
            {
                routes.push(name);
            } else if named.is_some() {
                self.route_without_service(&name, services.first());
            }
        }
        (services, routes)
    }

    fn named_services(&mut self, named: &[String]) -> Vec<String> {
        let own = self.resolved.canary_service.as_deref();
        let mut there = Vec::new();
        for (index, name) in named.iter().enumerate() {
            let at = FieldPath::of("spec.services").index(index);
            if self.survey.service(name).is_none() {
                self.missing(Problem::ServiceMissing, &at, name, Kind::Service);
                continue;
            }
            there.push(name.clone());
            if self.survey.deployment.is_some() && !self.survey.selects_pods(name, own) {
                let found = format!("{name:?}, which does not select the pods");
                let expected = "a Service whose selector the labels of the pod template match";
                self.fault(Problem::ServiceSelectsOthers, Fault::new(&at, found, expected));
            }
        }
        there
    }

    /// Every Service that selects the pods, but those that may reach the canary at any weight. One
    /// that we hold is ours until it is free, whatever the labels of the template are now.
    fn found_services(&self, label: &str) -> Vec<String> {
        let own = self.resolved.canary_service.as_deref();
        let mut names: Vec<_> = self.survey.services.iter().collect();
        names.retain(|service| {
            let name = json::name(service).unwrap_or_default();
            !self.resolved.shared_services.iter().any(|shared| shared == name)
                && (self.survey.selects_pods(name, own) || is_held(service, label))
        });
        let mut names: Vec<_> =
            names.into_iter().filter_map(json::name).map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    fn unnamed_services(&mut self, services: &[String]) {
        let own = self.resolved.canary_service.as_deref();
        let shared = &self.resolved.shared_services;
        for name in self.survey.services.iter().filter_map(json::name) {
            let is_known = services.iter().chain(shared).any(|known| known == name);
            if is_known || !self.survey.selects_pods(name, own) {
                continue;
            }
            let found = format!("no {name:?}, which selects the pods too");
            let expected = "every Service that selects the pods, here or in spec.sharedServices";
            let at = FieldPath::of("spec.services");
            self.fault(Problem::ServiceNotHeld, Fault::new(&at, found, expected));
        }
    }

    fn named_routes(&mut self, named: &[String]) -> Vec<&'a Value> {
        let survey = self.survey;
        let mut there = Vec::new();
        for (index, name) in named.iter().enumerate() {
            if let Some(route) = survey.route(name) {
                there.push(route);
                continue;
            }
            let at = FieldPath::of("spec.routes").index(index).field("name");
            self.missing(Problem::RouteMissing, &at, name, Kind::HttpRoute);
        }
        there
    }

    /// Those that are still held are read until they are free, whatever the plan says now.
    fn found_routes(&self, label: &str) -> Vec<&'a Value> {
        let by_routes = self.resolved.plan.traffic == Traffic::Routes;
        let all = self.survey.routes.iter();
        all.filter(|route| by_routes || is_held(route, label)).collect()
    }

    fn route_without_service(&mut self, route: &str, service: Option<&String>) {
        let key = self.object(Kind::HttpRoute, route);
        let at = FieldPath::of("spec.rules");
        let fault = match service {
            Some(service) => {
                let expected = format!("{service} as a backend of at least one rule");
                Fault::new(&at, format!("no rule with {service}"), expected)
            }
            None => Fault::new(&at, "a route without a Service of the Rollout", "one to split"),
        };
        self.fault(Problem::RouteWithoutService, fault.of(&key));
    }

    fn canary_service(&mut self, services: &[String], acts: bool) -> CanaryService {
        let at = FieldPath::of("spec.canaryService");
        if let Some(name) = &self.resolved.canary_service {
            if self.survey.service(name).is_none() {
                self.missing(Problem::ServiceMissing, &at, name, Kind::Service);
            }
            return CanaryService { name: name.clone(), ours: false };
        }
        let stem = services.first().unwrap_or(&self.resolved.workload);
        let name = names::canary_service_name(stem);
        let is_taken =
            self.survey.service(&name).is_some_and(|service| !is_made_for_canary(service));
        // Without routes the canary has no Service of its own.
        if is_taken && acts && self.resolved.plan.traffic == Traffic::Routes {
            let found = format!("nothing, and Service {name} is somebody else's");
            let expected = format!("{name} here, if it is the canary's, or no such Service");
            self.fault(Problem::CanaryServiceTaken, Fault::new(&at, found, expected));
        }
        CanaryService { name, ours: true }
    }

    fn missing(&mut self, problem: Problem, at: &FieldPath, name: &str, kind: Kind) {
        let objects =
            if kind == Kind::Service { &self.survey.services } else { &self.survey.routes };
        let known: Vec<_> = objects.iter().filter_map(json::name).collect();
        let expected = match nearest(name, known.iter().copied()) {
            Some(near) => format!("the name of a {kind}: {near} (did you mean it?)"),
            None if known.is_empty() => format!("the name of a {kind}, and there is none"),
            None => {
                /// More names than this help nobody.
                const SHOWN: usize = 8;
                format!("the name of a {kind}: {}", one_of(known.into_iter().take(SHOWN)))
            }
        };
        self.fault(problem, Fault::new(at, format!("{name:?}"), expected));
    }
}

/// We hold it for the Rollout with this label.
fn is_held(object: &Value, label: &str) -> bool {
    json::label(object, HELD_LABEL) == Some(label)
}

#[cfg(test)]
mod tests;
