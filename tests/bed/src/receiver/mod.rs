//! What Alertmanager sends to people, counted.
//!
//! It takes version 4 of the webhook payload (Alertmanager's configuration manual, section
//! `webhook_config`) on every path, and keeps what came with its time of arrival.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Router, serve};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::load::thread::OwnThread;

/// Names and values.
pub type Labels = BTreeMap<String, String>;

/// One alert of a notification.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// `firing` or `resolved`.
    pub status: String,
    /// What identifies it.
    pub labels: Labels,
    /// What is told about it.
    #[serde(default)]
    pub annotations: Labels,
    /// Since when it fires.
    pub starts_at: DateTime<Utc>,
    /// When it ended; the year 1 while it fires.
    pub ends_at: DateTime<Utc>,
    /// Where it came from.
    #[serde(default, rename = "generatorURL")]
    pub generator_url: String,
    /// A hash of its labels.
    pub fingerprint: String,
}

/// The body of a notification.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// Version of the payload: `4`.
    pub version: String,
    /// `firing` while one alert of the group does, else `resolved`.
    pub status: String,
    /// Name of the receiver in Alertmanager's configuration.
    pub receiver: String,
    /// Identity of the group.
    pub group_key: String,
    /// Labels that the group was made by.
    pub group_labels: Labels,
    /// Labels that all alerts of the group have.
    #[serde(default)]
    pub common_labels: Labels,
    /// Annotations that all alerts of the group have.
    #[serde(default)]
    pub common_annotations: Labels,
    /// The alerts.
    pub alerts: Vec<Alert>,
}

/// One notification, as it arrived.
#[derive(Clone, Debug)]
pub struct Notification {
    /// When it arrived.
    pub at: Instant,
    /// The same as a time of day.
    pub wall: DateTime<Utc>,
    /// Path it was posted to: tells several webhooks apart.
    pub path: String,
    /// What was answered; one that is not taken comes again.
    pub answer: Answer,
    /// What it says.
    pub payload: Payload,
}

impl Notification {
    /// Whether one of its alerts fires with these labels.
    pub fn fires(&self, labels: &[(&str, &str)]) -> bool {
        self.has("firing", labels)
    }

    /// Whether one of its alerts with these labels is resolved.
    pub fn resolves(&self, labels: &[(&str, &str)]) -> bool {
        self.has("resolved", labels)
    }

    fn has(&self, status: &str, labels: &[(&str, &str)]) -> bool {
        self.payload.alerts.iter().any(|alert| {
            let wanted = |(name, value): &(&str, &str)| {
                alert.labels.get(*name).is_some_and(|found| found == value)
            };
            alert.status == status && labels.iter().all(wanted)
        })
    }
}

/// What the receiver answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// 200: it was taken.
    #[default]
    Taken,
    /// This status. Alertmanager tries again after 5xx and 429 only.
    Status(u16),
    /// Nothing, ever.
    Hang,
}

/// A receiver of notifications. Dropping it closes the port.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _thread: OwnThread,
}

#[derive(Debug, Default)]
struct Shared {
    book: Mutex<Book>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Book {
    notifications: Vec<Notification>,
    unreadable: Vec<String>,
    answer: Answer,
}

impl Receiver {
    /// Listens from now on; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound.
    #[expect(clippy::unused_async, reason = "as all servers of the bed are started")]
    pub async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("the receiver cannot listen on {address}"))?;
        listener.set_nonblocking(true).context("the receiver's listener")?;
        let address = listener.local_addr().context("the receiver's address")?;
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(receive).with_state(shared.clone());
        let thread = OwnThread::start("receiver", move |stopped| async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => tokio::select! {
                    _ = serve(listener, router) => {}
                    _ = stopped => {}
                },
                Err(error) => eprintln!("the receiver cannot listen: {error}"),
            }
        })?;
        Ok(Self { address, shared, _thread: thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What Alertmanager is to post to.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// All notifications, in the order they arrived, with those that were not taken.
    pub fn notifications(&self) -> Vec<Notification> {
        self.book().notifications.clone()
    }

    /// How many notifications of this status (`firing`, `resolved`) were taken.
    pub fn count(&self, status: &str) -> usize {
        let taken = |notification: &&Notification| {
            notification.answer == Answer::Taken && notification.payload.status == status
        };
        self.book().notifications.iter().filter(taken).count()
    }

    /// Taken notifications by the labels their group was made by.
    pub fn by_group(&self) -> BTreeMap<Labels, usize> {
        let mut groups = BTreeMap::new();
        for notification in &self.book().notifications {
            if notification.answer == Answer::Taken {
                *groups.entry(notification.payload.group_labels.clone()).or_default() += 1;
            }
        }
        groups
    }

    /// Bodies that are no notifications: at most 1000 characters of each.
    pub fn unreadable(&self) -> Vec<String> {
        self.book().unreadable.clone()
    }

    /// Answers every later notification so.
    pub fn answer(&self, answer: Answer) {
        self.book().answer = answer;
    }

    /// Forgets what came so far.
    pub fn clear(&self) {
        let mut book = self.book();
        book.notifications.clear();
        book.unreadable.clear();
    }

    /// The first notification for which this holds, as soon as there is one.
    ///
    /// # Errors
    /// There is none within the time; says what came instead.
    pub async fn wait_for(
        &self,
        what: &str,
        within: Duration,
        holds: impl Fn(&Notification) -> bool,
    ) -> anyhow::Result<Notification> {
        let mut changes = self.shared.changed.subscribe();
        let found = async {
            loop {
                changes.mark_unchanged();
                let found = self.book().notifications.iter().find(|&one| holds(one)).cloned();
                if let Some(found) = found {
                    return found;
                }
                if changes.changed().await.is_err() {
                    // The sender lives as long as the receiver.
                    std::future::pending::<()>().await;
                }
            }
        };
        if let Ok(found) = timeout(within, found).await {
            return Ok(found);
        }
        bail!("no notification within {} s: {what}; {}", within.as_secs_f64(), self.summary())
    }

    fn summary(&self) -> String {
        use std::fmt::Write as _;
        let book = self.book();
        let mut text = format!("{} came", book.notifications.len());
        for notification in &book.notifications {
            for alert in &notification.payload.alerts {
                // Writing to a String cannot fail.
                let _ = write!(
                    text,
                    "\n  {} {} {:?}",
                    notification.wall.format("%H:%M:%S%.3f"),
                    alert.status,
                    alert.labels
                );
            }
        }
        if let Some(body) = book.unreadable.last() {
            let _ = write!(text, "\n  {} unreadable, such as {body}", book.unreadable.len());
        }
        text
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book()
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(State(shared): State<Arc<Shared>>, uri: Uri, body: Bytes) -> StatusCode {
    let (at, wall) = (Instant::now(), Utc::now());
    let answer = {
        let mut book = shared.book();
        match serde_json::from_slice::<Payload>(&body) {
            Ok(payload) => {
                let (path, answer) = (uri.path().to_owned(), book.answer);
                book.notifications.push(Notification { at, wall, path, answer, payload });
                answer
            }
            Err(error) => {
                let text: String = String::from_utf8_lossy(&body).chars().take(1000).collect();
                book.unreadable.push(format!("{error}: {text}"));
                Answer::Status(400)
            }
        }
    };
    shared.changed.send_replace(());
    match answer {
        Answer::Taken => StatusCode::OK,
        Answer::Status(status) => {
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Answer::Hang => std::future::pending().await,
    }
}
