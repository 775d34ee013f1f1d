//! Programs, pinned, in a cache.
