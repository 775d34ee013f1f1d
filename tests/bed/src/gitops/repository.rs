//! One repository of the forge.

use std::{
    fmt::{Debug, Formatter},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{api::Api, forge::OWNER};
use crate::world::eventually;

/// The forge looks at a new pull request within a second.
const MERGED_WITHIN: Duration = Duration::from_secs(30);

/// The branch that is followed, reverted on and protected.
const BRANCH: &str = "main";

/// Who may write to a repository over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// A token of that user, accepted as password by Git and by the API.
    pub token: String,
}

impl Debug for Credentials {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// One commit of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The full commit id.
    pub sha: String,
    /// The whole message, trailers included, without line ends after it.
    pub message: String,
    /// The author's name.
    pub author: String,
    /// The author's e-mail address.
    pub email: String,
    /// The ids of its parents; the first commit has none.
    pub parents: Vec<String>,
}

/// A pull request as its readers see it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PullRequest {
    /// Its number within the repository.
    pub number: u64,
    /// `open` or `closed`; a merged one is closed.
    pub state: String,
    /// Whether it was merged.
    #[serde(default)]
    pub merged: bool,
    /// The first line people see.
    pub title: String,
    /// The text below it.
    #[serde(default)]
    pub body: String,
    /// The branch to merge.
    #[serde(deserialize_with = "branch_name")]
    pub head: String,
}

/// A private repository with the branch `main`.
#[derive(Clone)]
pub struct Repository {
    name: String,
    root: String,
    api: Api,
    bot: Credentials,
    git: PathBuf,
    storage: PathBuf,
}

impl Repository {
    pub(super) fn new(
        name: &str,
        root: String,
        api: Api,
        bot: Credentials,
        git: PathBuf,
        storage: PathBuf,
    ) -> Self {
        Self { name: name.to_owned(), root, api, bot, git, storage }
    }

    /// The name without its owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that Git clones from.
    pub fn url(&self) -> String {
        self.url_at(&self.root)
    }

    /// The address by way of another server (`http://host:port`), such as a proxy with faults.
    pub fn url_at(&self, root: &str) -> String {
        format!("{root}/{OWNER}/{}.git", self.name)
    }

    /// User and token of the product, who may write.
    pub fn credentials(&self) -> Credentials {
        self.bot.clone()
    }

    /// Commits all `files` at once onto `main` and returns the commit's id.
    ///
    /// A file is a path and its new text, or `None` to delete it. `author` is a name such as
    /// `Ada Lovelace`; the address is made from it.
    pub async fn commit(
        &self,
        author: &str,
        message: &str,
        files: &[(&str, Option<&str>)],
    ) -> anyhow::Result<String> {
        let files: Vec<Value> = files
            .iter()
            .map(|(path, text)| match text {
                Some(text) => {
                    json!({ "operation": "upload", "path": path, "content": STANDARD.encode(text) })
                }
                None => json!({ "operation": "delete", "path": path }),
            })
            .collect();
        let who = json!({ "name": author, "email": email_of(author) });
        let body = json!({
            "branch": BRANCH,
            "message": message,
            "author": who,
            "committer": who,
            "files": files,
        });
        let answer = self.api.post(&self.path("/contents"), &body).await?;
        text(&answer["commit"]["sha"]).context("the new commit's id")
    }

    /// The id of the newest commit of `main`.
    pub async fn head(&self) -> anyhow::Result<String> {
        let branch = self.api.get(&self.path(&format!("/branches/{BRANCH}"))).await?;
        text(&branch["commit"]["id"]).context("the branch's commit")
    }

    /// The newest 50 commits of `main`, newest first.
    pub async fn log(&self) -> anyhow::Result<Vec<Commit>> {
        let query = format!("/commits?sha={BRANCH}&limit=50&stat=false&verification=false");
        let answer = self.api.get(&self.path(&format!("{query}&files=false"))).await?;
        let commits = answer.as_array().context("the forge's list of commits is no list")?;
        commits.iter().map(commit).collect()
    }

    /// A file's text on `main`; `None` when there is no such file.
    pub async fn read(&self, path: &str) -> anyhow::Result<Option<String>> {
        self.read_at(BRANCH, path).await
    }

    /// A file's text in any branch or commit; `None` when there is no such file.
    pub async fn read_at(&self, revision: &str, path: &str) -> anyhow::Result<Option<String>> {
        self.api.text(&self.path(&format!("/raw/{path}?ref={revision}"))).await
    }

    /// Protects `main`: only the owner may push; the product is refused until
    /// [`Repository::unprotect`].
    pub async fn protect(&self) -> anyhow::Result<()> {
        let rule = json!({
            "rule_name": BRANCH,
            "enable_push": true,
            "enable_push_whitelist": true,
            "push_whitelist_usernames": [OWNER],
        });
        self.api.post(&self.path("/branch_protections"), &rule).await.map(drop)
    }

    /// Takes the protection of `main` back.
    pub async fn unprotect(&self) -> anyhow::Result<()> {
        self.api.delete(&self.path(&format!("/branch_protections/{BRANCH}"))).await
    }

    /// Refuses every push from now on by a pre-receive hook that says `reason`; `None` lets them
    /// through again.
    pub fn refuse_pushes(&self, reason: Option<&str>) -> anyhow::Result<()> {
        let hook = self.folder().join("hooks/pre-receive.d/refuse");
        let Some(reason) = reason else {
            return std::fs::remove_file(&hook).with_context(|| hook.display().to_string());
        };
        let quoted = reason.replace('\'', r"'\''");
        let script = format!("#!/bin/sh\ncat >/dev/null\necho '{quoted}' >&2\nexit 1\n");
        std::fs::write(&hook, script).with_context(|| hook.display().to_string())?;
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))
            .with_context(|| hook.display().to_string())
    }

    /// Makes `main` point at `sha`, a commit of this repository, whatever was there before.
    ///
    /// A real forced push, as the owner, through the forge and its hooks.
    pub async fn force_push(&self, sha: &str) -> anyhow::Result<()> {
        let clone = tempfile::tempdir().context("a folder for a clone")?;
        let url = self.owner_url();
        self.git(clone.path(), &["init", "--quiet", "--bare"]).await?;
        self.git(clone.path(), &["fetch", "--quiet", &url, "+refs/heads/*:refs/fetched/*"]).await?;
        let to = format!("{sha}:refs/heads/{BRANCH}");
        self.git(clone.path(), &["push", "--quiet", "--force", &url, &to]).await
    }

    /// Opens a pull request for the branch `head`, as the owner.
    pub async fn open_pull_request(&self, head: &str, title: &str) -> anyhow::Result<PullRequest> {
        let body = json!({ "head": head, "base": BRANCH, "title": title });
        let answer = self.api.post(&self.path("/pulls"), &body).await?;
        serde_json::from_value(answer).context("the new pull request")
    }

    /// All pull requests, open and closed, newest first.
    pub async fn pull_requests(&self) -> anyhow::Result<Vec<PullRequest>> {
        let answer = self.api.get(&self.path("/pulls?state=all&limit=50")).await?;
        serde_json::from_value(answer).context("the forge's list of pull requests")
    }

    /// Merges a pull request, as the owner.
    ///
    /// A new one is refused until the forge has found out whether it can be merged.
    pub async fn merge(&self, number: u64) -> anyhow::Result<()> {
        let body = json!({ "Do": "merge" });
        let path = self.path(&format!("/pulls/{number}/merge"));
        eventually(&format!("pull request {number} is merged"), MERGED_WITHIN, async || {
            self.api.post(&path, &body).await.map(|_| Some(()))
        })
        .await
    }

    /// Where the forge keeps this repository on disk.
    pub fn folder(&self) -> PathBuf {
        self.storage.join(OWNER).join(format!("{}.git", self.name))
    }

    /// Lets a user write.
    pub(super) async fn invite(&self, user: &str) -> anyhow::Result<()> {
        let path = self.path(&format!("/collaborators/{user}"));
        self.api.put(&path, &json!({ "permission": "write" })).await.map(drop)
    }

    fn path(&self, rest: &str) -> String {
        format!("/repos/{OWNER}/{}{rest}", self.name)
    }

    fn owner_url(&self) -> String {
        let (user, password) = self.api.login();
        self.url().replacen("http://", &format!("http://{user}:{password}@"), 1)
    }

    async fn git(&self, folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        let output = tokio::process::Command::new(&self.git)
            .args(arguments)
            .current_dir(folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("NO_PROXY", "*")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("running git")?;
        if !output.status.success() {
            let verb = arguments.first().copied().unwrap_or_default();
            let (_, password) = self.api.login();
            let said = String::from_utf8_lossy(&output.stderr).replace(password, "***");
            bail!("git {verb} on {} ended with {}: {said}", self.name, output.status);
        }
        Ok(())
    }
}

/// `Ada Lovelace` has the address `ada.lovelace@example.com`.
fn email_of(author: &str) -> String {
    format!("{}@example.com", author.to_lowercase().replace(' ', "."))
}

fn commit(answer: &Value) -> anyhow::Result<Commit> {
    let parents = answer["parents"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Commit {
        sha: text(&answer["sha"]).context("a commit's id")?,
        message: text(&answer["commit"]["message"])
            .map(|message| message.trim_end().to_owned())
            .context("a commit's message")?,
        author: text(&answer["commit"]["author"]["name"]).context("a commit's author")?,
        email: text(&answer["commit"]["author"]["email"]).context("a commit's author")?,
        parents: parents.iter().map(|parent| text(&parent["sha"])).collect::<Result<_, _>>()?,
    })
}

fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("expected a text, found {value}"))
}

fn branch_name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    struct Branch {
        #[serde(rename = "ref")]
        name: String,
    }
    Branch::deserialize(deserializer).map(|branch| branch.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_has_an_address() {
        assert_eq!(email_of("Ada Lovelace"), "ada.lovelace@example.com");
    }

    #[test]
    fn a_token_does_not_show_in_debug_output() {
        let credentials = Credentials { user: "tidegate".to_owned(), token: "geheim".to_owned() };
        assert!(!format!("{credentials:?}").contains("geheim"));
    }

    #[test]
    fn a_commit_without_an_id_is_an_error() {
        let answer = json!({ "commit": { "message": "m", "author": { "name": "a" } } });
        assert!(commit(&answer).is_err());
    }
}
