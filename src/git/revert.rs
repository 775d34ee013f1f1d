//! A revert, exactly once.
//!
//! ```text
//!        ┌──────────────────────── moved, unknown, said no ◀───────────────────────┐
//!        ▼                                                                         │
//!  fetch the tip ─▶ trailer there? ─▶ old content there? ─▶ merge ─▶ commit ─▶ push (old = tip)
//!                        │ Pushed          │ AlreadyReverted   │ Conflict           │ Pushed
//! ```
//! The commit is made of the order, the tip and a fixed identity and time: a retry on the same tip
//! gives the same id. On another tip only the trailer tells.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gix::{ObjectId, Repository};
use tidegate_engine::effect::{RevertOrder, RevertOutcome};
use tidegate_engine::state::GitRevision;

use crate::git::error::GitError;
use crate::git::history::{Placement, culprits, is_root, place, reverts_since, with_trial};
use crate::git::local;
use crate::git::merge::{Merged, revert_paths};
use crate::git::message::{Author, clean_line, compose, is_trial_id};
use crate::git::mirror::{Depth, Mirror};
use crate::git::paths::{Paths, entries, tree_of};
use crate::git::push::{Move, Objects, Pushed, push};
use crate::git::remote::{AtMost, Remote};

/// Pushes in one call; the engine asks again after a `Retry`.
const ATTEMPTS: u32 = 5;

/// The pause before the second attempt; doubled for each one after.
const PAUSE: Duration = Duration::from_millis(100);

/// What a revert would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// It would push this commit.
    Commit(Proposed),
    /// There is nothing to push, for a reason that is an outcome.
    Settled(RevertOutcome),
}

/// A commit that is ready and nowhere written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Its id: the one that `revert` would push while the branch stays where it is.
    pub commit: GitRevision,
    /// The tip it is made for.
    pub onto: GitRevision,
    /// Its whole message.
    pub message: String,
    /// The commits it reverts, newest first.
    pub culprits: Vec<GitRevision>,
}

/// Says what [`revert`] would do, and writes nothing anywhere but in the cache.
pub fn propose(
    remote: &Remote,
    order: &RevertOrder,
    author: &Author,
    stop: &Arc<AtomicBool>,
) -> Result<Proposal, GitError> {
    Ok(match Job::new(remote, order, author, stop)?.prepare()? {
        Prepared::Ready(ready) => Proposal::Commit(ready.proposed),
        Prepared::Settled(outcome) => Proposal::Settled(outcome),
    })
}

/// Carries a revert order out, exactly once however often it is called and whoever else calls it.
///
/// Blocks for as long as the remote's limits allow. What may pass by itself is an outcome,
/// [`RevertOutcome::Retry`]; an error needs a person.
pub fn revert(
    remote: &Remote,
    order: &RevertOrder,
    author: &Author,
    stop: &Arc<AtomicBool>,
) -> Result<RevertOutcome, GitError> {
    let job = Job::new(remote, order, author, stop)?;
    match job.run() {
        Err(error) if error.is_retryable() => Ok(RevertOutcome::Retry { message: error.chain() }),
        done => done,
    }
}

struct Job<'a> {
    mirror: Mirror,
    order: &'a RevertOrder,
    author: &'a Author,
    stop: &'a Arc<AtomicBool>,
    paths: Paths,
    good: ObjectId,
    bad: ObjectId,
}

enum Prepared {
    Ready(Box<Ready>),
    Settled(RevertOutcome),
}

struct Ready {
    proposed: Proposed,
    tip: ObjectId,
    new: ObjectId,
    objects: Objects,
}

impl<'a> Job<'a> {
    fn new(
        remote: &Remote,
        order: &'a RevertOrder,
        author: &'a Author,
        stop: &'a Arc<AtomicBool>,
    ) -> Result<Self, GitError> {
        if !is_trial_id(order.trial.as_str()) {
            let value = clean_line(order.trial.as_str(), 100);
            return Err(GitError::Order { what: "the trial", value });
        }
        Ok(Self {
            mirror: remote.mirror(&order.branch)?,
            order,
            author,
            stop,
            paths: Paths::parse(&order.paths)?,
            good: commit_id("the good revision", &order.good)?,
            bad: commit_id("the bad revision", &order.bad)?,
        })
    }

    fn run(&self) -> Result<RevertOutcome, GitError> {
        let mut refused: Option<(ObjectId, String)> = None;
        let mut last = String::from("not tried yet");
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                self.pause(attempt)?;
            }
            let ready = match self.prepare()? {
                Prepared::Ready(ready) => ready,
                Prepared::Settled(outcome) => return Ok(outcome),
            };
            // Said no, and nobody moved the branch: it was no race.
            if let Some((tip, message)) = refused.take()
                && tip == ready.tip
            {
                return Ok(RevertOutcome::Refused { message });
            }
            let pushed = self.push(&ready)?;
            tracing::debug!(
                trial = %self.order.trial, attempt, tip = %ready.tip, commit = %ready.new,
                ?pushed, "pushed a revert"
            );
            match pushed {
                Pushed::Done => {
                    return Ok(RevertOutcome::Pushed { commit: ready.proposed.commit });
                }
                Pushed::Moved => "the branch moved".clone_into(&mut last),
                Pushed::Unknown(why) => last = why,
                Pushed::Rejected(why) => {
                    refused = Some((ready.tip, why.clone()));
                    last = why;
                }
            }
        }
        self.last_look(refused, &last)
    }

    /// After the last attempt: it may have worked, or been a real refusal.
    fn last_look(
        &self,
        refused: Option<(ObjectId, String)>,
        last: &str,
    ) -> Result<RevertOutcome, GitError> {
        match (self.prepare()?, refused) {
            (Prepared::Settled(outcome), _) => Ok(outcome),
            (Prepared::Ready(ready), Some((tip, message))) if tip == ready.tip => {
                Ok(RevertOutcome::Refused { message })
            }
            (Prepared::Ready(_), _) => {
                let message = format!("no push of {ATTEMPTS} came through; the last: {last}");
                Ok(RevertOutcome::Retry { message })
            }
        }
    }

    /// Doubled each time, with some chance in it, so that two writers do not stay in step.
    fn pause(&self, attempt: u32) -> Result<(), GitError> {
        let base = PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(6));
        let spread = RandomState::new().hash_one(attempt) % 1000;
        let spread = u32::try_from(spread).unwrap_or_default();
        let mut left = base / 2 + base * spread / 1000;
        while !left.is_zero() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(GitError::Stopped);
            }
            let nap = left.min(Duration::from_millis(20));
            std::thread::sleep(nap);
            left -= nap;
        }
        Ok(())
    }

    fn push(&self, ready: &Ready) -> Result<Pushed, GitError> {
        let remote = self.mirror.remote();
        let wanted = Move {
            branch: self.mirror.branch(),
            old: ready.tip,
            new: ready.new,
            objects: &ready.objects,
        };
        match remote.url().as_local() {
            Some(dir) => local::write(dir, &wanted, &self.author.signature(self.order.at)),
            None => push(remote, &wanted, self.stop),
        }
    }

    /// Everything up to the push.
    fn prepare(&self) -> Result<Prepared, GitError> {
        let mut depth = Depth::First;
        let (repo, tip, after_good) = loop {
            let (repo, tip) = self.mirror.fetch_to(depth, self.stop)?;
            match place(&repo, self.good, self.bad, tip)? {
                Placement::Straight { after_good } => break (repo, tip, after_good),
                Placement::NotOnBranch => return Ok(Prepared::Settled(RevertOutcome::NotOnBranch)),
                Placement::TooShallow => {
                    let remote = self.mirror.remote();
                    let deeper = depth.next().filter(|_| remote.url().as_local().is_none());
                    let cut = || GitError::HistoryCut { remote: remote.name() };
                    depth = deeper.ok_or_else(cut)?;
                }
            }
        };
        if let Some(ours) = with_trial(&repo, &after_good, self.order.trial.as_str())? {
            let commit = GitRevision::new(ours.to_string());
            return Ok(Prepared::Settled(RevertOutcome::Pushed { commit }));
        }
        if let Some(outcome) = self.nothing_to_do(&repo, tip)? {
            return Ok(Prepared::Settled(outcome));
        }
        if let Some(message) = self.is_full(&repo, tip)? {
            return Ok(Prepared::Settled(RevertOutcome::Retry { message }));
        }
        self.make(repo, tip)
    }

    /// Why nothing more may be written now.
    fn is_full(&self, repo: &Repository, tip: ObjectId) -> Result<Option<String>, GitError> {
        let Some(AtMost { reverts, since }) = self.mirror.remote().at_most() else {
            return Ok(None);
        };
        let found = reverts_since(repo, tip, since)?;
        let is_full = u32::try_from(found).map_or(true, |found| found >= reverts);
        let text =
            || format!("{found} reverts were written within an hour, the limit is {reverts}");
        Ok(is_full.then(text))
    }

    fn nothing_to_do(
        &self,
        repo: &Repository,
        tip: ObjectId,
    ) -> Result<Option<RevertOutcome>, GitError> {
        let at = |commit| entries(repo, tree_of(repo, commit)?, &self.paths);
        let (good, bad) = (at(self.good)?, at(self.bad)?);
        let absent = good.iter().all(Option::is_none);
        Ok(if is_root(repo, self.bad)? || (absent && bad != good) {
            Some(RevertOutcome::NoBaseline)
        } else if bad == good {
            Some(RevertOutcome::CulpritUnknown)
        } else if at(tip)? == good {
            let tip = GitRevision::new(tip.to_string());
            Some(RevertOutcome::AlreadyReverted { tip })
        } else {
            None
        })
    }

    /// The commit, in memory only: nothing is on disk before the branch has it.
    fn make(&self, repo: Repository, tip: ObjectId) -> Result<Prepared, GitError> {
        let repo = repo.with_object_memory();
        let culprits = culprits(&repo, self.good, self.bad, &self.paths)?;
        if culprits.is_empty() {
            return Ok(Prepared::Settled(RevertOutcome::CulpritUnknown));
        }
        let tree = match revert_paths(&repo, self.good, self.bad, tip, &self.paths)? {
            Merged::Tree(tree) => tree,
            Merged::Conflict(paths) => {
                return Ok(Prepared::Settled(RevertOutcome::Conflict { paths }));
            }
            Merged::Nothing => {
                let tip = GitRevision::new(tip.to_string());
                return Ok(Prepared::Settled(RevertOutcome::AlreadyReverted { tip }));
            }
        };
        let message = compose(self.order, &culprits);
        let signature = self.author.signature(self.order.at);
        let commit = local::object(tree, Some(tip), &signature, &message);
        let write = GitError::objects("write a commit");
        let new = repo.write_object(&commit).map_err(write)?.detach();
        let objects = new_objects(&repo, new)?;
        let proposed = Proposed {
            commit: GitRevision::new(new.to_string()),
            onto: GitRevision::new(tip.to_string()),
            message,
            culprits: culprits.into_iter().map(|c| c.commit).collect(),
        };
        Ok(Prepared::Ready(Box::new(Ready { proposed, tip, new, objects })))
    }
}

fn commit_id(what: &'static str, revision: &GitRevision) -> Result<ObjectId, GitError> {
    ObjectId::from_hex(revision.as_str().as_bytes())
        .map_err(|_| GitError::Order { what, value: clean_line(revision.as_str(), 80) })
}

/// All objects reachable from the commit that are in memory only: what the other side lacks.
fn new_objects(repo: &Repository, commit: ObjectId) -> Result<Objects, GitError> {
    let read = || GitError::objects("gather new objects");
    let memory = repo.objects.reset_object_memory().unwrap_or_default();
    let (mut out, mut todo, mut seen) = (Objects::new(), vec![commit], HashSet::new());
    while let Some(id) = todo.pop() {
        let Some((kind, data)) = memory.get(&id) else { continue };
        if !seen.insert(id) {
            continue;
        }
        match kind {
            gix::objs::Kind::Commit => {
                let commit = gix::objs::CommitRef::from_bytes(data, repo.object_hash());
                todo.push(commit.map_err(read())?.tree());
            }
            gix::objs::Kind::Tree => {
                for entry in gix::objs::TreeRefIter::from_bytes(data, repo.object_hash()) {
                    todo.push(entry.map_err(read())?.oid.to_owned());
                }
            }
            gix::objs::Kind::Blob | gix::objs::Kind::Tag => {}
        }
        out.push((id, *kind, data.clone()));
    }
    Ok(out)
}
