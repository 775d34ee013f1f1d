//! What the tests share.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tidegate::demo::processes::{PodSettings, Pods, PodsStatus};
use tidegate_engine::state::Revision;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

/// No wait of a test is longer; what comes later never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_tidegate"))
}

pub(crate) fn revision(name: &str) -> Revision {
    Revision::new(name)
}

/// A pod template with an image tag and variables.
pub(crate) fn template(tag: &str, variables: &[(&str, &str)]) -> Value {
    let env: Vec<Value> =
        variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({"spec": {"containers": [{"name": "shop", "image": format!("shop:{tag}"), "env": env}]}})
}

/// Pods of the binary under test that restart fast.
pub(crate) fn pods() -> Pods {
    let settings = PodSettings {
        probe_interval: Duration::from_millis(10),
        back_off: Duration::from_millis(20),
        back_off_limit: Duration::from_millis(50),
        ..PodSettings::default()
    };
    Pods::new(binary(), settings, 1)
}

/// Waits until a condition holds; a change of any pod wakes it.
pub(crate) async fn status_when(
    pods: &Pods,
    revision: &Revision,
    holds: impl Fn(&PodsStatus) -> bool,
) -> PodsStatus {
    let mut changes = pods.changes();
    let waited = timeout(PATIENCE, async {
        loop {
            let status = pods.status(revision).unwrap();
            if holds(&status) {
                return status;
            }
            changes.changed().await.unwrap();
        }
    });
    waited.await.unwrap_or_else(|_| panic!("still {:?}", pods.status(revision)))
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}: still not");
}

/// Status and body of a GET.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (StatusCode, String) {
    use http_body_util::{BodyExt as _, Empty};
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "demo").body(Empty::<Bytes>::new()).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, String::from_utf8(body.to_vec()).unwrap())
}

/// A backend in this process that answers after a delay, with its name as version.
pub(crate) async fn backend(name: &'static str, status: u16, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(move |_: Request<Incoming>| async move {
                sleep(delay).await;
                let body = http_body_util::Full::<Bytes>::from(name);
                let response = Response::builder().status(status).header("x-version", name);
                Ok::<_, Infallible>(response.body(body).unwrap())
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}
