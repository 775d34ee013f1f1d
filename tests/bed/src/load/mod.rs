//! Requests at a constant rate, each of them recorded.
//!
//! The loop is open: each request is sent when it is due, whether or not earlier ones were
//! answered, and its latency counts from then. A service that stalls cannot hide it by slowing
//! its clients down. The load has a thread and a runtime of its own, so that what a test does
//! cannot slow it either. Timers have a resolution of 1 ms, which every latency includes.

mod record;
#[cfg(test)]
mod tests;
pub(crate) mod thread;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::Utc;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep_until, timeout};

pub use record::{Count, Outcome, Record, Request};
use thread::OwnThread;

/// What the load is like.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where the requests go.
    pub target: SocketAddr,
    /// Host that they ask for: a gateway routes by it.
    pub host: String,
    /// Path and query that they ask for.
    pub path: String,
    /// Requests per second.
    pub rate: f64,
    /// How long an answer may take, from when the request was due.
    pub timeout: Duration,
    /// Headers sent along.
    pub headers: Vec<(String, String)>,
    /// Requests that may be open at the same time; what is due beyond is recorded as failed.
    pub max_open: u32,
}

impl LoadOptions {
    /// `GET /` with 5 s for an answer.
    pub fn new(target: SocketAddr, host: impl Into<String>, rate: f64) -> Self {
        Self {
            target,
            host: host.into(),
            path: "/".to_owned(),
            rate,
            timeout: Duration::from_secs(5),
            headers: Vec::new(),
            max_open: 5_000,
        }
    }
}

/// A load that is running. Dropping it ends it at once; [`Load::stop`] waits for the answers.
#[derive(Debug)]
pub struct Load {
    book: Arc<Mutex<Record>>,
    rate: watch::Sender<f64>,
    thread: OwnThread,
}

impl Load {
    /// Sends requests from now on.
    ///
    /// # Errors
    /// The options make no request, or the system gives no thread.
    #[expect(clippy::unused_async, reason = "a load may have to connect before it starts")]
    pub async fn start(options: LoadOptions) -> anyhow::Result<Self> {
        check_rate(options.rate)?;
        let uri: Uri = format!("http://{}{}", options.target, options.path)
            .parse()
            .with_context(|| format!("`{}` cannot be asked for", options.path))?;
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(&options.host)
            .with_context(|| format!("`{}` is no host", options.host))?;
        headers.insert(HOST, host);
        for (name, value) in &options.headers {
            let name: HeaderName = name.parse().with_context(|| format!("header `{name}`"))?;
            headers.insert(name, value.parse().context("value of a header")?);
        }
        let book = Arc::new(Mutex::new(Record::new(Instant::now(), Utc::now())));
        let (rate, rates) = watch::channel(options.rate);
        let generator = (book.clone(), options.timeout, options.max_open);
        let thread = OwnThread::start("load", move |stop| {
            let (book, timeout, max_open) = generator;
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(timeout));
            let client = Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector);
            let generator = Arc::new(Generator { client, uri, headers, book, timeout });
            generator.run(rates, max_open, stop)
        })?;
        Ok(Self { book, rate, thread })
    }

    /// Now: what a test notes to ask the record about what came before and after.
    pub fn mark(&self) -> Instant {
        Instant::now()
    }

    /// Sends so many requests per second from now on.
    ///
    /// # Errors
    /// It is not above 0 and at most 10 000.
    pub fn set_rate(&self, rate: f64) -> anyhow::Result<()> {
        check_rate(rate)?;
        self.rate.send_replace(rate);
        Ok(())
    }

    /// What was recorded so far. Requests that are still open are not in it.
    pub fn snapshot(&self) -> Record {
        lock(&self.book).clone().sorted()
    }

    /// Sends no more, waits until all that were sent are answered or out of time, and returns the
    /// whole record.
    pub async fn stop(mut self) -> Record {
        self.thread.finish().await;
        std::mem::take(&mut *lock(&self.book)).sorted()
    }
}

fn check_rate(rate: f64) -> anyhow::Result<()> {
    ensure!(rate > 0.0 && rate <= 10_000.0, "{rate} requests per second cannot be sent");
    Ok(())
}

fn lock(book: &Mutex<Record>) -> MutexGuard<'_, Record> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Generator {
    client: Client<HttpConnector, Empty<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    book: Arc<Mutex<Record>>,
    timeout: Duration,
}

impl Generator {
    async fn run(
        self: Arc<Self>,
        mut rates: watch::Receiver<f64>,
        max_open: u32,
        mut stop: oneshot::Receiver<()>,
    ) {
        let places = Arc::new(Semaphore::new(max_open as usize));
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                told = &mut stop => match told {
                    Ok(()) => break,
                    Err(_) => return,
                },
                // Only a drop of the load closes the channel, and then it is told to stop.
                Ok(()) = rates.changed() => {
                    due = Instant::now();
                    rates.mark_unchanged();
                }
                () = sleep_until(due.into()) => {
                    match places.clone().try_acquire_owned() {
                        Ok(place) => {
                            let generator = self.clone();
                            tokio::spawn(async move {
                                generator.send(due).await;
                                drop(place);
                            });
                        }
                        Err(_) => self.keep(due, Err("too many requests are open".to_owned())),
                    }
                    due += Duration::from_secs_f64(1.0 / *rates.borrow());
                }
            }
        }
        // All places are free again when the last answer is recorded; the semaphore never closes.
        let _ = places.acquire_many(max_open).await;
    }

    async fn send(&self, due: Instant) {
        let answer = match timeout(self.timeout, self.ask()).await {
            Ok(answer) => answer.map_err(|error| format!("{error:#}")),
            Err(_) => Err(format!("no answer within {} ms", self.timeout.as_millis())),
        };
        self.keep(due, answer);
    }

    async fn ask(&self) -> anyhow::Result<Response<()>> {
        let mut request = hyper::Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let (head, body) = self.client.request(request).await?.into_parts();
        // A body that breaks off is no answer.
        body.collect().await.context("the answer broke off")?;
        Ok(Response::from_parts(head, ()))
    }

    fn keep(&self, due: Instant, answer: Result<Response<()>, String>) {
        let took = due.elapsed();
        let header = |name: &str| {
            let value = answer.as_ref().ok()?.headers().get(name)?;
            value.to_str().ok().map(ToOwned::to_owned)
        };
        let (pod, version) = (header("x-pod"), header("x-version"));
        let outcome = match answer {
            Ok(answer) => Outcome::Status(answer.status().as_u16()),
            Err(reason) => Outcome::Failed(reason),
        };
        lock(&self.book).push(Request { sent: due, took, outcome, pod, version });
    }
}
