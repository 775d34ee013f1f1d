//! The pure core of Tidegate: what to measure, what it means, what to do next.
//!
//! [`questions()`] says what must be asked of the world, [`judge::judge`] turns samples into a verdict,
//! [`decide()`] turns plan, state and one look at the world into the next state and the effects it
//! wants. Nothing here reads a clock, opens a file or knows Kubernetes.
//!
//! ```text
//!  rest ─new template─▶ Settling ─one stable set─▶ Starting ─ready─▶ Shifting ─weight read back─▶ Baking
//!   ▲  ▲                   │ stable down, promoted before,   ▲          ▲                            │ │
//!   │  │                   ▼ promote --full                  │          └──── Pass: next step ───────┘ │
//!   │  │               FastForward ──────────┐               │                                         │
//!   │  │                                     ▼               └─ resume ─ Paused ◀─ pause step, person, ┤
//!   │  └─────────── the Deployment has ── Promoting ◀─── last step passed          no verdict in time ─┘
//!   │               the tested pods          │
//!   │                                        │ Fail, deadline, abort asked, newer template (any stage above)
//!   │                                        ▼
//!   │                                     Aborting ── weight 0 read back, by cause:
//!   │                                        │
//!   │    ┌─────────────┬─────────────────────┼────────────────────┐
//!   │    ▼ blame       ▼ not from Git        ▼ hold, environment  │ superseded, reverted by hand,
//!   │ Reverting ──▶ Restoring             Aborted                 │ scaled to 0: ends quietly
//!   │    │  └─ conflict, refused ──────────▶ │                    │
//!   └────┴─── template back, canary gone ────┴── newer template, retry ──────────────────────────────
//! ```
//!
//! Where there is no room for two full sets the Deployment has the tested pods early, still in
//! Promoting, and rolls the rest out; its way back is a rolling update too.
//!
//! A Deployment that rolls out past the gate, at any stage, is Aborting too: Services are unpinned
//! first, what rolls out is stable, and the canary leaves.
//!
//! Invariants that the tests hold: the canary's weight never rises on anything but Pass (or a
//! person's word); on every way home weight 0 is asked for before anything else and pods leave
//! only after their traffic; a decision repeated on its own result asks for nothing; missing data
//! never promotes and never aborts.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod decide;
pub mod defaults;
pub mod effect;
pub mod fleet;
pub mod judge;
pub mod observed;
pub mod plan;
pub mod questions;
pub mod reason;
pub mod report;
mod seconds;
mod seconds_option;
pub mod sim;
pub mod state;
pub mod windows;

pub use decide::{Decision, Wake, decide};
pub use questions::{Questions, SamplesWanted, questions};
pub use report::report;
