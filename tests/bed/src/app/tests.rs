use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;

struct Pod {
    address: SocketAddr,
    service: Arc<Service>,
    stop: tokio::sync::oneshot::Sender<()>,
    end: JoinHandle<anyhow::Result<End>>,
}

async fn pod(knobs: Knobs) -> Pod {
    let identity = Identity {
        pod: HeaderValue::from_static("web-7d9f-x1"),
        version: HeaderValue::from_static("v2"),
        revision: Some("abc123".to_owned()),
    };
    let knobs = Knobs { latency_median_ms: 0.0, drain_delay_ms: 0, ..knobs };
    let service = Service::new(identity, knobs);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let end = tokio::spawn(service.clone().serve(listener, async {
        let _ = stopped.await;
    }));
    Pod { address, service, stop, end }
}

struct Answer {
    head: hyper::http::response::Parts,
    body: String,
}

async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: String,
) -> anyhow::Result<Answer> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let asked = client.request(request.body(Full::from(body))?);
    let (head, body) = timeout(Duration::from_secs(1), asked).await??.into_parts();
    let body = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
    Ok(Answer { head, body })
}

impl Pod {
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        send(self.address, Method::GET, path, headers, String::new()).await
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path, &[]).await.unwrap().head.status.as_u16()
    }

    async fn turn(&self, knobs: Value) -> u16 {
        let json = [("content-type", "application/json")];
        let body = knobs.to_string();
        let answer = send(self.address, Method::PUT, "/bed/knobs", &json, body).await;
        answer.unwrap().head.status.as_u16()
    }
}

#[tokio::test]
async fn answers_say_who_answers() {
    let pod = pod(Knobs::default()).await;
    let answer = pod.get("/any/path", &[]).await.unwrap();
    assert_eq!(answer.head.headers["x-pod"], "web-7d9f-x1");
    assert_eq!(answer.head.headers["x-version"], "v2");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body, json!({"pod": "web-7d9f-x1", "version": "v2", "revision": "abc123"}));
    assert_eq!((pod.status("/healthz").await, pod.status("/readyz").await), (200, 200));
}

#[tokio::test]
async fn metrics_count_requests_and_not_probes() {
    let pod = pod(Knobs::default()).await;
    pod.status("/").await;
    pod.status("/healthz").await;
    let text = pod.get("/metrics", &[]).await.unwrap().body;
    assert!(text.contains("\nhttp_requests_total{code=\"200\",method=\"GET\",path=\"/\"} 1\n"));
    assert!(!text.contains("500") && !text.contains("healthz"), "{text}");
    pod.get("/", &[("x-bed-fail", "500")]).await.unwrap();
    pod.turn(json!({"count_probes": true})).await;
    pod.status("/healthz").await;
    let text = pod.get("/metrics", &[]).await.unwrap().body;
    for line in [
        "# TYPE http_requests_total counter",
        "http_requests_total{code=\"500\",method=\"GET\",path=\"/\"} 1",
        "http_requests_total{code=\"200\",method=\"GET\",path=\"/healthz\"} 1",
        "http_request_duration_seconds_bucket{code=\"500\",method=\"GET\",le=\"+Inf\"} 1",
        "http_request_duration_seconds_count{code=\"200\",method=\"GET\"} 2",
        "http_server_request_duration_seconds_count{error_type=\"500\",\
         http_request_method=\"GET\",http_response_status_code=\"500\",http_route=\"/\",\
         network_protocol_version=\"1.1\",url_scheme=\"http\"} 1",
        "# TYPE process_start_time_seconds gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn who_asks_for_protocol_buffers_gets_them() {
    let pod = pod(Knobs::default()).await;
    pod.status("/").await;
    let accept = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                  encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let answer = pod.get("/metrics", &[("accept", accept)]).await.unwrap();
    let kind = answer.head.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/vnd.google.protobuf;"), "{kind}");
    assert!(answer.body.contains("http_request_duration_seconds"), "{}", answer.body);
    let plain = pod.get("/metrics", &[("accept", "text/plain")]).await.unwrap();
    assert_eq!(plain.head.headers["content-type"], expose::TEXT);
}

#[tokio::test]
async fn a_running_pod_can_be_broken_and_healed() {
    let pod = pod(Knobs::default()).await;
    assert_eq!(pod.turn(json!({"error_rate": 1.0, "error_status": 503})).await, 200);
    assert_eq!(pod.status("/").await, 503);
    assert_eq!(pod.turn(json!({"error_rate": 2.0})).await, 400, "nonsense changes nothing");
    assert_eq!(pod.status("/").await, 503);
    pod.turn(json!({"error_rate": 0.0, "ready": false, "healthy": false})).await;
    assert_eq!(pod.status("/").await, 200);
    assert_eq!((pod.status("/healthz").await, pod.status("/readyz").await), (500, 503));
    pod.turn(json!({"hang_after_ms": 0})).await;
    assert!(pod.get("/", &[]).await.is_err() && pod.get("/healthz", &[]).await.is_err());
    pod.turn(json!({"hang_after_ms": null, "ready": true})).await;
    assert_eq!((pod.status("/").await, pod.status("/readyz").await), (200, 200));
}

#[tokio::test]
async fn one_request_can_be_told_to_fail() {
    let pod = pod(Knobs::default()).await;
    let fail = async |value| pod.get("/", &[("x-bed-fail", value)]).await;
    assert_eq!(fail("418").await.unwrap().head.status, 418);
    assert_eq!(fail("often").await.unwrap().head.status, 400);
    assert!(fail("hang").await.is_err());
    let began = Instant::now();
    pod.get("/", &[("x-bed-latency-ms", "50")]).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert!(fail("crash").await.is_err());
    let end = pod.end.await.unwrap().unwrap();
    assert_eq!(end, End::Crashed("a request asked for a crash".to_owned()));
}

#[tokio::test]
async fn errors_come_at_the_rate_and_are_the_same_again() {
    let codes = |pod: Pod| async move {
        let draws: Vec<bool> = (0..1_000).map(|_| pod.service.draw().0).collect();
        (draws.iter().filter(|fails| **fails).count(), draws)
    };
    let knobs = || Knobs { error_rate: 0.1, ..Knobs::default() };
    let (count, first) = codes(pod(knobs()).await).await;
    assert!((62..=138).contains(&count), "{count} of 1000 failed: 4 deviations off");
    assert_eq!(codes(pod(knobs()).await).await.1, first);
    assert_ne!(codes(pod(Knobs { seed: 2, ..knobs() }).await).await.1, first);
}

#[tokio::test]
async fn an_open_request_is_answered_before_the_end() {
    let pod = pod(Knobs::default()).await;
    pod.turn(json!({"drain_delay_ms": 400})).await;
    let late = [("x-bed-latency-ms", "600")];
    let slow = send(pod.address, Method::GET, "/", &late, String::new());
    let (slow, (unready, fresh)) = tokio::join!(slow, async {
        sleep(Duration::from_millis(20)).await;
        pod.stop.send(()).unwrap();
        sleep(Duration::from_millis(10)).await;
        (
            send(pod.address, Method::GET, "/readyz", &[], String::new()).await.unwrap(),
            send(pod.address, Method::GET, "/", &[], String::new()).await.unwrap(),
        )
    });
    assert_eq!(unready.head.status, 503);
    assert_eq!(
        (fresh.head.status.as_u16(), &fresh.head.headers["connection"]),
        (200, &HeaderValue::from_static("close"))
    );
    assert_eq!(slow.unwrap().head.status, 200);
    assert_eq!(pod.end.await.unwrap().unwrap(), End::Drained);
    assert!(
        send(pod.address, Method::GET, "/", &[], String::new()).await.is_err(),
        "and then nobody listens any more"
    );
}

/// Runs the application as a process: this test binary, told to run only the test of this name,
/// which runs the application when it finds itself in that role.
fn process(test: &str, port: u16, knobs: &[(&str, &str)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("app::tests::{test}"), "--nocapture"]);
    command.env("TIDEGATE_BED_ROLE", "app").env("PORT", port.to_string());
    command.env("DRAIN_DELAY_MS", "0").envs(knobs.iter().copied());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn is_role() -> bool {
    std::env::var_os("TIDEGATE_BED_ROLE").is_some()
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

fn leave() -> ! {
    std::process::exit(i32::from(main() != ExitCode::SUCCESS))
}

async fn answers(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    send(address, Method::GET, "/readyz", &[], String::new())
        .await
        .is_ok_and(|answer| answer.head.status == 200)
}

async fn exit_code(mut child: Child) -> Option<i32> {
    for _ in 0..2_000 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        sleep(Duration::from_millis(10)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

#[test]
fn a_process_drains_on_sigterm() {
    if is_role() {
        leave();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let port = free_port().await;
        let child = process("a_process_drains_on_sigterm", port, &[("START_DELAY_MS", "50")]);
        let began = Instant::now();
        while !answers(port).await {
            assert!(began.elapsed() < Duration::from_secs(20), "it does not start");
            sleep(Duration::from_millis(10)).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(50), "it starts slowly");
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert_eq!(exit_code(child).await, Some(0));
    });
}

#[test]
fn a_process_crashes_when_told() {
    if is_role() {
        leave();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let port = free_port().await;
        for knob in [("CRASH_ON_START", "true"), ("CRASH_AFTER_MS", "30"), ("READY", "perhaps")] {
            let child = process("a_process_crashes_when_told", port, &[knob]);
            assert_eq!(exit_code(child).await, Some(1), "{knob:?}");
        }
    });
}
