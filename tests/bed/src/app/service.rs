//! The running application.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use chrono::Utc;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::metrics::Metrics;
use super::random::Random;
use super::{Identity, Knobs, expose};

/// A latency that the law makes larger than this is this.
const LONGEST: Duration = Duration::from_mins(1);

/// How the application ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it was told, after the last answer.
    Drained,
    /// As it was told, too.
    Crashed(String),
}

/// What all requests share.
pub(super) struct Service {
    identity: Identity,
    started: Instant,
    /// When it began to listen.
    listening: Mutex<Option<Instant>>,
    draining: AtomicBool,
    knobs: watch::Sender<Knobs>,
    /// A request that asked for a crash.
    crash: watch::Sender<bool>,
    random: Mutex<Random>,
    metrics: Mutex<Metrics>,
}

impl Service {
    pub(super) fn new(identity: Identity, knobs: Knobs) -> Arc<Self> {
        // Its keys are fixed: the same name has the same hash in every process.
        let mut hasher = DefaultHasher::new();
        identity.pod.hash(&mut hasher);
        let random = Random::new(knobs.seed ^ hasher.finish());
        let started = Utc::now().timestamp_millis() as f64 / 1e3;
        Arc::new(Self {
            identity,
            started: Instant::now(),
            listening: Mutex::new(None),
            draining: AtomicBool::new(false),
            knobs: watch::Sender::new(knobs),
            crash: watch::Sender::new(false),
            random: Mutex::new(random),
            metrics: Mutex::new(Metrics::new(started)),
        })
    }

    pub(super) fn knobs(&self) -> Knobs {
        self.knobs.borrow().clone()
    }

    /// Serves until it is told to stop, or crashes.
    pub(super) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        told: impl Future<Output = ()>,
    ) -> anyhow::Result<End> {
        *lock(&self.listening) = Some(Instant::now());
        let (close, closing) = oneshot::channel::<()>();
        let listener = listener.tap_io(|stream| {
            // Without it small answers wait for an acknowledgement; with an error they only do.
            let _ = stream.set_nodelay(true);
        });
        let server = axum::serve(listener, router(self.clone())).with_graceful_shutdown(async {
            // An error means that the sender is gone, and with it the server.
            let _ = closing.await;
        });
        let server = tokio::spawn(server.into_future());
        let drained = async {
            told.await;
            // Whoever routes here learns that it is not ready before it stops to listen.
            self.draining.store(true, Ordering::Release);
            sleep(Duration::from_millis(self.knobs().drain_delay_ms)).await;
            // An error means that the server ended: the next line tells.
            let _ = close.send(());
            server.await.context("the server panicked")?.context("serving failed")?;
            Ok(End::Drained)
        };
        tokio::select! {
            end = drained => end,
            end = self.crashed() => Ok(end),
        }
    }

    /// Resolves when it is time to crash.
    pub(super) async fn crashed(&self) -> End {
        let (mut knobs, mut crash) = (self.knobs.subscribe(), self.crash.subscribe());
        loop {
            let after = knobs.borrow_and_update().crash_after_ms.map(Duration::from_millis);
            let due = async {
                match after {
                    Some(after) => sleep_until(self.started + after).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return End::Crashed("CRASH_AFTER_MS is over".to_owned()),
                _ = crash.wait_for(|crash| *crash) => {
                    return End::Crashed("a request asked for a crash".to_owned());
                }
                _ = knobs.changed() => {}
            }
        }
    }

    fn has_passed(&self, millis: u64) -> bool {
        self.started.elapsed() >= Duration::from_millis(millis)
    }

    fn hangs(&self) -> bool {
        self.knobs.borrow().hang_after_ms.is_some_and(|millis| self.has_passed(millis))
    }

    fn is_ready(&self) -> bool {
        let knobs = self.knobs.borrow();
        let delay = Duration::from_millis(knobs.ready_delay_ms);
        let risen = lock(&self.listening).is_some_and(|since| since.elapsed() >= delay);
        knobs.ready && risen && !self.draining.load(Ordering::Acquire)
    }

    /// Whether the next request fails, and how long it takes.
    pub(super) fn draw(&self) -> (bool, Duration) {
        let knobs = self.knobs.borrow();
        let millis = u64::try_from(Utc::now().timestamp_millis()).unwrap_or_default();
        let mut random = lock(&self.random);
        let fails = random.unit() < knobs.error_rate_at(millis);
        // Always drawn, so that a knob for one of them leaves the sequence of the other alone.
        let mut latency = random.lognormal(knobs.latency_median_ms, knobs.latency_sigma);
        if !self.has_passed(knobs.warmup_ms) {
            latency *= knobs.warmup_factor;
        }
        let latency = Duration::try_from_secs_f64(latency / 1e3).unwrap_or(LONGEST).min(LONGEST);
        (fails, latency)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/bed/knobs", get(show).put(change))
        .fallback(answer)
        .layer(middleware::from_fn_with_state(service.clone(), surround))
        .with_state(service)
}

/// What every request goes through: hanging, counting, headers.
async fn surround(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (route, probe) = match request.uri().path() {
        "/bed/knobs" => return next.run(request).await,
        "/healthz" => ("/healthz", true),
        "/readyz" => ("/readyz", true),
        "/metrics" => ("/metrics", true),
        "/" => ("/", false),
        _ => ("/{path}", false),
    };
    if service.hangs() {
        std::future::pending::<()>().await;
    }
    let method = request.method().clone();
    let mut response = next.run(request).await;
    if !probe || service.knobs.borrow().count_probes {
        let mut metrics = lock(&service.metrics);
        metrics.count(method.as_str(), response.status().as_u16(), route, began.elapsed());
    }
    let headers = response.headers_mut();
    headers.insert("x-pod", service.identity.pod.clone());
    headers.insert("x-version", service.identity.version.clone());
    if service.draining.load(Ordering::Acquire) {
        // The client opens its next connection elsewhere, before this one is closed under it.
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}

async fn answer(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    let asked = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (fails, mut latency) = service.draw();
    let mut status = if fails { service.knobs.borrow().error_status } else { 200 };
    match asked("x-bed-fail") {
        Some("hang") => std::future::pending::<()>().await,
        Some("crash") => {
            service.crash.send_replace(true);
            std::future::pending::<()>().await;
        }
        Some(asked) => match asked.parse() {
            Ok(asked) => status = asked,
            Err(_) => return wrong(&format!("x-bed-fail: {asked}")),
        },
        None => {}
    }
    if let Some(asked) = asked("x-bed-latency-ms") {
        match asked.parse() {
            Ok(millis) => latency = Duration::from_millis(millis),
            Err(_) => return wrong(&format!("x-bed-latency-ms: {asked}")),
        }
    }
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let Ok(status) = StatusCode::from_u16(status) else {
        return wrong(&format!("{status} is no status"));
    };
    let text = |value: &header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let body = json!({
        "pod": text(&service.identity.pod),
        "version": text(&service.identity.version),
        "revision": service.identity.revision,
    });
    (status, Json(body)).into_response()
}

/// A test that asks for nonsense must see it.
fn wrong(what: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{what}\n")).into_response()
}

async fn health(State(service): State<Arc<Service>>) -> (StatusCode, &'static str) {
    if service.knobs.borrow().healthy {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "not healthy\n")
    }
}

async fn readiness(State(service): State<Arc<Service>>) -> (StatusCode, &'static str) {
    if service.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    let families = lock(&service.metrics).families();
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(expose::wants_protobuf) {
        let body = expose::protobuf(&families);
        ([(header::CONTENT_TYPE, expose::PROTOBUF)], body).into_response()
    } else {
        ([(header::CONTENT_TYPE, expose::TEXT)], expose::text(&families)).into_response()
    }
}

async fn show(State(service): State<Arc<Service>>) -> Json<Knobs> {
    Json(service.knobs())
}

async fn change(
    State(service): State<Arc<Service>>,
    Json(changes): Json<Map<String, Value>>,
) -> Response {
    let mut outcome = Ok(());
    service.knobs.send_modify(|knobs| match knobs.with(changes) {
        Ok(new) => *knobs = new,
        Err(error) => outcome = Err(error),
    });
    match outcome {
        Ok(()) => Json(service.knobs()).into_response(),
        Err(error) => wrong(&format!("{error:#}")),
    }
}
