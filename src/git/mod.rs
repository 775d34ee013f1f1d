//! Git: fetch, find the culprit, revert by 3-way merge, push exactly once.
//! temporary stub
use std::path::Path;
use tidegate_engine::effect::*;
#[derive(Debug, thiserror::Error)] #[error("x")] pub struct GitError;
pub struct Author { pub name: String, pub email: String }
pub fn revert_local(_: &Path, _: &RevertOrder) -> RevertOutcome { RevertOutcome::CulpritUnknown }
pub mod local {
    use super::*;
    use chrono::{DateTime, Utc};
    use std::collections::BTreeMap;
    use tidegate_engine::state::GitRevision;
    pub struct LogEntry { pub id: GitRevision, pub subject: String, pub author: String, pub at: DateTime<Utc>, pub message: String }
    pub fn init(_: &Path, _: &str) -> Result<(), GitError> { Ok(()) }
    pub fn commit(_: &Path, _: &str, _: &BTreeMap<String, Option<Vec<u8>>>, _: &str, _: &Author, _: DateTime<Utc>) -> Result<GitRevision, GitError> { Err(GitError) }
    pub fn log(_: &Path, _: &str, _: usize) -> Result<Vec<LogEntry>, GitError> { Ok(vec![]) }
}
