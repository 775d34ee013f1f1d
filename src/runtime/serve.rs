//! `/metrics`, `/healthz`, `/readyz`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use super::metrics::Metrics;
use super::said;

/// The queue says so often that it is alive.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);
/// After this long without a word it hangs.
const DEAD: Duration = Duration::from_mins(1);

/// Whether the process does its work.
#[derive(Debug, Default)]
pub(super) struct Health {
    ready: AtomicBool,
    /// The last beat. `None`: nothing beats yet that could hang.
    beat: Mutex<Option<Instant>>,
}

impl Health {
    /// The process leads or waits to.
    pub(super) fn begin(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Said by the loop that must not hang.
    pub(super) fn beat(&self, now: Instant) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn is_alive(&self, now: Instant) -> bool {
        let beat = *self.beat.lock().unwrap_or_else(PoisonError::into_inner);
        beat.is_none_or(|beat| now.saturating_duration_since(beat) < DEAD)
    }
}

type Shared = (Arc<Metrics>, Arc<Health>);

/// Serves on the address until `stop` says so.
pub(super) async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state((metrics, health));
    let stopped = async move { said(&mut stop).await };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

/// Binds the address; said early, so that a port that is taken ends the process with its name.
pub(super) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

async fn page(State((metrics, _)): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.text())
}

async fn healthz(State((_, health)): State<Shared>) -> impl IntoResponse {
    answer(health.is_alive(Instant::now()), "hangs\n")
}

async fn readyz(State((_, health)): State<Shared>) -> impl IntoResponse {
    answer(health.is_ready(), "starts\n")
}

fn answer(good: bool, otherwise: &'static str) -> (StatusCode, &'static str) {
    if good { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, otherwise) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_hangs_is_not_alive() {
        let (health, start) = (Health::default(), Instant::now());
        assert!(!health.is_ready());
        health.begin();
        let later = start + 10 * DEAD;
        assert!(health.is_ready() && health.is_alive(later), "a standby has nothing that hangs");
        health.beat(later);
        assert!(health.is_alive(later + HEARTBEAT));
        assert!(!health.is_alive(later + DEAD));
        health.beat(later + DEAD);
        assert!(health.is_alive(later + DEAD));
    }
}
