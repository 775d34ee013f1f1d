//! The test application: a well-behaved HTTP service, and everything that can be wrong with one.
//!
//! It is a role of the bed's own executable (`TIDEGATE_BED_ROLE=app`), started by the kubelet for
//! each pod. It listens on `$POD_IP:$PORT` (127.0.0.1 and 8080 by default), calls itself
//! `$POD_NAME` (else `$HOSTNAME`) and its version `$IMAGE_TAG`; `$REVISION` is told as it is.
//!
//! | environment | default | what it does |
//! |---|---|---|
//! | `ERROR_RATE` | 0 | share of the requests that fail, from 0 to 1 |
//! | `ERROR_STATUS` | 500 | status of those that fail |
//! | `ERROR_BURST` | | `PERIOD,LENGTH,RATE` in ms: see [`Burst`]; all pods fail together |
//! | `LATENCY_MEDIAN_MS` | 5 | median of a log-normal latency; 0 answers at once |
//! | `LATENCY_SIGMA` | 0.5 | standard deviation of its logarithm |
//! | `WARMUP_MS` | 0 | how long after the start latencies are multiplied |
//! | `WARMUP_FACTOR` | 10 | what by |
//! | `START_DELAY_MS` | 0 | slow start: connections are refused until then |
//! | `READY_DELAY_MS` | 0 | from then on until it is ready |
//! | `READY` | true | false: it never gets ready |
//! | `HEALTHY` | true | false: `/healthz` answers 500 |
//! | `CRASH_ON_START` | false | exit with 1 at once |
//! | `CRASH_AFTER_MS` | | exit with 1 so long after the start |
//! | `HANG_AFTER_MS` | | so long after the start connections are accepted, but nothing answered |
//! | `DRAIN_DELAY_MS` | 1000 | on SIGTERM it goes on serving for so long, not ready any more |
//! | `IGNORE_SIGTERM` | false | SIGTERM is not heard |
//! | `COUNT_PROBES` | false | probes and scrapes are counted as requests |
//! | `SEED` | 1 | of errors and latencies; each pod mixes its name in |
//!
//! **At run time**: `PUT /bed/knobs` with a JSON object of the same names in lower case changes
//! them (`{"error_rate": 0.5}`; `{"crash_after_ms": 0}`: now; `null`: never), `GET` shows them.
//! It is answered by a pod that hangs, too.
//! **For one request**: header `x-bed-fail` with a status, `hang` or `crash`; `x-bed-latency-ms`.
//!
//! `/healthz`, `/readyz` and `/metrics` are what they are called; every other path answers JSON
//! with pod, version and revision. All answers carry `x-pod` and `x-version`.
//!
//! **Metrics**: `http_requests_total{method,code,path}`; `http_request_duration_seconds` with
//! `code` and `method`, classic and native; `http_server_request_duration_seconds` with the labels
//! of OpenTelemetry; `process_start_time_seconds`. A series is born with the first request that it
//! counts: there is none of errors before the first error. A request without an answer (hang,
//! crash, client gone) is not counted, as in real frameworks.
//!
//! **SIGTERM**: not ready; answers say `connection: close`; after `DRAIN_DELAY_MS` the listener is
//! closed; open requests are answered; exit 0. There is no limit: that is the kubelet's part.

mod expose;
mod knobs;
mod metrics;
mod random;
mod service;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::HeaderValue;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub use knobs::{Burst, Knobs};
use service::{End, Service};

/// Who a pod is.
#[derive(Clone, Debug)]
struct Identity {
    pod: HeaderValue,
    version: HeaderValue,
    revision: Option<String>,
}

impl Identity {
    fn from_env() -> anyhow::Result<Self> {
        let pod = variable("POD_NAME").or_else(|| variable("HOSTNAME"));
        let header = |text: String| {
            HeaderValue::from_str(&text).with_context(|| format!("`{text}` cannot be a header"))
        };
        Ok(Self {
            pod: header(pod.unwrap_or_else(|| "app".to_owned()))?,
            version: header(variable("IMAGE_TAG").unwrap_or_else(|| "unknown".to_owned()))?,
            revision: variable("REVISION"),
        })
    }
}

/// Runs the application until SIGTERM (0), a crash that was asked for (1), or a mistake in its
/// environment (2).
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let end = runtime.context("no runtime").and_then(|runtime| runtime.block_on(run()));
    match end {
        Ok(End::Drained) => {
            println!("drained, goodbye");
            ExitCode::SUCCESS
        }
        Ok(End::Crashed(why)) => {
            eprintln!("fatal: {why}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cannot run: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn run() -> anyhow::Result<End> {
    let identity = Identity::from_env()?;
    let knobs = Knobs::from_env(variable)?;
    let ip: IpAddr = match variable("POD_IP") {
        Some(ip) => ip.parse().with_context(|| format!("POD_IP `{ip}`"))?,
        None => Ipv4Addr::LOCALHOST.into(),
    };
    let port: u16 = match variable("PORT") {
        Some(port) => port.parse().with_context(|| format!("PORT `{port}`"))?,
        None => 8080,
    };
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    if knobs.crash_on_start {
        return Ok(End::Crashed("CRASH_ON_START".to_owned()));
    }
    let delay = Duration::from_millis(knobs.start_delay_ms);
    let service = Service::new(identity, knobs);
    let terminated = {
        let service = service.clone();
        async move {
            loop {
                // `None` would mean that the runtime has no signals any more: it is ending.
                let _ = terminate.recv().await;
                if !service.knobs().ignore_sigterm {
                    return;
                }
            }
        }
    };
    tokio::pin!(terminated);
    tokio::select! {
        () = &mut terminated => return Ok(End::Drained),
        end = service.crashed() => return Ok(end),
        () = tokio::time::sleep(delay) => {}
    }
    let address = SocketAddr::new(ip, port);
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    println!("listening on {}", listener.local_addr().context("local address")?);
    service.serve(listener, terminated).await
}
