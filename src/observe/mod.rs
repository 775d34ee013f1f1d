//! Facts of a cluster at one look.
