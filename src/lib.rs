//! Tidegate: progressive delivery for Kubernetes that keeps Git true.
//!
//! | module | what it is |
//! |---|---|
//! | `tidegate_engine` | pure: questions, judge, decide; the machine, the statistics, the toy worlds |
//! | `tidegate_api` | the objects of `tidegate.dev/v1alpha1` as they travel |
//! | [`resolve`] | files and objects to a plan: the only parse, the only complaints |
//! | [`git`] | fetch, find the culprits, merge the revert, push exactly once |
//! | [`sync`] | a path of a repository, applied, pruned, compared |
//! | [`demo`] | the closed loop on one machine, with real processes |
//! | [`simulate`] | the closed loop in virtual time |
//! | [`cli`] | the command line |
//!
//! ```text
//!  cli ─▶ demo ─┬─▶ resolve ─▶ api        engine ✗ anything of ours      api ✗ engine
//!    │          ├─▶ sync ────▶ api        resolve does no I/O but reading files
//!    │          ├─▶ git ─────▶ engine     git ✗ sync, sync ✗ git: the caller hands files over
//!    │          └─▶ engine
//!    ├─▶ simulate ─▶ resolve, engine
//!    └─▶ sync, git, api
//! ```
//! `docs/architecture.md` says why.

pub mod cli;
pub mod demo;
pub mod git;
pub mod resolve;
pub mod simulate;
pub mod sync;
