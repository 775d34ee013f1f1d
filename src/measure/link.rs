//! Questions to one source over HTTP: with its limits, and with the reasons when there is no answer.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;

use futures::{StreamExt, stream};
use prometheus_http_query::Client;
use prometheus_http_query::response::RangeVector;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tidegate_api::MetricSourceSpec;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::answer::{NoSeries, series};
use super::source::{Credentials, Settings, Source};

/// Bytes of one answer.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Questions of one look that are on their way at once.
const AT_ONCE: usize = 4;

/// A range query: the same question is asked once per look, whoever wants to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    pub(super) text: String,
    pub(super) span: Span,
}

/// The instants to evaluate at, in Unix seconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
}

/// What came back, by question. The reason is a line for people.
pub(super) type Answers = BTreeMap<Question, Result<Arc<Vec<RangeVector>>, String>>;

/// Why there is no answer. No address and no secret is in here.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("has an address that is no URL")]
    Address,
    #[error("has headers or credentials with characters that no header may have")]
    Header,
    #[error("has certificates that are not in PEM")]
    Certificates,
    #[error("cannot be asked with these certificates: {0}")]
    Client(String),
    #[error("does not answer in time")]
    Timeout,
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("answers {status} with {what}, not with JSON")]
    NotJson { status: u16, what: String },
    #[error("answers {0}: the credentials are missing or refused")]
    Unauthorized(u16),
    #[error("answers {0}: it is somewhere else, and redirects are not followed")]
    Elsewhere(u16),
    #[error("answers with more than {MOST_BYTES} bytes")]
    TooLarge,
    #[error("breaks off: {0}")]
    BrokenOff(String),
    #[error("{0}")]
    NoSeries(#[from] NoSeries),
}

/// A way to one source, kept between looks.
pub(super) struct Link {
    spec: MetricSourceSpec,
    credentials: Credentials,
    client: Client,
    headers: HeaderMap,
    secrets: Vec<SecretString>,
    budget: Semaphore,
}

impl Link {
    pub(super) fn new(source: &Source<'_>, settings: &Settings) -> Result<Self, AskError> {
        let (spec, credentials) = (source.spec, source.credentials);
        let client = http(spec, credentials, settings)?;
        let headers = headers(spec, credentials, &client)?;
        Ok(Self {
            client: Client::from(client, &spec.url).map_err(|_| AskError::Address)?,
            headers,
            secrets: credentials.secrets(),
            budget: Semaphore::new(settings.in_flight),
            spec: spec.clone(),
            credentials: credentials.clone(),
        })
    }

    /// Nothing has changed since it was made.
    pub(super) fn is_for(&self, source: &Source<'_>) -> bool {
        self.spec == *source.spec && self.credentials == *source.credentials
    }

    /// Asks all; what is not answered by the deadline is an error like any other.
    pub(super) async fn ask(&self, questions: Vec<Question>, deadline: Instant) -> Answers {
        let asked = stream::iter(questions.into_iter().map(async |question| {
            let found = timeout_at(deadline, self.one(&question)).await;
            let found = found.unwrap_or(Err(AskError::Timeout));
            (question, found.map(Arc::new).map_err(|error| error.to_string()))
        }));
        asked.buffer_unordered(AT_ONCE).collect().await
    }

    async fn one(&self, question: &Question) -> Result<Vec<RangeVector>, AskError> {
        let _permit = self.budget.acquire().await.map_err(|_| AskError::Timeout)?;
        let Span { start, end, step } = question.span;
        let mut query = self.client.query_range(&question.text, start, end, step as f64);
        for (name, value) in &self.headers {
            query = query.header(name.clone(), value.clone());
        }
        let response = query.post_raw().await.map_err(|error| unreachable_because(&error))?;
        let status = response.status();
        let what = content_type(&response);
        match status.as_u16() {
            status @ (401 | 403) => return Err(AskError::Unauthorized(status)),
            status if (300..400).contains(&status) => return Err(AskError::Elsewhere(status)),
            status if what != "application/json" => return Err(AskError::NotJson { status, what }),
            _ => {}
        }
        let body = body(response).await?;
        let found = series(&body, &self.secrets);
        if !status.is_success() && !matches!(found, Err(NoSeries::Refused { .. })) {
            let what = "JSON of another form".to_owned();
            return Err(AskError::NotJson { status: status.as_u16(), what });
        }
        Ok(found?)
    }
}

fn http(
    spec: &MetricSourceSpec,
    credentials: &Credentials,
    settings: &Settings,
) -> Result<reqwest::Client, AskError> {
    // Somebody else was first: it is the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url: reqwest::Url = spec.url.parse().map_err(|_| AskError::Address)?;
    let mut builder = reqwest::Client::builder()
        .timeout(settings.timeout)
        .connect_timeout(settings.timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
    if matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
        builder = builder.no_proxy();
    }
    if let Some(pem) = &credentials.certificate_authority {
        let trusted = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
        let trusted = trusted.ok().filter(|trusted| !trusted.is_empty());
        builder = builder.tls_certs_merge(trusted.ok_or(AskError::Certificates)?);
    }
    builder.build().map_err(|error| AskError::Client(cause(&error)))
}

fn headers(
    spec: &MetricSourceSpec,
    credentials: &Credentials,
    client: &reqwest::Client,
) -> Result<HeaderMap, AskError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &spec.headers {
        let name = HeaderName::try_from(name).map_err(|_| AskError::Header)?;
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| AskError::Header)?);
    }
    // The form of both is the client's business.
    let request = client.get(&spec.url);
    let request = match (&credentials.bearer, &credentials.basic) {
        (Some(token), _) => request.bearer_auth(token.expose_secret()),
        (None, Some(basic)) => {
            request.basic_auth(&basic.username, Some(basic.password.expose_secret()))
        }
        (None, None) => return Ok(headers),
    };
    let request = request.build().map_err(|_| AskError::Header)?;
    let value = request.headers().get(AUTHORIZATION).ok_or(AskError::Header)?;
    headers.insert(AUTHORIZATION, value.clone());
    Ok(headers)
}

/// The media type; never what else a stranger puts there.
fn content_type(response: &reqwest::Response) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/+-.".contains(c);
    if media.is_empty() || media.len() > 64 || !media.chars().all(is_plain) {
        return "no media type".to_owned();
    }
    media.to_ascii_lowercase()
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, AskError> {
    let announced = response.content_length().unwrap_or_default();
    if usize::try_from(announced).map_or(true, |announced| announced > MOST_BYTES) {
        return Err(AskError::TooLarge);
    }
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| {
            if error.is_timeout() { AskError::Timeout } else { AskError::BrokenOff(cause(&error)) }
        })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(AskError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
}

fn unreachable_because(error: &prometheus_http_query::Error) -> AskError {
    let inner = error.source().and_then(|source| source.downcast_ref::<reqwest::Error>());
    match inner {
        Some(error) if error.is_timeout() => AskError::Timeout,
        _ => AskError::Unreachable(cause(error)),
    }
}

/// The innermost reason; those around it repeat the address.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    super::answer::clean(&innermost.to_string(), &[])
}

/// The answer to a question that was asked.
pub(super) fn answer<'a>(
    answers: &'a Answers,
    question: &Question,
) -> Result<&'a [RangeVector], String> {
    match answers.get(question) {
        Some(Ok(series)) => Ok(series),
        Some(Err(reason)) => Err(reason.clone()),
        None => Err("was not asked".to_owned()),
    }
}
