//! A repository somewhere: its URL, who we are there, where its cache is, and the limits.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http::Transport;

use crate::git::error::{GitError, HttpFailure};
use crate::git::http::{self, Bounds, Failure, Session};
use crate::git::mirror::Mirror;
use crate::git::url::{Credentials, RemoteUrl, UrlError};

/// How long things may take and how large they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To open a connection.
    pub connect: Duration,
    /// From a request to the first byte of its answer, and between two bytes of it.
    pub answer: Duration,
    /// One whole fetch or push.
    pub whole: Duration,
    /// Bytes of one answer (a pack, a list of branches).
    pub answer_bytes: u64,
    /// Bytes of one object in memory: a small pack can unfold to gigabytes.
    pub object_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            whole: Duration::from_mins(1),
            answer_bytes: 512 << 20,
            object_bytes: 50 << 20,
        }
    }
}

/// How many reverts a branch takes, counted from its own history: by whoever wrote them, and across
/// restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtMost {
    /// So many.
    pub reverts: u32,
    /// Since this instant.
    pub since: DateTime<Utc>,
}

/// A repository somewhere. Cheap to clone; clones share one connection pool.
#[derive(Clone, Debug)]
pub struct Remote {
    url: RemoteUrl,
    cache: PathBuf,
    credentials: Option<Credentials>,
    limits: Limits,
    at_most: Option<AtMost>,
    client: Arc<OnceLock<reqwest::blocking::Client>>,
}

impl Remote {
    /// A repository without credentials. `cache` is a folder of ours for fetched history; nothing
    /// is written there for a repository of this machine.
    pub fn new(url: RemoteUrl, cache: impl Into<PathBuf>) -> Self {
        Self {
            url,
            cache: cache.into(),
            credentials: None,
            limits: Limits::default(),
            at_most: None,
            client: Arc::default(),
        }
    }

    /// The same with credentials, which must be bound to the same host.
    pub fn with_credentials(mut self, credentials: Credentials) -> Result<Self, UrlError> {
        let url = self.url.as_http().ok_or(UrlError::LocalCredentials)?;
        if !credentials.belong_to(url) {
            return Err(UrlError::OtherHost);
        }
        self.credentials = Some(credentials);
        Ok(self)
    }

    /// The same with other limits.
    #[must_use = "the limits are those of the returned remote"]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self.client = Arc::default();
        self
    }

    /// The same, taking so many reverts and no more.
    #[must_use = "the limit is that of the returned remote"]
    pub fn taking(mut self, at_most: AtMost) -> Self {
        self.at_most = Some(at_most);
        self
    }

    /// How many reverts it takes; `None`: any number.
    pub(crate) fn at_most(&self) -> Option<AtMost> {
        self.at_most
    }

    /// One branch of it. Nothing is read yet.
    pub fn mirror(&self, branch: &str) -> Result<Mirror, GitError> {
        Mirror::new(self.clone(), branch)
    }

    /// Where it is.
    pub fn url(&self) -> &RemoteUrl {
        &self.url
    }

    /// The folder for fetched history.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// The limits.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The URL as people know it.
    pub(crate) fn name(&self) -> String {
        self.url.to_string()
    }

    /// A transport for one operation, and where its failure will be found.
    pub(crate) fn transport(
        &self,
        version: Protocol,
        stop: &Arc<AtomicBool>,
    ) -> Result<(Transport<Session>, Failure), GitError> {
        let url = self.url.as_http().ok_or(GitError::Url(UrlError::Scheme))?;
        let client = if let Some(client) = self.client.get() {
            client.clone()
        } else {
            let made = http::client(url, self.limits.connect)
                .map_err(|source| GitError::Unreachable { remote: self.name(), source })?;
            self.client.get_or_init(|| made).clone()
        };
        let bounds = Bounds {
            answer: self.limits.answer,
            whole: self.limits.whole,
            bytes: self.limits.answer_bytes,
            stop: Arc::clone(stop),
        };
        let session = Session::new(client, self.credentials.as_ref(), bounds);
        let failure = session.failure();
        let address = gix::url::parse(url.as_str()).map_err(|_| GitError::Url(UrlError::Syntax))?;
        Ok((Transport::new_http(session, address, version, false), failure))
    }

    /// Says what a failed exchange means.
    pub(crate) fn explain(&self, error: gix::Error, failure: &Failure) -> GitError {
        let remote = self.name();
        match failure.take() {
            Some(HttpFailure::Status(status @ (401 | 403))) => {
                GitError::CredentialsRefused { remote, status, given: self.credentials.is_some() }
            }
            Some(HttpFailure::Status(404 | 410)) => GitError::RepositoryMissing { remote },
            Some(
                source @ (HttpFailure::Status(408 | 425 | 429 | 500..)
                | HttpFailure::Request(_)
                | HttpFailure::Broken(_)),
            ) => GitError::Unreachable { remote, source },
            Some(HttpFailure::TooLarge(limit)) => {
                GitError::TooLarge { what: format!("an answer of {remote}"), limit }
            }
            Some(HttpFailure::Deadline(after)) => GitError::Deadline { remote, after },
            Some(HttpFailure::Stopped) => GitError::Stopped,
            Some(
                source @ (HttpFailure::Status(_) | HttpFailure::Redirect(_) | HttpFailure::Address),
            ) => GitError::Malformed { remote, source: Box::new(source) },
            None if error.is_cancelled() => GitError::Stopped,
            None => GitError::Malformed { remote, source: Box::new(error) },
        }
    }
}
