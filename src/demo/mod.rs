//! The closed loop on one machine, without a cluster: a service with pods that are processes, a
//! splitting proxy in front of them, a load that never waits, a scraper and a view.
//!
//! ```text
//!  load ──▶ proxy ──weight──▶ pods of the canary  ◀─┐
//!             └───────────────▶ pods of stable    ◀─┴─ scrape ──▶ readings
//! ```
//!
//! Nothing here decides anything. Each part is a plain struct that is told what to do and says
//! what it sees.

pub mod control;
pub mod histogram;
mod http;
pub mod load;
pub mod local;
mod panels;
pub mod plain;
pub mod plan;
mod pod;
pub mod processes;
pub mod proxy;
pub mod random;
pub mod reading;
pub mod recorder;
pub mod report;
pub mod repository;
pub mod run;
pub mod samples;
pub mod scrape;
pub mod service;
pub mod snapshot;
mod story;
mod tell;
pub mod template;
pub mod terminal;
mod verdict;
pub mod view;
