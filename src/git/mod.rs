//! Git: fetch, find the culprit, revert by 3-way merge, push exactly once.
