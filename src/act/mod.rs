//! Effects, carried out on a cluster.
