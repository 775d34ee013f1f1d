//! The load: an open loop at a constant rate.
//!
//! Each request is sent when it is due, whether or not earlier ones were answered, and its latency
//! counts from then: a service that stalls cannot hide it by slowing down its clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderName, Uri};
use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::{BodyExt as _, Empty};
use hyper::Response;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::http::{self, HttpError};
use super::recorder::{Record, Recorder};
use super::service::{POD_HEADER, VERSION_HEADER};

/// What the load is like.
#[derive(Clone, Debug)]
pub struct LoadSettings {
    /// Requests per second; at least 0.1.
    pub rate: f64,
    /// Requests that may be open at the same time. What is due beyond is not sent, and counted.
    pub max_in_flight: u32,
    /// How long an answer may take.
    pub patience: Duration,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self { rate: 400.0, max_in_flight: 1_000, patience: Duration::from_secs(5) }
    }
}

/// A load that is running. Dropping it ends it at once; [`Load::stop`] waits for the last answer.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Sends GET / to the target from now on.
    ///
    /// # Errors
    /// The address makes no URI.
    pub fn start(
        target: SocketAddr,
        settings: LoadSettings,
        recorder: Arc<Recorder>,
    ) -> Result<Self, HttpError> {
        let uri = http::uri(target, PathAndQuery::from_static("/"))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(http::connector(settings.patience));
        let (stop, stopped) = watch::channel(false);
        let generator = Arc::new(Generator { client, uri, recorder, settings });
        let task = tokio::spawn(generator.run(stopped));
        Ok(Self { stop, task })
    }

    /// Sends no more and waits until all that were sent are recorded.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // An error means that the runtime is going down: nothing is recorded any more.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Generator {
    client: Client<HttpConnector, Empty<Bytes>>,
    uri: Uri,
    recorder: Arc<Recorder>,
    settings: LoadSettings,
}

impl Generator {
    async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.settings.max_in_flight as usize));
        let between = 1.0 / self.settings.rate.max(0.1);
        let (began, began_at) = (Instant::now(), Utc::now());
        for number in 0_u64.. {
            let offset = Duration::from_secs_f64(between * number as f64);
            let due = began + offset;
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                () = sleep_until(due) => {}
            }
            let Ok(place) = places.clone().try_acquire_owned() else {
                self.recorder.overflow();
                continue;
            };
            let sent = TimeDelta::from_std(offset).map_or(began_at, |offset| began_at + offset);
            let generator = self.clone();
            tokio::spawn(async move {
                generator.send(sent, due).await;
                drop(place);
            });
        }
        // All places are free again when the last answer is recorded; the semaphore never closes.
        let _ = places.acquire_many(self.settings.max_in_flight).await;
    }

    async fn send(&self, sent: DateTime<Utc>, due: Instant) {
        let asked = async {
            let response = self.client.get(self.uri.clone()).await.ok()?;
            let (head, body) = response.into_parts();
            // A body that breaks off is no answer.
            body.collect().await.ok()?;
            Some(Response::from_parts(head, ()))
        };
        let answer: Option<Response<()>> =
            timeout(self.settings.patience, asked).await.ok().flatten();
        let header = |name: &HeaderName| {
            let value = answer.as_ref()?.headers().get(name)?;
            value.to_str().ok().map(ToOwned::to_owned)
        };
        self.recorder.record(Record {
            sent,
            latency: due.elapsed(),
            status: answer.as_ref().map(|answer| answer.status().as_u16()),
            version: header(&VERSION_HEADER),
            pod: header(&POD_HEADER),
        });
    }
}
