//! The cluster as kubectl knows it, with the rights of whoever calls.

use std::path::PathBuf;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use serde_json::{Value, json};

use crate::kubernetes::{Cluster, ClusterError, Kind, json as read, patch};

/// The field manager of people. Flux takes back what managers wrote whose name begins with
/// `kubectl`, and the controller gives its own fields up: it is neither.
const MANAGER: &str = "tidegate-cli";

/// How often a write is decided on, where others are faster.
const ATTEMPTS: usize = 10;

/// Which cluster, and where in it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// The cluster [default: as kubectl has it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in that file [default: the current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The namespace [default: that of the context]
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// There is no cluster to talk to. Kube's errors say what caused them themselves.
    #[error("no cluster: {0}")]
    NoCluster(Box<dyn std::error::Error + Send + Sync>),
    /// The object does not exist.
    #[error("there is no {kind} {namespace}/{name}")]
    Missing {
        /// Its kind.
        kind: &'static str,
        /// Where.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// What is asked for makes no sense where the Rollout stands.
    #[error("{0}")]
    Wrong(String),
    /// The API server refuses, and says why.
    #[error("{0}")]
    Refused(String),
    /// It changed again and again while it was written.
    #[error("the object changes too often to be written; try again")]
    Moved,
    /// The API server could not be asked.
    #[error("the cluster does not answer")]
    Cluster(#[from] ClusterError),
    /// The same, when writing.
    #[error("{object} is not written: {message}")]
    Write {
        /// Which object.
        object: String,
        /// What went wrong.
        message: String,
    },
    /// Nobody reads any more.
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

impl CommandError {
    /// Nothing was written, and nothing will be until the input changes.
    pub(crate) const fn is_bad_input(&self) -> bool {
        matches!(self, Self::NoCluster(_) | Self::Missing { .. } | Self::Wrong(_))
    }
}

/// The cluster, and the namespace that is meant.
pub(super) struct Connection {
    client: kube::Client,
    pub(super) cluster: Cluster,
    pub(super) namespace: String,
}

impl Connection {
    pub(super) async fn open(args: &ClusterArgs) -> Result<Self, CommandError> {
        let config = configuration(args).await?;
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config)
            .map_err(|error| CommandError::NoCluster(Box::new(error)))?;
        Ok(Self { cluster: Cluster::new(client.clone()), client, namespace })
    }

    /// The Rollout of this name.
    pub(super) async fn rollout(&self, name: &str) -> Result<Value, CommandError> {
        let found = self.cluster.get(Kind::Rollout, &self.namespace, name).await?;
        found.ok_or_else(|| CommandError::Missing {
            kind: Kind::Rollout.as_str(),
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        })
    }

    /// Writes what is decided on an object, by a JSON patch of the very version that was read. Where
    /// somebody was faster, it is read and decided again, some times.
    pub(super) async fn write(
        &self,
        kind: Kind,
        live: &Value,
        decide: impl Fn(&Value) -> Vec<Value>,
    ) -> Result<Value, CommandError> {
        let mut live = live.clone();
        for _ in 0..ATTEMPTS {
            match self.write_once(kind, &live, decide(&live)).await {
                Err(CommandError::Moved) => {}
                other => return other,
            }
            let name = read::name(&live).unwrap_or_default();
            let namespace = read::text(&live, "/metadata/namespace").unwrap_or_default();
            let found = self.cluster.get(kind, namespace, name).await?;
            live = found.ok_or_else(|| CommandError::Missing {
                kind: kind.as_str(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })?;
        }
        Err(CommandError::Moved)
    }

    async fn write_once(
        &self,
        kind: Kind,
        live: &Value,
        operations: Vec<Value>,
    ) -> Result<Value, CommandError> {
        let name = read::name(live).unwrap_or_default();
        let namespace = read::text(live, "/metadata/namespace").unwrap_or_default();
        let object = format!("{} {namespace}/{name}", kind.as_str());
        let version = read::resource_version(live).unwrap_or_default();
        let mut all = vec![patch::add("/metadata/resourceVersion", version)];
        all.extend(operations);
        let unreadable = |error: serde_json::Error| CommandError::Write {
            object: object.clone(),
            message: error.to_string(),
        };
        let all = serde_json::from_value(json!(all)).map_err(unreadable)?;
        let params =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &kind.resource());
        match api.patch(name, &params, &Patch::Json::<()>(all)).await {
            Ok(written) => serde_json::to_value(written).map_err(unreadable),
            Err(kube::Error::Api(status)) if status.code == 409 => Err(CommandError::Moved),
            Err(kube::Error::Api(status)) => Err(CommandError::Refused(status.message.clone())),
            Err(error) => Err(CommandError::Write { object, message: error.to_string() }),
        }
    }
}

async fn configuration(args: &ClusterArgs) -> Result<kube::Config, CommandError> {
    let no_file = |error: KubeconfigError| CommandError::NoCluster(Box::new(error));
    let options =
        KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    match &args.kubeconfig {
        Some(file) => {
            let file = Kubeconfig::read_from(file).map_err(no_file)?;
            kube::Config::from_custom_kubeconfig(file, &options).await.map_err(no_file)
        }
        None if args.context.is_some() => {
            kube::Config::from_kubeconfig(&options).await.map_err(no_file)
        }
        None => {
            kube::Config::infer().await.map_err(|error| CommandError::NoCluster(Box::new(error)))
        }
    }
}
