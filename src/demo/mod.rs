//! The closed loop on one machine, without a cluster.
