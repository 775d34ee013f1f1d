//! The forge's HTTP API, as far as the test bed needs it.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// The forge answers within milliseconds; a push that runs hooks takes below a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A user of the API; the password may also be a token.
#[derive(Clone)]
pub(super) struct Api {
    http: reqwest::Client,
    base: String,
    user: String,
    password: String,
}

impl Api {
    /// A client for the forge at `root` (`http://host:port`).
    pub(super) fn new(root: &str, user: &str, password: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: client()?,
            base: format!("{root}/api/v1"),
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// The same forge, as someone else.
    pub(super) fn as_user(&self, user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned(), ..self.clone() }
    }

    /// User and password, for Git.
    pub(super) fn login(&self) -> (&str, &str) {
        (&self.user, &self.password)
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, text) = self.send(Method::GET, path, None).await?;
        json(&Method::GET, path, status, &text)
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, text) = self.send(Method::POST, path, Some(body)).await?;
        json(&Method::POST, path, status, &text)
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, text) = self.send(Method::PUT, path, Some(body)).await?;
        json(&Method::PUT, path, status, &text)
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let (status, text) = self.send(Method::DELETE, path, None).await?;
        json(&Method::DELETE, path, status, &text).map(drop)
    }

    /// A file's text; `None` when there is no such file.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<Option<String>> {
        let (status, text) = self.send(Method::GET, path, None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            _ if status.is_success() => Ok(Some(text)),
            _ => bail!("forge: GET {path} answered {status}: {}", brief(&text)),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, String)> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base))
            .basic_auth(&self.user, Some(&self.password));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("forge: {method} {path}"))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("forge: {method} {path}"))?;
        Ok((status, text))
    }
}

/// A client that passes by the host's proxies: every server of a run is on its own loopback.
pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    // Fails only when a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build().context("an HTTP client")
}

/// The answer's JSON; an empty answer is `null`.
fn json(method: &Method, path: &str, status: StatusCode, text: &str) -> anyhow::Result<Value> {
    if !status.is_success() {
        bail!("forge: {method} {path} answered {status}: {}", brief(text));
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).with_context(|| format!("forge: the answer of {method} {path}"))
}

/// The first 300 characters: an error page must not fill the terminal.
fn brief(text: &str) -> String {
    text.chars().take(300).collect()
}
