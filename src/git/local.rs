//! Repositories of this machine, read and written in place: objects first, then one
//! compare-and-swap of the branch. Hooks do not run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use gix::bstr::ByteSlice;
use gix::objs::Write as _;
use gix::objs::tree::EntryKind;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};
use gix::refs::{FullName, Target};
use gix::{ObjectId, Repository};
use tidegate_engine::state::GitRevision;

use crate::git::error::GitError;
use crate::git::message::{Author, clean_line};
use crate::git::mirror::utc;
use crate::git::paths::normal;
use crate::git::push::{Move, Pushed};

/// A commit of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its id.
    pub id: GitRevision,
    /// The first line of its message, cleaned.
    pub subject: String,
    /// Who wrote it, by name, cleaned.
    pub author: String,
    /// When it was committed.
    pub time: DateTime<Utc>,
    /// The whole message, as it is.
    pub message: String,
}

/// Times a commit is made again on a newer tip before giving up.
const ATTEMPTS: usize = 20;

/// Creates a bare repository whose branch has no commit yet. The folder must not exist or be
/// empty.
pub fn init(dir: &Path, branch: &str) -> Result<(), GitError> {
    let repo: Repository = gix::ThreadSafeRepository::init_opts(
        dir,
        gix::create::Kind::Bare,
        gix::create::Options::default(),
        gix::open::Options::isolated(),
    )
    .map_err(GitError::objects("create a repository"))?
    .into();
    let head = RefEdit::new(
        full_name("HEAD", branch)?,
        Change::Update {
            log: LogChange::default(),
            expected: PreviousValue::Any,
            new: Target::Symbolic(full_name(&format!("refs/heads/{branch}"), branch)?),
        },
    );
    repo.edit_references_as([head], None).map_err(GitError::objects("set the branch"))?;
    Ok(())
}

/// Commits changes on top of a branch: a path with content is written, one with `None` removed.
/// The branch is created when it is not there. Somebody else's commit in between is kept: the
/// changes are made again on top of it.
pub fn commit(
    dir: &Path,
    branch: &str,
    changes: &BTreeMap<String, Option<Vec<u8>>>,
    message: &str,
    author: &Author,
    time: DateTime<Utc>,
) -> Result<GitRevision, GitError> {
    let repo = open(dir)?;
    refuse_checked_out(&repo, branch)?;
    for _ in 0..ATTEMPTS {
        let tip = tip(&repo, branch)?;
        let write = || GitError::objects("write a commit");
        let tree = match tip {
            Some(tip) => crate::git::paths::tree_of(&repo, tip)?,
            None => repo.empty_tree().id,
        };
        let mut editor = repo.edit_tree(tree).map_err(write())?;
        for (path, content) in changes {
            let path = normal(path)?;
            match content {
                Some(bytes) => {
                    let blob = repo.write_blob(bytes).map_err(write())?;
                    editor.upsert(path, EntryKind::Blob, blob)
                }
                None => editor.remove(path),
            }
            .map_err(write())?;
        }
        let tree = editor.write().map_err(write())?.detach();
        let signature = author.signature(time);
        let new = repo.write_object(object(tree, tip, &signature, message)).map_err(write())?;
        if swap(&repo, branch, tip, new.detach(), &signature)? {
            return Ok(GitRevision::new(new.to_string()));
        }
    }
    Err(GitError::Moved { remote: dir.display().to_string(), branch: branch.to_owned() })
}

/// The newest commits of a branch along first parents, newest first, at most `most`.
pub fn log(dir: &Path, branch: &str, most: usize) -> Result<Vec<LogEntry>, GitError> {
    let repo = open(dir)?;
    let read = || GitError::objects("read the log");
    let Some(tip) = tip(&repo, branch)? else {
        let (remote, branch) = (dir.display().to_string(), branch.to_owned());
        return Err(GitError::BranchMissing { remote, branch });
    };
    let walk = repo.rev_walk([tip]).first_parent_only().all().map_err(read())?;
    let entry = |info: gix::Result<gix::revision::walk::Info<'_>>| {
        let commit = info?.object()?;
        let message = commit.message_raw()?.to_str_lossy().into_owned();
        Ok(LogEntry {
            id: GitRevision::new(commit.id.to_string()),
            subject: clean_line(message.lines().next().unwrap_or_default(), 200),
            author: clean_line(&commit.author()?.name.to_str_lossy(), 100),
            time: utc(commit.time()?.seconds),
            message,
        })
    };
    walk.take(most).map(|info| entry(info).map_err(read())).collect()
}

/// Writes the objects, then moves the branch if it is where it should be.
pub(crate) fn write(
    dir: &Path,
    wanted: &Move<'_>,
    signature: &gix::actor::Signature,
) -> Result<Pushed, GitError> {
    let repo = open(dir)?;
    match refuse_checked_out(&repo, wanted.branch) {
        Err(refused @ GitError::CheckedOut { .. }) => return Ok(Pushed::Rejected(refused.chain())),
        other => other?,
    }
    match tip(&repo, wanted.branch)? {
        Some(at) if at == wanted.new => return Ok(Pushed::Done),
        Some(at) if at == wanted.old => {}
        Some(_) | None => return Ok(Pushed::Moved),
    }
    // The commit is first in the list and last on disk: it never names what is not there.
    let written = wanted
        .objects
        .iter()
        .rev()
        .try_for_each(|(_, kind, data)| repo.objects.write_buf(*kind, data).map(drop));
    let moved = written
        .map_err(GitError::objects("write an object"))
        .and_then(|()| swap(&repo, wanted.branch, Some(wanted.old), wanted.new, signature));
    match moved {
        Ok(true) => Ok(Pushed::Done),
        Ok(false) => Ok(Pushed::Moved),
        // A folder we may not write to will not change by itself.
        Err(GitError::Objects { what, source }) if source.is_permission_denied() => {
            Ok(Pushed::Rejected(GitError::Objects { what, source }.chain()))
        }
        Err(other) => Err(other),
    }
}

/// A commit by one person who is author and committer.
pub(crate) fn object(
    tree: ObjectId,
    parent: Option<ObjectId>,
    by: &gix::actor::Signature,
    message: &str,
) -> gix::objs::Commit {
    gix::objs::Commit {
        tree,
        parents: parent.into_iter().collect(),
        author: by.clone(),
        committer: by.clone(),
        encoding: None,
        message: message.into(),
        extra_headers: Vec::new(),
    }
}

fn open(dir: &Path) -> Result<Repository, GitError> {
    gix::open_opts(dir, gix::open::Options::isolated())
        .map_err(|_| GitError::RepositoryMissing { remote: dir.display().to_string() })
}

fn tip(repo: &Repository, branch: &str) -> Result<Option<ObjectId>, GitError> {
    let read = || GitError::objects("read the branch");
    let found = repo.try_find_reference(&format!("refs/heads/{branch}")).map_err(read())?;
    found.map(|mut r| Ok(r.peel_to_id().map_err(read())?.detach())).transpose()
}

/// Moves the branch from `old` to `new`. `false`: it was not at `old`, or somebody else holds it.
fn swap(
    repo: &Repository,
    branch: &str,
    old: Option<ObjectId>,
    new: ObjectId,
    by: &gix::actor::Signature,
) -> Result<bool, GitError> {
    let expected = old.map_or(PreviousValue::MustNotExist, |id| {
        PreviousValue::MustExistAndMatch(Target::Object(id))
    });
    let change = Change::Update {
        log: LogChange {
            mode: RefLog::AndReference,
            force_create_reflog: false,
            message: "tidegate".into(),
        },
        expected,
        new: Target::Object(new),
    };
    let edit = RefEdit::new(full_name(&format!("refs/heads/{branch}"), branch)?, change);
    let mut time = gix::date::parse::TimeBuf::default();
    let Err(error) = repo.edit_references_as([edit], Some(by.to_ref(&mut time))) else {
        return Ok(true);
    };
    // As after a push: what happened is read from the branch, not from the error.
    match tip(repo, branch)? {
        at if at == Some(new) => Ok(true),
        at if at == old && error.is_permission_denied() => {
            Err(GitError::Objects { what: "move the branch", source: error })
        }
        _ => Ok(false),
    }
}

fn full_name(full: &str, branch: &str) -> Result<FullName, GitError> {
    FullName::try_from(full)
        .map_err(|_| GitError::Order { what: "the branch", value: clean_line(branch, 100) })
}

fn refuse_checked_out(repo: &Repository, branch: &str) -> Result<(), GitError> {
    let full = format!("refs/heads/{branch}");
    let check = || -> gix::Result<Option<PathBuf>> {
        let at = |r: &Repository| -> gix::Result<Option<PathBuf>> {
            let here = r.head_name()?.is_some_and(|n| n.as_bstr() == full.as_str());
            Ok(r.workdir().filter(|_| here).map(Path::to_owned))
        };
        if let Some(path) = at(repo)? {
            return Ok(Some(path));
        }
        if let Some(path) = at(&repo.main_repo()?)? {
            return Ok(Some(path));
        }
        for proxy in repo.worktrees()? {
            if let Some(path) = at(&proxy.into_repo_with_possibly_inaccessible_worktree()?)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    };
    match check().map_err(GitError::objects("look for work trees"))? {
        Some(path) => Err(GitError::CheckedOut { branch: branch.to_owned(), path }),
        None => Ok(()),
    }
}
