use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use tidegate_engine::plan::Weight;
use tidegate_engine::state::{Place, Revision, TrialId};

use super::*;
use crate::kubernetes::web;

fn call() -> GateCall {
    GateCall {
        gate: "smoke".to_owned(),
        place: Place::Start,
        trial: TrialId::new("t1"),
        revision: Revision::new("a1"),
        git: None,
        weight: Weight::ZERO,
        step: 0,
    }
}

fn query(posts: bool) -> GateQuery {
    let (service, path) = ("tester".to_owned(), "/ready?of=web".to_owned());
    GateQuery::Http(HttpQuery { service, port: 80, path, posts })
}

/// An API server that has these objects, each below a part of the path that it is asked by.
fn cluster(objects: Vec<(&'static str, Value)>) -> Cluster {
    let router = Router::new().fallback(move |request: Request| {
        let asked = request.uri().path().to_owned();
        let found =
            objects.iter().find(|(path, _)| asked.ends_with(path)).map(|(_, it)| it.clone());
        async move {
            if let Some(found) = found {
                return Json(found).into_response();
            }
            let gone = json!({"kind": "Status", "code": 404, "reason": "NotFound"});
            (StatusCode::NOT_FOUND, Json(gone)).into_response()
        }
    });
    Cluster::new(kube::Client::new(router, "default"))
}

/// What a tester was asked: host, path, body.
type Asked = Arc<Mutex<Vec<(String, String, String)>>>;

/// A pod's server, which answers like this.
async fn tester(status: u16, body: &'static str) -> (SocketAddr, Asked) {
    async fn answer(
        State((status, body, asked)): State<(u16, &'static str, Asked)>,
        request: Request,
    ) -> Response {
        let (parts, sent) = request.into_parts();
        let host = parts.headers.get(HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let sent = axum::body::to_bytes(sent, 10_000).await.expect("a body");
        let sent = String::from_utf8_lossy(&sent).into_owned();
        let all = (host.to_owned(), parts.uri.to_string(), sent);
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(all);
        let status = StatusCode::from_u16(status).expect("a status");
        (status, [("location", "http://elsewhere.example.com/")], body).into_response()
    }
    let asked = Asked::default();
    let app = Router::new().fallback(answer).with_state((status, body, asked.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, asked)
}

fn client() -> reqwest::Client {
    crate::git::init_tls();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    client.no_proxy().build().expect("a client")
}

fn service(port: u16) -> Value {
    json!({"metadata": {"name": "tester"}, "spec": {"selector": {"app": "tester"},
        "ports": [{"port": port, "targetPort": "http"}]}})
}

fn pods(address: SocketAddr, ready: &str) -> Value {
    json!({"items": [{"metadata": {"name": "tester-1"},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": address.port()}]}]},
        "status": {"phase": "Running", "podIP": address.ip().to_string(),
            "conditions": [{"type": "Ready", "status": ready}]}}]})
}

async fn says(status: u16, body: &'static str) -> (GateSays, String) {
    let (address, _) = tester(status, body).await;
    let cluster =
        cluster(vec![("/services/tester", service(80)), ("/pods", pods(address, "True"))]);
    let seen = ask_gate(&cluster, &client(), &web(), &query(false), &call()).await;
    (seen.says, seen.line)
}

#[tokio::test]
async fn a_service_says_yes_or_no_and_all_else_is_neither() {
    let line = |line: &str| line.to_owned();
    assert_eq!(says(200, "all is well").await, (GateSays::Open, line("")));
    assert_eq!(says(204, "").await, (GateSays::Open, line("")));
    let why = r#"{"message": "3 of 20\nchecks \u0007 failed", "stack": "…"}"#;
    assert_eq!(says(409, why).await, (GateSays::Refused, line("3 of 20 checks failed")));
    let waits = r#"{"message": "waits for ann"}"#;
    assert_eq!(says(202, waits).await, (GateSays::NotYet, line("waits for ann")));
    for status in [301, 302, 400, 401, 403, 404, 425, 429, 500, 503] {
        let expected = format!("answered {status}");
        assert_eq!(says(status, "<html>").await, (GateSays::NotYet, expected));
    }
}

#[tokio::test]
async fn a_post_tells_which_trial_it_is_about() {
    let (address, asked) = tester(200, "").await;
    let cluster =
        cluster(vec![("/services/tester", service(80)), ("/pods", pods(address, "True"))]);
    for posts in [false, true] {
        ask_gate(&cluster, &client(), &web(), &query(posts), &call()).await;
    }
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    let (host, path) = ("tester.shop.svc:80".to_owned(), "/ready?of=web".to_owned());
    assert_eq!(asked[0], (host.clone(), path.clone(), String::new()));
    assert_eq!((&asked[1].0, &asked[1].1), (&host, &path));
    let body: Value = serde_json::from_str(&asked[1].2).expect("JSON");
    let expected = json!({"namespace": "shop", "rollout": "web", "trial": "t1", "revision": "a1",
        "git": null, "gate": "smoke", "at": "Start", "step": 0, "weight": 0});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn only_ready_pods_of_a_service_that_selects_them_are_asked() {
    let (address, asked) = tester(200, "").await;
    let up = pods(address, "True");
    let outside = json!({"metadata": {"name": "tester"},
        "spec": {"type": "ExternalName", "externalName": "db.internal", "ports": [{"port": 80}]}});
    let cases = [
        (vec![], "there is no Service tester"),
        (
            vec![("/services/tester", outside), ("/pods", up.clone())],
            "Service tester does not select pods by itself",
        ),
        (vec![("/services/tester", service(81)), ("/pods", up)], "Service tester has no port 80"),
        (
            vec![("/services/tester", service(80)), ("/pods", pods(address, "False"))],
            "no pod of Service tester is ready",
        ),
    ];
    for (objects, expected) in cases {
        let cluster = cluster(objects);
        let seen = ask_gate(&cluster, &client(), &web(), &query(false), &call()).await;
        assert_eq!((seen.says, seen.line.as_str()), (GateSays::NotYet, expected));
    }
    assert_eq!(*asked.lock().unwrap_or_else(PoisonError::into_inner), []);
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = nobody.local_addr().expect("an address");
    drop(nobody);
    let cluster = cluster(vec![("/services/tester", service(80)), ("/pods", pods(at, "True"))]);
    let seen = ask_gate(&cluster, &client(), &web(), &query(false), &call()).await;
    assert_eq!(seen.says, GateSays::NotYet);
    assert!(seen.line.starts_with("cannot be reached: "), "{}", seen.line);
}

#[tokio::test]
async fn a_job_says_what_became_of_it() {
    let name = names::gate_job_name("web", &call());
    let path: &'static str = format!("/jobs/{name}").leak();
    let job = |trial: &str, conditions: Value| {
        json!({"metadata": {"name": name, "labels": {"tidegate.dev/trial": trial}},
            "status": {"conditions": conditions}})
    };
    let failed = json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]);
    let pod = |message: Value| {
        json!({"items": [{"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"containerStatuses":
                [{"state": {"terminated": {"exitCode": 3, "message": message}}}]}}]})
    };
    let done = json!([{"type": "Complete", "status": "True"}]);
    let cases = [
        (vec![], GateSays::NotRun, String::new()),
        (vec![(path, job("t1", json!([])))], GateSays::NotYet, format!("Job {name} runs")),
        (vec![(path, job("t1", done.clone()))], GateSays::Open, format!("Job {name} is complete")),
        (
            vec![(path, job("t2", done))],
            GateSays::NotYet,
            format!("Job {name} belongs to somebody else"),
        ),
        (
            vec![(path, job("t1", failed.clone())), ("/pods", pod(json!("/checkout:\n500")))],
            GateSays::Refused,
            format!("Job {name}: BackoffLimitExceeded: /checkout: 500"),
        ),
        (
            vec![(path, job("t1", failed.clone())), ("/pods", pod(json!(null)))],
            GateSays::Refused,
            format!("Job {name}: BackoffLimitExceeded: exit code 3"),
        ),
        (
            vec![(path, job("t1", failed))],
            GateSays::Refused,
            format!("Job {name}: BackoffLimitExceeded"),
        ),
    ];
    let query = GateQuery::Job { cron_job: "smoke".to_owned() };
    for (objects, says, line) in cases {
        let cluster = cluster(objects);
        let seen = ask_gate(&cluster, &client(), &web(), &query, &call()).await;
        assert_eq!((seen.says, seen.line), (says, line));
    }
}
