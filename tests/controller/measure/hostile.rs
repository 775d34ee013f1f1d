//! Stores that answer nothing of use, hang, or ask who it is.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidegate::measure::Credentials;
use tidegate_engine::judge::Counts;
use tokio::net::TcpListener;

use super::{Asking, ERRORS, Store, counts, honest, sum, trouble};

fn plain(status: u16, media: &'static str, body: impl Into<axum::body::Body>) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("content-type", media)], body.into()).into_response()
}

/// What a store answers.
type Canned = fn() -> Response;

#[tokio::test]
async fn what_is_no_answer_is_told_and_is_never_a_count() {
    let cases: [(Canned, &str); 9] = [
        (|| plain(200, "text/html", "<html>t0ken-secret"), "200 with text/html, not with JSON"),
        (|| plain(502, "text/html; charset=x", ""), "502 with text/html, not with JSON"),
        (|| plain(401, "application/json", "{}"), "401: the credentials are missing or refused"),
        (|| plain(302, "text/plain", ""), "302: it is somewhere else"),
        (|| plain(200, "application/json", "{\"status\":"), "with something else than series"),
        (|| plain(503, "application/json", "{\"x\":1}"), "503 with JSON of another form"),
        (
            || {
                let error = json!({"status": "error", "errorType": "execution",
                    "error": "t0ken-secret is not enough"});
                (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(error)).into_response()
            },
            "refuses the query (execution): (secret) is not enough",
        ),
        (
            || {
                let answer = json!({"status": "success", "warnings": ["store 2 is down"],
                    "data": {"resultType": "matrix", "result": []}});
                axum::Json(answer).into_response()
            },
            "warns that its answer is not whole: store 2 is down",
        ),
        (|| plain(200, "application/json", vec![b'['; 17 << 20]), "more than 16777216 bytes"),
    ];
    for (answer, expected) in cases {
        let store = Store::start(move |_| answer()).await;
        let mut asking = Asking::new(&store, ERRORS);
        asking.credentials.bearer = Some("t0ken-secret".into());
        let message = trouble(&asking.look(30).await, "errors");
        assert!(message.contains(expected), "{message}");
        assert!(
            message.starts_with("metric source main answers ")
                || expected.contains("query")
                || expected.contains("warns"),
            "{message}"
        );
        assert!(!message.contains("t0ken"), "{message}");
    }
}

#[tokio::test]
async fn a_store_that_hangs_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = Store::start(honest).await;
    let mut asking = Asking::new(&store, ERRORS);
    asking.spec.url = format!("http://{}", listener.local_addr().unwrap());
    asking.spec.timeout = Some("300ms".into());
    let look = tokio::time::timeout(Duration::from_secs(5), asking.look(30));
    let message = trouble(&look.await.unwrap(), "errors");
    assert_eq!(message, "metric source main does not answer in time");
    drop(listener);
    let message = trouble(&asking.look(30).await, "errors");
    assert!(message.starts_with("metric source main cannot be reached: "), "{message}");
    assert!(!message.contains("http://"), "{message}");
    // It is back, and nothing is missing.
    asking.spec = store.spec();
    let (canary, _) = sum(counts(&asking.look(62).await, "errors"));
    assert_eq!(canary, Counts { total: 300, bad: 150 });
}

#[tokio::test]
async fn credentials_are_sent_and_changed_ones_too() {
    let store = Store::start(honest).await;
    let mut asking = Asking::new(&store, ERRORS);
    asking.credentials.bearer = Some("first".into());
    asking.look(30).await;
    let sent = |store: &Store| store.asked().pop().unwrap().authorization;
    assert_eq!(sent(&store).as_deref(), Some("Bearer first"));
    let basic = tidegate::measure::Basic { username: "ada".into(), password: "pass".into() };
    asking.credentials = Credentials { basic: Some(basic), ..Credentials::default() };
    asking.look(40).await;
    assert_eq!(sent(&store).as_deref(), Some("Basic YWRhOnBhc3M="));
    asking.credentials.certificate_authority = Some("no certificate".to_owned());
    let message = trouble(&asking.look(50).await, "errors");
    assert_eq!(message, "metric source main has certificates that are not in PEM");
}
