//! What is around a trial and decides nothing: what stable's pods need, and what the engine is in
//! the middle of.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_engine::observed::{EngineWork, Pods, TroubleKind};
use tidegate_engine::state::{Stage, State};

use super::deployed::{Engine, commit, engine_of};
use super::trouble::{condition, time};
use crate::kubernetes::{Cluster, ClusterError, Kind, Target, json};

/// The `ConfigMap`s without which no pod of a template starts.
pub(super) fn config_maps(template: &Value) -> BTreeSet<String> {
    let spec = &template["spec"];
    let containers = ["/containers", "/initContainers"].into_iter();
    let containers = containers.flat_map(|list| json::list(spec, list));
    let of_containers = containers.flat_map(|container| {
        let keys = json::list(container, "/env").iter();
        let keys = keys.map(|env| &env["valueFrom"]["configMapKeyRef"]);
        keys.chain(json::list(container, "/envFrom").iter().map(|from| &from["configMapRef"]))
    });
    let of_volumes = json::list(spec, "/volumes").iter().flat_map(|volume| {
        let parts = json::list(volume, "/projected/sources").iter();
        parts.map(|part| &part["configMap"]).chain([&volume["configMap"]])
    });
    let needed = of_containers.chain(of_volumes).filter(|found| found["optional"] != true);
    needed.filter_map(|found| Some(found["name"].as_str()?.to_owned())).collect()
}

/// Which of the `ConfigMap`s that stable's pods need do not exist. Names are all that is asked for,
/// and by the right to list, which our own sync needs anyhow.
pub async fn missing_config_maps(
    cluster: &Cluster,
    target: &Target,
    needed: &BTreeSet<String>,
) -> Result<Vec<String>, ClusterError> {
    if needed.is_empty() {
        return Ok(Vec::new());
    }
    let there = cluster.names(Kind::ConfigMap, &target.namespace).await?;
    let gone = needed.iter().filter(|name| !there.contains(name));
    Ok(gone.map(|name| format!("ConfigMap {name}")).collect())
}

/// What pods of stable that cannot start say is missing. Secrets of tenants are not ours to read,
/// not even by name; a pod that needs one says so.
pub fn said_to_be_missing(stable: &Pods) -> Option<String> {
    let trouble = stable.trouble.as_ref()?;
    let is_missing =
        trouble.kind == TroubleKind::Configuration && trouble.message.contains("not found");
    is_missing.then(|| format!("what one asks for ({})", trouble.message))
}

/// Whether it matters what the engine is in the middle of: the failed template is held, or was
/// written over.
pub(super) fn matters(state: &State) -> bool {
    let Some(trial) = &state.trial else { return state.overwritten.is_some() };
    matches!(trial.stage, Stage::Reverting { .. } | Stage::Restoring { .. } | Stage::Aborted { .. })
}

/// What the engine is in the middle of. An engine that cannot be asked is in the middle of nothing
/// that we know of.
pub(super) async fn engine_work(cluster: &Cluster, deployment: &Value) -> Option<EngineWork> {
    match engine_of(deployment) {
        Engine::Argo { namespace, name, .. } => {
            let found = cluster.get(Kind::Application, &namespace, &name).await.ok()??;
            argo(&found, &namespace, &name)
        }
        Engine::Flux { namespace, name } => {
            let found = cluster.get(Kind::Kustomization, &namespace, &name).await.ok()??;
            flux(&found, &namespace, &name)
        }
        Engine::FluxHelm | Engine::Sync | Engine::Annotated { .. } | Engine::None => None,
    }
}

fn argo(application: &Value, namespace: &str, name: &str) -> Option<EngineWork> {
    let operation = application.pointer("/status/operationState")?;
    let runs = matches!(json::text(operation, "/phase"), Some("Running" | "Terminating"));
    let known = json::text(operation, "/syncResult/revision").and_then(commit);
    let meant = || json::text(operation, "/operation/sync/revision").and_then(commit);
    Some(EngineWork {
        engine: format!("Application {namespace}/{name}"),
        revision: known.or_else(meant).filter(|_| runs)?,
        since: time(operation, "/startedAt"),
        remedy: format!("argocd app terminate-op {namespace}/{name}"),
    })
}

fn flux(kustomization: &Value, namespace: &str, name: &str) -> Option<EngineWork> {
    let reconciling = condition(kustomization, "Reconciling")?;
    let attempted = json::text(kustomization, "/status/lastAttemptedRevision").and_then(commit);
    Some(EngineWork {
        engine: format!("Kustomization {namespace}/{name}"),
        revision: attempted.filter(|_| reconciling["status"] == "True")?,
        since: time(reconciling, "/lastTransitionTime"),
        remedy: format!(
            "it ends at its timeout, then flux reconcile kustomization {name} -n {namespace} \
             --with-source"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidegate_engine::observed::Trouble;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn every_config_map_that_must_be_there_is_found() {
        let template = json!({"spec": {
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "init"}}]}],
            "containers": [{
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "key", "key": "b"}}},
                    {"name": "C", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "c"}}},
                ],
                "envFrom": [
                    {"configMapRef": {"name": "all"}},
                    {"configMapRef": {"name": "perhaps", "optional": true}},
                    {"secretRef": {"name": "secret"}},
                ],
            }],
            "volumes": [
                {"name": "a", "configMap": {"name": "files"}},
                {"name": "b", "projected": {"sources": [
                    {"configMap": {"name": "part"}}, {"secret": {"name": "secret"}},
                ]}},
                {"name": "c", "emptyDir": {}},
            ],
        }});
        let needed: Vec<_> = config_maps(&template).into_iter().collect();
        assert_eq!(needed, ["all", "files", "init", "key", "part"]);
        assert!(config_maps(&json!({})).is_empty());
    }

    #[test]
    fn a_pod_of_stable_that_misses_a_secret_says_so() {
        let pods = |kind, message: &str| Pods {
            trouble: Some(Trouble { kind, message: message.to_owned() }),
            ..Pods::default()
        };
        let missing = pods(TroubleKind::Configuration, "web-1: secret \"token\" not found");
        assert!(said_to_be_missing(&missing).is_some_and(|said| said.contains("token")));
        let wrong = pods(TroubleKind::Configuration, "web-1: runAsUser is invalid");
        assert_eq!(said_to_be_missing(&wrong), None);
        let image = pods(TroubleKind::ImageMissing, "web-1: image not found");
        assert_eq!(said_to_be_missing(&image), None);
        assert_eq!(said_to_be_missing(&Pods::default()), None);
    }

    #[test]
    fn an_operation_that_runs_is_told_with_what_ends_it() {
        let application = |phase: &str| {
            json!({"status": {"operationState": {
                "phase": phase, "startedAt": "2026-01-01T00:00:00Z",
                "syncResult": {"revision": COMMIT},
            }}})
        };
        let work = argo(&application("Running"), "argocd", "web").expect("it runs");
        assert_eq!(work.engine, "Application argocd/web");
        assert_eq!(work.revision.as_str(), COMMIT);
        assert_eq!(work.remedy, "argocd app terminate-op argocd/web");
        assert_eq!(work.since.map(|at| at.timestamp()), Some(1_767_225_600));
        assert_eq!(argo(&application("Succeeded"), "argocd", "web"), None);
        assert_eq!(argo(&json!({}), "argocd", "web"), None);
    }

    #[test]
    fn a_kustomization_that_waits_is_told_with_what_comes_next() {
        let kustomization = |status: &str| {
            json!({"status": {
                "lastAttemptedRevision": format!("main@sha1:{COMMIT}"),
                "conditions": [{"type": "Reconciling", "status": status,
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            }})
        };
        let work = flux(&kustomization("True"), "flux-system", "web").expect("it waits");
        assert_eq!(work.revision.as_str(), COMMIT);
        assert!(work.remedy.contains("flux reconcile kustomization web -n flux-system"));
        assert_eq!(flux(&kustomization("False"), "flux-system", "web"), None);
    }
}
