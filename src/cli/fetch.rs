//! What the sync reads: all files of a branch's tip.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::sync::{FetchError, Source};
use crate::git::{Credentials, Remote, RemoteUrl, UrlError};
use crate::sync::Checkout;

/// All files of one commit, in bytes; a config repository is a few megabytes.
const LIMIT: u64 = 256 << 20;

/// `--repo` cannot be a repository. What was given is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("--repo: {0}")]
pub(super) struct BadRepository(String);

/// Refuses what cannot be a repository before anything else is tried.
pub(super) fn check(repo: &str) -> Result<(), BadRepository> {
    let url: RemoteUrl =
        repo.parse().map_err(|error: UrlError| BadRepository(error.to_string()))?;
    match url.as_local() {
        Some(path) if !path.exists() => {
            Err(BadRepository(format!("found no {}, expected a repository", path.display())))
        }
        Some(_) | None => Ok(()),
    }
}

/// Fetches the tip of the branch into the cache and reads its files. Blocks.
pub(super) fn checkout(source: &Source) -> Result<Checkout, FetchError> {
    let url: RemoteUrl = source.repo.parse()?;
    let mut remote = Remote::new(url.clone(), cache());
    if let Some(password) = &source.password {
        let username = source.username.clone().unwrap_or_else(|| "git".to_owned());
        remote =
            remote.with_credentials(Credentials::bound_to(&url, username, password.clone())?)?;
    }
    let mirror = remote.mirror(&source.branch)?;
    let tip = mirror.fetch(&Arc::new(AtomicBool::new(false)))?;
    // The whole tree: overlays reach outside their own path.
    let snapshot = mirror.snapshot(&tip.commit, "", LIMIT)?;
    Ok(Checkout {
        revision: tip.commit.as_str().to_owned(),
        files: snapshot.files,
        skipped: snapshot.skipped.into_iter().map(|skipped| skipped.path).collect(),
    })
}

/// Where fetched history is kept between runs.
fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("tidegate").join("git")
}
