//! The demo's config repository: a bare one with plain manifests, a second team beside ours, and
//! some history.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::state::GitRevision;

use crate::git::local::{self, LogEntry};
use crate::git::{Author, GitError, Remote, RemoteUrl};

/// The branch that the sync follows.
pub const BRANCH: &str = "main";
/// The path that holds the application, and nothing else.
pub const PATH: &str = "apps/web";

/// The application's manifests as they are at first, by path.
const MANIFESTS: &[(&str, &str)] = &[
    ("apps/web/kustomization.yaml", include_str!("manifests/kustomization.yaml")),
    ("apps/web/deployment.yaml", include_str!("manifests/deployment.yaml")),
    ("apps/web/service.yaml", include_str!("manifests/service.yaml")),
    ("apps/web/httproute.yaml", include_str!("manifests/httproute.yaml")),
    ("apps/web/analysis.yaml", include_str!("manifests/analysis.yaml")),
    ("apps/web/rollout.yaml", include_str!("manifests/rollout.yaml")),
];

/// The trailer that tells a revert of Tidegate's from everybody else's commits.
const TRAILER: &str = "Tidegate-Trial: ";
/// Far above what the demo's manifests need.
const SNAPSHOT_LIMIT: u64 = 1 << 20;

/// A bare repository on this machine.
pub struct Repository {
    dir: PathBuf,
    remote: Remote,
}

/// One commit of the branch.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its id.
    pub id: GitRevision,
    /// The first line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// The whole message.
    pub message: String,
    /// The trial whose revert it is.
    pub trial: Option<String>,
}

impl Commit {
    fn of(entry: LogEntry) -> Self {
        let trial = entry.message.lines().find_map(|line| line.strip_prefix(TRAILER));
        Self {
            trial: trial.map(str::to_owned),
            id: entry.id,
            subject: entry.subject,
            author: entry.author,
            message: entry.message,
        }
    }
}

impl Repository {
    /// Makes the repository in a new or empty directory, with three commits.
    pub fn init(dir: &Path, now: DateTime<Utc>) -> Result<Self, GitError> {
        local::init(dir, BRANCH)?;
        let remote = Remote::new(RemoteUrl::local(dir), dir);
        let repository = Self { dir: dir.to_owned(), remote };
        let readme = "# config\nWhat runs, as it should be. One directory an application.\n";
        let first = BTreeMap::from([("README.md".to_owned(), Some(readme.into()))]);
        repository.commit(&first, "Config repository", "Ada", now - TimeDelta::days(40))?;
        let ours = MANIFESTS
            .iter()
            .map(|(path, text)| ((*path).to_owned(), Some(text.as_bytes().to_vec())))
            .collect();
        repository.commit(&ours, "web: first release, v1", "Ada", now - TimeDelta::days(9))?;
        let theirs = BTreeMap::from([(
            "apps/mail/deployment.yaml".to_owned(),
            Some(b"# the mail team's\nkind: Deployment\n".to_vec()),
        )]);
        repository.commit(&theirs, "mail: move in", "Grace", now - TimeDelta::days(2))?;
        Ok(repository)
    }

    /// The same, for whoever reads and writes it.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Somebody releases a version: one line of the kustomization changes.
    pub fn release(
        &self,
        from: &str,
        to: &str,
        now: DateTime<Utc>,
    ) -> Result<GitRevision, GitError> {
        let text = include_str!("manifests/kustomization.yaml")
            .replace("newTag: v1", &format!("newTag: {to}"));
        let files = BTreeMap::from([(format!("{PATH}/kustomization.yaml"), Some(text.into()))]);
        self.commit(&files, &format!("web: release {to} (was {from})"), "Ada", now)
    }

    /// The newest commits first.
    pub fn log(&self, count: usize) -> Result<Vec<Commit>, GitError> {
        Ok(local::log(&self.dir, BRANCH, count)?.into_iter().map(Commit::of).collect())
    }

    /// The tip of the branch and its files, as the sync reads them.
    pub fn snapshot(&self) -> Result<(GitRevision, BTreeMap<String, Vec<u8>>), GitError> {
        let mirror = self.remote.mirror(BRANCH)?;
        let tip = mirror.fetch(&Arc::new(AtomicBool::new(false)))?;
        let snapshot = mirror.snapshot(&tip.commit, "", SNAPSHOT_LIMIT)?;
        Ok((tip.commit, snapshot.files))
    }

    fn commit(
        &self,
        files: &BTreeMap<String, Option<Vec<u8>>>,
        message: &str,
        who: &str,
        at: DateTime<Utc>,
    ) -> Result<GitRevision, GitError> {
        let email = format!("{}@example.org", who.to_lowercase());
        let author = Author { name: who.to_owned(), email };
        local::commit(&self.dir, BRANCH, files, message, &author, at)
    }
}
