//! The process: it leads, or waits to; it is told what changed, and takes turns.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{Stream, StreamExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tidegate_api::GateKind;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::error::chain;
use super::lease::{self, Leading, Lease};
use super::metrics::Metrics;
use super::notify::{Alertmanagers, BadAlertmanager};
use super::queue::{Next, Queue};
use super::revert::Reverts;
use super::secrets::Secrets;
use super::serve::{self, HEARTBEAT, Health};
use super::turns::{Parts, Turns};
use super::{Key, said, signal};
use crate::gate;
use crate::kubernetes::Cluster;
use crate::observe;

/// Turns that run get this long to end; then they are dropped, which is as safe as a crash.
const GRACE: Duration = Duration::from_secs(3);
/// Policies and webhook configurations are looked for this often.
const GATE: Duration = Duration::from_mins(5);

/// How the controller runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// `None`: in the cluster, by the pod's own account; else the usual file.
    pub kubeconfig: Option<PathBuf>,
    /// The namespaces that are looked after; empty: all.
    pub namespaces: Vec<String>,
    /// Where Secrets and the Lease are. `None`: the pod's own.
    pub home: Option<String>,
    /// Base URLs.
    pub alertmanagers: Vec<String>,
    /// Where metrics and health are served.
    pub listen: SocketAddr,
    /// Where the gate is served to API servers without `MutatingAdmissionPolicy`.
    pub webhook: SocketAddr,
    /// Where fetched history of repositories is kept.
    pub data: PathBuf,
    /// For alerts; empty: none.
    pub cluster_name: String,
    /// Rollouts that are looked at at once.
    pub concurrency: usize,
    /// Several processes: one of them leads.
    pub leader_elect: bool,
}

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no usable configuration of the cluster.
    #[error("the cluster's configuration cannot be used")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No client could be made of it.
    #[error("no client for the cluster")]
    Client(#[source] kube::Error),
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The folder for data cannot be made.
    #[error("cannot make the folder {}", .folder.display())]
    Data {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An Alertmanager cannot be used.
    #[error(transparent)]
    Alertmanager(#[from] BadAlertmanager),
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// Another process leads now, or none can: this one begins anew.
    #[error("the lease is lost")]
    LeaseLost,
}

/// Runs until a signal ends it, or the lease is lost.
pub async fn run(options: Options) -> Result<(), RunError> {
    crate::git::init_tls();
    let config = configuration(options.kubeconfig.as_deref()).await?;
    let home = options.home.clone().unwrap_or_else(|| config.default_namespace.clone());
    let cluster = Cluster::connect(config).map_err(RunError::Client)?;
    let folder = options.data.clone();
    let made = tokio::fs::create_dir_all(&folder).await;
    made.map_err(|source| RunError::Data { folder, source })?;
    let alertmanagers = Arc::new(Alertmanagers::new(&options.alertmanagers)?);
    let address = options.listen;
    let listener = serve::bind(address).await;
    let listener = listener.map_err(|source| RunError::Listen { address, source })?;
    let stop = signal::stop().map_err(RunError::Signals)?;
    let gate = watch::Sender::new(None);
    let process = Process { options, home, cluster, alertmanagers, gate, stop };
    Box::pin(process.run(listener)).await
}

async fn configuration(file: Option<&std::path::Path>) -> Result<kube::Config, RunError> {
    let Some(file) = file else {
        return kube::Config::infer().await.map_err(|error| RunError::Config(error.into()));
    };
    let read = Kubeconfig::read_from(file).map_err(|error| RunError::Config(error.into()))?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    config.map_err(|error| RunError::Config(error.into()))
}

struct Process {
    options: Options,
    home: String,
    cluster: Cluster,
    alertmanagers: Arc<Alertmanagers>,
    /// What holds new templates on this cluster.
    gate: watch::Sender<Option<GateKind>>,
    /// True once somebody said stop.
    stop: watch::Receiver<bool>,
}

impl Process {
    async fn run(self, listener: TcpListener) -> Result<(), RunError> {
        let (metrics, health) = (Arc::new(Metrics::default()), Arc::new(Health::default()));
        let pages = serve::serve(listener, metrics.clone(), health.clone(), self.stop.clone());
        let pages = tokio::spawn(pages);
        health.begin();
        // Before the first turn, so that its status says what the cluster has.
        self.look_for_the_gate().await;
        let ended = tokio::select! {
            ended = self.work(&metrics, &health) => ended,
            never = self.keep_the_gate() => match never {},
        };
        pages.abort();
        ended
    }

    async fn work(&self, metrics: &Arc<Metrics>, health: &Arc<Health>) -> Result<(), RunError> {
        if self.options.leader_elect {
            return self.with_lease(metrics, health).await;
        }
        metrics.leads(true);
        let stop = self.stop.clone();
        self.lead(lease::identity(), Leading::always(), metrics, health, stop).await;
        Ok(())
    }

    /// Every process answers the API server, whether it leads or not.
    async fn keep_the_gate(&self) -> Infallible {
        let look = async {
            loop {
                sleep(GATE).await;
                self.look_for_the_gate().await;
            }
        };
        let stop = self.stop.clone();
        let serve = gate::serve_webhook(&self.cluster, &self.home, self.options.webhook, stop);
        let serve = async {
            if let Err(error) = serve.await {
                tracing::error!(error = chain(&error), "the gate is not served");
            }
            pending().await
        };
        futures::future::select(std::pin::pin!(look), std::pin::pin!(serve)).await.factor_first().0
    }

    async fn look_for_the_gate(&self) {
        match gate::choose(&self.cluster).await {
            Ok(kind) => {
                let changed = |known: &mut Option<GateKind>| std::mem::replace(known, kind) != kind;
                if self.gate.send_if_modified(changed) || kind.is_none() {
                    tracing::info!(gate = ?kind, "what holds new templates");
                }
            }
            Err(error) => tracing::warn!(%error, "the gate cannot be looked for"),
        }
    }

    /// Waits for the lease, then leads until it is lost or somebody says stop.
    async fn with_lease(
        &self,
        metrics: &Arc<Metrics>,
        health: &Arc<Health>,
    ) -> Result<(), RunError> {
        let identity = lease::identity();
        let mut lease = Lease::new(&self.cluster, &self.home, identity.clone());
        let mut stop = self.stop.clone();
        tokio::select! {
            () = lease.acquire() => {}
            () = said(&mut stop) => return Ok(()),
        }
        metrics.leads(true);
        let leading = lease.leading();
        let (end, ended) = watch::channel(false);
        let (release, released) = watch::channel(false);
        let mut keeper = tokio::spawn(async move { lease.keep(released).await });
        let work = self.lead(identity, leading, metrics, health, ended);
        tokio::pin!(work);
        let lost = tokio::select! {
            _ = &mut keeper => true,
            () = said(&mut stop) => false,
            // It ends only when it is told to.
            () = &mut work => true,
        };
        metrics.leads(false);
        let _ = end.send(true);
        if lost {
            return Err(RunError::LeaseLost);
        }
        // The turns end first: the next leader must not meet them.
        work.await;
        let _ = release.send(true);
        let _ = keeper.await;
        Ok(())
    }

    /// Takes turns until it is told to end.
    async fn lead(
        &self,
        identity: String,
        leading: Leading,
        metrics: &Arc<Metrics>,
        health: &Arc<Health>,
        stop: watch::Receiver<bool>,
    ) {
        let (touch, touched) = unbounded_channel();
        let secrets = Secrets::new(&self.cluster, &self.home);
        let reverts = Reverts::new(secrets.clone(), &self.options.data, metrics.clone());
        let turns = Turns::new(Parts {
            cluster: self.cluster.clone(),
            leading: leading.clone(),
            reverts: reverts.clone(),
            alertmanagers: self.alertmanagers.clone(),
            metrics: metrics.clone(),
            secrets,
            identity,
            cluster_name: self.options.cluster_name.clone(),
            gate: self.gate.subscribe(),
            touch,
            namespaces: self.options.namespaces.clone(),
            home: self.home.clone(),
        });
        let client = self.cluster.client().clone();
        let triggers = observe::triggers(client, &self.options.namespaces, &self.home);
        let work = Work {
            turns: Arc::new(turns),
            leading: leading.clone(),
            health: health.clone(),
            metrics: metrics.clone(),
            limit: self.options.concurrency,
        };
        let alerts = self.alertmanagers.run(leading, metrics, stop.clone());
        futures::join!(work.drive(triggers, touched, stop), alerts);
        reverts.stop();
    }
}

/// The loop that gives keys to turns.
struct Work {
    turns: Arc<Turns>,
    leading: Leading,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    limit: usize,
}

impl Work {
    async fn drive(
        &self,
        triggers: impl Stream<Item = Key>,
        mut touched: UnboundedReceiver<Key>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut triggers = std::pin::pin!(triggers);
        let mut queue = Queue::new(self.limit);
        let mut running = Running::default();
        loop {
            self.health.beat(Instant::now());
            self.metrics.queued(queue.keys().count());
            while let Some(key) = queue.take(Instant::now()) {
                self.begin(&mut running, key);
            }
            let beat = Instant::now() + HEARTBEAT;
            let due = queue.next_due().map_or(beat, |due| due.min(beat));
            tokio::select! {
                Some(key) = triggers.next() => queue.touch(key, Instant::now()),
                Some(key) = touched.recv() => queue.touch(key, Instant::now()),
                Some(ended) = running.tasks.join_next_with_id() => {
                    if let Some((key, next)) = running.ended(ended) {
                        queue.done(&key, next, Instant::now());
                    }
                }
                () = sleep_until(due) => {}
                () = said(&mut stop) => break,
            }
        }
        let end = async { while running.tasks.join_next().await.is_some() {} };
        if timeout(GRACE, end).await.is_err() {
            tracing::warn!("turns were still running and are dropped");
        }
        running.tasks.shutdown().await;
    }

    fn begin(&self, running: &mut Running, key: Key) {
        let (turns, leading, of) = (self.turns.clone(), self.leading.clone(), key.clone());
        let task = running.tasks.spawn(async move {
            tokio::select! {
                next = turns.turn(&of) => next,
                // What is on its way is dropped at once: somebody else may write from now on.
                () = leading.lost() => Next::Failed { urgent: false },
            }
        });
        running.keys.insert(task.id(), key);
    }
}

/// Turns that run, and whose they are.
#[derive(Default)]
struct Running {
    tasks: JoinSet<Next>,
    keys: HashMap<Id, Key>,
}

impl Running {
    /// A turn that panicked is one that failed: the others go on.
    fn ended(&mut self, ended: Result<(Id, Next), JoinError>) -> Option<(Key, Next)> {
        let (id, next) = match ended {
            Ok((id, next)) => (id, next),
            Err(error) => {
                tracing::error!(%error, "a turn broke off");
                (error.id(), Next::Failed { urgent: false })
            }
        };
        Some((self.keys.remove(&id)?, next))
    }
}
