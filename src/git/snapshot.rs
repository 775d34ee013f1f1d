//! All files below a path of a commit: what sync reads.

use std::collections::BTreeMap;

use gix::bstr::ByteSlice;
use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};
use tidegate_engine::state::GitRevision;

use crate::git::error::GitError;
use crate::git::message::clean_line;
use crate::git::mirror::Mirror;
use crate::git::paths::{entry, normal, tree_of};

/// Entries looked at in one snapshot. A small tree that names itself many times unfolds to
/// millions; a config repository has thousands.
const MAX_ENTRIES: u64 = 200_000;

/// The regular files below a path of one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Contents by path from the root of the repository.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What is there but is not a regular file. Nothing of it is followed.
    pub skipped: Vec<Skipped>,
}

/// Something that is not a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its path from the root of the repository, cleaned.
    pub path: String,
    /// What it is.
    pub kind: SkippedKind,
}

/// Why something is not in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkippedKind {
    /// A symbolic link: could point out of the repository.
    Symlink,
    /// Another repository.
    Submodule,
    /// Its name is not UTF-8.
    Name,
}

impl Mirror {
    /// All regular files at or below `path` of a commit that was fetched, at most `limit` bytes in
    /// all. Needs no network.
    pub fn snapshot(
        &self,
        commit: &GitRevision,
        path: &str,
        limit: u64,
    ) -> Result<Snapshot, GitError> {
        let path = normal(path)?;
        let missing = || GitError::CommitMissing {
            remote: self.remote().name(),
            commit: clean_line(commit.as_str(), 80),
        };
        let id = ObjectId::from_hex(commit.as_str().as_bytes()).map_err(|_| missing())?;
        let repo = self.open()?;
        if !repo.has_object(id) {
            return Err(missing());
        }
        let tree = tree_of(&repo, id)?;
        let Some((found, mode)) = entry(&repo, tree, &path)? else {
            return Err(GitError::PathMissing { path, commit: id.to_string() });
        };
        let mut reader =
            Reader { repo: &repo, limit, bytes: 0, entries: 0, out: Snapshot::default() };
        reader.take(path.into_bytes(), found, mode.kind())?;
        Ok(reader.out)
    }
}

struct Reader<'repo> {
    repo: &'repo Repository,
    limit: u64,
    bytes: u64,
    entries: u64,
    out: Snapshot,
}

impl Reader<'_> {
    /// Takes one entry, and all below it. Not recursive: depth is a stranger's choice.
    fn take(&mut self, path: Vec<u8>, id: ObjectId, kind: EntryKind) -> Result<(), GitError> {
        let mut todo = vec![(path, id, kind)];
        while let Some((path, id, kind)) = todo.pop() {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                let what = "the number of files below the path".to_owned();
                return Err(GitError::TooLarge { what, limit: MAX_ENTRIES });
            }
            match kind {
                EntryKind::Tree => self.list(&path, id, &mut todo)?,
                EntryKind::Blob | EntryKind::BlobExecutable => self.file(path, id)?,
                EntryKind::Link => self.skip(&path, SkippedKind::Symlink),
                EntryKind::Commit => self.skip(&path, SkippedKind::Submodule),
            }
        }
        self.out.skipped.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    fn list(
        &self,
        path: &[u8],
        id: ObjectId,
        todo: &mut Vec<(Vec<u8>, ObjectId, EntryKind)>,
    ) -> Result<(), GitError> {
        let tree = self.repo.find_tree(id).map_err(GitError::objects("read a folder"))?;
        for entry in tree.iter() {
            let entry = entry.map_err(GitError::objects("read a folder"))?;
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(entry.filename());
            todo.push((below, entry.object_id(), entry.kind()));
        }
        Ok(())
    }

    fn file(&mut self, path: Vec<u8>, id: ObjectId) -> Result<(), GitError> {
        let read = || GitError::objects("read a file");
        let path = match String::from_utf8(path) {
            Ok(path) => path,
            Err(e) => {
                self.skip(e.as_bytes(), SkippedKind::Name);
                return Ok(());
            }
        };
        // The size first: a file larger than the limit is not even unpacked.
        self.bytes += self.repo.find_header(id).map_err(read())?.size();
        if self.bytes > self.limit {
            let what = format!("all files below the path, up to `{}`,", clean_line(&path, 200));
            return Err(GitError::TooLarge { what, limit: self.limit });
        }
        let data = self.repo.find_blob(id).map_err(read())?.take_data();
        self.out.files.insert(path, data);
        Ok(())
    }

    fn skip(&mut self, path: &[u8], kind: SkippedKind) {
        let path = clean_line(&path.to_str_lossy(), 400);
        self.out.skipped.push(Skipped { path, kind });
    }
}
