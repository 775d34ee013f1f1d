//! Samples from a Prometheus-compatible store.
