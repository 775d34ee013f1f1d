//! Files and objects to a `Plan`: the only parse, the only `Invalid`.
//!
//! [`load`] reads files. Each document becomes a tree that knows its lines (`tree`), is checked
//! against the schema the API server has (`schema`), then against what a schema cannot say
//! (`rules`). [`resolve`] turns a Rollout and what it refers to into what the engine understands;
//! whatever is wrong is said with the object and the field it is in. For objects from files
//! [`Objects::locate`] adds file and line.

mod analysis;
mod arguments;
mod criteria;
mod files;
mod gates;
pub(crate) mod invalid;
pub(crate) mod nearest;
mod plan;
mod promql;
mod query;
mod rules;
pub(crate) mod schema;
mod steps;
pub(crate) mod tree;
pub(crate) mod units;

pub use files::{Objects, load, load_text, shipped};
pub use gates::{GateQuery, HttpQuery};
pub use invalid::{Fault, FieldPath, Invalid, ObjectKey, Segment};
pub use plan::{References, Resolved, resolve};
pub use promql::Selector;
pub use query::{
    CounterQuery, CounterTexts, INSTANCE_LABEL, Query, ScalarQuery, Second, pods_read,
    process_starts,
};
