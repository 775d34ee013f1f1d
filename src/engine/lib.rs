//! The pure core of Tidegate.

pub mod defaults;
pub mod effect;
pub mod judge;
pub mod plan;
pub mod reason;
mod seconds;
mod seconds_option;
pub mod state;
