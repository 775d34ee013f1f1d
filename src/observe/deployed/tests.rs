#![expect(clippy::needless_pass_by_value, reason = "`json!` reads better without `&`")]

use super::*;
use serde_json::json;

use crate::kubernetes::CanaryService;

const GOOD: &str = "1111111111111111111111111111111111111111";
const BAD: &str = "2222222222222222222222222222222222222222";

fn target() -> Target {
    Target {
        namespace: "shop".to_owned(),
        rollout: "web".to_owned(),
        uid: "r".to_owned(),
        workload: "web".to_owned(),
        services: Vec::new(),
        canary_service: CanaryService { name: "web-canary".to_owned(), ours: true },
        routes: Vec::new(),
    }
}

/// A Deployment whose template these managers wrote, each at its second.
fn deployment(writers: &[(&str, u32)]) -> Value {
    let fields: Vec<_> = writers.iter().map(|(manager, second)| entry(manager, *second)).collect();
    json!({"metadata": {"name": "web", "namespace": "shop", "managedFields": fields}})
}

fn entry(manager: &str, second: u32) -> Value {
    json!({
        "manager": manager, "operation": "Update", "apiVersion": "apps/v1",
        "time": format!("2026-05-01T10:00:{second:02}Z"),
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:template": {"f:spec": {}}}},
    })
}

fn flux_deployment(writers: &[(&str, u32)]) -> Value {
    let mut deployment = deployment(writers);
    deployment["metadata"]["labels"] = json!({FLUX_NAME: "apps", FLUX_NAMESPACE: "flux-system"});
    deployment
}

fn kustomization(attempted: &str, applied: &str) -> Value {
    json!({
        "metadata": {"name": "apps", "namespace": "flux-system", "generation": 2},
        "status": {
            "observedGeneration": 2,
            "lastAttemptedRevision": format!("main@sha1:{attempted}"),
            "lastAppliedRevision": format!("main@sha1:{applied}"),
        },
    })
}

fn git(revision: &str, applied: bool) -> Answer {
    Answer::At { revision: GitRevision::new(revision), applied }
}

#[test]
fn engines_are_known_by_their_marks() {
    let marked = |labels: Value, annotations: Value| {
        engine_of(&json!({"metadata": {"labels": labels, "annotations": annotations}}))
    };
    let flux = marked(json!({FLUX_NAME: "apps", FLUX_NAMESPACE: "flux-system"}), json!({}));
    let (namespace, name) = ("flux-system".to_owned(), "apps".to_owned());
    assert_eq!(flux, Engine::Flux { namespace, name });
    let tracked = marked(json!({}), json!({ARGO_TRACKING: "web:apps/Deployment:shop/web"}));
    assert_eq!(tracked, argo("argocd", "web", true));
    let elsewhere = marked(json!({}), json!({ARGO_TRACKING: "team_web:apps/Deployment:shop/web"}));
    assert_eq!(elsewhere, argo("team", "web", true));
    assert_eq!(marked(json!({INSTANCE_LABEL: "web"}), json!({})), argo("argocd", "web", false));
    assert_eq!(marked(json!({HELM_NAME: "web"}), json!({})), Engine::FluxHelm);
    let annotated = marked(json!({}), json!({REVISION_ANNOTATION: GOOD}));
    assert_eq!(annotated, Engine::Annotated { revision: GOOD.to_owned() });
    assert_eq!(engine_of(&deployment(&[("tidegate-sync", 1)])), Engine::Sync);
    assert_eq!(engine_of(&deployment(&[("kubectl", 1)])), Engine::None);
}

#[test]
fn a_commit_is_forty_digits_however_it_is_written() {
    for text in [GOOD.to_owned(), format!("main@sha1:{GOOD}"), format!("sha1:{GOOD}")] {
        assert_eq!(commit(&text), Some(GitRevision::new(GOOD)), "{text}");
    }
    let digest = "3".repeat(64);
    for text in [format!("latest@sha256:{digest}"), digest, "main".to_owned(), String::new()] {
        assert_eq!(commit(&text), None, "{text}");
    }
}

#[test]
fn flux_is_applied_when_it_has_applied_what_it_attempted() {
    let deployment = flux_deployment(&[]);
    assert_eq!(flux(&kustomization(GOOD, GOOD), &deployment), git(GOOD, true));
    assert_eq!(flux(&kustomization(BAD, GOOD), &deployment), git(BAD, false));
    let mut changed = kustomization(GOOD, GOOD);
    changed["metadata"]["generation"] = json!(3);
    assert_eq!(flux(&changed, &deployment), git(GOOD, false));
    assert_eq!(flux(&json!({"status": {}}), &deployment), Answer::Nothing);
}

#[test]
fn a_deployment_that_flux_leaves_alone_is_never_applied() {
    for (key, value) in [
        ("kustomize.toolkit.fluxcd.io/reconcile", "disabled"),
        ("kustomize.toolkit.fluxcd.io/ssa", "IfNotPresent"),
    ] {
        let mut deployment = flux_deployment(&[]);
        deployment["metadata"]["annotations"] = json!({key: value});
        assert_eq!(flux(&kustomization(GOOD, GOOD), &deployment), git(GOOD, false), "{key}");
    }
}

fn application(state: Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "argocd"},
        "status": {
            "sync": {"revision": "9999999999999999999999999999999999999999"},
            "resources": [{"kind": "Deployment", "namespace": "shop", "name": "web"}],
            "operationState": state,
        },
    })
}

fn says(state: Value) -> Answer {
    argo_says(&application(state), &target(), true)
}

#[test]
fn argo_names_the_commit_of_its_operation_and_never_the_compared_one() {
    let part = json!({
        "kind": "Deployment", "namespace": "shop", "name": "web", "status": "Synced",
    });
    let done = json!({
        "phase": "Succeeded", "syncResult": {"revision": BAD, "resources": [part]},
    });
    assert_eq!(says(done.clone()), git(BAD, true));
    let mut partial = done.clone();
    partial["syncResult"]["resources"] = json!([]);
    assert_eq!(says(partial), git(BAD, false), "our Deployment was no part of it");
    let mut runs = done;
    runs["phase"] = json!("Running");
    assert_eq!(says(runs), git(BAD, false));
    assert_eq!(argo_says(&json!({"status": {}}), &target(), true), Answer::Nothing);
}

#[test]
fn an_operation_that_has_just_begun_is_known_by_what_it_was_asked_for() {
    let asked = json!({"phase": "Running", "operation": {"sync": {"revision": BAD}}});
    assert_eq!(says(asked), git(BAD, false));
    let by_hand = json!({"phase": "Running", "operation": {"sync": {}}});
    assert_eq!(says(by_hand), Answer::NotYet { engine: "Application web".to_owned() });
    let branch = json!({"phase": "Running", "operation": {"sync": {"revision": "main"}}});
    assert_eq!(says(branch), Answer::NotYet { engine: "Application web".to_owned() });
    let failed = json!({"phase": "Error", "operation": {"sync": {"revision": BAD}}});
    assert_eq!(says(failed), Answer::Nothing, "nothing of it was applied");
    let several = json!({"phase": "Running", "syncResult": {"revisions": [GOOD, BAD]}});
    assert_eq!(says(several), Answer::Nothing, "which of the sources it was cannot be told");
}

#[test]
fn an_application_that_only_shares_a_label_is_not_believed() {
    let mut other = application(json!({"phase": "Succeeded", "syncResult": {"revision": BAD}}));
    assert_eq!(argo_says(&other, &target(), false), git(BAD, false));
    other["status"]["resources"] = json!([]);
    assert_eq!(argo_says(&other, &target(), false), Answer::Nothing);
}

#[test]
fn our_own_sync_names_what_it_sends_before_it_is_done() {
    let inventory = |revision: &str, attempted: &str, object: &str| {
        json!({
            "metadata": {"resourceVersion": "1"},
            "data": {
                "revision": revision, "attemptedRevision": attempted,
                "objects": format!("{object} v1\n"),
            },
        })
    };
    let ours = "shop_web_apps_Deployment";
    assert_eq!(own_sync(&[inventory(GOOD, BAD, ours)], &target()), git(BAD, false));
    assert_eq!(own_sync(&[inventory(GOOD, GOOD, ours)], &target()), git(GOOD, true));
    let other = inventory(GOOD, GOOD, "shop_api_apps_Deployment");
    assert_eq!(own_sync(std::slice::from_ref(&other), &target()), Answer::Nothing);
    let both = [other, inventory(GOOD, BAD, ours)];
    assert_eq!(own_sync(&both, &target()), git(BAD, false));
}

fn from_flux(writers: &[(&str, u32)], answer: Answer) -> Deployed {
    let deployment = flux_deployment(writers);
    deployed(&deployment, &engine_of(&deployment), answer)
}

fn by(writer: &str) -> Deployed {
    Deployed::OutOfBand { writer: Some(writer.to_owned()) }
}

#[test]
fn whoever_wrote_the_template_last_brought_it() {
    let engine = ("kustomize-controller", 10);
    let from_git = Deployed::Git { revision: GitRevision::new(BAD), applied: false };
    assert_eq!(from_flux(&[engine], git(BAD, false)), from_git);
    assert_eq!(from_flux(&[engine, ("kubectl-set", 20)], git(BAD, false)), by("kubectl-set"));
    assert_eq!(from_flux(&[engine, ("Reloader", 20)], git(BAD, false)), by("Reloader"));
    assert_eq!(from_flux(&[("Reloader", 5), engine], git(BAD, false)), from_git);
    let same_second = [engine, ("kubectl-edit", 10)];
    assert_eq!(from_flux(&same_second, git(BAD, false)), by("kubectl-edit"));
}

#[test]
fn what_we_wrote_ourselves_and_what_is_not_the_template_says_nothing() {
    let engine = ("kustomize-controller", 10);
    let from_git = Deployed::Git { revision: GitRevision::new(GOOD), applied: true };
    assert_eq!(from_flux(&[engine, ("tidegate", 20)], git(GOOD, true)), from_git);
    let mut scaled = flux_deployment(&[engine]);
    let fields = scaled["metadata"]["managedFields"].as_array_mut().expect("a list");
    let mut scale = entry("kubectl", 20);
    scale["subresource"] = json!("scale");
    fields.push(scale);
    let mut replicas = entry("kubectl", 21);
    replicas["fieldsV1"] = json!({"f:spec": {"f:replicas": {}}});
    fields.push(replicas);
    assert_eq!(deployed(&scaled, &engine_of(&scaled), git(GOOD, true)), from_git);
}

#[test]
fn a_template_without_an_engine_is_unknown_unless_a_hand_is_seen() {
    let none = |writers| deployed(&deployment(writers), &Engine::None, Answer::Nothing);
    assert_eq!(none(&[("kubectl-client-side-apply", 1)]), Deployed::Unknown);
    assert_eq!(none(&[("kubectl-client-side-apply", 1), ("kubectl-set", 2)]), by("kubectl-set"));
    assert_eq!(none(&[]), Deployed::Unknown);
}

#[test]
fn the_button_of_argo_is_a_person() {
    let mut restarted = deployment(&[("argocd-controller", 1), ("argocd-server", 2)]);
    restarted["metadata"]["annotations"] = json!({ARGO_TRACKING: "web:apps/Deployment:shop/web"});
    let engine = engine_of(&restarted);
    assert_eq!(deployed(&restarted, &engine, git(GOOD, true)), by("argocd-server"));
}

#[test]
fn an_annotated_commit_is_believed_of_whoever_wrote_both() {
    let mut deployed_by_ci = deployment(&[("ci", 1)]);
    deployed_by_ci["metadata"]["annotations"] = json!({REVISION_ANNOTATION: GOOD});
    let field = format!("f:{REVISION_ANNOTATION}");
    let fields = deployed_by_ci["metadata"]["managedFields"].as_array_mut().expect("a list");
    fields[0]["fieldsV1"]["f:metadata"] = json!({"f:annotations": {field: {}}});
    let engine = engine_of(&deployed_by_ci);
    let from_git = Deployed::Git { revision: GitRevision::new(GOOD), applied: true };
    assert_eq!(deployed(&deployed_by_ci, &engine, git(GOOD, true)), from_git);
    let fields = deployed_by_ci["metadata"]["managedFields"].as_array_mut().expect("a list");
    fields.push(entry("kubectl-edit", 2));
    assert_eq!(deployed(&deployed_by_ci, &engine, git(GOOD, true)), by("kubectl-edit"));
}
