//! A socket that says whether the outer process still lives.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    process,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow};

/// The environment variable with the name of the socket.
pub(super) const NAME: &str = "TIDEGATE_BED_LIFELINE";

/// The outer process's end. Connections are never accepted: they wait in the queue, and break when
/// the listener is closed. An abstract name needs no file, and passes through `sudo`, which closes
/// inherited descriptors.
#[derive(Debug)]
pub(super) struct Lifeline {
    name: String,
    _listener: UnixListener,
}

impl Lifeline {
    /// Opens the socket.
    pub(super) fn hold() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("tidegate-testbed-{}-{}", process::id(), now.as_nanos());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)
            .context("open the socket that ends the run")?;
        Ok(Self { name, _listener: listener })
    }

    /// What to set [`NAME`] to.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The other end; call it before the network namespace changes, since names belong to one.
pub(super) fn connect() -> Result<UnixStream> {
    let name = env::var(NAME).map_err(|_| anyhow!("{NAME} is not set"))?;
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)
        .context("connect to the outer process")
}
