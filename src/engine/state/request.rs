//! What a person asked for, kept where no engine takes it back.

use serde::{Deserialize, Serialize};

use crate::observed::Ask;
use crate::reason::Reason;

/// What a person asked for, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// As it was asked.
    pub ask: Ask,
    /// What became of it.
    pub answer: Answer,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A later stage answers it.
    Waiting,
    /// It was done.
    Granted(Reason),
    /// It was not, and will not be.
    Refused(Reason),
}
