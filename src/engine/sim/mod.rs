//! Toy worlds in virtual time, for `tidegate simulate` and for the tests of the machine.

mod cluster;

pub use cluster::{Cluster, Commit, Set};
