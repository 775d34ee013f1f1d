//! Toy worlds in virtual time, for `tidegate simulate` and for the tests of the machine.

mod arms;
mod branch;
mod cluster;
mod deployment;
mod run;
mod scenario;
mod shares;
mod story;
mod traffic;
mod unrest;

pub use arms::{Measure, Truth, truth};
pub use branch::{Branch, Commit};
pub use cluster::{Cluster, Set};
pub use run::run;
pub use scenario::{Event, Happening, Scenario};
pub use story::{Line, Run, StepTime, Told, Turned};
pub use traffic::{Answers, Arm, Burst, Hits, Interval, Law, Traffic};
pub use unrest::{Incidents, Unrest};
