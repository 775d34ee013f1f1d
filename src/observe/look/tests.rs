use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use kube::{Client, Config};
use serde_json::json;
use tidegate_engine::observed::{Pinned, RouteView, TroubleKind};
use tidegate_engine::state::{Cause, GitRevision, Origin, Stable, Trial, TrialId};

use super::*;
use crate::kubernetes::{revision_of, web};

const GOOD: &str = "1111111111111111111111111111111111111111";
const BAD: &str = "2222222222222222222222222222222222222222";

/// Answers by path: one after the other, the last one for ever. A number is an error's code.
type Answers = Arc<Mutex<HashMap<String, Vec<Value>>>>;

async fn answer(Shared(answers): Shared<Answers>, uri: Uri) -> Response {
    let mut answers = answers.lock().expect("no panic before");
    let missing = || vec![json!(404)];
    let next = answers.entry(uri.path().to_owned()).or_insert_with(missing);
    let next = if next.len() > 1 { next.remove(0) } else { next[0].clone() };
    let Some(code) = next.as_u64() else { return next.to_string().into_response() };
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": "No"});
    let code = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    (code.expect("a code"), status.to_string()).into_response()
}

async fn cluster(objects: &[(&str, Value)]) -> (Cluster, Answers) {
    let mut answers: HashMap<String, Vec<Value>> = HashMap::new();
    for (path, object) in objects {
        answers.entry((*path).to_owned()).or_default().push(object.clone());
    }
    let answers = Arc::new(Mutex::new(answers));
    let app = Router::new().fallback(answer).with_state(answers.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut config = Config::new(format!("http://{address}").parse().expect("a URL"));
    config.default_retry = false;
    (Cluster::new(Client::try_from(config).expect("a client")), answers)
}

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const SERVICE: &str = "/api/v1/namespaces/shop/services/web";
const ROUTE: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/web";
const FLUX: &str =
    "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/apps";
const NODE: &str = "/api/v1/nodes/one";

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}]},
    })
}

fn revision(image: &str) -> Revision {
    revision_of(&template(image))
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "d", "generation": 2,
            "annotations": {"deployment.kubernetes.io/revision": "1"},
            "labels": {
                "kustomize.toolkit.fluxcd.io/name": "apps",
                "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
            },
        },
        "spec": {
            "replicas": 2, "paused": true, "template": template(image),
            "selector": {"matchLabels": {"app": "web"}},
        },
        "status": {"observedGeneration": 2},
    })
}

/// Stable's set and the canary's.
fn sets() -> Value {
    let set = |name: &str, uid: &str, hash: &str, image: &str, owner: Value, replicas: u32| {
        let mut template = template(image);
        template["metadata"]["labels"][POD_TEMPLATE_HASH] = json!(hash);
        json!({
            "metadata": {
                "name": name, "uid": uid, "generation": 1,
                "creationTimestamp": "2026-05-01T09:00:00Z",
                "labels": {"app": "web", POD_TEMPLATE_HASH: hash},
                "annotations": {"deployment.kubernetes.io/revision": "1"},
                "ownerReferences": [owner],
            },
            "spec": {"replicas": replicas, "template": template},
            "status": {"replicas": replicas, "observedGeneration": 1},
        })
    };
    let own =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "uid": "d", "controller": true});
    let canary = revision("web:2");
    let name = format!("web-{canary}");
    let made = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "name": name, "uid": "c",
        "controller": true,
    });
    json!({"items": [
        set("web-5d1", "s1", "5d1", "web:1", own, 2),
        set(&name, "s2", canary.as_str(), "web:2", made, 1),
    ]})
}

fn pod(name: &str, set: &str, ready: bool) -> Value {
    json!({
        "metadata": {
            "name": name, "uid": name, "creationTimestamp": "2026-05-01T09:00:00Z",
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": set, "controller": true,
            }],
        },
        "spec": {"nodeName": "one"},
        "status": {
            "phase": "Running", "podIP": "10.244.0.5",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "containerStatuses": [{"name": "web", "ready": ready, "restartCount": 1}],
        },
    })
}

fn pods() -> Value {
    json!({"items": [
        pod("web-5d1-a", "s1", true), pod("web-5d1-b", "s1", true), pod("web-a-c", "s2", false),
        pod("stranger", "s9", true),
    ]})
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "web", "namespace": "shop",
            "annotations": {"tidegate.dev/break-glass": "incident 7"},
        },
        "spec": {"selector": {"app": "web", "pod-template-hash": "5d1"}},
    })
}

fn route() -> Value {
    let conditions = json!([
        {"type": "Accepted", "status": "True", "observedGeneration": 1},
        {"type": "ResolvedRefs", "status": "True", "observedGeneration": 1},
    ]);
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": "shop", "generation": 1},
        "spec": {
            "parentRefs": [{"name": "front"}],
            "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
        },
        "status": {"parents": [{"parentRef": {"name": "front"}, "conditions": conditions}]},
    })
}

fn flux(attempted: &str, applied: &str) -> Value {
    json!({
        "metadata": {"name": "apps", "generation": 1},
        "status": {
            "observedGeneration": 1,
            "lastAttemptedRevision": format!("main@sha1:{attempted}"),
            "lastAppliedRevision": format!("main@sha1:{applied}"),
        },
    })
}

fn shop(deployments: &[Value], kustomizations: &[Value]) -> Vec<(&'static str, Value)> {
    let deployments = deployments.iter().map(|object| (DEPLOYMENT, object.clone()));
    let kustomizations = kustomizations.iter().map(|object| (FLUX, object.clone()));
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let others =
        [(SETS, sets()), (PODS, pods()), (SERVICE, service()), (ROUTE, route()), (NODE, ready)];
    deployments.chain(kustomizations).chain(others).collect()
}

fn now() -> DateTime<Utc> {
    "2026-05-01T10:00:00Z".parse().expect("a time")
}

fn rest() -> State {
    State { stable: Some(Stable { revision: revision("web:1"), git: None }), ..State::default() }
}

fn on_trial(stage: Stage) -> State {
    let trial = Trial {
        id: TrialId::new("t"),
        canary: revision("web:2"),
        origin: Origin::Unknown,
        started: now(),
        ready: None,
        shared: None,
        home: None,
        skip: None,
        handed: false,
        gates: None,
        class: None,
        stands: None,
        alone: false,
        surged: false,
        told: Vec::new(),
        stage,
    };
    State { trial: Some(trial), ..rest() }
}

fn asked(state: &State) -> Questions {
    let canary = state.trial.as_ref().map(|trial| trial.canary.clone());
    Questions { canary, samples: None, revert: None, gates: Vec::new() }
}

async fn seen(objects: Vec<(&str, Value)>, state: &State) -> Result<Seen, ObserveError> {
    let (cluster, _) = cluster(&objects).await;
    look(&cluster, &web(), &asked(state), state, now()).await
}

fn from_git(seen: &Seen) -> Option<(GitRevision, bool)> {
    match &seen.workload.as_ref()?.deployed {
        Deployed::Git { revision, applied } => Some((revision.clone(), *applied)),
        Deployed::OutOfBand { .. } | Deployed::Unknown => None,
    }
}

#[tokio::test]
async fn one_look_sees_everything_of_a_trial() {
    let state = on_trial(Stage::Settling { since: now() });
    let objects = shop(&[deployment("web:2")], &[flux(BAD, GOOD)]);
    let seen = seen(objects, &state).await.expect("facts");
    let workload = seen.workload.clone().expect("a Deployment");
    assert_eq!(workload.template, revision("web:2"));
    assert_eq!(workload.adopted, Some(revision("web:1")));
    assert!(workload.settled && workload.paused);
    assert_eq!(from_git(&seen), Some((GitRevision::new(BAD), false)));
    assert_eq!((seen.stable.desired, seen.stable.ready), (2, 2));
    assert_eq!((seen.canary.desired, seen.canary.ready, seen.canary.exists), (1, 0, true));
    assert_eq!(seen.traffic.pinned, Pinned::To(revision("web:1")));
    assert_eq!(seen.traffic.route, Some(RouteView::Home));
    let names: Vec<_> = seen.stable_pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["web-5d1-a", "web-5d1-b"]);
    let canary = &seen.canary_pods[0];
    assert_eq!((canary.ip.as_deref(), canary.restarts), (Some("10.244.0.5"), 1));
    assert!(!canary.ready && !canary.gone && canary.created.is_some());
    assert_eq!(seen.freed, ["Service web: incident 7"]);
    assert_eq!(seen.workload_uid.as_deref(), Some("d"));
}

#[tokio::test]
async fn who_only_watches_sees_the_pods_that_the_deployment_made() {
    let mut state = on_trial(Stage::Watching { since: now() });
    if let Some(trial) = &mut state.trial {
        trial.canary = revision("web:1");
    }
    state.stable = None;
    let objects = shop(&[deployment("web:1")], &[flux(GOOD, GOOD)]);
    let seen = seen(objects, &state).await.expect("facts");
    assert_eq!((seen.canary.desired, seen.canary_pods.len()), (2, 2));
}

#[tokio::test]
async fn pods_that_the_deployment_has_taken_are_judged_as_its_own() {
    let part = tidegate_engine::state::Promotion::Surging;
    let mut state = on_trial(Stage::Promoting { part, since: now() });
    if let Some(trial) = &mut state.trial {
        (trial.canary, trial.handed, trial.surged) = (revision("web:1"), true, true);
    }
    state.stable = Some(Stable { revision: revision("web:0"), git: None });
    let objects = shop(&[deployment("web:1")], &[flux(GOOD, GOOD)]);
    let seen = seen(objects, &state).await.expect("facts");
    assert!(!seen.canary.exists, "it is not ours any more");
    assert_eq!((seen.taken.desired, seen.canary_pods.len()), (2, 2));
}

#[tokio::test]
async fn after_a_bypass_our_set_of_the_same_template_is_still_seen() {
    let mut state = on_trial(Stage::Aborting { cause: Cause::Bypassed, since: now() });
    state.stable = Some(Stable { revision: revision("web:2"), git: None });
    let mut free = deployment("web:2");
    free["spec"]["paused"] = json!(false);
    let objects = shop(&[free], &[flux(BAD, GOOD)]);
    let seen = seen(objects, &state).await.expect("facts");
    assert!(seen.canary.exists, "nobody would take it away");
    assert!(!seen.stable.exists, "it is not the Deployment's");
}

#[tokio::test]
async fn a_node_that_is_lost_is_its_pods_trouble() {
    let state = on_trial(Stage::Starting { since: now() });
    let mut objects = shop(&[deployment("web:2")], &[flux(BAD, GOOD)]);
    objects.retain(|(path, _)| *path != NODE);
    let seen = seen(objects, &state).await.expect("facts");
    let trouble = seen.canary.trouble.expect("a trouble");
    assert_eq!(trouble.kind, TroubleKind::Node);
    assert_eq!(trouble.message, "web-a-c: node one is gone");
    assert_eq!(seen.stable.trouble, None, "its pods are ready");
}

#[tokio::test]
async fn a_node_that_may_not_be_asked_for_is_taken_as_sound() {
    let state = on_trial(Stage::Starting { since: now() });
    let mut objects = shop(&[deployment("web:2")], &[flux(BAD, GOOD)]);
    objects.retain(|(path, _)| *path != NODE);
    objects.push((NODE, json!(403)));
    let seen = seen(objects, &state).await.expect("facts");
    assert_eq!(seen.canary.trouble, None);
}

#[tokio::test]
async fn a_commit_that_was_applied_while_we_looked_is_not_called_good() {
    // Flux has attempted and applied the bad commit between our two looks at the Deployment.
    let looks = [deployment("web:1"), deployment("web:2")];
    let objects = shop(&looks, &[flux(GOOD, GOOD), flux(BAD, BAD)]);
    let seen = seen(objects, &rest()).await.expect("facts");
    assert_eq!(seen.workload.as_ref().map(|work| &work.template), Some(&revision("web:2")));
    assert_eq!(from_git(&seen), Some((GitRevision::new(BAD), false)));
}

#[tokio::test]
async fn at_rest_the_applied_commit_is_good() {
    let objects = shop(&[deployment("web:1")], &[flux(GOOD, GOOD)]);
    let seen = seen(objects, &rest()).await.expect("facts");
    assert_eq!(from_git(&seen), Some((GitRevision::new(GOOD), true)));
    assert!(!seen.canary.exists && seen.canary_pods.is_empty());
}

#[tokio::test]
async fn an_engine_that_cannot_be_asked_stops_a_start_and_never_a_way_home() {
    let objects = shop(&[deployment("web:2")], &[json!(500)]);
    let error = seen(objects.clone(), &rest()).await.expect_err("no facts");
    assert!(matches!(error, ObserveError::Cluster(_)), "{error:?}");
    let cause = Cause::Superseded;
    let home = on_trial(Stage::Aborting { cause: cause.clone(), since: now() });
    let found = seen(objects.clone(), &home).await.expect("facts");
    assert_eq!(from_git(&found), None);
    let restoring = on_trial(Stage::Restoring { cause, revert: None, since: now() });
    seen(objects, &restoring).await.expect_err("the revision counts again");
}

#[tokio::test]
async fn a_new_template_waits_for_an_engine_that_has_not_said_what_it_applies() {
    let argo = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/web";
    let tracking = json!({"argocd.argoproj.io/tracking-id": "web:apps/Deployment:shop/web"});
    let application = json!({
        "metadata": {"name": "web"}, "status": {"operationState": {"phase": "Running"}},
    });
    let objects = |image: &str| {
        let mut deployment = deployment(image);
        deployment["metadata"]["annotations"] = tracking.clone();
        let mut objects = shop(&[deployment], &[]);
        objects.push((argo, application.clone()));
        objects
    };
    let error = seen(objects("web:2"), &rest()).await.expect_err("no facts");
    assert_eq!(error.to_string(), "Application web applies a commit and has not said yet which");
    assert!(seen(objects("web:1"), &rest()).await.is_ok(), "nothing waits");
    let starting = on_trial(Stage::Starting { since: now() });
    assert!(seen(objects("web:2"), &starting).await.is_ok(), "it is pinned already");
}

#[tokio::test]
async fn without_a_deployment_what_we_made_is_still_seen() {
    let state = on_trial(Stage::Starting { since: now() });
    let objects = shop(&[json!(404)], &[]);
    let found = seen(objects, &state).await.expect("facts");
    assert_eq!(found.workload, None);
    assert!(found.canary.exists && !found.stable.exists);
    assert_eq!(found.traffic.pinned, Pinned::Mixed, "stable's set is nobody's any more");
}

#[tokio::test]
async fn a_list_that_fails_is_no_empty_list() {
    let mut objects = shop(&[deployment("web:1")], &[flux(GOOD, GOOD)]);
    objects.retain(|(path, _)| *path != PODS);
    objects.push((PODS, json!(503)));
    assert!(seen(objects, &rest()).await.is_err());
}

#[test]
fn a_look_can_be_moved_between_threads() {
    fn is_send<T: Send>(_: impl Fn(Cluster, Target, Questions, State) -> T) {}
    is_send(|cluster, target, asked, state| async move {
        look(&cluster, &target, &asked, &state, now()).await.map(drop)
    });
}
