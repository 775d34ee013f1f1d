//! Where the Deployment's template came from.
//!
//! The commit that brought a template becomes the bad end of a revert's range, so it is taken only
//! from fields that were written *before* the template can have changed:
//!
//! * **Flux** (kustomize-controller 1.9.5): `status.lastAttemptedRevision` is patched after the
//!   artifact is fetched and before anything is built or applied, and a failed patch ends the
//!   reconciliation. Whoever sees the new template and asks afterwards therefore reads its revision
//!   or a later one. `lastAppliedRevision` follows after the health checks, which wait for the
//!   gated Deployment: with `wait: true` it stays the good revision for the whole trial.
//! * **Argo CD** (3.6.1): `status.operationState.syncResult.revision` is the commit of the
//!   operation, but an operation that has just begun is stored without it and applies its first
//!   wave before it is stored again. In between there is `operation.sync.revision`, which
//!   automated syncs fill with the commit. A sync by hand may have none: then nothing is known for
//!   a moment. `status.sync.revision` is what was *compared*, not what was applied.
//! * **Our own sync** writes `attemptedRevision` before the first object.
//!
//! So the order of reading is: Deployment, engine's object, Deployment again. If the template is
//! the same before and after, the engine's answer in between is about it; and what the engine calls
//! applied was applied before the second look, which would have shown a new template.

use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;
use tidegate_api::FIELD_MANAGER;
use tidegate_engine::observed::Deployed;
use tidegate_engine::state::GitRevision;

use super::writer::{self, Writer};
use crate::kubernetes::{Cluster, ClusterError, Kind, ObjectName, Target, json};
use crate::sync::{self, Inventory};

/// Annotation on the Deployment, set by whoever deploys it without an engine: the commit.
pub const REVISION_ANNOTATION: &str = "tidegate.dev/revision";

/// Where Argo CD keeps its Applications unless a tracking id says otherwise.
const ARGO_NAMESPACE: &str = "argocd";
const ARGO_TRACKING: &str = "argocd.argoproj.io/tracking-id";
const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
const FLUX_NAME: &str = "kustomize.toolkit.fluxcd.io/name";
const FLUX_NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";
/// With these the engine leaves the live Deployment alone, whatever it says it applied.
const FLUX_LEFT_ALONE: [(&str, &[&str]); 2] = [
    ("kustomize.toolkit.fluxcd.io/reconcile", &["disabled"]),
    ("kustomize.toolkit.fluxcd.io/ssa", &["ignore", "ifnotpresent"]),
];
const HELM_NAME: &str = "helm.toolkit.fluxcd.io/name";
/// How long the API server may take to answer what our own sync noted.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// Who brings the Deployment into the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// A Kustomization of Flux.
    Flux { namespace: String, name: String },
    /// A `HelmRelease` of Flux: what it installed cannot be told.
    FluxHelm,
    /// An Application of Argo CD. A label alone may be somebody else's.
    Argo { namespace: String, name: String, certain: bool },
    /// Our own sync.
    Sync,
    /// Somebody who says which commit it is.
    Annotated { revision: String },
    /// Nobody who says so.
    None,
}

/// What the engine's own object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It works on, or is done with, this commit.
    At { revision: GitRevision, applied: bool },
    /// It works on a commit and has not said which.
    NotYet { engine: String },
    /// It is not there, or what it says is no commit.
    Nothing,
}

/// Who brings the Deployment into the cluster, by the marks that engines leave.
pub(super) fn engine_of(deployment: &Value) -> Engine {
    let label = |key| json::label(deployment, key);
    if let Some(id) = json::annotation(deployment, ARGO_TRACKING) {
        let app = id.split(':').next().unwrap_or_default();
        // Applications outside of Argo CD's own namespace are written `namespace_name`.
        let (namespace, name) = app.split_once('_').unwrap_or((ARGO_NAMESPACE, app));
        return argo(namespace, name, true);
    }
    if let (Some(name), Some(namespace)) = (label(FLUX_NAME), label(FLUX_NAMESPACE)) {
        return Engine::Flux { namespace: namespace.to_owned(), name: name.to_owned() };
    }
    if label(HELM_NAME).is_some() {
        return Engine::FluxHelm;
    }
    if writer::of_template(deployment).iter().any(|writer| writer.manager == sync::FIELD_MANAGER) {
        return Engine::Sync;
    }
    if let Some(revision) = json::annotation(deployment, REVISION_ANNOTATION) {
        return Engine::Annotated { revision: revision.to_owned() };
    }
    label(INSTANCE_LABEL).map_or(Engine::None, |name| argo(ARGO_NAMESPACE, name, false))
}

fn argo(namespace: &str, name: &str, certain: bool) -> Engine {
    Engine::Argo { namespace: namespace.to_owned(), name: name.to_owned(), certain }
}

/// Asks the engine's own object.
pub(super) async fn ask(
    cluster: &Cluster,
    target: &Target,
    engine: &Engine,
    deployment: &Value,
) -> Result<Answer, ClusterError> {
    Ok(match engine {
        Engine::Flux { namespace, name } => cluster
            .get(Kind::Kustomization, namespace, name)
            .await?
            .map_or(Answer::Nothing, |found| flux(&found, deployment)),
        Engine::Argo { namespace, name, certain } => cluster
            .get(Kind::Application, namespace, name)
            .await?
            .map_or(Answer::Nothing, |found| argo_says(&found, target, *certain)),
        Engine::Sync => own_sync(&inventories(cluster.client(), target).await?, target),
        Engine::Annotated { revision } => commit(revision)
            .map_or(Answer::Nothing, |revision| Answer::At { revision, applied: true }),
        Engine::FluxHelm | Engine::None => Answer::Nothing,
    })
}

/// Where the template came from: what the engine says, unless somebody else wrote it last.
pub(super) fn deployed(deployment: &Value, engine: &Engine, answer: Answer) -> Deployed {
    let writers = writer::of_template(deployment);
    let others = |writer: &&Writer| writer.manager != FIELD_MANAGER;
    let newest = writers.iter().filter(others).map(|writer| writer.at).max();
    let mut last = writers.iter().filter(others).filter(|writer| Some(writer.at) == newest);
    // Times are whole seconds. Where two wrote within one it was the stranger: a revert of what
    // Git did not bring would hit somebody innocent.
    if let Some(stranger) = last.find(|writer| is_stranger(deployment, engine, &answer, writer)) {
        return Deployed::OutOfBand { writer: Some(stranger.manager.clone()) };
    }
    match answer {
        Answer::At { revision, applied } => Deployed::Git { revision, applied },
        Answer::NotYet { .. } | Answer::Nothing => Deployed::Unknown,
    }
}

/// The writer is not the engine.
fn is_stranger(deployment: &Value, engine: &Engine, answer: &Answer, writer: &Writer) -> bool {
    let manager = writer.manager.as_str();
    match engine {
        Engine::Flux { .. } => manager != "kustomize-controller",
        Engine::FluxHelm => manager != "helm-controller",
        // A label alone is no proof of Argo CD; an Application of that name is.
        Engine::Argo { certain: false, .. } if *answer == Answer::Nothing => is_person(manager),
        // `argocd-server` writes for people who press a button.
        Engine::Argo { .. } => {
            !matches!(manager, "argocd-controller" | "argocd-application-controller")
        }
        Engine::Sync => manager != sync::FIELD_MANAGER,
        Engine::Annotated { .. } => {
            let annotated = writer::of_annotation(deployment, REVISION_ANNOTATION);
            !annotated.iter().any(|other| other.manager == manager)
        }
        Engine::None => is_person(manager),
    }
}

/// Commands for one change by hand; `kubectl apply` may as well be a pipeline.
fn is_person(manager: &str) -> bool {
    ["kubectl-set", "kubectl-edit", "kubectl-rollout", "kubectl-patch"].contains(&manager)
}

fn flux(kustomization: &Value, deployment: &Value) -> Answer {
    let attempted = json::text(kustomization, "/status/lastAttemptedRevision");
    let Some(revision) = attempted.and_then(commit) else { return Answer::Nothing };
    let left_alone = FLUX_LEFT_ALONE.iter().any(|(key, values)| {
        json::annotation(deployment, key)
            .is_some_and(|value| values.contains(&value.to_lowercase().as_str()))
    });
    let applied = json::text(kustomization, "/status/lastAppliedRevision") == attempted
        && json::is_observed(kustomization)
        && !left_alone;
    Answer::At { revision, applied }
}

fn argo_says(application: &Value, target: &Target, certain: bool) -> Answer {
    let is_ours = |part: &&Value| {
        part["kind"] == Kind::Deployment.as_str()
            && part["name"] == target.workload.as_str()
            && part["namespace"] == target.namespace.as_str()
    };
    if !certain && !json::list(application, "/status/resources").iter().any(|part| is_ours(&part)) {
        return Answer::Nothing;
    }
    let Some(operation) = application.pointer("/status/operationState") else {
        return Answer::Nothing;
    };
    let text = |pointer: &str| json::text(operation, pointer).filter(|text| !text.is_empty());
    let runs = matches!(text("/phase"), Some("Running" | "Terminating"));
    let known = text("/syncResult/revision").and_then(commit);
    let meant = text("/operation/sync/revision").and_then(commit);
    let Some(revision) = known.clone().or_else(|| meant.filter(|_| runs)) else {
        let several = !json::list(operation, "/syncResult/revisions").is_empty();
        return if runs && !several {
            let name = json::name(application).unwrap_or_default();
            Answer::NotYet { engine: format!("Application {name}") }
        } else {
            Answer::Nothing
        };
    };
    let mut parts = json::list(operation, "/syncResult/resources").iter();
    let synced = parts.find(is_ours).is_some_and(|part| part["status"] == "Synced");
    let applied = known.is_some() && text("/phase") == Some("Succeeded") && synced;
    Answer::At { revision, applied }
}

fn own_sync(inventories: &[Value], target: &Target) -> Answer {
    let deployment = sync::ObjectRef {
        group: Kind::Deployment.group().to_owned(),
        version: Kind::Deployment.version().to_owned(),
        kind: Kind::Deployment.as_str().to_owned(),
        namespace: Some(target.namespace.clone()),
        name: target.workload.clone(),
    };
    let mut read = inventories.iter().filter_map(Inventory::parse);
    let Some(found) = read.find(|inventory| inventory.objects.contains_key(&deployment.id()))
    else {
        return Answer::Nothing;
    };
    let Some(revision) = found.attempted.as_deref().and_then(commit) else {
        return Answer::Nothing;
    };
    Answer::At { revision, applied: found.revision == found.attempted }
}

/// What our own syncs into this namespace have noted. Read as whole `ConfigMap`s: they are small,
/// and nothing in them is a template.
async fn inventories(client: &Client, target: &Target) -> Result<Vec<Value>, ClusterError> {
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> =
        Api::namespaced(client.clone(), &target.namespace);
    let of_syncs = format!("app.kubernetes.io/managed-by={}", sync::FIELD_MANAGER);
    let params = ListParams::default().labels(&of_syncs);
    let failed = |message: &str| ClusterError::Unavailable {
        object: Box::new(ObjectName {
            kind: Kind::Deployment,
            namespace: Some(target.namespace.clone()),
            name: target.workload.clone(),
        }),
        message: format!("ConfigMaps of its sync: {message}"),
    };
    match tokio::time::timeout(DEADLINE, api.list(&params)).await {
        Ok(Ok(found)) => {
            let objects = found.items.iter().map(serde_json::to_value);
            objects.collect::<Result<_, _>>().map_err(|_| failed("they cannot be read"))
        }
        Ok(Err(kube::Error::Api(status))) => Err(failed(&status.reason)),
        Ok(Err(_)) => Err(failed("there is no answer")),
        Err(_) => Err(failed("there is no answer in time")),
    }
}

/// A commit: 40 hexadecimal digits, as Git has them or as Flux writes them (`main@sha1:<digits>`).
pub(super) fn commit(text: &str) -> Option<GitRevision> {
    let digits = match text.rsplit_once(':') {
        Some((before, digits)) => {
            (before == "sha1" || before.ends_with("@sha1")).then_some(digits)?
        }
        None => text,
    };
    let is_commit = digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| GitRevision::new(digits.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests;
