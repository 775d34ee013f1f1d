//! The kinds of objects that are read or written.

use std::fmt;

use kube::discovery::ApiResource;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $kind:literal, $group:literal, $version:literal, $plural:literal, $scope:ident;)*) => {
        /// The kinds of objects that are read or written: rights are given for these and no others.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            const fn facts(self) -> (&'static str, &'static str, &'static str, &'static str, Scope) {
                match self {
                    $(Self::$name => ($kind, $group, $version, $plural, Scope::$scope),)*
                }
            }
        }
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Namespace,
    Cluster,
}

kinds! {
    /// The workload.
    Deployment = "Deployment", "apps", "v1", "deployments", Namespace;
    /// The pods of one template.
    ReplicaSet = "ReplicaSet", "apps", "v1", "replicasets", Namespace;
    /// Owns what we make for one trial.
    ControllerRevision = "ControllerRevision", "apps", "v1", "controllerrevisions", Namespace;
    /// A pod.
    Pod = "Pod", "", "v1", "pods", Namespace;
    /// Selects pods.
    Service = "Service", "", "v1", "services", Namespace;
    /// The pods that a Service found.
    EndpointSlice = "EndpointSlice", "discovery.k8s.io", "v1", "endpointslices", Namespace;
    /// Runs pods until they are done.
    Job = "Job", "batch", "v1", "jobs", Namespace;
    /// A template for Jobs.
    CronJob = "CronJob", "batch", "v1", "cronjobs", Namespace;
    /// Splits requests between Services.
    HttpRoute = "HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes", Namespace;
    /// How a gateway speaks TLS to a Service.
    BackendTlsPolicy = "BackendTLSPolicy", "gateway.networking.k8s.io", "v1", "backendtlspolicies",
        Namespace;
    /// How a load balancer of GKE checks a Service.
    HealthCheckPolicy =
        "HealthCheckPolicy", "networking.gke.io", "v1", "healthcheckpolicies", Namespace;
    /// How a load balancer of GKE treats a Service.
    GcpBackendPolicy =
        "GCPBackendPolicy", "networking.gke.io", "v1", "gcpbackendpolicies", Namespace;
    /// How a load balancer of AWS treats a Service.
    TargetGroupConfiguration = "TargetGroupConfiguration", "gateway.k8s.aws", "v1beta1",
        "targetgroupconfigurations", Namespace;
    /// How NGINX treats a Service.
    UpstreamSettingsPolicy = "UpstreamSettingsPolicy", "gateway.nginx.org", "v1alpha1",
        "upstreamsettingspolicies", Namespace;
    /// Sizes a workload by its load.
    HorizontalPodAutoscaler =
        "HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers", Namespace;
    /// Limits evictions.
    PodDisruptionBudget =
        "PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", Namespace;
    /// A machine.
    Node = "Node", "", "v1", "nodes", Cluster;
    /// Where objects are; read for whether its Rollouts are suspended.
    Namespace = "Namespace", "", "v1", "namespaces", Cluster;
    /// Credentials; only ever read one by one, by name.
    Secret = "Secret", "", "v1", "secrets", Namespace;
    /// What pods are configured by; only ever asked for by name, and by our own sync's label.
    ConfigMap = "ConfigMap", "", "v1", "configmaps", Namespace;
    /// Told to people.
    Event = "Event", "events.k8s.io", "v1", "events", Namespace;
    /// Who leads.
    Lease = "Lease", "coordination.k8s.io", "v1", "leases", Namespace;
    /// Ours: which workload, and how.
    Rollout = "Rollout", "tidegate.dev", "v1alpha1", "rollouts", Namespace;
    /// Ours: defaults of a fleet.
    RolloutClass = "RolloutClass", "tidegate.dev", "v1alpha1", "rolloutclasses", Cluster;
    /// Ours: metrics and criteria.
    AnalysisTemplate = "AnalysisTemplate", "tidegate.dev", "v1alpha1", "analysistemplates", Namespace;
    /// Ours: metrics and criteria, for all namespaces.
    ClusterAnalysisTemplate =
        "ClusterAnalysisTemplate", "tidegate.dev", "v1alpha1", "clusteranalysistemplates", Cluster;
    /// Ours: a config repository.
    ConfigRepository = "ConfigRepository", "tidegate.dev", "v1alpha1", "configrepositories", Cluster;
    /// Ours: where metrics come from.
    MetricSource = "MetricSource", "tidegate.dev", "v1alpha1", "metricsources", Cluster;
    /// Ours: the record of one trial.
    Trial = "Trial", "tidegate.dev", "v1alpha1", "trials", Namespace;
    /// Flux: a path of a repository, applied.
    Kustomization =
        "Kustomization", "kustomize.toolkit.fluxcd.io", "v1", "kustomizations", Namespace;
    /// Argo CD: a path of a repository, applied.
    Application = "Application", "argoproj.io", "v1alpha1", "applications", Namespace;
    /// A rule of the API server that changes what is written.
    MutatingAdmissionPolicy = "MutatingAdmissionPolicy", "admissionregistration.k8s.io", "v1",
        "mutatingadmissionpolicies", Cluster;
    /// That such a rule is in force.
    MutatingAdmissionPolicyBinding = "MutatingAdmissionPolicyBinding",
        "admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings", Cluster;
    /// Whom the API server asks to change what is written.
    MutatingWebhookConfiguration = "MutatingWebhookConfiguration", "admissionregistration.k8s.io",
        "v1", "mutatingwebhookconfigurations", Cluster;
    /// Whom it asks whether what is written may be stored.
    ValidatingWebhookConfiguration = "ValidatingWebhookConfiguration",
        "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", Cluster;
}

impl Kind {
    /// As an object's `kind` has it.
    pub const fn as_str(self) -> &'static str {
        self.facts().0
    }

    /// Its group; empty for the core group.
    pub const fn group(self) -> &'static str {
        self.facts().1
    }

    /// Its version.
    pub const fn version(self) -> &'static str {
        self.facts().2
    }

    /// The resource that rights are given for.
    pub const fn plural(self) -> &'static str {
        self.facts().3
    }

    /// Its objects are in namespaces.
    pub const fn is_namespaced(self) -> bool {
        matches!(self.facts().4, Scope::Namespace)
    }

    /// Group and version as an object's `apiVersion` has them.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// What kube's own types want to know of a kind.
    pub fn resource(self) -> ApiResource {
        ApiResource {
            group: self.group().to_owned(),
            version: self.version().to_owned(),
            api_version: self.api_version(),
            kind: self.as_str().to_owned(),
            plural: self.plural().to_owned(),
        }
    }

    /// The path of its objects on the server.
    pub(super) fn path(self, namespace: Option<&str>) -> String {
        let root = if self.group().is_empty() { "api" } else { "apis" };
        let (version, plural) = (self.api_version(), self.plural());
        match namespace.filter(|_| self.is_namespaced()) {
            Some(namespace) => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
            None => format!("/{root}/{version}/{plural}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; `None` for kinds that have none, and for lists of all namespaces.
    pub namespace: Option<String>,
    /// Its name; empty for lists.
    pub name: String,
}

impl ObjectName {
    /// An object in a namespace.
    pub fn namespaced(kind: Kind, namespace: &str, name: &str) -> Self {
        let namespace = kind.is_namespaced().then(|| namespace.to_owned());
        Self { kind, namespace, name: name.to_owned() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind;
        match (&self.namespace, self.name.as_str()) {
            (Some(namespace), "") => write!(f, "{kind} {namespace}/*"),
            (Some(namespace), name) => write!(f, "{kind} {namespace}/{name}"),
            (None, "") => write!(f, "{kind} *"),
            (None, name) => write!(f, "{kind} {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api_server() {
        let paths = [
            (Kind::Service, Some("shop"), "/api/v1/namespaces/shop/services"),
            (Kind::Deployment, Some("shop"), "/apis/apps/v1/namespaces/shop/deployments"),
            (Kind::Deployment, None, "/apis/apps/v1/deployments"),
            (Kind::Node, Some("shop"), "/api/v1/nodes"),
            (Kind::RolloutClass, None, "/apis/tidegate.dev/v1alpha1/rolloutclasses"),
        ];
        for (kind, namespace, path) in paths {
            assert_eq!(kind.path(namespace), path);
        }
    }

    #[test]
    fn objects_are_named_as_people_write_them() {
        let object = ObjectName::namespaced(Kind::HttpRoute, "shop", "web");
        assert_eq!(object.to_string(), "HTTPRoute shop/web");
        let node = ObjectName::namespaced(Kind::Node, "shop", "one");
        assert_eq!(node.to_string(), "Node one");
    }
}
