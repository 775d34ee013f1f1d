//! The command line.

pub mod sync;
