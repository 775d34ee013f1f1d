//! Stories on the test bed: a real cluster.

fn main() {}
