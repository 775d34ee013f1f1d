//! The splitting reverse proxy: what a gateway is in a cluster.
//!
//! Every request is given to an arm by the weight, at random but the same for the same seed, and
//! within the arm to the backends in turn. It counts as a gateway does: by arm, not by pod.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use chrono::{DateTime, Utc};
use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tidegate_engine::plan::Weight;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::histogram::Histogram;
use super::http;
use super::random::{GAMMA, mix, unit};
use super::reading::Reading;

/// How long a backend may take to accept a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// How long a backend may take to begin its answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Idle connections to a backend are closed after this time.
const IDLE: Duration = Duration::from_secs(5);
/// Wait after a connection could not be accepted: there are no file descriptors left, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Headers that are between two neighbours only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// One of the two sets of backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Arm {
    /// The revision that serves.
    Stable,
    /// The revision on trial.
    Canary,
}

/// The proxy cannot start.
#[derive(Debug, thiserror::Error)]
#[error("the proxy cannot listen on a port of its own")]
pub struct ProxyError(#[source] std::io::Error);

/// What an arm has done so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmCounts {
    /// Requests given to a backend.
    pub requests: u64,
    /// Those answered with a status from 500 on, by the backend or in its place.
    pub errors: u64,
    /// Those of the errors where the backend could not be reached, broke off or was too slow.
    pub unreachable: u64,
    /// Requests that met an arm without backends: answered with 503 and counted nowhere else, as
    /// they say nothing about the revision.
    pub no_backend: u64,
    /// Time until the answer began.
    pub durations: Histogram,
}

/// The running proxy; dropping it closes all connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

type ProxyBody = Either<Tracked, Full<Bytes>>;

#[derive(Debug)]
struct Shared {
    client: Client<HttpConnector, Incoming>,
    routes: RwLock<Routes>,
    seed: u64,
    /// Requests so far: each takes the next position of the random sequence.
    drawn: AtomicU64,
    stable: ArmState,
    canary: ArmState,
    started: DateTime<Utc>,
}

#[derive(Debug)]
struct Routes {
    weight: Weight,
    stable: Vec<SocketAddr>,
    canary: Vec<SocketAddr>,
}

#[derive(Debug, Default)]
struct ArmState {
    turn: AtomicUsize,
    in_flight: Arc<AtomicUsize>,
    counts: Mutex<ArmCounts>,
}

impl ArmState {
    fn count(&self, change: impl FnOnce(&mut ArmCounts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A request on its way, from the choice of its arm to the end of its answer.
#[derive(Debug)]
struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1: weight 0, no backends.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start(seed: u64) -> Result<(Self, SocketAddr), ProxyError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(ProxyError)?;
        let address = listener.local_addr().map_err(ProxyError)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(http::connector(CONNECT_PATIENCE));
        let routes = Routes { weight: Weight::ZERO, stable: Vec::new(), canary: Vec::new() };
        let shared = Arc::new(Shared {
            client,
            routes: RwLock::new(routes),
            seed,
            drawn: AtomicU64::new(0),
            stable: ArmState::default(),
            canary: ArmState::default(),
            started: Utc::now(),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok((Self { shared, task }, address))
    }

    /// Gives the canary this share. Once it returns, no request is routed by the old weight.
    pub fn set_weight(&self, weight: Weight) {
        self.shared.routes.write().unwrap_or_else(PoisonError::into_inner).weight = weight;
    }

    /// The weight requests are routed by.
    pub fn weight(&self) -> Weight {
        self.shared.routes.read().unwrap_or_else(PoisonError::into_inner).weight
    }

    /// Replaces the backends of an arm. Once it returns, no request goes to the others any more;
    /// those in flight are left to end.
    pub fn set_backends(&self, arm: Arm, backends: Vec<SocketAddr>) {
        let mut routes = self.shared.routes.write().unwrap_or_else(PoisonError::into_inner);
        *match arm {
            Arm::Stable => &mut routes.stable,
            Arm::Canary => &mut routes.canary,
        } = backends;
    }

    /// The backends of an arm.
    pub fn backends(&self, arm: Arm) -> Vec<SocketAddr> {
        let routes = self.shared.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.of(arm).to_vec()
    }

    /// Requests of an arm whose answers have not ended.
    pub fn in_flight(&self, arm: Arm) -> usize {
        self.shared.arm(arm).in_flight.load(Ordering::Acquire)
    }

    /// What an arm has done so far.
    pub fn counts(&self, arm: Arm) -> ArmCounts {
        self.shared.arm(arm).counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same as a reading: the `by: backend` metrics of a gateway.
    pub fn reading(&self, arm: Arm, at: DateTime<Utc>) -> Reading {
        let counts = self.counts(arm);
        Reading {
            at,
            total: counts.requests,
            errors: counts.errors,
            buckets: counts.durations.cumulative(),
            start_time: Some(self.shared.started),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The task owns the connections, which are closed with it.
        self.task.abort();
    }
}

impl Routes {
    fn of(&self, arm: Arm) -> &[SocketAddr] {
        match arm {
            Arm::Stable => &self.stable,
            Arm::Canary => &self.canary,
        }
    }
}

impl Shared {
    fn arm(&self, arm: Arm) -> &ArmState {
        match arm {
            Arm::Stable => &self.stable,
            Arm::Canary => &self.canary,
        }
    }

    /// Arm and backend of the next request. It is in flight before the routes can change: who
    /// changes them and then sees nothing in flight knows that nothing follows.
    fn pick(&self) -> (&ArmState, Option<SocketAddr>, InFlight) {
        let position = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let drawn = unit(mix(self.seed.wrapping_add(position.wrapping_mul(GAMMA))));
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let canary = drawn * 100.0 < f64::from(routes.weight.percent());
        let arm = if canary { Arm::Canary } else { Arm::Stable };
        let (state, backends) = (self.arm(arm), routes.of(arm));
        let turn = state.turn.fetch_add(1, Ordering::Relaxed);
        let backend = turn.checked_rem(backends.len()).and_then(|index| backends.get(index));
        state.in_flight.fetch_add(1, Ordering::AcqRel);
        (state, backend.copied(), InFlight(state.in_flight.clone()))
    }

    async fn forward(&self, request: Request<Incoming>) -> Response<ProxyBody> {
        let (arm, backend, in_flight) = self.pick();
        let Some(backend) = backend else {
            arm.count(|counts| counts.no_backend += 1);
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "no backend\n");
        };
        let began = Instant::now();
        let answer = self.ask(backend, request).await;
        let answered = answer.map(|answer| {
            let (mut head, body) = answer.into_parts();
            strip(&mut head.headers);
            let body = Tracked { body, _in_flight: in_flight };
            Response::from_parts(head, Either::Left(body))
        });
        let unreachable = answered.is_err();
        let response =
            answered.unwrap_or_else(|status| refusal(status, "the backend gave no answer\n"));
        arm.count(|counts| {
            counts.requests += 1;
            counts.errors += u64::from(response.status().is_server_error());
            counts.unreachable += u64::from(unreachable);
            counts.durations.observe(began.elapsed());
        });
        response
    }

    /// The backend's answer, or the status to give in its place.
    async fn ask(
        &self,
        backend: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, StatusCode> {
        let (mut head, body) = request.into_parts();
        let root = || PathAndQuery::from_static("/");
        let path = head.uri.path_and_query().cloned().unwrap_or_else(root);
        head.uri = http::uri(backend, path).map_err(|_| StatusCode::BAD_REQUEST)?;
        strip(&mut head.headers);
        let asked = self.client.request(Request::from_parts(head, body));
        match timeout(ANSWER_PATIENCE, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(StatusCode::BAD_GATEWAY),
            Err(_) => Err(StatusCode::GATEWAY_TIMEOUT),
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        connections.spawn(serve(stream, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it small answers wait for an acknowledgement; with an error they only do.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, std::convert::Infallible>(shared.forward(request).await) }
    });
    // An error is a client that left: it knows.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn refusal(status: StatusCode, text: &'static str) -> Response<ProxyBody> {
    let mut response = Response::new(Either::Right(Full::from(text)));
    *response.status_mut() = status;
    response
}

/// An answer that is in flight until its end.
#[derive(Debug)]
struct Tracked {
    body: Incoming,
    _in_flight: InFlight,
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
