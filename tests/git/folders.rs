//! Repositories of this machine, written without a `git` program.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use tempfile::TempDir;
use tidegate::git::{Author, GitError, Remote, RemoteUrl, local};
use tidegate_engine::effect::RevertOutcome;
use tidegate_engine::state::GitRevision;

use crate::support::{Fleet, Range, VALUES, git, pushed, revert, values};

fn when(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}

fn commit(
    repo: &Path,
    message: &str,
    changes: &[(&str, Option<&str>)],
    at: i64,
) -> Result<GitRevision, GitError> {
    let changes: BTreeMap<String, Option<Vec<u8>>> = changes
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.map(|t| t.as_bytes().to_vec())))
        .collect();
    local::commit(repo, "main", &changes, message, &Author::default(), when(at))
}

#[test]
fn commits_are_made_and_read_back() {
    let dir = TempDir::new().unwrap();
    let repo = dir.path().join("fleet.git");
    local::init(&repo, "main").unwrap();
    let empty = local::log(&repo, "main", 10).unwrap_err();
    assert!(matches!(empty, GitError::BranchMissing { .. }), "{empty:?}");
    let first = commit(&repo, "one", &[("a/b", Some("1\n")), ("c", Some("2\n"))], 0).unwrap();
    let second = commit(&repo, "two\n\nwith a body\n", &[("a/b", None)], 60).unwrap();
    let log = local::log(&repo, "main", 10).unwrap();
    let seen: Vec<_> = log.iter().map(|e| (&e.id, e.subject.as_str(), e.time)).collect();
    assert_eq!(seen, [(&second, "two", when(60)), (&first, "one", when(0))]);
    assert_eq!(log[0].message, "two\n\nwith a body\n");
    assert_eq!(log[0].author, "Tidegate");
    assert_eq!(local::log(&repo, "main", 1).unwrap().len(), 1);
    // Git agrees: HEAD is the branch, a folder without files is gone, the repository is whole.
    assert_eq!(git(&repo, &["symbolic-ref", "HEAD"]).trim(), "refs/heads/main");
    assert_eq!(git(&repo, &["ls-tree", "-r", "--name-only", "main"]), "c\n");
    assert_eq!(git(&repo, &["rev-parse", "main"]).trim(), second.as_str());
    git(&repo, &["fsck", "--strict"]);
}

#[test]
fn the_same_commit_has_the_same_id() {
    let make = || {
        let dir = TempDir::new().unwrap();
        local::init(dir.path(), "main").unwrap();
        commit(dir.path(), "one", &[("a", Some("1"))], 0).unwrap()
    };
    assert_eq!(make(), make());
}

#[test]
fn writers_at_once_lose_nothing() {
    let dir = TempDir::new().unwrap();
    local::init(dir.path(), "main").unwrap();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let repo = dir.path();
            scope.spawn(move || {
                for m in 0..5 {
                    let name = format!("file-{n}-{m}");
                    commit(repo, &name, &[(name.as_str(), Some("x"))], 0).unwrap();
                }
            });
        }
    });
    assert_eq!(local::log(dir.path(), "main", 100).unwrap().len(), 20);
    let files = git(dir.path(), &["ls-tree", "-r", "--name-only", "main"]);
    assert_eq!(files.lines().count(), 20);
    git(dir.path(), &["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn what_is_in_use_is_not_written_over() {
    let dir = TempDir::new().unwrap();
    let work = dir.path().join("work");
    git(dir.path(), &["init", "-q", "-b", "main", "work"]);
    std::fs::write(work.join("a"), "x").unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "one"]);
    let refused = commit(&work, "two", &[("a", Some("y"))], 0).unwrap_err();
    assert!(matches!(&refused, GitError::CheckedOut { branch, .. } if branch == "main"));
    assert!(refused.to_string().contains("use a bare repository"), "{refused}");
    assert!(local::init(&work, "main").is_err());
    let outside = commit(&dir.path().join("none"), "x", &[("a", None)], 0).unwrap_err();
    assert!(matches!(outside, GitError::RepositoryMissing { .. }));
    assert_eq!(local::log(&work, "main", 10).unwrap().len(), 1);
}

#[test]
fn a_path_cannot_leave_the_repository() {
    let dir = TempDir::new().unwrap();
    local::init(dir.path(), "main").unwrap();
    for path in ["../x", "/x", ".git/config", "a//b"] {
        let refused = commit(dir.path(), "x", &[(path, Some("x"))], 0).unwrap_err();
        assert!(matches!(refused, GitError::Path(_)), "{path}: {refused:?}");
    }
}

#[test]
fn a_branch_that_is_checked_out_is_refused_and_left_alone() {
    let (fleet, range) = Fleet::new().with_culprit();
    let (repo, work) = (fleet.repo(), fleet.dir.path().join("work"));
    git(fleet.dir.path(), &["clone", "-q", repo.to_str().unwrap(), "work"]);
    let remote = |p: &Path| Remote::new(RemoteUrl::local(p), fleet.dir.path());
    let outcome = revert(&remote(&work), &range.order("t-1")).unwrap();
    assert!(
        matches!(&outcome, RevertOutcome::Refused { message } if message.contains("checked out")),
        "{outcome:?}"
    );
    assert_eq!(git(&work, &["status", "--porcelain"]), "");
    // The same repository with another branch checked out takes the revert.
    git(&work, &["checkout", "-q", "-b", "mine"]);
    pushed(&revert(&remote(&work), &range.order("t-1")).unwrap());
    // And a linked work tree counts like the main one.
    git(&work, &["worktree", "add", "-q", "../linked", "main"]);
    let second = fleet.dir.path().join("linked");
    std::fs::write(second.join(VALUES), values("v7", 1)).unwrap();
    let good = GitRevision::new(git(&second, &["rev-parse", "main"]).trim());
    git(&second, &["commit", "-qam", "v7"]);
    let bad = GitRevision::new(git(&second, &["rev-parse", "main"]).trim());
    let order = Range { good, bad }.order("t-2");
    let outcome = revert(&remote(&work), &order).unwrap();
    assert!(matches!(outcome, RevertOutcome::Refused { .. }), "{outcome:?}");
}
