//! What can go wrong with a repository, told apart by what a person has to do about it.

use std::path::PathBuf;
use std::time::Duration;

use crate::git::paths::PathError;
use crate::git::url::UrlError;

/// Why Git could not be asked or written. Messages name the repository, never a secret: URLs with
/// credentials in them are refused when they are parsed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The URL, or credentials with it, are not acceptable.
    #[error("the repository's URL cannot be used")]
    Url(#[from] UrlError),
    /// A path is not a path inside a repository.
    #[error("a path cannot be used")]
    Path(#[from] PathError),
    /// The order holds something that is not a commit id, a branch name or a trial id.
    #[error("{what} `{value}` is not valid")]
    Order {
        /// Which part of the order.
        what: &'static str,
        /// Its value, shortened.
        value: String,
    },
    /// There is no repository at the URL, or these credentials may not see it.
    #[error("there is no repository at {remote} (or these credentials may not see it)")]
    RepositoryMissing {
        /// The URL.
        remote: String,
    },
    /// The repository has no such branch.
    #[error("{remote} has no branch `{branch}`")]
    BranchMissing {
        /// The URL.
        remote: String,
        /// The branch that was asked for.
        branch: String,
    },
    /// The commit is not in the repository, or not in the part of it that was fetched.
    #[error("{remote} has no commit {commit} on the branch")]
    CommitMissing {
        /// The URL.
        remote: String,
        /// The commit that was asked for.
        commit: String,
    },
    /// The commit has nothing at the path.
    #[error("commit {commit} has no `{path}`")]
    PathMissing {
        /// The path that was asked for.
        path: String,
        /// The commit that was looked at.
        commit: String,
    },
    /// 401 or 403: no credentials, wrong ones, or not enough rights.
    #[error("{remote} refuses {} (HTTP {status})", credentials_text(*.given))]
    CredentialsRefused {
        /// The URL.
        remote: String,
        /// The HTTP status.
        status: u16,
        /// Whether credentials were sent.
        given: bool,
    },
    /// The server cannot be reached, or is in trouble. Worth another try.
    #[error("{remote} cannot be reached")]
    Unreachable {
        /// The URL.
        remote: String,
        /// What happened.
        #[source]
        source: HttpFailure,
    },
    /// The server answers, but not as a Git server does.
    #[error("{remote} does not answer as a Git server does")]
    Malformed {
        /// The URL.
        remote: String,
        /// What is wrong with the answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More data than the limit allows.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// The whole operation took too long. Worth another try.
    #[error("{remote} took longer than {} s", .after.as_secs_f64())]
    Deadline {
        /// The URL.
        remote: String,
        /// The limit that passed.
        after: Duration,
    },
    /// The caller asked to stop. Worth another try, by whoever runs next.
    #[error("stopped on request")]
    Stopped,
    /// The history does not reach back to the good revision and cannot be fetched further.
    #[error("the history of {remote} is cut off before the revision that is needed")]
    HistoryCut {
        /// The URL.
        remote: String,
    },
    /// A local file operation failed (cache folder, local repository).
    #[error("cannot {what} {}", .path.display())]
    Storage {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An object could not be read or written.
    #[error("cannot {what}")]
    Objects {
        /// What was tried.
        what: &'static str,
        /// What the object store said.
        #[source]
        source: gix::Error,
    },
    /// The branch is checked out in a work tree of this machine. Moved under it, the work tree
    /// would look as if somebody had undone the change, and the next commit there would.
    #[error("`{branch}` is checked out in {}; use a bare repository", .path.display())]
    CheckedOut {
        /// The branch.
        branch: String,
        /// The work tree.
        path: PathBuf,
    },
    /// Other writers were faster each time. Worth another try.
    #[error("`{branch}` of {remote} moved while it was written")]
    Moved {
        /// The repository.
        remote: String,
        /// The branch.
        branch: String,
    },
}

fn credentials_text(given: bool) -> &'static str {
    if given { "the credentials" } else { "access without credentials" }
}

impl GitError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Deadline { .. }
            | Self::Stopped
            | Self::Moved { .. }
            | Self::Storage { .. }
            | Self::Objects { .. } => true,
            Self::Url(_)
            | Self::Path(_)
            | Self::Order { .. }
            | Self::RepositoryMissing { .. }
            | Self::BranchMissing { .. }
            | Self::CommitMissing { .. }
            | Self::PathMissing { .. }
            | Self::CredentialsRefused { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::HistoryCut { .. }
            | Self::CheckedOut { .. } => false,
        }
    }

    /// The error and all its causes in one line, cleaned of control characters.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let said = cause.to_string();
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            next = cause.source();
        }
        crate::git::message::clean_line(&text, 600)
    }

    /// For `map_err`: reading or writing objects failed.
    pub(crate) fn objects(what: &'static str) -> impl FnOnce(gix::Error) -> Self {
        move |source| Self::Objects { what, source }
    }

    /// For `map_err`: a file operation failed.
    pub(crate) fn storage(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Storage { what, path: path.to_owned(), source }
    }
}

/// Why one HTTP exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpFailure {
    /// The server answered with an error status.
    #[error("the server answers HTTP {0}")]
    Status(u16),
    /// The server points elsewhere; credentials are bound to their host, so nothing is followed.
    #[error("the server redirects (HTTP {0}), which is not followed")]
    Redirect(u16),
    /// Not an address that can be asked.
    #[error("the address cannot be parsed")]
    Address,
    /// No connection, TLS refused, no answer in time.
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    /// The connection broke in the middle of an answer.
    #[error("the answer broke off")]
    Broken(#[source] std::io::Error),
    /// The answer is larger than the limit.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    /// The whole operation took too long.
    #[error("the operation took longer than {} s", .0.as_secs_f64())]
    Deadline(Duration),
    /// The caller asked to stop.
    #[error("stopped on request")]
    Stopped,
}
