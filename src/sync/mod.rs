//! Our own sync: a path of a repository, applied to where it runs.

mod fields;
mod object;
mod yaml;
