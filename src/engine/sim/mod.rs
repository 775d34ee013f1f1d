//! Toy worlds in virtual time, for `tidegate simulate` and for the tests of the machine.

mod cluster;
mod traffic;

pub use cluster::{Cluster, Commit, Set};
pub use traffic::{Answers, Arm, Burst, Hits, Law, Traffic};
