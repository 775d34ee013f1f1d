//! Samples of both arms, from a Prometheus-compatible store.
//!
//! ```text
//!  gather ─▶ trial ─┬─▶ counting ─▶ fold ─▶ ledger ─▶ windows and guard samples of the engine
//!    │              └─▶ values
//!    └─────▶ link ───▶ answer          (all I/O is in link)
//! ```
//! Counters are asked for as cumulative values, pod by pod, and subtracted here: a query that
//! subtracts misses the first errors of new pods. They are asked for at instants in the past that
//! all data has arrived for ([`MetricSourceSpec::delay`]), with the time of each scrape, so that a
//! value that merely stands still is told from one that was read again. What was read is kept
//! between looks; after a restart it is read once more, from where the evidence began.
//!
//! The guard lane does not wait: what is newer than that is asked for beside, at the instant of the
//! look, and no window is made of it.
//!
//! What cannot be had is [`Series::Unavailable`] with the reason, never zero and never success.
//!
//! [`MetricSourceSpec::delay`]: tidegate_api::MetricSourceSpec::delay
//! [`Series::Unavailable`]: tidegate_engine::judge::Series::Unavailable

mod answer;
mod arms;
mod counting;
mod fold;
mod history;
mod ledger;
mod link;
mod measurer;
mod newest;
mod source;
mod trial;
mod values;

pub use arms::Arms;
pub use measurer::{Asked, Measurer, queries};
pub use source::{Basic, Credentials, Source, look_interval};
