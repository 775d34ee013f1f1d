//! `tidegate simulate`: the user's own Rollout and templates against made-up traffic, in virtual
//! time. One run tells a story; many give shares: false rollbacks, wrong promotions, time to
//! detect.

pub mod read;
pub mod show;
pub mod statistics;
