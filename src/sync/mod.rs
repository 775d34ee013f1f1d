//! Our own sync: a path of a repository, applied to where it runs.

mod fields;
mod json_patch;
mod kustomize;
mod object;
mod patch;
pub mod render;
mod transform;
mod yaml;
