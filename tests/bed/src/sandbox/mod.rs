//! Namespaces of one run.
