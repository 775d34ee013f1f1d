//! What can stop a turn, by the part of it that was stopped.

use tidegate_engine::reason::Reason;

use crate::act::ActError;
use crate::kubernetes::ClusterError;
use crate::observe::ObserveError;

/// A part of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Reading the Rollout, its references and its objects.
    Resolve,
    /// Reading the world.
    Observe,
    /// Writing the state.
    Record,
    /// Carrying effects out.
    Act,
    /// Telling people.
    Tell,
}

impl Part {
    /// For counters.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Observe => "observe",
            Self::Record => "record",
            Self::Act => "act",
            Self::Tell => "tell",
        }
    }

    /// For `map_err`.
    pub(super) fn cluster(self) -> impl FnOnce(ClusterError) -> TurnError {
        move |error| TurnError { part: self, why: Why::Cluster(error) }
    }
}

/// A turn that was stopped.
#[derive(Debug, thiserror::Error)]
#[error("{} failed", part.as_str())]
pub(super) struct TurnError {
    /// Where.
    pub(super) part: Part,
    /// Why.
    #[source]
    pub(super) why: Why,
}

/// Why a turn was stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Why {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The world cannot be told.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// An effect failed.
    #[error("{effect}")]
    Act {
        /// Which.
        effect: String,
        /// Why.
        #[source]
        source: ActError,
    },
    /// Another process leads.
    #[error("this process does not lead any more")]
    NotLeading,
}

impl TurnError {
    pub(super) fn observe(error: ObserveError) -> Self {
        Self { part: Part::Observe, why: Why::Observe(error) }
    }

    /// Somebody was faster: again from the start.
    pub(super) fn is_conflict(&self) -> bool {
        match &self.why {
            Why::Cluster(error) | Why::Observe(ObserveError::Cluster(error)) => error.is_conflict(),
            Why::Act { source, .. } => source.is_conflict(),
            Why::Observe(_) | Why::NotLeading => false,
        }
    }

    /// The documented reason, where asking again does not help.
    pub(super) const fn reason(&self) -> Option<Reason> {
        match &self.why {
            Why::Cluster(error)
            | Why::Observe(ObserveError::Cluster(error))
            | Why::Act { source: ActError::Cluster(error), .. } => {
                if error.is_forbidden() {
                    Some(Reason::Forbidden)
                } else {
                    None
                }
            }
            Why::Act { source: ActError::TemplateMutated { .. }, .. } => {
                Some(Reason::TemplateMutated)
            }
            Why::Act { .. } | Why::Observe(_) | Why::NotLeading => None,
        }
    }

    /// It is told and known, and need not be said at each turn.
    pub(super) fn is_refusal(&self) -> bool {
        self.reason() == Some(Reason::TemplateMutated)
    }

    /// A condition that is on its way.
    pub(super) const fn is_passing(&self) -> bool {
        matches!(&self.why, Why::Act { source: ActError::NotYet { .. }, .. })
    }

    /// The canary does not get its pods.
    pub(super) fn is_about_pods(&self) -> bool {
        matches!(&self.why, Why::Act { effect, .. } if effect == "Raise")
    }

    /// For counters: one word.
    pub(super) const fn label(&self) -> &'static str {
        match &self.why {
            Why::Cluster(error) | Why::Observe(ObserveError::Cluster(error)) => error.label(),
            Why::Observe(_) => "unreadable",
            Why::Act { source, .. } => source.label(),
            Why::NotLeading => "not_leading",
        }
    }

    /// The error and its causes in one line.
    pub(super) fn chain(&self) -> String {
        chain(&self.why)
    }
}

/// An error with all its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
