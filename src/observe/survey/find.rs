//! The search for a Rollout's objects, and everything that is wrong with them.

use kube::ResourceExt;
use serde_json::Value;
use tidegate_api::{ROLLOUT_LABEL, Rollout};
use tidegate_engine::plan::{PromoteBy, Step, Traffic, Weight, heaviest};

use super::{Problem, Survey, has_backend, is_held, is_made_for_canary};
use crate::kubernetes::{CanaryService, Kind, json, max_surge, names, surge};
use crate::observe::trouble::time;
use crate::resolve::nearest::{nearest, one_of};
use crate::resolve::{Fault, FieldPath, ObjectKey, Resolved};

/// A search on its way: what is known, and what was found wrong so far.
pub(super) struct Finder<'a> {
    pub(super) survey: &'a Survey,
    pub(super) resolved: &'a Resolved,
    pub(super) key: ObjectKey,
    pub(super) faults: Vec<(Problem, Fault)>,
}

impl<'a> Finder<'a> {
    fn fault(&mut self, problem: Problem, fault: Fault) {
        self.faults.push((problem, fault.of(&self.key)));
    }

    fn object(&self, kind: Kind, name: &str) -> ObjectKey {
        let namespace = self.key.namespace.clone();
        ObjectKey { kind: kind.as_str(), namespace, name: name.to_owned() }
    }

    pub(super) fn workload(&mut self, rollout: &Rollout, acts: bool) {
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
        self.room();
    }

    /// As many canary pods as `maxSurge` allows must be able to carry each weight.
    fn room(&mut self) {
        let plan = &self.resolved.plan;
        let Some(deployment) = self.survey.deployment.as_ref() else { return };
        let (desired, Some(spare)) = (json::replicas(deployment), surge(deployment)) else {
            return;
        };
        if plan.promotion != PromoteBy::Surge || desired == 0 || spare >= desired {
            return;
        }
        let by_routes = plan.traffic == Traffic::Routes;
        let weights = plan.steps.iter().filter_map(|step| match step {
            Step::Weight { weight, .. } if by_routes => Some(*weight),
            Step::Weight { .. } | Step::Pause { .. } => None,
        });
        let wanted = weights.max().unwrap_or(Weight::ZERO);
        let most = heaviest(desired, spare);
        if spare > 0 && wanted <= most {
            return;
        }
        let found = format!("{}, which is {spare} beside {desired} pods", max_surge(deployment));
        let expected = if spare == 0 {
            "at least 1 pod: promotion is Surge, and the canary is made of them".to_owned()
        } else {
            format!(
                "room for weight {}: promotion is Surge, and {spare} canary pods carry at \
                 most weight {}",
                wanted.percent(),
                most.percent()
            )
        };
        let at = FieldPath::of("spec.strategy.rollingUpdate.maxSurge");
        let key = self.object(Kind::Deployment, &self.resolved.workload);
        self.fault(Problem::SurgeTooSmall, Fault::new(&at, found, expected).of(&key));
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
    pub(super) fn paths(&mut self, label: &str) -> (Vec<String>, Vec<String>) {
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

    pub(super) fn unnamed_services(&mut self, services: &[String]) {
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

    pub(super) fn canary_service(&mut self, services: &[String], acts: bool) -> CanaryService {
        let switched = self.resolved.plan.traffic == Traffic::Switch;
        let at = FieldPath::of(if switched {
            "spec.strategy.blueGreen.previewService"
        } else {
            "spec.canaryService"
        });
        if let Some(name) = &self.resolved.canary_service {
            if self.survey.service(name).is_none() {
                self.missing(Problem::ServiceMissing, &at, name, Kind::Service);
            }
            return CanaryService { name: name.clone(), ours: false };
        }
        let stem = services.first().unwrap_or(&self.resolved.workload);
        let name = if switched {
            names::preview_service_name(stem)
        } else {
            names::canary_service_name(stem)
        };
        let is_taken =
            self.survey.service(&name).is_some_and(|service| !is_made_for_canary(service));
        // Where nobody sends requests to stable, nobody sends any to the canary.
        if is_taken && acts && !services.is_empty() {
            let found = format!("nothing, and Service {name} is somebody else's");
            let expected = format!("{name} here, if it is the canary's, or no such Service");
            self.fault(Problem::CanaryServiceTaken, Fault::new(&at, found, expected));
        }
        CanaryService { name, ours: true }
    }

    /// What is said of the Service behind the routes must be said of the canary's too, or requests to
    /// it fail for reasons that are no fault of the release.
    pub(super) fn policies(
        &mut self,
        services: &[String],
        canary: &CanaryService,
        routes: &[String],
    ) {
        let (Some(service), false) = (services.first(), routes.is_empty()) else { return };
        let all = &self.survey.policies;
        for policy in all.iter().filter(|policy| names_service(policy, service)) {
            let kind = policy["kind"].as_str().unwrap_or_default();
            let is_covered =
                all.iter().any(|other| other["kind"] == kind && names_service(other, &canary.name));
            if is_covered {
                continue;
            }
            let name = json::name(policy).unwrap_or_default();
            let found = format!("{service} alone, in {kind} {name}");
            let expected = if canary.ours {
                "a Service of your own for the canary, which a policy of that kind names too"
            } else {
                "a Service that a policy of that kind names too"
            };
            let at = FieldPath::of("spec.canaryService");
            self.fault(Problem::PolicyNotOnCanary, Fault::new(&at, found, expected));
        }
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

/// The policy names this Service as what it is about.
fn names_service(policy: &Value, service: &str) -> bool {
    let spec = &policy["spec"];
    let single = [&spec["targetRef"], &spec["targetReference"]];
    let is_it = |target: &Value| {
        let group = target["group"].as_str().unwrap_or_default();
        target["kind"].as_str().unwrap_or("Service") == Kind::Service.as_str()
            && ["", "core"].contains(&group)
            && target["name"] == service
    };
    json::list(spec, "/targetRefs").iter().chain(single).any(is_it)
}
