//! Samples to verdicts.

mod analysis;
pub mod evidence;
mod samples;
mod verdict;

pub use analysis::{
    Analysis, Bounds, Criterion, HardLimit, InvalidAnalysis, Kind, Margin, Op, PassMargin, Ratio,
    Threshold,
};
pub use samples::{CountSeries, Counts, GuardSample, History, Samples, Series, Window};
pub use verdict::{Failure, Lane, Unclear, Verdict};
