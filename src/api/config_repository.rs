//! The repository the manifests come from, and how it may be written.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::{Host, Name, ObjectName, RepositoryPath};

/// The repository the manifests come from, and how it may be written.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "ConfigRepository",
    plural = "configrepositories",
    doc = "A ConfigRepository is a Git repository that reverts are written to, with who may have \
           which of its paths written.",
    status = "ConfigRepositoryStatus",
    derive = "PartialEq",
    shortname = "tgrepo",
    category = "tidegate",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
    printcolumn(name = "Branch", type_ = "string", json_path = ".spec.branch"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.write) || self.write == 'Push' || has(self.pullRequests)")
    .message("write by pull request needs pullRequests"))]
pub struct ConfigRepositorySpec {
    /// Where it is: `https://host/path` or `ssh://git@host/path`. Plain `http` only to the machine
    /// itself and to Services of the cluster. A user is only named for ssh, a password never.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new(
        "self.matches('^https://[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]+)?/[^\\\\s@?#]+$') || \
         self.matches('^ssh://([A-Za-z0-9_][-A-Za-z0-9_.]*@)?[A-Za-z0-9]\
          [-A-Za-z0-9.]*(:[0-9]+)?/[^\\\\s@?#]+$') || \
         self.matches('^http://(localhost|127[.]0[.]0[.]1|[a-z0-9]\
          [-a-z0-9.]*[.]svc([.]cluster[.]local)?)(:[0-9]+)?/[^\\\\s@?#]+$')")
        .message("expected https://host/path or ssh://user@host/path, without a password"))]
    pub url: String,
    /// The branch the GitOps engine follows. Default: main.
    #[serde(default = "main_branch")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^-/.\s~^:?*\[\\][^\s~^:?*\[\\]*$"))]
    pub branch: String,
    /// A Secret in the controller's namespace. For https: `username` and `password`, or `token`.
    /// For ssh: `identity` and `known_hosts`. Default: no credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<ObjectName>,
    /// Further hosts that get the credentials, such as the one of the forge's API. The host of
    /// `url` always does; a redirect elsewhere is an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub credential_hosts: Vec<Host>,
    /// Who the reverts are from. Default: `Tidegate <tidegate@localhost>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// A Secret in the controller's namespace with the SSH key (`signing-key`) that signs reverts.
    /// Default: not signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<ObjectName>,
    /// How a revert reaches the branch. Default: Push.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<GitWrite>,
    /// The forge that pull requests are opened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_requests: Option<PullRequests>,
    /// Which namespaces may have which paths written. A path that is not allowed refuses the
    /// Rollout before any request is made. Nothing is allowed by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub allow: Vec<AllowedPaths>,
    /// How many reverts may be written in an hour. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub reverts_per_hour: Option<u32>,
}

fn main_branch() -> String {
    "main".to_owned()
}

/// Who reverts are from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Author {
    /// Name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^<>\n\r]+$"))]
    pub name: String,
    /// Mail address.
    #[schemars(length(min = 3, max = 254), regex(pattern = r"^[^<>\s@]+@[^<>\s@]+$"))]
    pub email: String,
}

/// How a revert reaches the branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GitWrite {
    /// A commit pushed to the branch.
    #[default]
    Push,
    /// A pull request; the Deployment stays held until it is merged.
    PullRequest,
    /// A push; when the branch refuses it, a pull request.
    PushThenPullRequest,
}

/// The forge that pull requests are opened on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullRequests {
    /// Which API it speaks.
    pub forge: Forge,
    /// Where its API is. Default: found from `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^https://[^\s@?#]+$"))]
    pub api: Option<String>,
}

/// Which API a forge speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Forge {
    /// GitHub and GitHub Enterprise.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea and Forgejo.
    Gitea,
}

/// Which namespaces may have which paths written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedPaths {
    /// The namespaces.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub namespaces: Vec<Name>,
    /// The paths; a last part `**` stands for everything below.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new(
        "self.all(p, !p.startsWith('../') && !p.contains('/../') && !p.endsWith('/..') && \
         p != '..' && !p.contains('//'))")
        .message("a path has no empty part and no .."))]
    pub paths: Vec<RepositoryPath>,
}

/// How the repository is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigRepositoryStatus {
    /// The generation of the spec this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: it can be read and, as far as can be told without writing, written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The tip of the branch when it was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub tip: Option<String>,
}
