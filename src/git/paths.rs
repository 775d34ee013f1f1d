//! The paths of an order, parsed once into a form that cannot leave the repository.

use gix::bstr::ByteSlice;
use gix::objs::tree::EntryMode;
use gix::{ObjectId, Repository};

use crate::git::error::GitError;

/// Why a path is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// An order without paths would revert nothing or everything; which one is for people to say.
    #[error("no path is given")]
    None,
    /// `..`, an empty part, a control character, or a part called `.git`.
    #[error("`{0}` is not a path inside the repository")]
    Outside(String),
}

/// Paths inside a repository: at least one, relative, sorted, none below another.
/// The root is the empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths(Vec<String>);

impl Paths {
    /// Parses paths as people write them: `apps/shop`, `./apps/shop/`, `.` for everything.
    pub fn parse<S: AsRef<str>>(paths: &[S]) -> Result<Self, PathError> {
        let mut all = paths.iter().map(|p| normal(p.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            return Err(PathError::None);
        }
        all.sort();
        let mut kept: Vec<String> = Vec::new();
        for path in all {
            if !kept.iter().any(|above| is_below(&path, above)) {
                kept.push(path);
            }
        }
        Ok(Self(kept))
    }

    /// The paths.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether `path` is one of the paths or below one.
    pub fn cover(&self, path: &str) -> bool {
        self.0.iter().any(|above| is_below(path, above))
    }
}

/// One path in its normal form: no leading `./`, no trailing `/`, empty for the root.
pub(crate) fn normal(path: &str) -> Result<String, PathError> {
    let outside = || PathError::Outside(crate::git::message::clean_line(path, 200));
    let mut rest = path.trim_end_matches('/');
    if path.starts_with('/') {
        return Err(outside());
    }
    while let Some(shorter) = rest.strip_prefix("./") {
        rest = shorter;
    }
    if rest.is_empty() || rest == "." {
        return Ok(String::new());
    }
    for part in rest.split('/') {
        let refused = part.is_empty()
            || part == "."
            || part == ".."
            || part.eq_ignore_ascii_case(".git")
            || part.chars().any(char::is_control);
        if refused {
            return Err(outside());
        }
    }
    Ok(rest.to_owned())
}

fn is_below(path: &str, above: &str) -> bool {
    above.is_empty()
        || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a tree has at a path: an object and its mode. `None`: nothing.
pub(crate) type Entry = Option<(ObjectId, EntryMode)>;

/// What the tree of a commit has at `path`.
pub(crate) fn entry(repo: &Repository, tree: ObjectId, path: &str) -> Result<Entry, GitError> {
    if path.is_empty() {
        return Ok(Some((tree, gix::objs::tree::EntryKind::Tree.into())));
    }
    let found = repo
        .find_tree(tree)
        .and_then(|t| t.lookup_entry(path.as_bytes().split_str("/")))
        .map_err(GitError::objects("look a path up in a tree"))?;
    Ok(found.map(|e| (e.object_id(), e.mode())))
}

/// What the tree of a commit has at each of the paths.
pub(crate) fn entries(
    repo: &Repository,
    tree: ObjectId,
    paths: &Paths,
) -> Result<Vec<Entry>, GitError> {
    paths.iter().map(|path| entry(repo, tree, path)).collect()
}

/// The tree of a commit.
pub(crate) fn tree_of(repo: &Repository, commit: ObjectId) -> Result<ObjectId, GitError> {
    repo.find_commit(commit)
        .and_then(|c| Ok(c.tree_id()?.detach()))
        .map_err(GitError::objects("read a commit"))
}

/// `into` with what `from` has at the paths: everything else stays.
pub(crate) fn graft(
    repo: &Repository,
    into: ObjectId,
    from: ObjectId,
    paths: &Paths,
) -> Result<ObjectId, GitError> {
    let write = GitError::objects;
    let mut editor = repo.edit_tree(into).map_err(write("edit a tree"))?;
    for path in paths.iter() {
        if path.is_empty() {
            return Ok(from);
        }
        match entry(repo, from, path)? {
            Some((id, mode)) => editor.upsert(path, mode.kind(), id),
            None => editor.remove(path),
        }
        .map_err(write("edit a tree"))?;
    }
    Ok(editor.write().map_err(write("write a tree"))?.detach())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normal_or_refused() {
        let parse = |p: &[&str]| Paths::parse(p).map(|p| p.0);
        assert_eq!(parse(&["./apps/shop/"]), Ok(vec!["apps/shop".to_owned()]));
        assert_eq!(parse(&["."]), Ok(vec![String::new()]));
        assert_eq!(parse(&["./"]), Ok(vec![String::new()]));
        assert_eq!(parse(&["b", "a/x", "a", "ab"]), Ok(vec!["a".into(), "ab".into(), "b".into()]));
        assert_eq!(parse(&["", "a"]), Ok(vec![String::new()]));
        assert_eq!(parse(&[]), Err(PathError::None));
        for bad in ["..", "a/../b", "/etc", "a//b", ".git", "a/.GIT/x", "a\nb", "a/./b"] {
            assert_eq!(parse(&[bad]), Err(PathError::Outside(bad.replace('\n', " "))), "{bad}");
        }
    }

    #[test]
    fn a_path_covers_itself_and_what_is_below() {
        let paths = Paths::parse(&["apps/shop"]).unwrap();
        assert!(paths.cover("apps/shop") && paths.cover("apps/shop/a.yaml"));
        assert!(!paths.cover("apps/shop2/a.yaml") && !paths.cover("apps"));
    }
}
