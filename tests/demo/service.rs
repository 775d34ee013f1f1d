//! The sample service as a process of its own.

use std::process::Stdio;

use hyper::StatusCode;
use tidegate::demo::service::Listening;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{PATIENCE, binary, get};

/// A service and what it said it listens on.
async fn start(arguments: &[&str]) -> (Child, Listening) {
    let mut child = Command::new(binary())
        .arg("sample-service")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

#[tokio::test]
async fn it_answers_with_its_name_and_counts_what_it_answered() {
    let (_child, listening) =
        start(&["--version=v7", "--pod=shop-1", "--latency-median=1ms", "--start-delay=0ms"]).await;
    assert_eq!((listening.version.as_str(), listening.pod.as_str()), ("v7", "shop-1"));
    for _ in 0..3 {
        let answer = get(listening.address, "/").await;
        assert_eq!(answer, (StatusCode::OK, "v7 shop-1\n".to_owned()));
    }
    let (status, metrics) = get(listening.address, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(metrics.contains("http_requests_total{code=\"200\",method=\"GET\"} 3\n"), "{metrics}");
    assert!(!metrics.contains("code=\"500\""), "no error yet, no series: {metrics}");
    assert!(
        metrics.contains("http_request_duration_seconds_count{method=\"GET\"} 3\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_error_series_is_born_with_the_first_error() {
    let (_child, listening) =
        start(&["--version=v2", "--error-rate=1", "--latency-median=1ms"]).await;
    let (status, _) = get(listening.address, "/").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let (_, metrics) = get(listening.address, "/metrics").await;
    assert!(metrics.contains("http_requests_total{code=\"500\",method=\"GET\"} 1\n"), "{metrics}");
    assert!(metrics.contains("http_requests_total{code=\"200\",method=\"GET\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn it_is_not_ready_before_its_delay() {
    let (_child, listening) = start(&["--version=v1", "--start-delay=10m"]).await;
    assert_eq!(get(listening.address, "/healthz").await.0, StatusCode::OK);
    assert_eq!(get(listening.address, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn it_ends_well_when_its_standard_input_ends() {
    let (mut child, listening) = start(&["--version=v1", "--drain-delay=0ms"]).await;
    drop(child.stdin.take());
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert!(tokio::net::TcpStream::connect(listening.address).await.is_err());
}

#[tokio::test]
async fn on_sigterm_it_answers_what_is_open_and_is_not_ready_meanwhile() {
    let (mut child, listening) = start(&[
        "--version=v1",
        "--start-delay=0ms",
        "--latency-median=700ms",
        "--latency-sigma=0",
        "--drain-delay=1500ms",
    ])
    .await;
    let open = tokio::spawn(async move { get(listening.address, "/").await });
    // That the request has arrived cannot be seen from here; too early would do no harm either.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let kill = Command::new("kill").arg(child.id().unwrap().to_string()).status().await.unwrap();
    assert!(kill.success());
    timeout(PATIENCE, async {
        while get(listening.address, "/readyz").await.0 == StatusCode::OK {}
    })
    .await
    .unwrap();
    assert_eq!(open.await.unwrap().0, StatusCode::OK);
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn it_crashes_when_it_is_told_to_and_says_so() {
    let mut child = Command::new(binary())
        .args(["sample-service", "--version=v1", "--crash-after=10ms"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // Held open: waiting would close it, and that is another reason to end.
    let _stdin = child.stdin.take();
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(1));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "tidegate: crashed after 10 ms, as it was told\n");
}
