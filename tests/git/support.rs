//! A bare repository with a history like a config repository's, and the words to talk about it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tempfile::TempDir;
use tidegate::git::{self, Author, GitError, Limits, Remote, RemoteUrl, local};
use tidegate_engine::effect::{RevertOrder, RevertOutcome};
use tidegate_engine::state::{GitRevision, TrialId};

use crate::server::Server;

pub(crate) const USER: &str = "bot";
pub(crate) const PASSWORD: &str = "s3cret-token";
pub(crate) const VALUES: &str = "apps/frontend/values.yaml";

/// How the repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Local,
    Http,
}

pub(crate) const BOTH: [Way; 2] = [Way::Local, Way::Http];

/// A bare repository `remote.git` with a branch `main`, and a server for it when it is wanted.
pub(crate) struct Fleet {
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
    caches: Cell<u32>,
    clock: Cell<i64>,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        local::init(&dir.path().join("remote.git"), "main").unwrap();
        let server = Server::start(dir.path());
        git(&dir.path().join("remote.git"), &["config", "http.receivepack", "true"]);
        Self { dir, server, caches: Cell::new(0), clock: Cell::new(1_790_000_000) }
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.path().join("remote.git")
    }

    pub(crate) fn remote(&self, way: Way) -> Remote {
        self.caches.set(self.caches.get() + 1);
        self.remote_in(way, &self.dir.path().join(format!("cache{}", self.caches.get())))
    }

    /// With a cache that somebody else may use too.
    pub(crate) fn remote_in(&self, way: Way, cache: &Path) -> Remote {
        match way {
            Way::Local => Remote::new(RemoteUrl::local(self.repo()), cache),
            Way::Http => {
                let url: RemoteUrl = self.server.url("remote.git").parse().unwrap();
                let who = git::Credentials::bound_to(&url, USER, PASSWORD.into()).unwrap();
                let remote = Remote::new(url, cache).with_limits(limits());
                remote.with_credentials(who).unwrap()
            }
        }
    }

    /// A commit by a person.
    pub(crate) fn commit(&self, message: &str, changes: &[(&str, Option<&str>)]) -> GitRevision {
        self.clock.set(self.clock.get() + 60);
        let changes: BTreeMap<String, Option<Vec<u8>>> = changes
            .iter()
            .map(|(p, c)| ((*p).to_owned(), c.map(|c| c.as_bytes().to_vec())))
            .collect();
        let author = Author { name: "dev".into(), email: "dev@example.invalid".into() };
        let at = DateTime::from_timestamp(self.clock.get(), 0).unwrap();
        local::commit(&self.repo(), "main", &changes, message, &author, at).unwrap()
    }

    /// init, v2, backend, then the culprit: a commit that bumps frontend and backend.
    pub(crate) fn with_culprit(self) -> (Self, Range) {
        self.commit(
            "init",
            &[(VALUES, Some(&values("v1", 1))), ("apps/backend/values.yaml", Some("tag: b1\n"))],
        );
        let good = self.commit("frontend: v2", &[(VALUES, Some(&values("v2", 1)))]);
        let bad = self.commit(
            "bump frontend v3, backend b3",
            &[(VALUES, Some(&values("v3", 1))), ("apps/backend/values.yaml", Some("tag: b3\n"))],
        );
        (self, Range { good, bad })
    }

    pub(crate) fn read(&self, path: &str) -> String {
        git(&self.repo(), &["show", &format!("main:{path}")])
    }

    pub(crate) fn tip(&self) -> GitRevision {
        GitRevision::new(git(&self.repo(), &["rev-parse", "main"]).trim())
    }

    /// Commits of the branch that carry the trial's trailer, by Git's own reading of trailers.
    pub(crate) fn reverts(&self, trial: &str) -> usize {
        let format = "--format=%(trailers:key=Tidegate-Trial,valueonly)";
        let log = git(&self.repo(), &["log", format, "main"]);
        log.lines().filter(|l| l.trim() == trial).count()
    }

    /// The repository is whole, by Git's own check.
    pub(crate) fn fsck(&self) {
        git(&self.repo(), &["fsck", "--strict", "--no-dangling"]);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) good: GitRevision,
    pub(crate) bad: GitRevision,
}

impl Range {
    /// An order for the frontend.
    pub(crate) fn order(&self, trial: &str) -> RevertOrder {
        RevertOrder {
            trial: TrialId::new(trial),
            rollout: "shop/frontend".into(),
            branch: "main".into(),
            paths: vec!["apps/frontend".into()],
            good: self.good.clone(),
            bad: self.bad.clone(),
            why: "error rate 12 % against 1 % (p < 0.001, n = 4210)".into(),
            at: at(),
        }
    }
}

pub(crate) fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_100_000, 0).unwrap()
}

/// A values file with lines far enough apart that they do not conflict.
pub(crate) fn values(tag: &str, cpu: u32) -> String {
    format!(
        "image:\n  repository: shop/frontend\n  tag: {tag}\nreplicas: 4\nenv:\n  - name: A\n    \
         value: \"1\"\nresources:\n  limits:\n    cpu: {cpu}\n"
    )
}

pub(crate) fn limits() -> Limits {
    let (connect, answer) = (Duration::from_secs(5), Duration::from_secs(20));
    Limits { connect, answer, whole: Duration::from_secs(40), ..Limits::default() }
}

pub(crate) fn go() -> Arc<AtomicBool> {
    Arc::default()
}

pub(crate) fn revert(remote: &Remote, order: &RevertOrder) -> Result<RevertOutcome, GitError> {
    git::revert(remote, order, &Author::default(), &go())
}

pub(crate) fn pushed(outcome: &RevertOutcome) -> GitRevision {
    match outcome {
        RevertOutcome::Pushed { commit } => commit.clone(),
        other => panic!("not pushed: {other:?}"),
    }
}

/// Runs `git` without anybody's configuration; fails the test when it fails.
pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let (ok, out, err) = try_git(dir, args);
    assert!(ok, "git {args:?}: {err}");
    out
}

pub(crate) fn try_git(dir: &Path, args: &[&str]) -> (bool, String, String) {
    let out = clean(Command::new("git").arg("-C").arg(dir).args(args)).output().unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.success(), text(&out.stdout), text(&out.stderr))
}

/// The same, with something to read.
pub(crate) fn git_with_input(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("git");
    clean(command.arg("-C").arg(dir).args(args));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let out = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(out.status.success(), "git {args:?}");
    out.stdout
}

/// The environment of a machine without any Git configuration.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(name);
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "dev")
        .env("GIT_AUTHOR_EMAIL", "dev@example.invalid")
        .env("GIT_COMMITTER_NAME", "dev")
        .env("GIT_COMMITTER_EMAIL", "dev@example.invalid")
        .env("LC_ALL", "C")
}
