//! A forge, and the engines that follow it.
//!
//! | module | what it is |
//! |---|---|
//! | [`forge`] | Gitea: users, repositories, protected branches, pull requests |
//! | [`repository`] | one repository of the forge: commits, history, refusals |
//! | [`flux`] | Flux's source-controller and kustomize-controller |
//! | [`following`] | one Git repository and one Kustomization that Flux keeps |
//! | [`argocd`] | Argo CD's application controller and repo server |
//! | [`application`] | one path of a repository that Argo CD keeps |
//!
//! All of them are the real programs, with the settings people run them with; only what would
//! slow a test down without changing what is tested (leader election, passwords that are
//! expensive to check, background jobs) is turned off.

mod account;
mod api;
pub mod application;
pub mod argocd;
mod argocd_settings;
pub mod flux;
pub mod following;
pub mod forge;
mod forge_settings;
mod objects;
pub mod repository;

pub use application::{Application, ApplicationHealth, ApplicationStatus, ArgoOptions};
pub use argocd::{ArgoCd, ArgoPrograms};
pub use flux::{Flux, FluxPrograms};
pub use following::{FluxOptions, FluxStatus, Following};
pub use forge::{Forge, ForgeOptions, ForgePrograms};
pub use repository::{Commit, Credentials, PullRequest, Repository};
