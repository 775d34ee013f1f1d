//! Git: fetch, find the culprit, revert by 3-way merge, push exactly once.
//!
//! ```text
//!  Remote ──mirror(branch)──▶ Mirror ──fetch──▶ Tip ──snapshot──▶ Snapshot      (what sync reads)
//!    └──revert(order)──▶ fetch ▶ trailer? ▶ old content? ▶ merge ▶ commit ▶ push ──▶ RevertOutcome
//! ```
//!
//! *Exactly once* needs three things together, and losing any one of them loses the promise (the
//! model in `tests/git/model.rs` shows a counterexample for each):
//! - the **trailer** `Tidegate-Trial: <id>` is looked for in all that came after the good
//!   revision. It is the only idempotency key: a person who reverts our revert wins;
//! - the push is a **compare-and-swap**: the server takes our commit only on top of the tip it was
//!   made for;
//! - after an unknown outcome (lost answer, crash) the branch is **read again** before anything
//!   else is sent.
//!
//! Nothing here runs a program. A remote is either `http(s)` (fetched into a small cache, pushed to
//! by speaking `receive-pack`) or a folder of this machine (read and written directly). All
//! functions block: call them from `spawn_blocking`.

mod error;
mod history;
mod http;
pub mod local;
mod merge;
pub mod message;
mod mirror;
mod paths;
mod push;
mod remote;
pub mod report;
mod revert;
mod snapshot;
mod url;

pub use error::{GitError, HttpFailure};
pub use message::Author;
pub use mirror::{Mirror, Tip};
pub use paths::{PathError, Paths};
pub use remote::{AtMost, Limits, Remote};
pub use revert::{Proposal, Proposed, propose, revert};
pub use snapshot::{Skipped, SkippedKind, Snapshot};
pub use url::{Credentials, RemoteUrl, UrlError};

use std::sync::Once;

/// Makes ring the TLS provider of the process, once. Building an HTTPS client needs it; a provider
/// that somebody else installed before is left in place.
pub fn init_tls() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // The only failure is that another part of the process was first, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
