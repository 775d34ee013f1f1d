//! The way to the upstream.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Why a body broke off.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Body of a request on its way up.
pub(super) type Sent = UnsyncBoxBody<Bytes, BoxError>;

/// What the proxy stands in front of.
#[derive(Clone, Debug)]
pub struct Upstream {
    url: String,
    ca: Option<Vec<u8>>,
    pub(super) speaks: Speaks,
}

/// What the requests mean: which of them write, and what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Kubernetes,
    Git,
    Prometheus,
    Other,
}

impl Upstream {
    /// An API server, with the certificate authority that it is known by (PEM).
    pub fn kubernetes(url: impl Into<String>, ca: impl Into<Vec<u8>>) -> Self {
        Self { url: url.into(), ca: Some(ca.into()), speaks: Speaks::Kubernetes }
    }

    /// A Git server that speaks HTTP.
    pub fn git(url: impl Into<String>) -> Self {
        Self { url: url.into(), ca: None, speaks: Speaks::Git }
    }

    /// A Prometheus: queries by POST are no writes.
    pub fn prometheus(url: impl Into<String>) -> Self {
        Self { url: url.into(), ca: None, speaks: Speaks::Prometheus }
    }

    /// Any other server: an Alertmanager, the HTTP API of a forge.
    pub fn http(url: impl Into<String>) -> Self {
        Self { url: url.into(), ca: None, speaks: Speaks::Other }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

/// Sends requests to the upstream over connections that are kept.
pub(super) struct Forwarder {
    client: Client<HttpsConnector<HttpConnector>, Sent>,
    scheme: Scheme,
    authority: Authority,
    pub(super) speaks: Speaks,
}

impl Forwarder {
    pub(super) fn new(upstream: &Upstream) -> anyhow::Result<Self> {
        let wrong = || format!("`{}` is no upstream", upstream.url);
        let uri: Uri = upstream.url.parse().with_context(wrong)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            bail!(wrong());
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(upstream.ca.as_deref().unwrap_or(b"")) {
            let certificate = certificate.context("the upstream's authority is no PEM")?;
            roots.add(certificate).context("the upstream's authority is refused")?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("no version of TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client =
            Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { client, scheme, authority, speaks: upstream.speaks })
    }

    /// The upstream's answer to the request.
    pub(super) async fn send(
        &self,
        head: &Parts,
        body: Sent,
        compressed: bool,
    ) -> anyhow::Result<Response<Incoming>> {
        let path = head.uri.path_and_query().cloned();
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .context("the request's path")?;
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = end_to_end(&head.headers);
        // This side has answered it already.
        request.headers_mut().remove(header::EXPECT);
        if !compressed {
            request.headers_mut().remove(header::ACCEPT_ENCODING);
        }
        Ok(self.client.request(request).await?)
    }
}

/// The headers without those that are about one connection (RFC 9110, 7.6.1).
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    const HOP: [HeaderName; 6] = [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let mut kept = headers.clone();
    for name in HOP {
        kept.remove(name);
    }
    kept.remove("keep-alive");
    kept
}
