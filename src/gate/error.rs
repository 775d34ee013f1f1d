//! What can go wrong with the webhook.

use std::net::SocketAddr;

use crate::kubernetes::ClusterError;

/// What can go wrong with the webhook. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The address is taken, or not ours.
    #[error("the webhook cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The API server did not answer, or not as needed.
    #[error("the webhook's certificate cannot be kept right")]
    Cluster(#[from] ClusterError),
    /// The Secret that replicas share is not there. We have no right to create it.
    #[error("there is no Secret {name} in the namespace {namespace}: apply deploy/webhook")]
    NoSecret {
        /// Its name.
        name: &'static str,
        /// Where it was looked for.
        namespace: String,
    },
    /// No certificate could be made for these names.
    #[error("no certificate can be made for {names}")]
    Certificate {
        /// The names, separated by commas.
        names: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// The certificate in the Secret, or its key, cannot be used to serve.
    #[error("the certificate in the Secret {name} cannot be used")]
    Unusable {
        /// The Secret.
        name: &'static str,
        /// Why not; never what is in it.
        #[source]
        source: rustls::Error,
    },
}
