//! A numbering proxy.
