//! Tidegate: progressive delivery for Kubernetes that keeps Git true.

pub mod cli;
pub mod demo;
pub mod git;
pub mod resolve;
pub mod simulate;
pub mod sync;
