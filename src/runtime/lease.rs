//! Who leads: one Lease, and clocks that are compared with nobody's.
//!
//! A Lease tells nobody that it is over: two processes may both believe in theirs for a moment.
//! Nothing here rests on that. Every write carries the version it was decided on; the Lease only
//! keeps two from doing the same work. Still, whoever cannot renew stops in time: all effects end
//! within [`RENEW_DEADLINE`] of the last renewal, by a clock that only counts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_api::FIELD_MANAGER;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{now_text, said};
use crate::kubernetes::{Cluster, ClusterError, Kind, ObjectName, json as read};

/// How long the others wait after the last renewal that they saw.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long the leader goes on after the last renewal that came through.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often is asked and renewed.
pub const RETRY: Duration = Duration::from_secs(2);
/// Giving the lease up must not hold a shutdown up.
const RELEASE: Duration = Duration::from_secs(2);

/// The Lease's name, in the controller's own namespace.
pub const NAME: &str = "tidegate";

/// Whether this process may write. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leading(Arc<Mutex<Until>>);

#[derive(Clone, Copy, Debug)]
enum Until {
    /// Nobody else is asked.
    Always,
    Never,
    At(Instant),
}

impl Leading {
    /// There is only one process.
    pub fn always() -> Self {
        Self(Arc::new(Mutex::new(Until::Always)))
    }

    fn never() -> Self {
        Self(Arc::new(Mutex::new(Until::Never)))
    }

    /// Asked before each write.
    pub fn may_write(&self) -> bool {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Until::Always => true,
            Until::Never => false,
            Until::At(end) => Instant::now() < end,
        }
    }

    /// Returns when nothing may be written any more: what is on its way then is dropped.
    pub async fn lost(&self) {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match until {
                Until::Always => std::future::pending().await,
                Until::At(end) if Instant::now() < end => tokio::time::sleep_until(end).await,
                Until::Never | Until::At(_) => return,
            }
        }
    }

    fn set(&self, until: Until) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// What was last seen in the Lease, and since when by our own clock.
#[derive(Debug)]
struct Seen {
    version: String,
    since: Instant,
}

/// One process among those that want the Lease.
#[derive(Debug)]
pub struct Lease {
    cluster: Cluster,
    object: ObjectName,
    identity: String,
    leading: Leading,
    seen: Option<Seen>,
}

impl Lease {
    /// Wants the Lease of this namespace. `identity` tells the processes apart.
    pub fn new(cluster: &Cluster, namespace: &str, identity: impl Into<String>) -> Self {
        Self {
            cluster: cluster.urgent(),
            object: ObjectName::namespaced(Kind::Lease, namespace, NAME),
            identity: identity.into(),
            leading: Leading::never(),
            seen: None,
        }
    }

    /// For everything that writes.
    pub fn leading(&self) -> Leading {
        self.leading.clone()
    }

    /// Waits until this process leads.
    pub async fn acquire(&mut self) {
        while !self.step().await {
            tokio::time::sleep(RETRY).await;
        }
        tracing::info!(identity = self.identity, "leads");
    }

    /// Keeps the Lease; returns when it is lost, or given up because `stop` said so. From then on
    /// [`Leading::may_write`] is false.
    pub async fn keep(&mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = said(&mut stop) => {
                    self.release().await;
                    return;
                }
            }
            let renewed = self.step().await;
            if !renewed && !self.leading.may_write() {
                tracing::warn!(identity = self.identity, "does not lead any more");
                return;
            }
        }
    }

    /// One attempt to take or renew the Lease.
    async fn step(&mut self) -> bool {
        // Counted from before the request: the server may have had it at once.
        let asked = Instant::now();
        match self.ask(asked).await {
            Ok(true) => {
                self.leading.set(Until::At(asked + RENEW_DEADLINE));
                true
            }
            Ok(false) => {
                self.leading.set(Until::Never);
                false
            }
            Err(error) => {
                tracing::warn!(%error, "the lease cannot be renewed");
                false
            }
        }
    }

    /// `false`: somebody else has it.
    async fn ask(&mut self, now: Instant) -> Result<bool, ClusterError> {
        let namespace = self.object.namespace.clone().unwrap_or_default();
        let Some(live) = self.cluster.get(Kind::Lease, &namespace, NAME).await? else {
            let lease = json!({
                "apiVersion": Kind::Lease.api_version(), "kind": Kind::Lease.as_str(),
                "metadata": {"name": NAME, "namespace": namespace},
                "spec": self.spec(1),
            });
            return taken(self.cluster.create(Kind::Lease, &lease).await);
        };
        let version = read::resource_version(&live).unwrap_or_default().to_owned();
        let holder = read::text(&live, "/spec/holderIdentity").unwrap_or_default();
        let is_ours = holder == self.identity;
        if self.seen.as_ref().is_none_or(|seen| seen.version != version) {
            self.seen = Some(Seen { version: version.clone(), since: now });
        }
        let since = self.seen.as_ref().map_or(now, |seen| seen.since);
        if !is_ours && !holder.is_empty() && now - since < duration_of(&live) {
            return Ok(false);
        }
        let changes = read::number(&live, "/spec/leaseTransitions").unwrap_or_default();
        let mut spec = self.spec(if is_ours { changes } else { changes.saturating_add(1) });
        if is_ours && let Some(spec) = spec.as_object_mut() {
            spec.remove("acquireTime");
        }
        let patch = json!({"spec": spec});
        taken(self.cluster.patch_merge(&self.object, &patch, Some(&version)).await)
    }

    fn spec(&self, changes: i64) -> Value {
        let now = now_text();
        json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": LEASE.as_secs(),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": changes,
        })
    }

    /// The next one need not wait.
    async fn release(&mut self) {
        self.leading.set(Until::Never);
        let given = tokio::time::timeout(RELEASE, self.give_up()).await;
        if let Ok(Err(error)) = given {
            tracing::info!(%error, "the lease was not given up and will run out");
        }
    }

    async fn give_up(&self) -> Result<(), ClusterError> {
        let namespace = self.object.namespace.clone().unwrap_or_default();
        let Some(live) = self.cluster.get(Kind::Lease, &namespace, NAME).await? else {
            return Ok(());
        };
        if read::text(&live, "/spec/holderIdentity") != Some(self.identity.as_str()) {
            return Ok(());
        }
        let version = read::resource_version(&live);
        let patch = json!({"spec": {"holderIdentity": null, "leaseDurationSeconds": 1}});
        self.cluster.patch_merge(&self.object, &patch, version).await.map(drop)
    }
}

/// Who was faster has it.
fn taken(written: Result<Value, ClusterError>) -> Result<bool, ClusterError> {
    match written {
        Ok(_) => Ok(true),
        Err(error) if error.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}

/// As its holder promised it.
fn duration_of(lease: &Value) -> Duration {
    let seconds = read::number(lease, "/spec/leaseDurationSeconds");
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(LEASE, Duration::from_secs)
}

/// Tells this process from all others: the pod's name where there is one.
pub fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| FIELD_MANAGER.to_owned());
    let start = chrono::Utc::now().timestamp_millis();
    format!("{host}_{}_{start:x}", std::process::id())
}
