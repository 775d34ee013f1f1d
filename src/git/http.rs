//! The HTTP side of gix's smart transport, made of our own client: credentials go to their host
//! only, redirects are not followed, and time and size are limited while an answer is read.

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gix::protocol::transport::client::blocking_io::http::{
    GetResponse, Http, PostBodyDataKind, PostResponse,
};
use reqwest::blocking::{Client, Request, Response};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use crate::git::error::HttpFailure;
use crate::git::url::{Credentials, is_loopback};

/// When one operation has to end.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Connection to first byte of an answer, and between two bytes of it.
    pub answer: Duration,
    /// The whole operation: from now on.
    pub whole: Duration,
    /// Bytes of one answer.
    pub bytes: u64,
    /// Set by the caller to end early.
    pub stop: Arc<AtomicBool>,
}

/// Makes the client of one remote. Redirects are answers like any other: see [`HttpFailure`].
pub(crate) fn client(url: &reqwest::Url, connect: Duration) -> Result<Client, HttpFailure> {
    crate::git::init_tls();
    let mut builder = Client::builder()
        .connect_timeout(connect)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("git/tidegate-", env!("CARGO_PKG_VERSION")));
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(HttpFailure::Request)
}

/// One operation's HTTP. A failure is kept aside, typed, since gix hands it back as text.
pub(crate) struct Session {
    client: Client,
    credentials: Option<Credentials>,
    bounds: Bounds,
    began: Instant,
    failure: Failure,
}

/// The first failure of a session, shared with whoever explains it.
#[derive(Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<HttpFailure>>>);

impl Failure {
    /// Takes the failure out.
    pub(crate) fn take(&self) -> Option<HttpFailure> {
        lock(&self.0).take()
    }

    fn keep(&self, failure: HttpFailure) -> io::Error {
        let error = io::Error::other(failure.to_string());
        lock(&self.0).get_or_insert(failure);
        error
    }
}

/// A panic elsewhere leaves plain data behind these locks: it is as good as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    pub(crate) fn new(client: Client, credentials: Option<&Credentials>, bounds: Bounds) -> Self {
        let (credentials, began) = (credentials.cloned(), Instant::now());
        Self { client, credentials, bounds, began, failure: Failure::default() }
    }

    /// Where a failure of this session will be found.
    pub(crate) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    fn request(&self, method: reqwest::Method, url: &str, headers: &HeaderMap) -> Built {
        let url = url.parse::<reqwest::Url>().map_err(|_| HttpFailure::Address)?;
        let ours = self.credentials.as_ref().filter(|c| c.belong_to(&url));
        let mut request = self.client.request(method, url).headers(headers.clone());
        if let Some(c) = ours {
            request = request.basic_auth(c.username(), Some(c.password().expose_secret()));
        }
        let request = request.build().map_err(|e| HttpFailure::Request(e.without_url()))?;
        Ok(request)
    }

    fn exchange(&self, state: State) -> Shared {
        Shared(Arc::new(Mutex::new(Exchange {
            state,
            client: self.client.clone(),
            bounds: self.bounds.clone(),
            began: self.began,
            read: 0,
            failure: self.failure.clone(),
        })))
    }
}

type Built = Result<Request, HttpFailure>;

fn header_map(lines: impl IntoIterator<Item = impl AsRef<str>>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.as_ref().split_once(':') else { continue };
        let pair = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value.trim()).ok());
        if let Some((name, value)) = pair
            && name != reqwest::header::USER_AGENT
        {
            map.append(name, value);
        }
    }
    map
}

impl Http for Session {
    type Headers = Headers;
    type ResponseBody = BufReader<Body>;
    type PostBody = Upload;

    fn get(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Self::Headers, Self::ResponseBody>> {
        let state = match self.request(reqwest::Method::GET, url, &header_map(headers)) {
            Ok(request) => State::Unsent(request, Vec::new()),
            Err(failure) => return Err(gix::Error::from_error(self.failure.keep(failure))),
        };
        let shared = self.exchange(state);
        // Sent at once: the status decides whether there is anything to read.
        lock(&shared.0).send().map_err(gix::Error::from_error)?;
        Ok(GetResponse { headers: Headers::of(&shared), body: BufReader::new(Body(shared)) })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _kind: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Self::Headers, Self::ResponseBody, Self::PostBody>> {
        let state = match self.request(reqwest::Method::POST, url, &header_map(headers)) {
            Ok(request) => State::Unsent(request, Vec::new()),
            Err(failure) => return Err(gix::Error::from_error(self.failure.keep(failure))),
        };
        // Sent when the first byte of the answer is asked for: by then all of the body is here,
        // so that it goes out with a Content-Length, which every server and proxy takes.
        let shared = self.exchange(state);
        Ok(PostResponse {
            post_body: Upload(shared.clone()),
            headers: Headers::of(&shared),
            body: BufReader::new(Body(shared)),
        })
    }

    fn configure(&mut self, _config: &dyn std::any::Any) -> gix::Result {
        Ok(()) // Everything is set by us; nothing is taken from a repository's configuration.
    }
}

#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Exchange>>);

/// One request and its answer.
struct Exchange {
    state: State,
    client: Client,
    bounds: Bounds,
    began: Instant,
    read: u64,
    failure: Failure,
}

enum State {
    Unsent(Request, Vec<u8>),
    Answered(Response),
    Failed,
}

impl Exchange {
    /// Time left of the whole operation, or why there is none.
    fn left(&self) -> Result<Duration, HttpFailure> {
        if self.bounds.stop.load(Ordering::Relaxed) {
            return Err(HttpFailure::Stopped);
        }
        let left = self.bounds.whole.saturating_sub(self.began.elapsed());
        if left.is_zero() { Err(HttpFailure::Deadline(self.bounds.whole)) } else { Ok(left) }
    }

    fn send(&mut self) -> io::Result<()> {
        let (mut request, body) = match std::mem::replace(&mut self.state, State::Failed) {
            State::Unsent(request, body) => (request, body),
            answered @ State::Answered(_) => {
                self.state = answered;
                return Ok(());
            }
            State::Failed => return Err(io::Error::other("the request failed before")),
        };
        let left = self.left().map_err(|f| self.failure.keep(f))?;
        if request.method() == reqwest::Method::POST {
            *request.body_mut() = Some(body.into());
        }
        *request.timeout_mut() = Some(left.min(self.bounds.answer));
        let response = self
            .client
            .execute(request)
            .map_err(|e| self.failure.keep(HttpFailure::Request(e.without_url())))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(self.failure.keep(HttpFailure::Redirect(status.as_u16())));
        }
        if !status.is_success() {
            return Err(self.failure.keep(HttpFailure::Status(status.as_u16())));
        }
        self.state = State::Answered(response);
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.send()?;
        self.left().map_err(|f| self.failure.keep(f))?;
        let State::Answered(response) = &mut self.state else { return Ok(0) };
        let n = response.read(buf).map_err(|e| self.failure.keep(HttpFailure::Broken(e)))?;
        self.read += n as u64;
        if self.read > self.bounds.bytes {
            return Err(self.failure.keep(HttpFailure::TooLarge(self.bounds.bytes)));
        }
        Ok(n)
    }

    fn headers(&mut self) -> io::Result<Vec<u8>> {
        self.send()?;
        let mut text = Vec::new();
        if let State::Answered(response) = &self.state {
            for (name, value) in response.headers() {
                text.extend_from_slice(name.as_str().as_bytes());
                text.extend_from_slice(b": ");
                text.extend_from_slice(value.as_bytes());
                text.push(b'\n');
            }
        }
        Ok(text)
    }
}

/// The headers of an answer, as lines.
pub(crate) struct Headers {
    exchange: Shared,
    text: Option<Cursor<Vec<u8>>>,
}

impl Headers {
    fn of(exchange: &Shared) -> Self {
        Self { exchange: exchange.clone(), text: None }
    }

    fn text(&mut self) -> io::Result<&mut Cursor<Vec<u8>>> {
        let text = match self.text.take() {
            Some(text) => text,
            None => Cursor::new(lock(&self.exchange.0).headers()?),
        };
        Ok(self.text.insert(text))
    }
}

impl Read for Headers {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.text()?.read(buf)
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.text()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(text) = &mut self.text {
            text.consume(amount);
        }
    }
}

/// The body of an answer, limited in time and size.
pub(crate) struct Body(Shared);

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        lock(&self.0.0).read(buf)
    }
}

/// The body of a request, gathered until it is sent.
pub(crate) struct Upload(Shared);

impl Write for Upload {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut lock(&self.0.0).state {
            State::Unsent(_, body) => {
                body.extend_from_slice(buf);
                Ok(buf.len())
            }
            State::Answered(_) | State::Failed => {
                Err(io::Error::other("the request was sent before its body was complete"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
