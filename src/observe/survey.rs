//! Which objects belong to a Rollout.

mod find;

use kube::ResourceExt;
use serde_json::Value;
use tidegate_api::{HELD_LABEL, ROLLOUT_LABEL, Rollout, TRIAL_LABEL};
use tidegate_engine::plan::Mode;

use crate::kubernetes::{
    Cluster, ClusterError, Kind, POD_TEMPLATE_HASH, Pair, Target, json, names,
};
use crate::resolve::{Fault, ObjectKey, Resolved};
use find::Finder;

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
    /// Promotion is Surge, and the Deployment's `maxSurge` allows too few pods for the weights.
    SurgeTooSmall,
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
    /// A policy names the Service and not the canary's: the canary would fail for want of it.
    PolicyNotOnCanary,
}

impl Problem {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::WorkloadMissing,
        Self::WorkloadTaken,
        Self::StrategyRecreate,
        Self::WorkloadPaused,
        Self::SurgeTooSmall,
        Self::ServiceMissing,
        Self::ServiceSelectsOthers,
        Self::ServiceNotHeld,
        Self::RouteMissing,
        Self::RouteWithoutService,
        Self::CanaryServiceTaken,
        Self::PolicyNotOnCanary,
    ];

    /// The reason as conditions have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkloadMissing => "WorkloadMissing",
            Self::WorkloadTaken => "WorkloadTaken",
            Self::StrategyRecreate => "StrategyRecreate",
            Self::WorkloadPaused => "WorkloadPaused",
            Self::SurgeTooSmall => "SurgeTooSmall",
            Self::ServiceMissing => "ServiceMissing",
            Self::ServiceSelectsOthers => "ServiceSelectsOthers",
            Self::ServiceNotHeld => "ServiceNotHeld",
            Self::RouteMissing => "RouteMissing",
            Self::RouteWithoutService => "RouteWithoutService",
            Self::CanaryServiceTaken => "CanaryServiceTaken",
            Self::PolicyNotOnCanary => "PolicyNotOnCanary",
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
    /// All of the namespace that name a Service; only read before a trial by routes.
    policies: Vec<Value>,
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
    Ok(Survey { deployment, services, routes, policies: Vec::new(), rollouts })
}

/// The kinds of policies by which people say how to speak to a Service, by its name.
const POLICIES: [Kind; 5] = [
    Kind::BackendTlsPolicy,
    Kind::HealthCheckPolicy,
    Kind::GcpBackendPolicy,
    Kind::TargetGroupConfiguration,
    Kind::UpstreamSettingsPolicy,
];

impl Survey {
    /// The same with the policies that name a Service, as far as the server knows their kinds.
    pub async fn with_policies(
        mut self,
        cluster: &Cluster,
        namespace: &str,
    ) -> Result<Self, ClusterError> {
        let each = POLICIES.map(|kind| cluster.list(kind, Some(namespace), ""));
        self.policies = futures::future::try_join_all(each).await?.concat();
        Ok(self)
    }

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
            finder.policies(&services, &canary_service, &routes);
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

    /// A Service that a trial began with is not there any more. Without it the target would be
    /// another one: pods that nothing leads to, and no route.
    pub fn misses_a_service_of(&self, before: &Target) -> bool {
        before.services.iter().any(|name| self.service(name).is_none())
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

/// We hold it for the Rollout with this label.
fn is_held(object: &Value, label: &str) -> bool {
    json::label(object, HELD_LABEL) == Some(label)
}

#[cfg(test)]
mod tests;
