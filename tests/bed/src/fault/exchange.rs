//! Requests with what became of them, numbered and kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use hyper::body::Bytes;
use tokio::sync::watch;

use super::Cut;
use super::target::Target;

/// One request and its answer, as far as it has come.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Counted from 1, in the order the requests arrived.
    pub number: u64,
    /// Counted from 1 among the writes; `None`: it writes nothing.
    ///
    /// A write is a change of an object (but not of leases and events, which come by the clock),
    /// a `git push`, or any other request but GET and HEAD that is no query.
    pub write: Option<u64>,
    /// When it had arrived.
    pub at: Instant,
    /// The same as a time of day.
    pub wall: DateTime<Utc>,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// What it is about, when it goes to a Kubernetes API.
    pub target: Option<Target>,
    /// Who sent it.
    pub user_agent: Option<String>,
    /// Body of the request; empty for Git, whose bodies are not kept.
    pub body: Bytes,
    /// Bytes of the request's body that went on.
    pub request_bytes: u64,
    /// Bytes of the answer's body that were passed on.
    pub response_bytes: u64,
    /// Status that the upstream answered; `None`: none, or it was not asked.
    pub upstream: Option<u16>,
    /// Status that the client was shown; `None`: none so far.
    pub status: Option<u16>,
    /// From its arrival until its end; `None`: it is open.
    pub took: Option<Duration>,
    /// How it ended.
    pub end: End,
    /// What rules did to it.
    pub faults: Vec<&'static str>,
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It has not.
    Open,
    /// With the whole of an answer.
    Complete,
    /// A rule or a test cut it.
    Cut,
    /// The client went away.
    Left,
    /// The upstream failed, and so the connection was reset. The text says why.
    Failed(String),
}

impl Exchange {
    /// Verb of the Kubernetes API, else the HTTP method.
    pub fn verb(&self) -> &str {
        self.target.as_ref().map_or(&self.method, |target| target.verb)
    }

    /// Whether it is about this resource, given as `deployments` or `deployments/status`.
    pub fn is_about(&self, resource: &str) -> bool {
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource)),
            None => (resource, None),
        };
        self.target.as_ref().is_some_and(|target| {
            target.resource == resource && target.subresource.as_deref() == subresource
        })
    }

    /// Whether it is a watch of the Kubernetes API.
    pub fn is_watch(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.verb == "watch")
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} #{}", self.wall.format("%H:%M:%S%.3f"), self.number)?;
        if let Some(write) = self.write {
            write!(formatter, " w{write}")?;
        }
        match &self.target {
            Some(target) => write!(formatter, " {target}")?,
            None => write!(formatter, " {} {}", self.method, self.path)?,
        }
        match self.status {
            Some(status) => write!(formatter, " -> {status}")?,
            None => write!(formatter, " -> nothing")?,
        }
        match (&self.end, self.took) {
            (End::Open, _) | (_, None) => write!(formatter, ", open")?,
            (end, Some(took)) => {
                write!(formatter, ", {end:?} after {} ms", took.as_millis())?;
            }
        }
        for fault in &self.faults {
            write!(formatter, " [{fault}]")?;
        }
        Ok(())
    }
}

/// All exchanges, and the means to end those that are open.
#[derive(Debug, Default)]
pub(super) struct Log {
    book: Mutex<Book>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Book {
    exchanges: Vec<Exchange>,
    /// Number of the first of them, less one: those before were forgotten.
    forgotten: u64,
    writes: u64,
    open: HashMap<u64, watch::Sender<Option<Cut>>>,
}

impl Log {
    /// Numbers the exchange and keeps it until its entry is dropped or ended.
    pub(super) fn begin(self: &Arc<Self>, mut exchange: Exchange, is_write: bool) -> Entry {
        let (sender, cut) = watch::channel(None);
        {
            let mut book = self.book();
            exchange.number = book.forgotten + book.exchanges.len() as u64 + 1;
            if is_write {
                book.writes += 1;
                exchange.write = Some(book.writes);
            }
            book.open.insert(exchange.number, sender);
            book.exchanges.push(exchange.clone());
        }
        self.changed.send_replace(());
        Entry { log: self.clone(), exchange, cut, ended: false }
    }

    pub(super) fn all(&self) -> Vec<Exchange> {
        self.book().exchanges.clone()
    }

    pub(super) fn find(&self, holds: &dyn Fn(&Exchange) -> bool) -> Option<Exchange> {
        self.book().exchanges.iter().find(|exchange| holds(exchange)).cloned()
    }

    pub(super) fn count(&self, holds: &dyn Fn(&Exchange) -> bool) -> usize {
        self.book().exchanges.iter().filter(|exchange| holds(exchange)).count()
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Forgets everything; writes are counted from 1 again.
    pub(super) fn start_over(&self) {
        let mut book = self.book();
        book.forgotten += book.exchanges.len() as u64;
        book.exchanges.clear();
        book.writes = 0;
    }

    /// Cuts open exchanges and says how many.
    pub(super) fn cut(&self, how: Cut, holds: &dyn Fn(&Exchange) -> bool) -> usize {
        let book = self.book();
        let mut cut = 0;
        for exchange in &book.exchanges {
            if let Some(sender) = book.open.get(&exchange.number)
                && holds(exchange)
            {
                sender.send_replace(Some(how));
                cut += 1;
            }
        }
        cut
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of an open exchange in the log. Dropped without an end, it was cut or the client went
/// away.
#[derive(Debug)]
pub(super) struct Entry {
    log: Arc<Log>,
    /// As it is in the log, but without what the body brings.
    pub(super) exchange: Exchange,
    cut: watch::Receiver<Option<Cut>>,
    ended: bool,
}

impl Entry {
    /// Changes the exchange here and in the log.
    pub(super) fn note(&mut self, change: impl Fn(&mut Exchange)) {
        change(&mut self.exchange);
        {
            let mut book = self.log.book();
            let place = self.exchange.number.checked_sub(book.forgotten + 1);
            let place = place.and_then(|place| usize::try_from(place).ok());
            // An exchange from before the last start over is kept nowhere.
            if let Some(kept) = place.and_then(|place| book.exchanges.get_mut(place)) {
                change(kept);
            }
        }
        self.log.changed.send_replace(());
    }

    /// The one end of the exchange.
    pub(super) fn end(&mut self, end: &End) {
        if !self.ended {
            self.ended = true;
            let took = self.exchange.at.elapsed();
            self.log.book().open.remove(&self.exchange.number);
            self.note(|exchange| {
                exchange.end = end.clone();
                exchange.took = Some(took);
            });
        }
    }

    /// Resolves when a test cuts the exchange; can be asked again and again.
    pub(super) fn cut(&self) -> impl Future<Output = Cut> + Send + 'static {
        let mut cut = self.cut.clone();
        async move {
            let how = cut.wait_for(Option::is_some).await.ok().and_then(|how| *how);
            match how {
                Some(how) => how,
                // The exchange has ended: there is nothing to cut any more.
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let cut = self.cut.borrow().is_some();
        self.end(if cut { &End::Cut } else { &End::Left });
    }
}
