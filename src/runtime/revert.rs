//! Carries revert orders out, beside the turns: Git is slow and may be down.
//!
//! An order is started when a turn asks for it, once at a time, and one per repository: a second
//! one would only race with the first. The answer is kept by the trial's name for the turns that
//! follow. It is lost with the process, and then asked for again: that a revert happens exactly
//! once is Git's promise (`crate::git`), not this memory's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use secrecy::SecretString;
use tidegate_api::{ConfigRepositorySpec, GitWrite};
use tidegate_engine::effect::{RevertOrder, RevertOutcome};
use tidegate_engine::state::TrialId;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::error::chain;
use super::metrics::Metrics;
use super::secrets::{SecretError, Secrets};
use crate::git::{AtMost, Author, Credentials, GitError, Remote, RemoteUrl, UrlError};

/// Between attempts at one order.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_mins(2));
/// How many reverts a repository takes in an hour unless it says otherwise.
const PER_HOUR: u32 = 10;
const HOUR: TimeDelta = TimeDelta::hours(1);
/// The user that goes with a token where the Secret names none; forges look at the token alone.
const TOKEN_USER: &str = "tidegate";

/// Told when an order has an answer.
pub(super) type Answered = Box<dyn Fn() + Send + Sync>;

/// Carries revert orders out. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reverts {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    secrets: Secrets,
    folder: PathBuf,
    metrics: Arc<Metrics>,
    stop: Arc<AtomicBool>,
    orders: Mutex<BTreeMap<TrialId, Entry>>,
    repositories: Mutex<BTreeMap<String, Arc<Repository>>>,
}

#[derive(Debug, Default)]
struct Entry {
    running: bool,
    answer: Option<RevertOutcome>,
    failures: u32,
    not_before: Option<Instant>,
}

/// One repository: one revert at a time.
#[derive(Debug, Default)]
struct Repository {
    turn: tokio::sync::Mutex<()>,
}

/// Why an order could not be carried out.
#[derive(Debug, thiserror::Error)]
enum RevertError {
    #[error("the credentials cannot be used")]
    Secret(#[from] SecretError),
    #[error("the repository's URL cannot be used")]
    Url(#[from] UrlError),
    #[error("the repository cannot be written")]
    Git(#[from] GitError),
    #[error("the worker ended early")]
    Worker(#[from] tokio::task::JoinError),
}

impl Reverts {
    /// `folder`: where fetched history is kept.
    pub fn new(secrets: Secrets, folder: impl Into<PathBuf>, metrics: Arc<Metrics>) -> Self {
        let inner = Inner {
            secrets,
            folder: folder.into(),
            metrics,
            stop: Arc::default(),
            orders: Mutex::default(),
            repositories: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The latest answer to a trial's order.
    pub fn answer(&self, trial: &TrialId) -> Option<RevertOutcome> {
        lock(&self.inner.orders).get(trial)?.answer.clone()
    }

    /// The trial is over, or an order was withdrawn.
    pub fn forget(&self, trial: &TrialId) {
        lock(&self.inner.orders).retain(|id, entry| id != trial || entry.running);
    }

    /// Starts an order, unless it runs, is answered for good, or waits for its next attempt.
    pub(super) fn ask(
        &self,
        name: &str,
        repository: &ConfigRepositorySpec,
        order: &RevertOrder,
        answered: Answered,
    ) {
        {
            let mut orders = lock(&self.inner.orders);
            let entry = orders.entry(order.trial.clone()).or_default();
            let is_final = !matches!(entry.answer, None | Some(RevertOutcome::Retry { .. }));
            let waits = entry.not_before.is_some_and(|at| Instant::now() < at);
            if entry.running || is_final || waits {
                return;
            }
            entry.running = true;
        }
        let place = lock(&self.inner.repositories).entry(name.to_owned()).or_default().clone();
        let (inner, spec, order) = (self.inner.clone(), repository.clone(), order.clone());
        tokio::spawn(async move {
            let outcome = inner.carry_out(&place, &spec, &order).await;
            inner.keep(&order.trial, outcome);
            answered();
        });
    }

    /// What is on its way ends soon; an answer that is lost is asked for again.
    pub(super) fn stop(&self) {
        self.inner.stop.store(true, Ordering::Relaxed);
    }
}

impl Inner {
    fn keep(&self, trial: &TrialId, outcome: RevertOutcome) {
        self.metrics.revert(&outcome);
        tracing::info!(%trial, ?outcome, "revert");
        let mut orders = lock(&self.orders);
        let entry = orders.entry(trial.clone()).or_default();
        entry.running = false;
        if matches!(outcome, RevertOutcome::Retry { .. }) {
            entry.failures = entry.failures.saturating_add(1);
            entry.not_before = Some(Instant::now() + BACKOFF.after(entry.failures));
        }
        entry.answer = Some(outcome);
    }

    async fn carry_out(
        &self,
        place: &Repository,
        spec: &ConfigRepositorySpec,
        order: &RevertOrder,
    ) -> RevertOutcome {
        if let Some(message) = unsupported(spec) {
            return RevertOutcome::Refused { message };
        }
        let _turn = place.turn.lock().await;
        match self.write(spec, order).await {
            Ok(outcome) => outcome,
            Err(error) => answer_to(&error),
        }
    }

    async fn write(
        &self,
        spec: &ConfigRepositorySpec,
        order: &RevertOrder,
    ) -> Result<RevertOutcome, RevertError> {
        let url: RemoteUrl = spec.url.parse()?;
        let at_most =
            AtMost { reverts: spec.reverts_per_hour.unwrap_or(PER_HOUR), since: Utc::now() - HOUR };
        let mut remote = Remote::new(url.clone(), self.folder.join("git")).taking(at_most);
        if let Some(name) = &spec.credentials {
            let (user, password) = self.credentials(name.as_str()).await?;
            remote = remote.with_credentials(Credentials::bound_to(&url, user, password)?)?;
        }
        let author = spec.author.as_ref().map_or_else(Author::default, |author| Author {
            name: author.name.clone(),
            email: author.email.clone(),
        });
        let (order, stop) = (order.clone(), self.stop.clone());
        let done = tokio::task::spawn_blocking(move || {
            crate::git::revert(&remote, &order, &author, &stop)
        });
        Ok(done.await??)
    }

    async fn credentials(&self, name: &str) -> Result<(String, SecretString), SecretError> {
        use secrecy::ExposeSecret as _;
        let secret = self.secrets.get(name).await?;
        if secret.has("token") {
            return Ok((TOKEN_USER.to_owned(), secret.text("token")?));
        }
        let user = secret.text("username")?.expose_secret().to_owned();
        Ok((user, secret.text("password")?))
    }
}

/// What a repository asks for and nobody can do: then nothing is written in another way.
fn unsupported(spec: &ConfigRepositorySpec) -> Option<String> {
    if spec.write == Some(GitWrite::PullRequest) {
        return Some("pull requests cannot be opened by this version".to_owned());
    }
    let signed = spec.signing_key.is_some();
    signed.then(|| "commits cannot be signed by this version".to_owned())
}

/// What passes by itself, or once somebody has put the repository or its Secret right, is tried
/// again; what is wrong with the order itself is not.
fn answer_to(error: &RevertError) -> RevertOutcome {
    let message = match error {
        RevertError::Git(error) => error.chain(),
        other => chain(other),
    };
    let is_final = match error {
        RevertError::Git(error) => match error {
            GitError::CredentialsRefused { .. }
            | GitError::RepositoryMissing { .. }
            | GitError::BranchMissing { .. }
            | GitError::Malformed { .. } => false,
            other => !other.is_retryable(),
        },
        RevertError::Url(_) => true,
        RevertError::Secret(_) | RevertError::Worker(_) => false,
    };
    if is_final { RevertOutcome::Refused { message } } else { RevertOutcome::Retry { message } }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_can_put_right_is_tried_again() {
        let refused = GitError::CredentialsRefused {
            remote: "https://git".to_owned(),
            status: 401,
            given: true,
        };
        assert!(matches!(answer_to(&refused.into()), RevertOutcome::Retry { .. }));
        let secret =
            SecretError::Missing { name: "git".to_owned(), namespace: "tidegate".to_owned() };
        assert!(matches!(answer_to(&secret.into()), RevertOutcome::Retry { .. }));
        let url = RevertError::Url(UrlError::OtherHost);
        assert!(matches!(answer_to(&url), RevertOutcome::Refused { .. }));
    }

    #[test]
    fn what_is_asked_for_and_cannot_be_done_is_not_done_otherwise() {
        let asks = |write, signing_key: Option<&str>| {
            let signing_key =
                signing_key.map(|name| serde_json::from_value(serde_json::json!(name)).unwrap());
            unsupported(&ConfigRepositorySpec { write, signing_key, ..Default::default() })
        };
        assert!(asks(Some(GitWrite::PullRequest), None).is_some());
        assert!(asks(None, Some("key")).is_some());
        assert_eq!(asks(Some(GitWrite::PushThenPullRequest), None), None);
        assert_eq!(asks(None, None), None);
    }
}
