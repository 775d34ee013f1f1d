//! `tidegate run`: the controller.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::runtime::run::{Options, RunError};
use crate::runtime::telemetry::LogFormat;

/// Where Secrets and the Lease are when the controller runs outside of the cluster.
const HOME: &str = "tidegate-system";

/// The flags of `tidegate run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The cluster; by default the one this runs in, else the usual file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Look after this namespace alone; may be given more than once [default: all]
    #[arg(long = "namespace", short, value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// The controller's own namespace, with its Lease and the Secrets of repositories and metric
    /// sources [default: the pod's, else tidegate-system]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    home: Option<String>,
    /// Post alerts here; may be given more than once, then to all of them
    #[arg(long = "alertmanager", value_name = "URL")]
    alertmanagers: Vec<String>,
    /// Serve /metrics, /healthz and /readyz here
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Serve the gate here, over TLS, to API servers without a policy API of their own; only
    /// where `deploy/webhook` is applied
    #[arg(long, default_value = "0.0.0.0:9443", value_name = "ADDRESS")]
    webhook_listen: SocketAddr,
    /// Keep fetched history of repositories here; a cache, nothing is lost with it
    #[arg(long, default_value = "/var/lib/tidegate", value_name = "FOLDER")]
    data: PathBuf,
    /// How logs look
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub(super) log_format: LogFormat,
    /// The label `cluster` of alerts [default: none]
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    cluster_name: String,
    /// How many Rollouts are looked at at once
    #[arg(long, default_value_t = 8, value_parser = places, value_name = "NUMBER")]
    concurrency: usize,
    /// Work only while holding the Lease, so that several of these can run
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    leader_elect: bool,
}

fn places(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (1..=256).contains(&number) { Ok(number) } else { Err("expected 1 to 256".to_owned()) }
}

/// Runs until a signal ends it.
pub(super) async fn run(args: RunArgs) -> Result<(), RunError> {
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let home = args.home.or_else(|| (!in_cluster).then(|| HOME.to_owned()));
    let options = Options {
        kubeconfig: args.kubeconfig,
        namespaces: args.namespaces,
        home,
        alertmanagers: args.alertmanagers,
        listen: args.listen,
        webhook: args.webhook_listen,
        data: args.data,
        cluster_name: args.cluster_name,
        concurrency: args.concurrency,
        leader_elect: args.leader_elect,
    };
    Box::pin(crate::runtime::run::run(options)).await
}
