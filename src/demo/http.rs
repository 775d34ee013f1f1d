//! One small HTTP client for probes and scrapes.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{StatusCode, Uri, uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

/// The largest answer that is read, in bytes.
const LIMIT: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address and path make no URI.
    #[error("the URI is malformed")]
    Uri(#[source] axum::http::Error),
    /// No connection, or it broke.
    #[error("the request failed")]
    Request(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off or is too large.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is larger than anything we ask for.
    #[error("the answer is larger than {LIMIT} bytes")]
    TooLarge,
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// A connector that sends small requests at once.
pub(super) fn connector(connect_timeout: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect_timeout));
    connector
}

/// The root-relative `path` on a backend.
pub(super) fn uri(address: SocketAddr, path: uri::PathAndQuery) -> Result<Uri, HttpError> {
    Uri::builder()
        .scheme(uri::Scheme::HTTP)
        .authority(address.to_string())
        .path_and_query(path)
        .build()
        .map_err(HttpError::Uri)
}

/// GET only, with kept-alive connections.
#[derive(Clone, Debug)]
pub(super) struct Getter {
    client: Client<HttpConnector, Empty<Bytes>>,
    patience: Duration,
}

impl Getter {
    /// A client that waits `patience` for a whole answer.
    pub(super) fn new(patience: Duration) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector(patience));
        Self { client, patience }
    }

    /// Status and body.
    pub(super) async fn get(
        &self,
        address: SocketAddr,
        path: &'static str,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let uri = uri(address, uri::PathAndQuery::from_static(path))?;
        let answer = async {
            let response = self.client.get(uri).await.map_err(HttpError::Request)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LIMIT);
            let body = body.collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    HttpError::TooLarge
                } else {
                    HttpError::Body(error)
                }
            })?;
            Ok((status, body.to_bytes()))
        };
        timeout(self.patience, answer).await.map_err(|_| HttpError::Timeout(self.patience))?
    }
}
