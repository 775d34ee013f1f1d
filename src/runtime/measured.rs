//! Samples to a verdict, for one turn.

use chrono::{DateTime, Utc};
use tidegate_engine::Questions;
use tidegate_engine::judge::Verdict;

use super::Key;
use super::reconcile::Followed;
use super::turns::{Measured, Turns};
use crate::observe::Seen;

impl Turns {
    /// What the judge makes of both arms' samples. Nothing that goes wrong here is an error of the
    /// turn: what could not be had is a verdict of its own, and traffic goes home without metrics.
    pub(super) async fn measure(
        &self,
        _key: &Key,
        _followed: &Followed,
        _seen: &Seen,
        asked: &Questions,
        _now: DateTime<Utc>,
    ) -> Measured {
        let Some(_wanted) = &asked.samples else { return Measured::nothing() };
        let verdict = Verdict::Error { metric: String::new(), message: String::new() };
        Measured { verdict, ..Measured::nothing() }
    }
}
