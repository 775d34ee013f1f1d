//! The side of the clients.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use chrono::Utc;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::http::response;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::body::{Course, Dropped, pipe};
use super::exchange::{End, Entry, Exchange};
use super::forward::{Sent, Speaks, end_to_end};
use super::rule::{Action, Lost, Reply, Then};
use super::target::Target;
use super::{Cut, Shared, lock};

type Answer = Response<UnsyncBoxBody<Bytes, Dropped>>;

/// A connection that can be reset: then nothing is said on it any more, not even a goodbye.
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Acquire) {
            // Without time to linger the kernel resets. An error: it is gone already.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Listens while it is to, and does not while it is not.
pub(super) async fn run(shared: Arc<Shared>, listener: std::net::TcpListener, address: SocketAddr) {
    let mut wanted = shared.up.subscribe();
    let mut first = Some(listener);
    loop {
        match listen(first.take(), address) {
            Ok(listener) => {
                shared.is_up.send_replace(true);
                let mut unwanted = wanted.clone();
                tokio::select! {
                    () = accept(&shared, &listener) => {}
                    _ = unwanted.wait_for(|up| !up) => {}
                }
            }
            Err(error) => {
                eprintln!("the fault proxy cannot listen on {address}: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        }
        shared.is_up.send_replace(false);
        // An error means that the proxy is gone, and this task with it.
        if wanted.wait_for(|up| *up).await.is_err() {
            return;
        }
    }
}

fn listen(first: Option<std::net::TcpListener>, address: SocketAddr) -> io::Result<TcpListener> {
    let listener = match first {
        Some(listener) => listener,
        None => std::net::TcpListener::bind(address)?,
    };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(shared.clone(), stream));
            }
            Err(error) => {
                // Such as too many open files.
                eprintln!("the fault proxy cannot accept: {error}");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn converse(shared: Arc<Shared>, stream: TcpStream) {
    // With an error small answers only wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let mut up = shared.up.subscribe();
    let wire = Wire { stream, reset: reset.clone() };
    let service = {
        let reset = reset.clone();
        service_fn(move |request| answer(shared.clone(), request, reset.clone()))
    };
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(wire), service);
    tokio::select! {
        // Its errors are clients that left and connections dropped on purpose: the log has them.
        _ = connection => {}
        // In the branch itself, since what is written after the arrow comes after the drop.
        () = async {
            // An error means that the proxy is gone.
            let _ = up.wait_for(|up| !up).await;
            reset.store(true, Ordering::Release);
        } => {}
    }
}

/// Answers one request, in a task of its own: a write outlives its client.
async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    reset: Arc<AtomicBool>,
) -> Result<Answer, Dropped> {
    let (head, body) = request.into_parts();
    let mut exchange = describe(shared.forwarder.speaks, &head);
    let is_write = is_write(shared.forwarder.speaks, &exchange);
    let mut streamed = None;
    if shared.forwarder.speaks == Speaks::Git {
        streamed = Some(body);
    } else {
        // A client that leaves in the middle of its request has not sent one.
        exchange.body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
        exchange.request_bytes = exchange.body.len() as u64;
    }
    let (mut sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let mut entry = shared.log.begin(exchange, is_write);
        let plan = plan(&shared, &mut entry);
        let cut = entry.cut();
        let course = Exchanged { shared, head, body: streamed, plan, reset: reset.clone() };
        let answered = async {
            tokio::select! {
                answer = course.run(entry) => answer,
                how = cut => {
                    reset.store(how == Cut::Reset, Ordering::Release);
                    Err(Dropped)
                }
            }
        };
        if is_write {
            // An error means that the client is gone.
            let _ = sender.send(answered.await);
        } else {
            tokio::select! {
                answer = answered => {
                    let _ = sender.send(answer);
                }
                () = sender.closed() => {}
            }
        }
    });
    receiver.await.unwrap_or(Err(Dropped))
}

/// The exchange as it is when the request has arrived.
fn describe(speaks: Speaks, head: &Parts) -> Exchange {
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let target = match speaks {
        Speaks::Kubernetes => Target::parse(head.method.as_str(), path, query),
        Speaks::Git | Speaks::Prometheus | Speaks::Other => None,
    };
    let agent = head.headers.get(header::USER_AGENT);
    Exchange {
        number: 0,
        write: None,
        at: Instant::now(),
        wall: Utc::now(),
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        target,
        user_agent: agent.and_then(|agent| agent.to_str().ok()).map(ToOwned::to_owned),
        body: Bytes::new(),
        request_bytes: 0,
        response_bytes: 0,
        upstream: None,
        status: None,
        took: None,
        end: End::Open,
        faults: Vec::new(),
    }
}

fn is_write(speaks: Speaks, exchange: &Exchange) -> bool {
    let changes = !matches!(exchange.method.as_str(), "GET" | "HEAD" | "OPTIONS");
    match speaks {
        Speaks::Kubernetes => exchange.target.as_ref().is_some_and(Target::is_write),
        // A fetch is a POST, too, and a forge's API may be at the same address.
        Speaks::Git => changes && !exchange.path.ends_with("/git-upload-pack"),
        Speaks::Prometheus => changes && exchange.path.starts_with("/api/v1/admin/"),
        Speaks::Other => changes,
    }
}

/// The actions of all rules that apply.
fn plan(shared: &Shared, entry: &mut Entry) -> Vec<Action> {
    let mut rules = lock(&shared.rules);
    let applied = rules.rules.iter_mut().filter_map(|(_, rule)| {
        let applies = rule.applies(&entry.exchange);
        applies.then(|| rule.action.clone())
    });
    let plan: Vec<Action> = applied.collect();
    drop(rules);
    if !plan.is_empty() {
        entry.note(|exchange| exchange.faults.extend(plan.iter().map(Action::name)));
    }
    plan
}

/// An exchange with what is to become of it.
struct Exchanged {
    shared: Arc<Shared>,
    head: Parts,
    /// `None`: the body is in the exchange.
    body: Option<Incoming>,
    plan: Vec<Action>,
    reset: Arc<AtomicBool>,
}

impl Exchanged {
    async fn run(mut self, mut entry: Entry) -> Result<Answer, Dropped> {
        for action in &self.plan {
            match action {
                Action::Delay(delay) => sleep(*delay).await,
                Action::Hold(gate) => gate.pass().await,
                Action::Before(callback) if callback(&entry.exchange) == Then::Drop => {
                    return self.drop_connection(entry, &End::Cut);
                }
                _ => {}
            }
        }
        for action in &self.plan {
            match action {
                Action::Refuse => return self.drop_connection(entry, &End::Cut),
                Action::Hang => std::future::pending().await,
                Action::Reply(reply) => return Ok(made(&mut entry, reply)),
                _ => {}
            }
        }
        if self.head.headers.contains_key(header::UPGRADE) {
            let reply = Reply::new(501).body("the fault proxy has no upgrades\n");
            return Ok(made(&mut entry, &reply));
        }
        let body = self.request_body(&entry);
        let edits = self.plan.iter().any(|action| matches!(action, Action::Rewrite(_)));
        let (head, body) = match self.shared.forwarder.send(&self.head, body, !edits).await {
            Ok(answer) => answer.into_parts(),
            Err(error) => {
                return self.drop_connection(entry, &End::Failed(format!("{error:#}")));
            }
        };
        let status = head.status.as_u16();
        entry.note(|exchange| exchange.upstream = Some(status));
        let whole = self.plan.iter().any(|action| {
            matches!(action, Action::LoseAnswer(_) | Action::Rewrite(_) | Action::After(_))
        });
        if !whole {
            return Ok(self.flow(entry, &head, body));
        }
        match body.collect().await {
            Ok(body) => self.change(entry, &head, body.to_bytes()),
            Err(error) => {
                let end = End::Failed(format!("{:#}", anyhow::Error::from(error)));
                self.drop_connection(entry, &end)
            }
        }
    }

    fn request_body(&mut self, entry: &Entry) -> Sent {
        match self.body.take() {
            Some(body) => body.map_err(Into::into).boxed_unsync(),
            None => Full::new(entry.exchange.body.clone())
                .map_err(|never| match never {})
                .boxed_unsync(),
        }
    }

    /// The answer as it comes.
    fn flow(self, mut entry: Entry, head: &response::Parts, body: Incoming) -> Answer {
        let mut course = Course::default();
        for action in &self.plan {
            match action {
                Action::CutAfter(bytes) => course.cut_after = Some(*bytes),
                Action::Trickle(rate) => course.trickle = Some(*rate),
                _ => {}
            }
        }
        let status = head.status.as_u16();
        entry.note(|exchange| exchange.status = Some(status));
        if body.is_end_stream() {
            // There is nothing to pipe, and nobody would ask the pipe for it.
            entry.end(&End::Complete);
            return with_head(head, end_to_end(&head.headers), full(Bytes::new()));
        }
        let holds = self.shared.holds.clone();
        let body = pipe(body, entry, holds, self.reset, course).boxed_unsync();
        with_head(head, end_to_end(&head.headers), body)
    }

    /// The whole answer, changed or lost.
    fn change(
        self,
        mut entry: Entry,
        head: &response::Parts,
        mut body: Bytes,
    ) -> Result<Answer, Dropped> {
        for action in &self.plan {
            match action {
                Action::After(callback) if callback(&entry.exchange) == Then::Drop => {
                    return self.drop_connection(entry, &End::Cut);
                }
                Action::Rewrite(edit) => body = edit(&entry.exchange, body),
                Action::LoseAnswer(Lost::Reset) => {
                    return self.drop_connection(entry, &End::Cut);
                }
                Action::LoseAnswer(Lost::Status(status)) => {
                    return Ok(made(&mut entry, &Reply::new(*status)));
                }
                _ => {}
            }
        }
        let (status, count) = (head.status.as_u16(), body.len() as u64);
        entry.note(|exchange| {
            exchange.status = Some(status);
            exchange.response_bytes = count;
        });
        entry.end(&End::Complete);
        let mut headers = end_to_end(&head.headers);
        headers.remove(header::CONTENT_LENGTH);
        Ok(with_head(head, headers, full(body)))
    }

    fn drop_connection(&self, mut entry: Entry, end: &End) -> Result<Answer, Dropped> {
        self.reset.store(true, Ordering::Release);
        entry.end(end);
        Err(Dropped)
    }
}

fn with_head(
    head: &response::Parts,
    headers: HeaderMap,
    body: UnsyncBoxBody<Bytes, Dropped>,
) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = headers;
    answer
}

fn full(body: Bytes) -> UnsyncBoxBody<Bytes, Dropped> {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// An answer made here.
fn made(entry: &mut Entry, reply: &Reply) -> Answer {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let answer = response.body(full(reply.body.clone())).unwrap_or_else(|error| {
        // A rule that makes no sense must be seen.
        let mut answer = Response::new(full(format!("no answer: {error}\n").into()));
        *answer.status_mut() = hyper::StatusCode::NOT_IMPLEMENTED;
        answer
    });
    let (status, count) = (answer.status().as_u16(), reply.body.len() as u64);
    entry.note(|exchange| {
        exchange.status = Some(status);
        exchange.response_bytes = count;
    });
    entry.end(&End::Complete);
    answer
}
