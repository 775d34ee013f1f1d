//! The webhook as a server: every replica answers, whether it leads or not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, Response, StatusCode, header};
use chrono::Utc;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::error::GateError;
use super::keep::{Kept, keep};
use super::request::{AdmissionRequest, Stage, answer};
use super::review::review;
use crate::kubernetes::Cluster;

/// How often is looked whether the certificate and the trust in it are right.
const LOOK: Duration = Duration::from_secs(30);
/// The same after a failure, and after the API server was told something new.
const SOON: Duration = Duration::from_secs(3);
/// Longest time for a handshake, and for the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Largest question in bytes: two objects of the largest size that the API server takes, and more.
const LARGEST: usize = 16 * 1024 * 1024;
/// Connections at once. API servers keep a few open.
const CONNECTIONS: usize = 256;

/// Answers the API server on this address until `stop` becomes true. It waits until a webhook
/// configuration names us; where there is none, it does nothing but look every half minute.
///
/// The certificate is made, shared in a Secret of the namespace `home`, renewed and made known here.
/// What fails is logged and tried again; only an address that cannot be had ends it.
pub async fn serve_webhook(
    cluster: &Cluster,
    home: &str,
    listen: SocketAddr,
    stop: watch::Receiver<bool>,
) -> Result<(), GateError> {
    let (publish, mut published) = watch::channel(None);
    let mut stopped = stop.clone();
    tokio::select! {
        () = keep_right(cluster, home, &publish) => Ok(()),
        ended = answer_all(listen, &mut published, stop) => ended,
        _ = stopped.wait_for(|stop| *stop) => Ok(()),
    }
}

/// Looks again and again, and publishes what is to be served.
async fn keep_right(
    cluster: &Cluster,
    home: &str,
    publish: &watch::Sender<Option<Arc<ServerConfig>>>,
) {
    let mut served = String::new();
    loop {
        let kept = keep(cluster, home, Utc::now()).await;
        let (identity, is_trusted) = match kept {
            Ok(Kept::NotAsked) => {
                sleep(LOOK).await;
                continue;
            }
            Ok(Kept::Trusted(identity)) => (identity, true),
            Ok(Kept::Told(identity)) => (identity, false),
            Err(error) => {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, why, "the webhook");
                sleep(SOON).await;
                continue;
            }
        };
        // A certificate that nobody trusts yet is better than none, and worse than the one before.
        if (is_trusted || served.is_empty()) && served != identity.authorities {
            match identity.server() {
                Ok(configuration) => {
                    served = identity.authorities;
                    publish.send_replace(Some(Arc::new(configuration)));
                }
                Err(error) => tracing::warn!(%error, "the webhook"),
            }
        }
        sleep(if is_trusted { LOOK } else { SOON }).await;
    }
}

/// Listens as soon as there is something to serve, and answers everybody.
async fn answer_all(
    address: SocketAddr,
    published: &mut watch::Receiver<Option<Arc<ServerConfig>>>,
    stop: watch::Receiver<bool>,
) -> Result<(), GateError> {
    if published.wait_for(Option::is_some).await.is_err() {
        return Ok(());
    }
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| GateError::Listen { address, source })?;
    tracing::info!(%address, "the webhook answers");
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file handles, or a connection that broke: it must not become a busy loop.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Some(server) = published.borrow().clone() else { continue };
        let stop = stop.clone();
        tokio::spawn(async move {
            connection(stream, server, stop).await;
            drop(place);
        });
    }
}

/// One connection, until either side has enough of it.
async fn connection(stream: TcpStream, server: Arc<ServerConfig>, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let handshake = timeout(HANDSHAKE, TlsAcceptor::from(server).accept(stream)).await;
    let Ok(Ok(stream)) = handshake else {
        tracing::debug!("a handshake with the webhook failed");
        return;
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE * 60)
        .serve_connection(TokioIo::new(stream), service_fn(respond));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A connection that breaks needs no word: the API server asks again on another.
        _ = &mut connection => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(HANDSHAKE, connection).await;
}

async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let stage = match (request.method(), request.uri().path()) {
        (&Method::POST, "/mutate") => Stage::Mutate,
        (&Method::POST, "/validate") => Stage::Validate,
        _ => return Ok(plain(StatusCode::NOT_FOUND)),
    };
    let Ok(body) = Limited::new(request.into_body(), LARGEST).collect().await else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let asked = serde_json::from_slice(&body.to_bytes()).ok();
    let Some(asked) = asked.and_then(AdmissionRequest::of_review) else {
        return Ok(plain(StatusCode::BAD_REQUEST));
    };
    let verdict = review(stage, &asked);
    tracing::debug!(resource = asked.resource, user = asked.user, ?stage, "asked");
    let mut response = plain(StatusCode::OK);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    *response.body_mut() = Full::from(answer(&asked.uid, &verdict).to_string());
    Ok(response)
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
