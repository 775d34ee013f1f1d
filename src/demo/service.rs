//! The sample service: what the demo releases, and what can be wrong with a release.
//!
//! It behaves as a good citizen of a cluster does: not ready until it is, metrics as a web
//! framework exposes them (an error series is born with the first error), on SIGTERM first not
//! ready, then drained, then gone. Its parent holds its standard input open; when that ends, it
//! stops as on SIGTERM, so that no process is left behind whatever becomes of the parent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use super::histogram::Histogram;
use super::random::SplitMix64;

/// Response header: the version that answered.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("x-version");
/// Response header: the pod that answered.
pub const POD_HEADER: HeaderName = HeaderName::from_static("x-pod");

/// Counter of requests by `code` and `method`.
pub(super) const REQUESTS: &str = "http_requests_total";
/// Histogram of request durations in seconds, by `method`.
pub(super) const DURATIONS: &str = "http_request_duration_seconds";
/// Gauge: when the process started, in Unix seconds.
pub(super) const START_TIME: &str = "process_start_time_seconds";

/// Requests still open this long after the listener closed are cut off.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// What the service is to be like.
#[derive(Clone, Debug, clap::Args)]
pub struct ServiceArgs {
    /// Version that answers carry
    #[arg(long)]
    pub version: String,
    /// Pod name that answers carry
    #[arg(long, default_value = "sample")]
    pub pod: String,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Share of requests answered with 500, from 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = parse_share)]
    pub error_rate: f64,
    /// Median of the latency
    #[arg(long, default_value = "20ms", value_parser = parse_duration)]
    pub latency_median: Duration,
    /// Standard deviation of the latency's logarithm
    #[arg(long, default_value_t = 0.5, value_parser = parse_sigma)]
    pub latency_sigma: f64,
    /// Time from start to readiness
    #[arg(long, default_value = "300ms", value_parser = parse_duration)]
    pub start_delay: Duration,
    /// Time it goes on serving, not ready any more, after it was told to stop
    #[arg(long, default_value = "500ms", value_parser = parse_duration)]
    pub drain_delay: Duration,
    /// Seed of errors and latencies
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Crash this long after the start
    #[arg(long, value_parser = parse_duration)]
    pub crash_after: Option<Duration>,
}

/// The line the service prints on standard output when it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its pod name.
    pub pod: String,
    /// Its version.
    pub version: String,
}

/// Why the service ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The version or pod name cannot be a header.
    #[error("version and pod name must be visible ASCII")]
    Name(#[source] header::InvalidHeaderValue),
    /// The port is taken.
    #[error("port {port} cannot be bound")]
    Bind {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody can read the address.
    #[error("the address cannot be written to standard output")]
    Announce(#[source] std::io::Error),
    /// The signal handler cannot be set.
    #[error("SIGTERM cannot be caught")]
    Signal(#[source] std::io::Error),
    /// The system gives no thread.
    #[error("standard input cannot be watched")]
    Thread(#[source] std::io::Error),
    /// The listener broke.
    #[error("serving failed")]
    Serve(#[source] std::io::Error),
    /// As it was told.
    #[error("crashed after {} ms, as it was told", .0.as_millis())]
    Crashed(Duration),
}

/// A duration as people write it: `250us`, `20ms`, `1.5s`, `2m`.
///
/// # Errors
/// A sentence that names the text, when it is not a number of at least 0 with one of the units.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 20ms, 1.5s or 2m");
    let end = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| wrong())
}

fn parse_share(text: &str) -> Result<f64, String> {
    parse_within(text, 1.0)
}

fn parse_sigma(text: &str) -> Result<f64, String> {
    parse_within(text, 10.0)
}

fn parse_within(text: &str, max: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.0..=max).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is not between 0 and {max}"))
    }
}

/// Runs the service until SIGTERM or the end of standard input.
///
/// # Errors
/// See [`ServiceError`]; a crash that was asked for is one of them.
pub async fn run(args: ServiceArgs) -> Result<(), ServiceError> {
    let service = Arc::new(Service::new(&args)?);
    let port = args.port;
    let bind = |source| ServiceError::Bind { port, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let stopped = stopped()?;
    announce(&Listening { address, pod: args.pod, version: args.version })
        .map_err(ServiceError::Announce)?;

    let (drain, draining) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(
        listener.tap_io(|stream| {
            // Without it small answers wait for an acknowledgement; with an error they only do.
            let _ = stream.set_nodelay(true);
        }),
        router(service.clone()),
    )
    .with_graceful_shutdown(async {
        let _ = draining.await;
    });
    let server = tokio::spawn(server.into_future());

    let ready = service.clone();
    let delay = args.start_delay;
    let starting = tokio::spawn(async move {
        sleep(delay).await;
        ready.ready.store(true, Ordering::Release);
    });
    tokio::select! {
        () = stopped => {}
        () = crash(args.crash_after) => {
            return Err(ServiceError::Crashed(args.crash_after.unwrap_or_default()));
        }
    }
    // Whoever routes to us learns that we are not ready before we stop to listen.
    starting.abort();
    service.ready.store(false, Ordering::Release);
    sleep(args.drain_delay).await;
    let _ = drain.send(());
    match timeout(DRAIN_LIMIT, server).await {
        Ok(Ok(ended)) => ended.map_err(ServiceError::Serve),
        // Cut off, or torn down with the runtime: there is nobody left to tell.
        Ok(Err(_)) | Err(_) => Ok(()),
    }
}

/// Resolves on SIGTERM, on interrupt, or when standard input ends.
fn stopped() -> Result<impl Future<Output = ()>, ServiceError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(ServiceError::Signal)?;
    // Ctrl-C in a terminal goes to the whole process group; the parent ends us in its own order.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::Signal)?;
    let (sender, parent_gone) = tokio::sync::oneshot::channel();
    // A thread, since the read blocks and nothing can interrupt it; it ends with the process.
    let watch = std::thread::Builder::new().name("stdin".to_owned());
    watch
        .spawn(move || {
            // An error means as much as the end: there is no parent to hear from.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = sender.send(());
        })
        .map_err(ServiceError::Thread)?;
    Ok(async move {
        let ignored = async { while interrupt.recv().await.is_some() {} };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = parent_gone => {}
            () = ignored => {}
        }
    })
}

/// Never resolves without a time to crash.
async fn crash(after: Option<Duration>) {
    match after {
        Some(after) => sleep(after).await,
        None => std::future::pending().await,
    }
}

fn announce(listening: &Listening) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, listening)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/", get(answer))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .with_state(service)
}

struct Service {
    version: HeaderValue,
    pod: HeaderValue,
    text: String,
    error_rate: f64,
    latency_median: f64,
    latency_sigma: f64,
    ready: AtomicBool,
    started: DateTime<Utc>,
    random: Mutex<SplitMix64>,
    counts: Mutex<Counts>,
}

/// What `/metrics` shows.
struct Counts {
    by_code: BTreeMap<u16, u64>,
    durations: Histogram,
}

impl Service {
    fn new(args: &ServiceArgs) -> Result<Self, ServiceError> {
        Ok(Self {
            version: HeaderValue::from_str(&args.version).map_err(ServiceError::Name)?,
            pod: HeaderValue::from_str(&args.pod).map_err(ServiceError::Name)?,
            text: format!("{} {}\n", args.version, args.pod),
            error_rate: args.error_rate,
            latency_median: args.latency_median.as_secs_f64(),
            latency_sigma: args.latency_sigma,
            ready: AtomicBool::new(false),
            started: Utc::now(),
            random: Mutex::new(SplitMix64::new(args.seed)),
            // The series of successes is there from the start, that of errors is not: so do most
            // frameworks behind a readiness probe, and the reader must cope.
            counts: Mutex::new(Counts {
                by_code: BTreeMap::from([(200, 0)]),
                durations: Histogram::default(),
            }),
        })
    }
}

async fn answer(State(service): State<Arc<Service>>) -> Response {
    let began = Instant::now();
    let (fails, latency) = {
        let mut random = service.random.lock().unwrap_or_else(PoisonError::into_inner);
        let fails = random.next_unit() < service.error_rate;
        let seconds = random.next_lognormal(service.latency_median, service.latency_sigma);
        (fails, Duration::try_from_secs_f64(seconds).unwrap_or(DRAIN_LIMIT))
    };
    sleep(latency).await;
    let status = if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    {
        let mut counts = service.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.by_code.entry(status.as_u16()).or_default() += 1;
        counts.durations.observe(began.elapsed());
    }
    let headers = [(VERSION_HEADER, service.version.clone()), (POD_HEADER, service.pod.clone())];
    (status, headers, service.text.clone()).into_response()
}

async fn readiness(State(service): State<Arc<Service>>) -> (StatusCode, &'static str) {
    if service.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let mut text = String::new();
    {
        let counts = service.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(text, "# HELP {REQUESTS} Requests answered.");
        let _ = writeln!(text, "# TYPE {REQUESTS} counter");
        for (code, count) in &counts.by_code {
            let _ = writeln!(text, "{REQUESTS}{{code=\"{code}\",method=\"GET\"}} {count}");
        }
        let _ = writeln!(text, "# HELP {DURATIONS} Time to answer in seconds.");
        let _ = writeln!(text, "# TYPE {DURATIONS} histogram");
        counts.durations.expose(DURATIONS, "method=\"GET\"", &mut text);
    }
    let started = service.started.timestamp_millis() as f64 / 1e3;
    let _ = writeln!(text, "# HELP {START_TIME} Start of the process in Unix seconds.");
    let _ = writeln!(text, "# TYPE {START_TIME} gauge");
    let _ = writeln!(text, "{START_TIME} {started}");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(parse_duration("250us"), Ok(Duration::from_micros(250)));
        for wrong in ["", "20", "ms", "-1s", "1h", "1e400s", "NaNs"] {
            assert!(parse_duration(wrong).is_err(), "`{wrong}` is no duration");
        }
    }

    #[test]
    fn a_share_is_between_0_and_1() {
        assert_eq!(parse_share("0.33"), Ok(0.33));
        for wrong in ["1.01", "-0.1", "NaN", "many"] {
            assert!(parse_share(wrong).is_err(), "`{wrong}` is no share");
        }
    }
}
