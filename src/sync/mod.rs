//! Our own sync: a path of a repository, applied to where it runs.
