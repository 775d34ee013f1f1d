//! The revert itself: a 3-way merge that takes back, on today's tip, what a range of commits did
//! to our paths, and nothing else.

use gix::{ObjectId, Repository};

use crate::git::error::GitError;
use crate::git::message::clean_line;
use crate::git::paths::{Paths, graft, tree_of};

/// What became of a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    /// The tip has the old content already.
    Nothing,
    /// Later commits changed the same places. Files, sorted.
    Conflict(Vec<String>),
    /// The tree of the revert.
    Tree(ObjectId),
}

/// Takes back on `tip` what happened to `paths` between `good` and `bad` (all commits).
///
/// base = `bad`, ours = `tip`, theirs = `bad` with the paths as they were in `good`. One merge of
/// the range equals reverting its commits one by one, newest first. What lies outside the paths is
/// the same in base and theirs, so the tip's version stays, unless the merge follows a rename out
/// of the paths: that would write where the order does not allow it, and is a conflict.
pub(crate) fn revert_paths(
    repo: &Repository,
    good: ObjectId,
    bad: ObjectId,
    tip: ObjectId,
    paths: &Paths,
) -> Result<Merged, GitError> {
    let (base, ours) = (tree_of(repo, bad)?, tree_of(repo, tip)?);
    let theirs = graft(repo, base, tree_of(repo, good)?, paths)?;
    let merge = || GitError::objects("merge");
    let labels = gix::merge::blob::builtin_driver::text::Labels {
        ancestor: Some("bad".into()),
        current: Some("tip".into()),
        other: Some("good".into()),
    };
    let options = repo.tree_merge_options().map_err(merge())?;
    let mut merged = repo.merge_trees(base, ours, theirs, labels, options).map_err(merge())?;
    let how = gix::merge::tree::TreatAsUnresolved::git();
    if merged.has_unresolved_conflicts(how) {
        let open = merged.conflicts.iter().filter(|c| c.is_unresolved(how));
        return Ok(Merged::Conflict(files(open.map(|c| c.ours.location().to_string()))));
    }
    let tree = merged.tree.write().map_err(GitError::objects("write a tree"))?.detach();
    if tree == ours {
        return Ok(Merged::Nothing);
    }
    let scoped = graft(repo, ours, tree, paths)?;
    if scoped == tree {
        return Ok(Merged::Tree(tree));
    }
    Ok(Merged::Conflict(differences(repo, scoped, tree)?))
}

/// The files in which two trees differ.
fn differences(repo: &Repository, a: ObjectId, b: ObjectId) -> Result<Vec<String>, GitError> {
    let read = || GitError::objects("compare trees");
    let (a, b) = (repo.find_tree(a).map_err(read())?, repo.find_tree(b).map_err(read())?);
    let options = gix::diff::Options::default();
    let changes = repo.diff_tree_to_tree(&a, &b, options).map_err(read())?;
    let blobs = changes.iter().filter(|c| !c.entry_mode().is_tree());
    Ok(files(blobs.map(|c| c.location().to_string())))
}

fn files(paths: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = paths.map(|p| clean_line(&p, 400)).collect();
    all.sort();
    all.dedup();
    all
}
