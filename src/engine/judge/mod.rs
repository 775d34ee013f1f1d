//! Samples to verdicts.

mod verdict;

pub use verdict::{Failure, Lane, Unclear, Verdict};

/// What is measured and what it must satisfy.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Placeholder.
    pub criteria: Vec<()>,
}
