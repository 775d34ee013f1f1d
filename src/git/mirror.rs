//! One branch of a remote, as far as it was fetched.
//!
//! A folder of this machine is read in place. For `http(s)` there is a bare, shallow clone in the
//! cache, named by a hash so that no text of a user becomes a file name. It is a cache: whatever
//! is wrong with it, it is thrown away and fetched again.

use std::fs::{self, File};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use gix::bstr::ByteSlice;
use gix::protocol::transport::Protocol;
use gix::remote::Direction;
use gix::remote::fetch::{Shallow, Tags};
use gix::{ObjectId, Repository};
use sha2::{Digest, Sha256};
use tidegate_engine::state::GitRevision;

use crate::git::error::GitError;
use crate::git::message::clean_line;
use crate::git::remote::Remote;

/// Commits of history in a first fetch: a trial's range is rarely longer.
const FIRST_DEPTH: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);

/// History is then fetched ten times as deep, then whole.
const SECOND_DEPTH: NonZeroU32 = NonZeroU32::MIN.saturating_add(499);

/// Each fetch leaves a pack. After this many a fresh shallow clone is cheaper than reading them.
const MAX_PACKS: usize = 50;

/// The fetched tip, in the cache.
const TIP_REF: &str = "refs/tidegate/tip";

/// How much of what was read may stay in memory.
const OBJECT_CACHE: usize = 8 << 20;

/// The newest commit of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its id.
    pub commit: GitRevision,
    /// The first line of its message, cleaned.
    pub subject: String,
    /// Who wrote it, by name, cleaned.
    pub author: String,
    /// When it was committed.
    pub time: DateTime<Utc>,
}

/// One branch of a remote.
#[derive(Clone, Debug)]
pub struct Mirror {
    remote: Remote,
    branch: String,
    dir: PathBuf,
}

/// How deep the history has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    First,
    Second,
    Full,
}

impl Depth {
    /// The next depth; `None`: there is no more history.
    pub(crate) fn next(self) -> Option<Self> {
        match self {
            Self::First => Some(Self::Second),
            Self::Second => Some(Self::Full),
            Self::Full => None,
        }
    }
}

impl Mirror {
    pub(crate) fn new(remote: Remote, branch: &str) -> Result<Self, GitError> {
        check_branch(branch)?;
        let dir = match remote.url().as_local() {
            Some(path) => path.to_owned(),
            None => remote.cache().join(folder_name(&remote.name(), branch)),
        };
        Ok(Self { remote, branch: branch.to_owned(), dir })
    }

    /// The remote this is a branch of.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The branch.
    pub fn branch(&self) -> &str {
        &self.branch
    }

    /// Reads the branch's newest commit, fetching it first where the repository is elsewhere.
    /// `stop` ends a long fetch early.
    pub fn fetch(&self, stop: &Arc<AtomicBool>) -> Result<Tip, GitError> {
        let (repo, tip) = self.fetch_to(Depth::First, stop)?;
        describe(&repo, tip).map_err(GitError::objects("read the newest commit"))
    }

    /// The branch's newest commit, with history of at least the depth.
    pub(crate) fn fetch_to(
        &self,
        depth: Depth,
        stop: &Arc<AtomicBool>,
    ) -> Result<(Repository, ObjectId), GitError> {
        if self.remote.url().as_local().is_some() {
            let repo = self.open()?;
            let tip = self.local_tip(&repo)?;
            return Ok((repo, tip));
        }
        fs::create_dir_all(self.remote.cache())
            .map_err(GitError::storage("create", self.remote.cache()))?;
        let _held = self.hold(stop)?;
        let fresh = !self.dir.exists() || self.packs() > MAX_PACKS;
        if !fresh {
            match self.update(depth, stop) {
                // Only a broken cache is thrown away; trouble with the server stays what it is.
                Err(GitError::Objects { .. } | GitError::Malformed { .. }) => {}
                done => return done,
            }
        }
        self.clone_fresh(depth, stop)
    }

    /// Opens what is there.
    pub(crate) fn open(&self) -> Result<Repository, GitError> {
        let missing = || GitError::RepositoryMissing { remote: self.remote.name() };
        let is_local = self.remote.url().as_local().is_some();
        let looks_like_one = ["HEAD", ".git"].iter().any(|name| self.dir.join(name).exists());
        match gix::open_opts(&self.dir, self.options()) {
            Ok(mut repo) => {
                repo.object_cache_size_if_unset(OBJECT_CACHE);
                Ok(repo)
            }
            Err(e) if !is_local || looks_like_one || e.is_permission_denied() => {
                Err(GitError::Objects { what: "open the repository", source: e })
            }
            Err(_) => Err(missing()),
        }
    }

    fn options(&self) -> gix::open::Options {
        let limit = self.remote.limits().object_bytes;
        // Isolated: nothing is taken from the system, the user or the environment.
        gix::open::Options::isolated()
            .config_overrides([format!("gitoxide.objects.allocLimit={limit}")])
    }

    fn local_tip(&self, repo: &Repository) -> Result<ObjectId, GitError> {
        let read = GitError::objects("read the branch");
        let missing =
            || GitError::BranchMissing { remote: self.remote.name(), branch: self.branch.clone() };
        let mut reference = repo
            .try_find_reference(&format!("refs/heads/{}", self.branch))
            .map_err(read)?
            .ok_or_else(missing)?;
        Ok(reference.peel_to_id().map_err(GitError::objects("read the branch"))?.detach())
    }

    /// One fetch per cache folder at a time, also among processes; the lock ends with its holder.
    fn hold(&self, stop: &AtomicBool) -> Result<File, GitError> {
        let path = self.dir.with_extension("lock");
        let file = File::create(&path).map_err(GitError::storage("create", &path))?;
        let began = Instant::now();
        let whole = self.remote.limits().whole;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::Error(source)) => {
                    return Err(GitError::Storage { what: "lock", path, source });
                }
                Err(fs::TryLockError::WouldBlock) if stop.load(Ordering::Relaxed) => {
                    return Err(GitError::Stopped);
                }
                Err(fs::TryLockError::WouldBlock) if began.elapsed() > whole => {
                    return Err(GitError::Deadline { remote: self.remote.name(), after: whole });
                }
                Err(fs::TryLockError::WouldBlock) => {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    fn packs(&self) -> usize {
        fs::read_dir(self.dir.join("objects/pack")).map_or(0, |entries| {
            entries
                .filter_map(Result::ok)
                .filter(|e| e.path().extension().is_some_and(|x| x == "pack"))
                .count()
        })
    }

    fn update(
        &self,
        depth: Depth,
        stop: &Arc<AtomicBool>,
    ) -> Result<(Repository, ObjectId), GitError> {
        let repo = self.open()?;
        let shallow = match depth {
            // The boundary stays where it is: what was reachable before still is.
            Depth::First => Shallow::NoChange,
            Depth::Second => Shallow::DepthAtRemote(SECOND_DEPTH),
            Depth::Full => Shallow::undo(),
        };
        let tip = self.receive(&repo, shallow, stop)?;
        // Opened again, so that the new packs and the new shallow boundary are seen for sure.
        Ok((self.open()?, tip))
    }

    fn clone_fresh(
        &self,
        depth: Depth,
        stop: &Arc<AtomicBool>,
    ) -> Result<(Repository, ObjectId), GitError> {
        let cache = self.remote.cache();
        self.sweep();
        // Complete or not there at all: fetched beside, then renamed. Dropping removes it.
        let beside = tempfile::Builder::new()
            .prefix(&self.beside())
            .tempdir_in(cache)
            .map_err(GitError::storage("create a folder in", cache))?;
        let made = beside.path().join("repo");
        let repo: Repository = gix::ThreadSafeRepository::init_opts(
            &made,
            gix::create::Kind::Bare,
            gix::create::Options::default(),
            self.options(),
        )
        .map_err(GitError::objects("create the cached repository"))?
        .into();
        let shallow = match depth {
            Depth::First => Shallow::DepthAtRemote(FIRST_DEPTH),
            Depth::Second => Shallow::DepthAtRemote(SECOND_DEPTH),
            Depth::Full => Shallow::NoChange,
        };
        let tip = self.receive(&repo, shallow, stop)?;
        drop(repo);
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir).map_err(GitError::storage("remove", &self.dir))?;
        }
        fs::rename(&made, &self.dir).map_err(GitError::storage("move the fetched", &self.dir))?;
        Ok((self.open()?, tip))
    }

    /// How the names of unfinished fetches of this mirror begin.
    fn beside(&self) -> String {
        format!("{}-fetch-", folder_name(&self.remote.name(), &self.branch))
    }

    /// Removes what a process that was killed left behind. The lock is held: nobody uses it.
    fn sweep(&self) {
        let prefix = self.beside();
        for entry in fs::read_dir(self.remote.cache()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                // What cannot be removed costs space, nothing else.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// One fetch over the network into `repo`.
    fn receive(
        &self,
        repo: &Repository,
        shallow: Shallow,
        stop: &Arc<AtomicBool>,
    ) -> Result<ObjectId, GitError> {
        let (transport, failure) = self.remote.transport(Protocol::V2, stop)?;
        let spec = format!("+refs/heads/{}:{TIP_REF}", self.branch);
        let fetched = || -> gix::Result<bool> {
            let remote = repo
                .remote_at(self.remote.name().as_str())?
                .with_fetch_tags(Tags::None)
                .with_refspecs(Some(spec.as_str()), Direction::Fetch)?;
            let prepared = remote
                .to_connection_with_transport(transport)
                // Never asked: credentials are in the request from the start, or there are none.
                .with_credentials(|_| Ok(None))
                .prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())?;
            if prepared.ref_map().mappings.is_empty() {
                return Ok(false);
            }
            prepared.with_shallow(shallow).receive(gix::progress::Discard, stop)?;
            Ok(true)
        };
        match fetched() {
            Ok(true) => {}
            Ok(false) => {
                let (remote, branch) = (self.remote.name(), self.branch.clone());
                return Err(GitError::BranchMissing { remote, branch });
            }
            Err(error) => return Err(self.remote.explain(error, &failure)),
        }
        let tip = repo
            .find_reference(TIP_REF)
            .and_then(|mut r| Ok(r.peel_to_id()?.detach()))
            .map_err(GitError::objects("read the fetched branch"))?;
        Ok(tip)
    }
}

/// A branch name as Git takes it, and not an option or a full reference.
fn check_branch(branch: &str) -> Result<(), GitError> {
    let full = format!("refs/heads/{branch}");
    let valid = !branch.starts_with('-')
        && !branch.starts_with("refs/")
        && gix::refs::FullName::try_from(full.as_str()).is_ok();
    if valid {
        Ok(())
    } else {
        Err(GitError::Order { what: "the branch", value: clean_line(branch, 100) })
    }
}

/// The name of a cache folder: a hash, so that no text of a user becomes a file name.
fn folder_name(url: &str, branch: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::new().chain_update(url).chain_update([0]).chain_update(branch).finalize();
    digest.iter().take(16).fold(String::new(), |mut name, byte| {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
        name
    })
}

fn describe(repo: &Repository, id: ObjectId) -> gix::Result<Tip> {
    let commit = repo.find_commit(id)?;
    let subject = commit.message_raw()?.lines().next().unwrap_or_default().to_str_lossy();
    let author = commit.author()?.name.to_str_lossy();
    Ok(Tip {
        commit: GitRevision::new(id.to_string()),
        subject: clean_line(&subject, 200),
        author: clean_line(&author, 100),
        time: utc(commit.time()?.seconds),
    })
}

/// A commit's time; one that no calendar has becomes the epoch.
pub(crate) fn utc(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_names_are_checked() {
        for good in ["main", "release/1.2", "feature-x"] {
            assert!(check_branch(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", "a..b", "a b", "a\n", "refs/heads/main", "x.lock", "a:b", "a*"] {
            assert!(check_branch(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cache_folder_is_named_by_hash() {
        let name = folder_name("https://h/../../etc", "main");
        assert_eq!(name.len(), 32);
        assert!(name.chars().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(name, folder_name("https://h/../../etc", "main2"));
    }
}
