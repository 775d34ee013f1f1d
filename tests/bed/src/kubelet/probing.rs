//! Asks a container: by HTTP, by TCP, by a command. Used by probes and by lifecycle hooks.

use std::time::Duration;

use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::env::Invocation;
use super::{probe, process};

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) container: &'a Container,
    pub(super) address: &'a str,
    /// The container's environment is that of its commands.
    pub(super) invocation: &'a Invocation,
    /// When the container was started.
    pub(super) since: Instant,
}

impl Target<'_> {
    /// Asks once. The error is the message that an event shows.
    pub(super) async fn ask(&self, asked: &Probe, within: Duration) -> Result<(), String> {
        if let Some(get) = &asked.http_get {
            return match self.get(get, within).await {
                Ok(status) if (200..400).contains(&status.as_u16()) => Ok(()),
                Ok(status) => {
                    Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
                }
                Err(message) => Err(message),
            };
        }
        if let Some(socket) = &asked.tcp_socket {
            let port = probe::port(self.container, &socket.port)?;
            let host = socket.host.as_deref().unwrap_or(self.address);
            return dial(host, port, within).await.map(drop);
        }
        if let Some(exec) = &asked.exec {
            return self.run(exec.command.as_deref().unwrap_or_default(), within).await;
        }
        Err("gRPC probes are not supported by this kubelet".to_owned())
    }

    /// Runs a command in the environment of the container.
    pub(super) async fn run(&self, command: &[String], within: Duration) -> Result<(), String> {
        if command.is_empty() {
            return Err("the command is empty".to_owned());
        }
        let env = self.invocation.env.clone();
        let invocation = Invocation { argv: command.to_vec(), env };
        process::run(&invocation, directory(self.container), within).await
    }

    /// Sends one request on a connection of its own, as kubelets do.
    pub(super) async fn get(
        &self,
        get: &HTTPGetAction,
        within: Duration,
    ) -> Result<StatusCode, String> {
        let port = probe::port(self.container, &get.port)?;
        let host = get.host.as_deref().unwrap_or(self.address);
        let path = probe::path(get);
        let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
        let failed = |cause: String| format!("Get \"{scheme}://{host}:{port}{path}\": {cause}");
        if scheme != "http" {
            return Err(failed("HTTPS is not supported by this kubelet".to_owned()));
        }
        let late = || {
            failed(
                "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                    .to_owned(),
            )
        };
        let answer = timeout(within, exchange(host, port, &path, get));
        answer.await.map_err(|_| late())?.map_err(failed)
    }
}

/// Where commands of the container run.
pub(super) fn directory(container: &Container) -> &str {
    container.working_dir.as_deref().filter(|directory| !directory.is_empty()).unwrap_or("/")
}

async fn exchange(
    host: &str,
    port: u16,
    path: &str,
    get: &HTTPGetAction,
) -> Result<StatusCode, String> {
    let stream = connect(host, port).await?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let mut request = Request::get(path)
        .header(header::USER_AGENT, "kube-probe/1.36")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close");
    let own = get.http_headers.as_deref().unwrap_or_default();
    if !own.iter().any(|field| field.name.eq_ignore_ascii_case("host")) {
        request = request.header(header::HOST, format!("{host}:{port}"));
    }
    for field in own {
        request = request.header(&field.name, &field.value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    // The connection ends with the exchange: both are dropped together.
    let talk = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        // A body that is cut off does not change the answer, as in the kubelet.
        let _ = answer.into_body().collect().await;
        Ok(status)
    };
    tokio::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        ended = connection => match ended {
            // The answer may be complete while its reader has not run yet.
            Ok(()) => talk.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

async fn dial(host: &str, port: u16, within: Duration) -> Result<TcpStream, String> {
    let late = || format!("dial tcp {host}:{port}: i/o timeout");
    timeout(within, connect(host, port)).await.map_err(|_| late())?
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((host, port)).await;
    stream.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            format!("dial tcp {host}:{port}: connect: connection refused")
        }
        _ => format!("dial tcp {host}:{port}: {error}"),
    })
}
