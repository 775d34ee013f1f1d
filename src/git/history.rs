//! The commits between the good revision and the tip: is the trial's trailer there, and which of
//! them touched our paths.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use gix::bstr::ByteSlice;
use gix::{ObjectId, Repository};
use tidegate_engine::state::GitRevision;

use crate::git::error::GitError;
use crate::git::message::{Culprit, has_trial, is_of_a_trial};
use crate::git::paths::{Paths, entries, tree_of};

/// Commits that are looked at for reverts of the last hour: more than people make in one.
const NEWEST: usize = 2000;

/// How the two revisions of an order lie on a branch.
#[derive(Debug)]
pub(crate) enum Placement {
    /// Both are on it: `good`, then `bad`, then `tip` (each may be the same as the next).
    Straight {
        /// All commits of the branch that `good` does not have, whichever way they came.
        after_good: Vec<ObjectId>,
    },
    /// One is not on the branch, or they are not in this order: a force-push, another branch.
    NotOnBranch,
    /// The history at hand ends before the answer.
    TooShallow,
}

/// Finds how the revisions lie. Reads the commits after `good` only.
pub(crate) fn place(
    repo: &Repository,
    good: ObjectId,
    bad: ObjectId,
    tip: ObjectId,
) -> Result<Placement, GitError> {
    let read = || GitError::objects("walk the history");
    let boundary = repo.shallow_commits().map_err(read())?;
    let shallow = |id: &ObjectId| boundary.as_ref().is_some_and(|b| b.contains(id));
    if !repo.has_object(good) || !repo.has_object(bad) {
        return Ok(if boundary.is_some() { Placement::TooShallow } else { Placement::NotOnBranch });
    }
    let after_good = missing_from(repo, tip, good)?;
    // Beyond a boundary there may be a trailer, or the way to `good`.
    if after_good.iter().any(shallow) {
        return Ok(Placement::TooShallow);
    }
    let on_branch = |id: ObjectId| id == tip || after_good.contains(&id);
    let straight = joins(repo, tip, good, &after_good)?
        && (bad == good || (on_branch(bad) && descends(repo, bad, good)?));
    Ok(if straight { Placement::Straight { after_good } } else { Placement::NotOnBranch })
}

/// All commits that `of` has and `without` has not, newest first.
fn missing_from(
    repo: &Repository,
    of: ObjectId,
    without: ObjectId,
) -> Result<Vec<ObjectId>, GitError> {
    let read = || GitError::objects("walk the history");
    let walk = repo.rev_walk([of]).with_hidden([without]).all().map_err(read())?;
    walk.map(|info| Ok(info.map_err(read())?.id)).collect()
}

/// Whether `base` is `of` or a parent of one of the commits that came after it.
fn joins(
    repo: &Repository,
    of: ObjectId,
    base: ObjectId,
    after: &[ObjectId],
) -> Result<bool, GitError> {
    if of == base {
        return Ok(true);
    }
    for id in after {
        let commit = repo.find_commit(*id).map_err(GitError::objects("read a commit"))?;
        if commit.parent_ids().any(|p| p == base) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn descends(repo: &Repository, of: ObjectId, base: ObjectId) -> Result<bool, GitError> {
    joins(repo, of, base, &missing_from(repo, of, base)?)
}

/// The newest of the commits whose message carries the trial's trailer.
pub(crate) fn with_trial(
    repo: &Repository,
    commits: &[ObjectId],
    trial: &str,
) -> Result<Option<ObjectId>, GitError> {
    let read = || GitError::objects("read a commit");
    for id in commits {
        let commit = repo.find_commit(*id).map_err(read())?;
        if has_trial(commit.message_raw().map_err(read())?, trial) {
            return Ok(Some(*id));
        }
    }
    Ok(None)
}

/// How many of the newest commits carry a trial's trailer and were made since then, as far as the
/// history is at hand.
pub(crate) fn reverts_since(
    repo: &Repository,
    tip: ObjectId,
    since: DateTime<Utc>,
) -> Result<usize, GitError> {
    let read = || GitError::objects("walk the history");
    let walk = repo.rev_walk([tip]).all().map_err(read())?;
    let mut found = 0;
    for info in walk.take(NEWEST) {
        let commit = info.map_err(read())?.object().map_err(read())?;
        let is_new = commit.time().map_err(read())?.seconds >= since.timestamp();
        if is_new && is_of_a_trial(commit.message_raw().map_err(read())?) {
            found += 1;
        }
    }
    Ok(found)
}

/// Commits after `good`, up to `bad`, that touched one of the paths, newest first. Along first
/// parents: a merge counts as one change, all that it brought.
pub(crate) fn culprits(
    repo: &Repository,
    good: ObjectId,
    bad: ObjectId,
    paths: &Paths,
) -> Result<Vec<Culprit>, GitError> {
    let read = || GitError::objects("read a commit");
    let range: HashSet<ObjectId> = missing_from(repo, bad, good)?.into_iter().collect();
    let mut found = Vec::new();
    let mut at = bad;
    let mut has = entries(repo, tree_of(repo, at)?, paths)?;
    while range.contains(&at) {
        let commit = repo.find_commit(at).map_err(read())?;
        let parents: Vec<ObjectId> = commit.parent_ids().map(gix::Id::detach).collect();
        let Some(first) = parents.first().copied() else { break };
        let had = entries(repo, tree_of(repo, first)?, paths)?;
        if had != has {
            let subject = commit.message_raw().map_err(read())?.lines().next().unwrap_or_default();
            found.push(Culprit {
                commit: GitRevision::new(at.to_string()),
                subject: subject.to_str_lossy().into_owned(),
                merged_onto: (parents.len() > 1).then(|| GitRevision::new(first.to_string())),
            });
        }
        (at, has) = (first, had);
    }
    Ok(found)
}

/// Whether a commit has no parents.
pub(crate) fn is_root(repo: &Repository, commit: ObjectId) -> Result<bool, GitError> {
    let commit = repo.find_commit(commit).map_err(GitError::objects("read a commit"))?;
    Ok(commit.parent_ids().next().is_none())
}
