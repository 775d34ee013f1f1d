//! One Git repository and one Kustomization that Flux keeps.

use std::time::Duration;

use anyhow::{Context, bail};
use kube::{Api, Client, core::DynamicObject};
use serde_json::{Value, json};

use super::{
    objects::{apply, go_duration, merge, objects},
    repository::Repository,
};
use crate::world::eventually;

const SOURCE_API: &str = "source.toolkit.fluxcd.io/v1";
const KUSTOMIZE_API: &str = "kustomize.toolkit.fluxcd.io/v1";

/// Asks a controller to look now; `flux reconcile` does the same.
const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// A fetch takes well below a second; a repository that does not answer has its own timeout.
const FETCHED_WITHIN: Duration = Duration::from_secs(90);

/// How Flux keeps a path applied.
#[derive(Clone, Debug)]
pub struct FluxOptions {
    /// Waits until everything applied is healthy; until then the revision only counts as
    /// attempted.
    pub wait: bool,
    /// How long one attempt may take, health included; `None` is as long as `interval`. Flux
    /// takes anything below 30 s as 30 s.
    pub timeout: Option<Duration>,
    /// How often drift is put right.
    pub interval: Duration,
    /// How soon a failed attempt is repeated; `None` is `interval`.
    pub retry_interval: Option<Duration>,
    /// How often the repository is asked for a new commit.
    pub source_interval: Duration,
    /// Kustomizations of the same namespace that must be ready before.
    pub depends_on: Vec<String>,
    /// Deletes what is no longer in Git.
    pub prune: bool,
    /// Replaces objects whose immutable fields change.
    pub force: bool,
    /// Puts everything into this namespace, whatever the manifests say.
    pub target_namespace: Option<String>,
    /// Fetches by way of another server (`http://host:port`), such as a proxy with faults.
    pub by_way_of: Option<String>,
    /// Shares the `GitRepository` of this name instead of creating one. A Kustomization that
    /// depends on another of the same source waits until both have the same revision.
    pub source: Option<String>,
}

impl Default for FluxOptions {
    /// The plain flavour: no wait, pruning on.
    fn default() -> Self {
        Self {
            wait: false,
            timeout: None,
            interval: Duration::from_mins(1),
            retry_interval: None,
            source_interval: Duration::from_secs(5),
            depends_on: Vec::new(),
            prune: true,
            force: false,
            target_namespace: None,
            by_way_of: None,
            source: None,
        }
    }
}

impl FluxOptions {
    /// The careful flavour: `wait: true, timeout: 3m`.
    pub fn waiting() -> Self {
        Self { wait: true, timeout: Some(Duration::from_mins(3)), ..Self::default() }
    }
}

/// What a Kustomization says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FluxStatus {
    /// Whether the `Ready` condition speaks about the newest spec. The status' own
    /// `observedGeneration` only moves when an attempt succeeds.
    pub observed: bool,
    /// The `Ready` condition; `None` while it is unknown or missing.
    pub ready: Option<bool>,
    /// The reason of the `Ready` condition; empty when there is none.
    pub reason: String,
    /// The message of the `Ready` condition; empty when there is none.
    pub message: String,
    /// The commit that was last applied to the end, health included when waited for.
    pub applied: Option<String>,
    /// The commit that was last attempted.
    pub attempted: Option<String>,
}

/// A Kustomization together with its source.
#[derive(Clone)]
pub struct Following {
    name: String,
    source: String,
    sources: Api<DynamicObject>,
    kustomizations: Api<DynamicObject>,
}

impl Following {
    pub(super) fn existing(kube: &Client, namespace: &str, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            source: name.to_owned(),
            sources: objects(kube, SOURCE_API, "GitRepository", namespace),
            kustomizations: objects(kube, KUSTOMIZE_API, "Kustomization", namespace),
        }
    }

    pub(super) async fn create(
        kube: &Client,
        namespace: &str,
        name: &str,
        repository: &Repository,
        path: &str,
        options: &FluxOptions,
    ) -> anyhow::Result<Self> {
        let mut following = Self::existing(kube, namespace, name);
        if let Some(source) = &options.source {
            following.source.clone_from(source);
        } else {
            for object in source(name, repository, options) {
                apply(kube, namespace, &object).await?;
            }
        }
        let object = kustomization(name, &following.source, path, options);
        apply(kube, namespace, &object).await?;
        Ok(following)
    }

    /// The name of the Kustomization.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the Kustomization says now.
    pub async fn status(&self) -> anyhow::Result<FluxStatus> {
        let object = self.kustomizations.get(&self.name).await;
        let object = object.with_context(|| format!("the Kustomization {}", self.name))?;
        Ok(status(object.metadata.generation, &object.data))
    }

    /// The commit that was last applied; `None` when there was none yet.
    pub async fn revision(&self) -> anyhow::Result<Option<String>> {
        Ok(self.status().await?.applied)
    }

    /// Fetches now and applies now, as `flux reconcile kustomization --with-source` does.
    ///
    /// Returns once the fetch was done, whether it succeeded or not. A new commit is applied
    /// because it is new; only without one is the Kustomization asked, too. Asking in any case
    /// would make Flux try twice, and hide the failure of the first attempt behind the second.
    pub async fn reconcile(&self) -> anyhow::Result<()> {
        let now = chrono::Utc::now().to_rfc3339();
        let ask = json!({ "metadata": { "annotations": { REQUESTED_AT: now } } });
        merge(&self.sources, &self.source, &ask).await?;
        let what = format!("the source {} was asked", self.source);
        let fetched = eventually(&what, FETCHED_WITHIN, async || {
            let source = self.sources.get(&self.source).await?;
            let status = &source.data["status"];
            let handled = status["lastHandledReconcileAt"].as_str() == Some(&now);
            Ok(handled.then(|| commit_of(&status["artifact"]["revision"])))
        })
        .await?;
        if fetched == self.status().await?.attempted {
            merge(&self.kustomizations, &self.name, &ask).await?;
        }
        Ok(())
    }

    /// Stops applying; what was applied stays.
    pub async fn suspend(&self) -> anyhow::Result<()> {
        self.set_suspended(true).await
    }

    /// Applies again.
    pub async fn resume(&self) -> anyhow::Result<()> {
        self.set_suspended(false).await
    }

    /// Waits until the commit is applied, and healthy when that is waited for.
    pub async fn wait_ready(&self, sha: &str, within: Duration) -> anyhow::Result<FluxStatus> {
        self.wait(&format!("{} is ready at {sha}", self.name), within, |status| {
            status.ready == Some(true) && status.applied.as_deref() == Some(sha)
        })
        .await
    }

    /// Waits until an attempt to apply the commit has failed.
    ///
    /// Flux takes the `Ready` condition back before it notes a new attempt, so the failure is one
    /// of this commit.
    pub async fn wait_failed(&self, sha: &str, within: Duration) -> anyhow::Result<FluxStatus> {
        self.wait(&format!("{} has failed at {sha}", self.name), within, |status| {
            status.ready == Some(false) && status.attempted.as_deref() == Some(sha)
        })
        .await
    }

    /// Waits for a state of the Kustomization.
    pub async fn wait(
        &self,
        what: &str,
        within: Duration,
        is_it: impl Fn(&FluxStatus) -> bool,
    ) -> anyhow::Result<FluxStatus> {
        eventually(what, within, async || {
            let status = self.status().await?;
            if status.observed && is_it(&status) {
                return Ok(Some(status));
            }
            bail!("it says {status:?}")
        })
        .await
    }

    /// Deletes the Kustomization; Flux deletes what it applied when pruning is on.
    pub async fn delete(&self) -> anyhow::Result<()> {
        self.kustomizations
            .delete(&self.name, &kube::api::DeleteParams::default())
            .await
            .map(drop)
            .with_context(|| format!("deleting the Kustomization {}", self.name))
    }

    async fn set_suspended(&self, suspended: bool) -> anyhow::Result<()> {
        let change = json!({ "spec": { "suspend": suspended } });
        merge(&self.kustomizations, &self.name, &change).await
    }
}

/// The source and the credentials for it.
fn source(name: &str, repository: &Repository, options: &FluxOptions) -> [Value; 2] {
    let credentials = repository.credentials();
    let url = match &options.by_way_of {
        Some(root) => repository.url_at(root),
        None => repository.url(),
    };
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name },
        "stringData": { "username": credentials.user, "password": credentials.token },
    });
    let source = json!({
        "apiVersion": SOURCE_API,
        "kind": "GitRepository",
        "metadata": { "name": name },
        "spec": {
            "url": url,
            "interval": go_duration(options.source_interval),
            "ref": { "branch": "main" },
            "secretRef": { "name": name },
        },
    });
    [secret, source]
}

fn kustomization(name: &str, source: &str, path: &str, options: &FluxOptions) -> Value {
    let depends_on: Vec<Value> =
        options.depends_on.iter().map(|name| json!({ "name": name })).collect();
    let mut spec = json!({
        "path": path,
        "sourceRef": { "kind": "GitRepository", "name": source },
        "interval": go_duration(options.interval),
        "prune": options.prune,
        "force": options.force,
        "wait": options.wait,
        "dependsOn": depends_on,
    });
    let optional = [
        ("timeout", options.timeout.map(go_duration)),
        ("retryInterval", options.retry_interval.map(go_duration)),
        ("targetNamespace", options.target_namespace.clone()),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            spec[field] = value.into();
        }
    }
    json!({
        "apiVersion": KUSTOMIZE_API,
        "kind": "Kustomization",
        "metadata": { "name": name },
        "spec": spec,
    })
}

fn status(generation: Option<i64>, data: &Value) -> FluxStatus {
    let status = &data["status"];
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    let observed = ready.and_then(|ready| ready["observedGeneration"].as_i64());
    let text =
        |field: &str| ready.and_then(|ready| ready[field].as_str()).unwrap_or_default().to_owned();
    FluxStatus {
        observed: generation.is_some() && observed == generation,
        ready: match text("status").as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        },
        reason: text("reason"),
        message: text("message"),
        applied: commit_of(&status["lastAppliedRevision"]),
        attempted: commit_of(&status["lastAttemptedRevision"]),
    }
}

/// `main@sha1:<commit>` without what stands before the commit.
fn commit_of(revision: &Value) -> Option<String> {
    let (_, commit) = revision.as_str()?.rsplit_once(':')?;
    Some(commit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_object_has_no_status_and_is_not_ready() {
        let status = status(Some(1), &json!({}));
        assert!(!status.observed);
        assert_eq!((status.ready, status.applied), (None, None));
    }

    #[test]
    fn under_wait_the_applied_revision_is_still_the_good_one() {
        let data = json!({ "status": {
            "observedGeneration": -1,
            "conditions": [{
                "type": "Ready",
                "status": "False",
                "reason": "HealthCheckFailed",
                "observedGeneration": 2,
            }],
            "lastAppliedRevision": "main@sha1:aaa",
            "lastAttemptedRevision": "main@sha1:bbb",
        }});
        let status = status(Some(2), &data);
        assert!(status.observed);
        assert_eq!(status.ready, Some(false));
        assert_eq!(status.reason, "HealthCheckFailed");
        assert_eq!(status.applied.as_deref(), Some("aaa"));
        assert_eq!(status.attempted.as_deref(), Some("bbb"));
    }

    #[test]
    fn the_careful_flavour_waits_for_three_minutes() {
        let object = kustomization("shop", "shop", "./shop", &FluxOptions::waiting());
        assert_eq!(object["spec"]["wait"], true);
        assert_eq!(object["spec"]["timeout"], "180000ms");
        assert_eq!(object["spec"]["retryInterval"], Value::Null);
    }
}
