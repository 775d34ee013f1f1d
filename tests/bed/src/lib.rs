//! The test bed: a real Kubernetes cluster on one small machine, without containers.
//!
//! | module | what it is |
//! |---|---|
//! | [`components`] | programs, pinned by version and checksum, fetched or built once into a cache |
//! | [`sandbox`] | one set of namespaces per run; nothing outlives the run |
//! | [`world`] | the running whole: control plane, gateway, metrics, alerts |
//! | [`gitops`] | a forge, and the engines that follow it |
//! | [`kubelet`] | pods as local processes |
//! | [`app`] | the test application |
//! | [`load`] | requests at a constant rate, each of them recorded |
//! | [`fault`] | a numbering proxy that can fail in every way a network can |
//! | [`observer`] | an independent witness of what must hold at every revision |
//! | [`receiver`] | what Alertmanager sends to people, counted |

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test bed talks to people and runs programs"
)]

pub mod app;
pub mod components;
pub mod fault;
pub mod gitops;
pub mod kubelet;
pub mod load;
pub mod observer;
pub mod receiver;
pub mod sandbox;
pub mod world;
