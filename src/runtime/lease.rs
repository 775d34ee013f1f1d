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
        self.may_write_at(Instant::now())
    }

    fn may_write_at(&self, now: Instant) -> bool {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Until::Always => true,
            Until::Never => false,
            Until::At(end) => now < end,
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
        while !self.step(Instant::now()).await {
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
            let renewed = self.step(Instant::now()).await;
            if !renewed && !self.leading.may_write() {
                tracing::warn!(identity = self.identity, "does not lead any more");
                return;
            }
        }
    }

    /// One attempt to take or renew the Lease. `asked` is before the request: the server may have
    /// it at once.
    async fn step(&mut self, asked: Instant) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::extract::{Request, State};
    use axum::http::{Method, StatusCode};
    use axum::response::{IntoResponse as _, Json, Response};

    /// An API server with one Lease, and whether it answers.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<(Option<Value>, u64, bool)>>);

    impl Server {
        fn lease(&self, identity: &str) -> Lease {
            let router = Router::new().fallback(answer).with_state(self.clone());
            let cluster = Cluster::new(kube::Client::new(router, "default"));
            Lease::new(&cluster, "home", identity)
        }

        fn holder(&self) -> Value {
            let stored = self.0.lock().unwrap();
            stored
                .0
                .as_ref()
                .map(|lease| lease["spec"]["holderIdentity"].clone())
                .unwrap_or_default()
        }

        fn is_down(&self, down: bool) {
            self.0.lock().unwrap().2 = down;
        }
    }

    async fn answer(State(server): State<Server>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let mut stored = server.0.lock().unwrap();
        let (lease, version, down) = &mut *stored;
        let fails = |code: StatusCode| {
            (
                code,
                Json(json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "message": "", "reason": "", "code": code.as_u16()})),
            )
                .into_response()
        };
        if *down {
            return fails(StatusCode::INTERNAL_SERVER_ERROR);
        }
        if parts.method == Method::GET {
            return match lease {
                Some(lease) => Json(lease.clone()).into_response(),
                None => fails(StatusCode::NOT_FOUND),
            };
        }
        let sent: Value = serde_json::from_slice(&body).unwrap();
        let mut new = match lease {
            None => sent,
            Some(_) if parts.method == Method::POST => return fails(StatusCode::CONFLICT),
            Some(old) => {
                let expected = &sent["metadata"]["resourceVersion"];
                if *expected != old["metadata"]["resourceVersion"] {
                    return fails(StatusCode::CONFLICT);
                }
                let mut new = old.clone();
                for (key, value) in sent["spec"].as_object().unwrap() {
                    new["spec"][key] = value.clone();
                }
                new
            }
        };
        *version += 1;
        new["metadata"]["resourceVersion"] = json!(version.to_string());
        *lease = Some(new.clone());
        Json(new).into_response()
    }

    #[tokio::test]
    async fn one_leads_and_the_other_waits_for_the_lease_to_run_out() {
        let (server, start) = (Server::default(), Instant::now());
        let (mut a, mut b) = (server.lease("a"), server.lease("b"));
        assert!(a.step(start).await);
        assert!(!b.step(start).await);
        // Renewed: the other's clock begins anew with each renewal it sees.
        let renewed = start + RENEW_DEADLINE;
        assert!(a.step(renewed).await);
        assert!(!b.step(renewed).await);
        assert!(!b.step(renewed + LEASE - RETRY).await);
        assert!(b.step(renewed + LEASE).await);
        assert_eq!(server.holder(), "b");
        // The first one learns of it at its next attempt, and has stopped long before.
        assert!(!a.leading().may_write_at(renewed + RENEW_DEADLINE));
        assert!(!a.step(renewed + LEASE).await);
        assert!(!a.leading().may_write_at(renewed));
        assert!(b.leading().may_write_at(renewed + LEASE));
    }

    #[tokio::test]
    async fn who_cannot_renew_stops_in_time_and_goes_on_when_it_can() {
        let (server, start) = (Server::default(), Instant::now());
        let mut a = server.lease("a");
        assert!(a.step(start).await);
        server.is_down(true);
        assert!(!a.step(start + RETRY).await);
        let leading = a.leading();
        assert!(leading.may_write_at(start + RETRY), "one lost answer is not the end");
        assert!(!leading.may_write_at(start + RENEW_DEADLINE));
        server.is_down(false);
        assert!(a.step(start + RENEW_DEADLINE).await);
        assert!(leading.may_write_at(start + RENEW_DEADLINE));
    }

    #[tokio::test]
    async fn a_lease_that_is_given_up_is_free_at_once() {
        let (server, start) = (Server::default(), Instant::now());
        let (mut a, mut b) = (server.lease("a"), server.lease("b"));
        assert!(a.step(start).await);
        a.release().await;
        assert!(!a.leading().may_write_at(start));
        assert!(b.step(start).await);
        assert_eq!(server.holder(), "b");
        // Giving up what one does not have changes nothing.
        a.release().await;
        assert_eq!(server.holder(), "b");
    }
}
