//! `/metrics`, `/healthz`, `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
const DEAD: Duration = Duration::from_secs(60);

/// Whether the process does its work.
#[derive(Debug)]
pub(super) struct Health {
    start: Instant,
    /// Seconds after the start of the last beat; 0: none yet.
    beat: AtomicU64,
    ready: AtomicBool,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), beat: AtomicU64::new(0), ready: AtomicBool::new(false) }
    }

    /// Said by the loop that must not hang.
    pub(super) fn beat(&self) {
        self.beat.store(self.start.elapsed().as_secs().max(1), Ordering::Relaxed);
    }

    /// The process leads or waits to.
    pub(super) fn begin(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// It has begun.
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// It goes on; before it has begun there is nothing to hang.
    fn is_alive(&self) -> bool {
        let last = self.beat.load(Ordering::Relaxed);
        let silent = self.start.elapsed().saturating_sub(Duration::from_secs(last));
        last == 0 || silent < DEAD
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
    answer(health.is_alive(), "hangs\n")
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

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_hangs_is_not_alive() {
        let health = Health::new();
        assert!(health.is_alive() && !health.is_ready());
        tokio::time::advance(10 * DEAD).await;
        health.begin();
        assert!(health.is_alive() && health.is_ready(), "a standby has nothing that hangs");
        health.beat();
        assert!(health.is_alive() && health.is_ready());
        tokio::time::advance(DEAD + HEARTBEAT).await;
        assert!(!health.is_alive());
        health.beat();
        assert!(health.is_alive());
    }
}
