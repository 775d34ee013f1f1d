//! Why an effect could not be carried out.

use tidegate_engine::state::Revision;

use crate::kubernetes::{ClusterError, ObjectName};

/// Why an effect could not be carried out. All of them leave things so that it can be asked for
/// again.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The API server did not answer, or not with what was asked for.
    #[error("the cluster could not be changed")]
    Cluster(#[from] ClusterError),
    /// An object that is needed does not exist.
    #[error("{object} does not exist")]
    Missing {
        /// Which.
        object: Box<ObjectName>,
    },
    /// An object of that name exists and belongs to somebody else: it is not touched.
    #[error("{object} exists already and belongs to {owner}")]
    NotOurs {
        /// Which.
        object: Box<ObjectName>,
        /// Whose it is, as far as it says so.
        owner: String,
    },
    /// Something between us and the store changes templates: what would be tested is not what the
    /// Deployment would run.
    #[error("the template of {object} was changed on its way in")]
    TemplateMutated {
        /// Which.
        object: Box<ObjectName>,
    },
    /// No set of the workload has this revision.
    #[error("{workload} has no set of revision {revision}")]
    NoSet {
        /// The workload.
        workload: String,
        /// The revision that was looked for.
        revision: Revision,
    },
    /// A condition does not hold yet, or not any more.
    #[error("{object}: {condition}")]
    NotYet {
        /// Of which object.
        object: Box<ObjectName>,
        /// What was found, and what is expected.
        condition: String,
    },
    /// The object cannot be brought there at all, as it is.
    #[error("{object} does not fit: {what}")]
    Unfit {
        /// Which.
        object: Box<ObjectName>,
        /// Why.
        what: String,
    },
    /// The effect is carried out elsewhere.
    #[error("the effect is not one of the cluster")]
    NotOfTheCluster,
}

impl ActError {
    /// For counters: one word per variant.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Cluster(error) => error.label(),
            Self::Missing { .. } => "missing",
            Self::NotOurs { .. } => "not_ours",
            Self::TemplateMutated { .. } => "template_mutated",
            Self::NoSet { .. } => "no_set",
            Self::NotYet { .. } => "not_yet",
            Self::Unfit { .. } => "unfit",
            Self::NotOfTheCluster => "not_of_the_cluster",
        }
    }

    /// Somebody was faster: looking again is all it takes.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Cluster(error) if error.is_conflict())
    }
}
