//! One Application of Argo CD.

use std::time::Duration;

use anyhow::{Context, bail};
use kube::{Api, Client, core::DynamicObject};
use serde_json::{Value, json};

use super::{
    argocd::NAMESPACE,
    objects::{apply, merge, objects},
    repository::Repository,
};
use crate::world::eventually;

const API: &str = "argoproj.io/v1alpha1";

/// How Argo CD keeps a path applied.
#[derive(Clone, Debug)]
pub struct ArgoOptions {
    /// Puts right what differs in the cluster, without a new commit.
    pub self_heal: bool,
    /// Compares by a dry run at the API server, its webhooks and policies included, and applies
    /// by server-side apply; otherwise Argo CD compares by itself, as it does by default.
    pub server_side_diff: bool,
    /// Deletes what is no longer in Git.
    pub prune: bool,
    /// Fetches by way of another server (`http://host:port`), such as a proxy with faults.
    pub by_way_of: Option<String>,
}

impl Default for ArgoOptions {
    /// Automated, with self-heal and pruning, compared as by default.
    fn default() -> Self {
        Self { self_heal: true, server_side_diff: false, prune: true, by_way_of: None }
    }
}

/// How Argo CD sees the health of an Application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationHealth {
    /// All of it works.
    Healthy,
    /// Something is under way.
    Progressing,
    /// Something has failed.
    Degraded,
    /// Something waits, such as a paused Deployment.
    Suspended,
    /// Something is not there.
    Missing,
    /// Argo CD has not said, or says that it does not know.
    Unknown,
}

/// What an Application says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationStatus {
    /// Whether the cluster is as Git says; `None` while Argo CD does not know.
    pub synced: Option<bool>,
    /// The commit that was compared with last; innocent commits count too.
    pub compared: Option<String>,
    /// The commit of the newest operation, running or over.
    pub applied: Option<String>,
    /// The phase of the newest operation, such as `Running` or `Succeeded`.
    pub phase: Option<String>,
    /// What the newest operation says.
    pub message: String,
    /// The health of all of it.
    pub health: ApplicationHealth,
}

/// An Application in Argo CD's own namespace.
#[derive(Clone)]
pub struct Application {
    name: String,
    applications: Api<DynamicObject>,
}

impl Application {
    pub(super) async fn create(
        kube: &Client,
        name: &str,
        repository: &Repository,
        path: &str,
        namespace: &str,
        options: &ArgoOptions,
    ) -> anyhow::Result<Self> {
        let url = match &options.by_way_of {
            Some(root) => repository.url_at(root),
            None => repository.url(),
        };
        let credentials = repository.credentials();
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": format!("{name}-repository"),
                "labels": { "argocd.argoproj.io/secret-type": "repository" },
            },
            "stringData": {
                "type": "git",
                "url": url,
                "username": credentials.user,
                "password": credentials.token,
            },
        });
        apply(kube, NAMESPACE, &secret).await?;
        apply(kube, NAMESPACE, &application(name, &url, path, namespace, options)).await?;
        let applications = objects(kube, API, "Application", NAMESPACE);
        Ok(Self { name: name.to_owned(), applications })
    }

    /// The name of the Application.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the Application says now.
    pub async fn status(&self) -> anyhow::Result<ApplicationStatus> {
        let object = self.applications.get(&self.name).await;
        let object = object.with_context(|| format!("the Application {}", self.name))?;
        Ok(status(&object.data["status"]))
    }

    /// Lets Argo CD look at the repository now.
    pub async fn refresh(&self) -> anyhow::Result<()> {
        let ask =
            json!({ "metadata": { "annotations": { "argocd.argoproj.io/refresh": "normal" } } });
        merge(&self.applications, &self.name, &ask).await
    }

    /// Waits until the commit is applied and the cluster is as it says.
    pub async fn wait_synced(
        &self,
        sha: &str,
        within: Duration,
    ) -> anyhow::Result<ApplicationStatus> {
        self.wait(&format!("{} is synced to {sha}", self.name), within, |status| {
            status.synced == Some(true)
                && status.compared.as_deref() == Some(sha)
                && status.phase.as_deref() == Some("Succeeded")
        })
        .await
    }

    /// Waits for a state of the Application.
    pub async fn wait(
        &self,
        what: &str,
        within: Duration,
        is_it: impl Fn(&ApplicationStatus) -> bool,
    ) -> anyhow::Result<ApplicationStatus> {
        eventually(what, within, async || {
            let status = self.status().await?;
            if is_it(&status) {
                return Ok(Some(status));
            }
            bail!("it says {status:?}")
        })
        .await
    }
}

fn application(name: &str, url: &str, path: &str, namespace: &str, options: &ArgoOptions) -> Value {
    let mut object = json!({
        "apiVersion": API,
        "kind": "Application",
        "metadata": { "name": name },
        "spec": {
            "project": "default",
            "source": { "repoURL": url, "path": path, "targetRevision": "main" },
            "destination": { "server": "https://kubernetes.default.svc", "namespace": namespace },
            "syncPolicy": {
                "automated": { "selfHeal": options.self_heal, "prune": options.prune },
            },
        },
    });
    if options.server_side_diff {
        let compare = "ServerSideDiff=true,IncludeMutationWebhook=true";
        object["metadata"]["annotations"] =
            json!({ "argocd.argoproj.io/compare-options": compare });
        object["spec"]["syncPolicy"]["syncOptions"] = json!(["ServerSideApply=true"]);
    }
    object
}

fn status(status: &Value) -> ApplicationStatus {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let operation = &status["operationState"];
    ApplicationStatus {
        synced: match status["sync"]["status"].as_str() {
            Some("Synced") => Some(true),
            Some("OutOfSync") => Some(false),
            _ => None,
        },
        compared: text(&status["sync"]["revision"]),
        applied: text(&operation["syncResult"]["revision"]),
        phase: text(&operation["phase"]),
        message: text(&operation["message"]).unwrap_or_default(),
        health: match status["health"]["status"].as_str() {
            Some("Healthy") => ApplicationHealth::Healthy,
            Some("Progressing") => ApplicationHealth::Progressing,
            Some("Degraded") => ApplicationHealth::Degraded,
            Some("Suspended") => ApplicationHealth::Suspended,
            Some("Missing") => ApplicationHealth::Missing,
            _ => ApplicationHealth::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_without_a_status_is_neither_synced_nor_healthy() {
        let status = status(&Value::Null);
        assert_eq!((status.synced, status.health), (None, ApplicationHealth::Unknown));
        assert_eq!((status.compared, status.applied, status.phase), (None, None, None));
    }

    #[test]
    fn an_innocent_commit_is_compared_but_not_applied() {
        let status = status(&json!({
            "sync": { "status": "Synced", "revision": "bbb" },
            "health": { "status": "Healthy" },
            "operationState": { "phase": "Succeeded", "syncResult": { "revision": "aaa" } },
        }));
        assert_eq!(status.compared.as_deref(), Some("bbb"));
        assert_eq!(status.applied.as_deref(), Some("aaa"));
    }

    #[test]
    fn the_server_compares_only_when_asked_to() {
        let plain = application("shop", "u", "p", "n", &ArgoOptions::default());
        assert_eq!(plain["metadata"]["annotations"], Value::Null);
        let options = ArgoOptions { server_side_diff: true, ..ArgoOptions::default() };
        let asked = application("shop", "u", "p", "n", &options);
        assert_eq!(asked["spec"]["syncPolicy"]["syncOptions"], json!(["ServerSideApply=true"]));
    }
}
