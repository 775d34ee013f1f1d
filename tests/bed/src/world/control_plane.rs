//! etcd, the API server, the controllers, the scheduler.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    access::Access,
    certificates::{Certificates, write_secret},
    ports,
    server::{Launch, Ready, Server},
};
use crate::components::{Components, Program};

/// Tokens of the control plane's own users. They guard a server nobody else can reach.
const TOKENS: [(&str, &str); 3] = [
    ("admin", "admin"),
    ("controller-manager", "system:kube-controller-manager"),
    ("scheduler", "system:kube-scheduler"),
];

/// Files the programs of the control plane share.
#[derive(Debug, Clone)]
pub(super) struct Identities {
    pub(super) certificates: Certificates,
    tokens: PathBuf,
    /// The person at the keyboard, who may do everything.
    pub(super) admin: Access,
    /// The same, as a file.
    pub(super) admin_file: PathBuf,
    controllers_file: PathBuf,
    scheduler_file: PathBuf,
}

impl Identities {
    /// Makes keys, certificates, tokens and kubeconfigs in `folder`.
    pub(super) fn make(folder: &Path) -> Result<Self> {
        let certificates = Certificates::make(folder)?;
        let mut csv = String::new();
        for (name, user) in TOKENS {
            // A String takes whatever is written.
            writeln!(csv, "{name}token,{user},{name},\"system:masters\"").ok();
        }
        let access = |name: &str| Access::new(&certificates.ca_pem, &format!("{name}token"));
        let file = |name: &str| access(name).write(&folder.join(format!("{name}.kubeconfig")));
        Ok(Self {
            tokens: write_secret(&folder.join("tokens.csv"), &csv)?,
            admin: access("admin"),
            admin_file: file("admin")?,
            controllers_file: file("controller-manager")?,
            scheduler_file: file("scheduler")?,
            certificates,
        })
    }
}

/// etcd; what it stores need not survive the machine, so it does not wait for disks.
pub(super) fn etcd(components: &Components, data: &Path, logs: &Path) -> Result<Server> {
    let clients = format!("http://127.0.0.1:{}", ports::ETCD);
    let peers = format!("http://127.0.0.1:{}", ports::ETCD_PEER);
    let launch = Launch::new("etcd", components.program(Program::Etcd))
        .path("--data-dir=", &data.join("etcd"))
        .arg(format!("--listen-client-urls={clients}"))
        .arg(format!("--advertise-client-urls={clients}"))
        .arg(format!("--listen-peer-urls={peers}"))
        .arg(format!("--initial-advertise-peer-urls={peers}"))
        .arg(format!("--initial-cluster=default={peers}"))
        .args(&["--unsafe-no-fsync", "--log-level=warn"]);
    Server::launch(launch, logs, Ready::Http(format!("{clients}/health")))
}

/// How to start the API server.
///
/// `OwnerReferencesPermissionEnforcement` is on, as on hardened clusters: without `finalizers`
/// rights an owner reference that blocks deletion is refused. Without `policy_api` it is a cluster
/// that has no `MutatingAdmissionPolicy`, older than Kubernetes 1.36.
pub(super) fn api_server(
    components: &Components,
    identities: &Identities,
    policy_api: bool,
    data: &Path,
) -> Launch {
    let certificates = &identities.certificates;
    let mut launch = Launch::new("kube-apiserver", components.program(Program::KubeApiserver))
        .arg(format!("--etcd-servers=http://127.0.0.1:{}", ports::ETCD))
        .arg(format!("--secure-port={}", ports::API_SERVER))
        .args(&["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .path("--cert-dir=", &data.join("apiserver"))
        .path("--tls-cert-file=", &certificates.server)
        .path("--tls-private-key-file=", &certificates.server_key)
        .path("--client-ca-file=", &certificates.ca)
        .path("--token-auth-file=", &identities.tokens)
        .path("--service-account-key-file=", &certificates.accounts_public)
        .path("--service-account-signing-key-file=", &certificates.accounts_key)
        .args(&[
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
            // The address of the Service `kubernetes` leads nowhere here.
            "--endpoint-reconciler-type=none",
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
            // A watch that ends now and then is a thing clients must bear, but not every minute.
            "--min-request-timeout=1800",
            "--shutdown-delay-duration=0s",
        ]);
    // Pods are processes, which get no mounted tokens.
    let mut off = vec!["ServiceAccount"];
    if !policy_api {
        off.push("MutatingAdmissionPolicy");
        let kinds = ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"]
            .map(|kind| format!("admissionregistration.k8s.io/v1/{kind}=false"));
        launch = launch.arg(format!("--runtime-config={}", kinds.join(",")));
    }
    launch.arg(format!("--disable-admission-plugins={}", off.join(",")))
}

/// All controllers of Kubernetes, with the horizontal autoscaler looking every two seconds.
pub(super) fn controller_manager(
    components: &Components,
    identities: &Identities,
    data: &Path,
    logs: &Path,
) -> Result<Server> {
    let file = &identities.controllers_file;
    let program = components.program(Program::KubeControllerManager);
    let launch = Launch::new("kube-controller-manager", program)
        .path("--kubeconfig=", file)
        .path("--authentication-kubeconfig=", file)
        .path("--authorization-kubeconfig=", file)
        .path("--service-account-private-key-file=", &identities.certificates.accounts_key)
        .path("--root-ca-file=", &identities.certificates.ca)
        .path("--cert-dir=", &data.join("controller-manager"))
        .arg(format!("--secure-port={}", ports::CONTROLLER_MANAGER))
        .args(&[
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--concurrent-deployment-syncs=10",
            "--concurrent-replicaset-syncs=10",
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--horizontal-pod-autoscaler-downscale-stabilization=10s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=2s",
        ]);
    Server::launch(launch, logs, Ready::Seen)
}

/// The scheduler.
pub(super) fn scheduler(
    components: &Components,
    identities: &Identities,
    data: &Path,
    logs: &Path,
) -> Result<Server> {
    let file = &identities.scheduler_file;
    let launch = Launch::new("kube-scheduler", components.program(Program::KubeScheduler))
        .path("--kubeconfig=", file)
        .path("--authentication-kubeconfig=", file)
        .path("--authorization-kubeconfig=", file)
        .path("--cert-dir=", &data.join("scheduler"))
        .arg(format!("--secure-port={}", ports::SCHEDULER))
        .args(&["--bind-address=127.0.0.1", "--leader-elect=false"])
        .args(&["--kube-api-qps=500", "--kube-api-burst=1000"]);
    Server::launch(launch, logs, Ready::Seen)
}

/// Writes a configuration file.
pub(super) fn write(path: &Path, text: &str) -> Result<PathBuf> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path.to_owned())
}
