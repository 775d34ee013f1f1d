//! Toy worlds in virtual time, for `tidegate simulate` and for the tests of the machine.

mod branch;
mod cluster;
mod traffic;

pub use branch::{Branch, Commit};
pub use cluster::{Cluster, Set};
pub use traffic::{Answers, Arm, Burst, Hits, Law, Traffic};
