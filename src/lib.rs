//! Tidegate: progressive delivery for Kubernetes that keeps Git true.
//!
//! | module | what it is |
//! |---|---|
//! | `tidegate_engine` | pure: questions, judge, decide; the machine, the statistics, the toy worlds |
//! | `tidegate_api` | the objects of `tidegate.dev/v1alpha1` as they travel |
//! | [`resolve`] | files and objects to a plan: the only parse, the only complaints |
//! | [`git`] | fetch, find the culprits, merge the revert, push exactly once |
//! | [`sync`] | a path of a repository, applied, pruned, compared |
//! | [`kubernetes`] | names, labels and raw objects: what `observe` and `act` agree on |
//! | [`observe`] | facts of a cluster at one look |
//! | [`measure`] | samples of both arms, from Prometheus |
//! | [`act`] | effects, carried out on a cluster |
//! | [`gate`] | what keeps a new template from rolling out by itself |
//! | [`runtime`] | the controller as a process: watches, leadership, turns |
//! | [`demo`] | the closed loop on one machine, with real processes |
//! | [`simulate`] | the closed loop in virtual time |
//! | [`verdicts`] | how often the judge is wrong, counted in virtual time |
//! | [`cli`] | the command line |
//!
//! ```text
//!  cli ─▶ demo ─┬─▶ resolve ─▶ api        engine ✗ anything of ours      api ✗ engine
//!    │          ├─▶ sync ────▶ api        resolve does no I/O but reading files
//!    │          ├─▶ git ─────▶ engine     git ✗ sync, sync ✗ git: the caller hands files over
//!    │          └─▶ engine
//!    ├─▶ runtime ─▶ resolve, observe, measure, act, git, engine
//!    │                 measure ─▶ observe ─▶ kubernetes ◀─ act, gate
//!    ├─▶ verdicts ─▶ simulate ─▶ resolve, engine
//!    └─▶ sync, git, api
//! ```
//! `docs/architecture.md` says why.

pub mod act;
pub mod cli;
pub mod demo;
pub mod gate;
pub mod git;
pub mod kubernetes;
pub mod measure;
pub mod observe;
pub mod resolve;
pub mod runtime;
pub mod simulate;
pub mod sync;
pub mod verdicts;
