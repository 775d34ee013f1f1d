//! Requests at a constant rate.
