//! The branch of the toy cluster: what each commit renders, and who reverted what.

use crate::effect::{RevertOrder, RevertOutcome};
use crate::state::{GitRevision, Revision, TrialId};

/// One commit of the branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub revision: GitRevision,
    /// The template it renders.
    pub template: Revision,
    /// The trial whose revert it is.
    pub trial: Option<TrialId>,
}

/// A branch, oldest commit first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch(Vec<Commit>);

impl Branch {
    /// A branch of one commit.
    pub fn new(template: Revision) -> Self {
        let mut branch = Self(Vec::new());
        branch.push(template, None);
        branch
    }

    /// All commits, oldest first.
    pub fn commits(&self) -> &[Commit] {
        &self.0
    }

    /// The newest commit.
    pub fn tip(&self) -> Option<&Commit> {
        self.0.last()
    }

    /// A commit by its id.
    pub fn find(&self, revision: &GitRevision) -> Option<&Commit> {
        self.0.iter().find(|commit| commit.revision == *revision)
    }

    /// Somebody pushes a commit that renders `template`.
    pub fn commit(&mut self, template: &str) {
        self.push(Revision::new(template), None);
    }

    fn push(&mut self, template: Revision, trial: Option<TrialId>) -> GitRevision {
        let revision = GitRevision::new(format!("c{}", self.0.len()));
        self.0.push(Commit { revision: revision.clone(), template, trial });
        revision
    }

    /// A revert, exactly once by its trailer, never over somebody's later change.
    pub fn revert(&mut self, order: &RevertOrder) -> RevertOutcome {
        let ours = self.0.iter().find(|commit| commit.trial.as_ref() == Some(&order.trial));
        if let Some(ours) = ours {
            return RevertOutcome::Pushed { commit: ours.revision.clone() };
        }
        let (Some(good), Some(bad), Some(tip)) =
            (self.find(&order.good), self.find(&order.bad), self.tip())
        else {
            return RevertOutcome::NotOnBranch;
        };
        if good.template == bad.template {
            return RevertOutcome::CulpritUnknown;
        }
        if tip.template == good.template {
            return RevertOutcome::AlreadyReverted { tip: tip.revision.clone() };
        }
        if tip.template != bad.template {
            return RevertOutcome::Conflict { paths: order.paths.clone() };
        }
        let template = good.template.clone();
        RevertOutcome::Pushed { commit: self.push(template, Some(order.trial.clone())) }
    }
}
