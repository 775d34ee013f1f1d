use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::time::sleep;

use super::*;

const SECOND: Duration = Duration::from_secs(5);
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
const WATCH: &str = "/apis/apps/v1/deployments?watch=true";

/// A server that notes what it is asked, echoes bodies, and streams events to who watches.
#[derive(Clone)]
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
    events: broadcast::Sender<String>,
    watching: Arc<AtomicUsize>,
}

/// Counts a watch for as long as it is open.
struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn respond(State(server): State<Server>, request: Request) -> Body {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let token = head.headers.get("authorization").and_then(|token| token.to_str().ok());
    let seen = format!("{} {} {}", head.method, head.uri.path(), token.unwrap_or("-"));
    lock(&server.seen).push(seen);
    if head.uri.query() != Some("watch=true") {
        return Body::from(body);
    }
    server.watching.fetch_add(1, Ordering::Relaxed);
    let watching = Watching(server.watching.clone());
    let events = futures::stream::unfold(
        (server.events.subscribe(), watching),
        |(mut events, watching)| async {
            let event = events.recv().await.ok()?;
            Some((Ok::<_, io::Error>(event), (events, watching)))
        },
    );
    Body::from_stream(events.boxed())
}

impl Server {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            seen: Arc::default(),
            events: broadcast::channel(100).0,
            watching: Arc::default(),
        };
        let router = Router::new().fallback(respond).with_state(server.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        server
    }

    fn seen(&self) -> Vec<String> {
        lock(&self.seen).clone()
    }

    async fn nobody_watches(&self) {
        let began = Instant::now();
        while self.watching.load(Ordering::Relaxed) > 0 {
            assert!(began.elapsed() < SECOND, "the upstream's watch ends, too");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends an event as soon as somebody watches.
    async fn event(&self, event: &str) {
        while self.events.send(format!("{event}\n")).is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn cluster() -> (Server, FaultProxy) {
    let server = Server::start().await;
    let proxy = FaultProxy::start(Upstream::kubernetes(&server.url, "")).await.unwrap();
    (server, proxy)
}

async fn connect(proxy: &FaultProxy, method: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer t\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Sends a request on a connection of its own and reads all that comes.
async fn ask(proxy: &FaultProxy, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = connect(proxy, method, path, body).await;
    let mut text = Vec::new();
    timeout(SECOND, stream.read_to_end(&mut text)).await.unwrap()?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn is_reset(outcome: &io::Result<String>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

/// A watch through the proxy, line by line, without the sizes of the chunks.
struct Watch(BufReader<TcpStream>);

impl Watch {
    async fn open(proxy: &FaultProxy) -> Self {
        Self(BufReader::new(connect(proxy, "GET", WATCH, "").await))
    }

    /// The next line that begins with `event`; `None`: the stream ended.
    async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            if line.starts_with("event") {
                return Ok(Some(line.trim().to_owned()));
            }
        }
    }

    async fn within(&mut self, millis: u64) -> Option<String> {
        timeout(Duration::from_millis(millis), self.next()).await.ok()?.unwrap()
    }
}

#[tokio::test]
async fn requests_pass_and_are_numbered() {
    let (server, proxy) = cluster().await;
    let answer = ask(&proxy, "GET", DEPLOYMENTS, "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let answer = ask(&proxy, "PATCH", &format!("{DEPLOYMENTS}/web"), "{}").await.unwrap();
    assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
    ask(&proxy, "PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", "").await.unwrap();
    ask(&proxy, "DELETE", &format!("{DEPLOYMENTS}/web"), "").await.unwrap();
    assert_eq!(server.seen()[0], format!("GET {DEPLOYMENTS} Bearer t"));
    let log = proxy.log();
    let numbers: Vec<_> = log.iter().map(|exchange| (exchange.number, exchange.write)).collect();
    assert_eq!(numbers, [(1, None), (2, Some(1)), (3, None), (4, Some(2))]);
    assert_eq!(log[1].target.as_ref().unwrap().to_string(), "patch deployments shop/web");
    assert_eq!((&log[1].body[..], log[1].request_bytes), (&b"{}"[..], 2));
    assert_eq!((log[1].status, log[1].upstream), (Some(200), Some(200)));
    let all = |exchange: &Exchange| exchange.end == End::Complete;
    proxy.wait_for("the last one ends", SECOND, |one| one.number == 4 && all(one)).await.unwrap();
    assert_eq!(proxy.count(all), 4, "{}", proxy.trace());
    proxy.start_over();
    assert!(proxy.log().is_empty());
    ask(&proxy, "DELETE", &format!("{DEPLOYMENTS}/web"), "").await.unwrap();
    assert_eq!((proxy.log()[0].number, proxy.log()[0].write), (5, Some(1)));
}

#[tokio::test]
async fn a_rule_acts_on_the_nth_for_so_many_times() {
    let (server, proxy) = cluster().await;
    let conflict = Reply::kubernetes(409, "Conflict", "try again").header("retry-after", "1");
    let rule = Rule::new(Action::Reply(conflict)).verb("patch").resource("deployments");
    let id = proxy.add(rule.namespace("shop").name("web").nth(2).times(2));
    let path = format!("{DEPLOYMENTS}/web");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        ask(&proxy, "PATCH", &format!("{path}/status"), "").await.unwrap();
        let answer = ask(&proxy, "PATCH", &path, "").await.unwrap();
        statuses.push(answer[9..12].to_owned());
        if answer.contains(" 409 ") {
            assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
            assert!(answer.contains(r#""reason":"Conflict""#), "{answer}");
        }
    }
    assert_eq!(statuses, ["200", "409", "409", "200"]);
    assert_eq!(proxy.applied(id), Some(2));
    assert_eq!(server.seen().len(), 6, "what is answered here does not go on");
    proxy.clear();
    assert_eq!(proxy.applied(id), None);
}

#[tokio::test]
async fn answers_can_be_refused_lost_cut_and_garbled() {
    let (server, proxy) = cluster().await;
    let rules = |write, action| Rule::new(action).write(write);
    proxy.add(rules(1, Action::Refuse));
    proxy.add(rules(2, Action::LoseAnswer(Lost::Reset)));
    proxy.add(rules(3, Action::LoseAnswer(Lost::Status(504))));
    proxy.add(rules(4, Action::CutAfter(4)));
    proxy.add(rules(5, Action::garble()));
    proxy.add(rules(6, Action::CutAfter(0)));
    let write = async || ask(&proxy, "POST", DEPLOYMENTS, "12345678").await;

    assert!(is_reset(&write().await));
    assert_eq!(server.seen().len(), 0, "the upstream never heard of it");
    assert!(is_reset(&write().await));
    assert_eq!(server.seen().len(), 1, "the upstream did it");
    let lost = write().await.unwrap();
    assert!(lost.starts_with("HTTP/1.1 504 "), "{lost}");
    let cut = write().await.unwrap();
    assert!(cut.contains("content-length: 8\r\n") && cut.ends_with("\r\n\r\n1234"), "{cut}");
    let garbled = write().await.unwrap();
    assert!(garbled.ends_with("\r\n\r\n1234????"), "{garbled}");
    let headless = write().await.unwrap();
    assert!(headless.starts_with("HTTP/1.1 200 ") && headless.ends_with("\r\n\r\n"), "{headless}");
    let whole = write().await.unwrap();
    assert!(whole.ends_with("\r\n\r\n12345678"), "and then nothing more happens: {whole}");
    let log = proxy.log();
    assert_eq!((log[1].upstream, log[1].status, &log[1].end), (Some(200), None, &End::Cut));
    assert_eq!((log[2].upstream, log[2].status), (Some(200), Some(504)));
    assert_eq!(log[3].faults, ["cut"]);
    assert_eq!(log[3].response_bytes, 4);
}

#[tokio::test]
async fn answers_can_be_late_slow_or_never_come() {
    let (_server, proxy) = cluster().await;
    proxy.add(Rule::new(Action::Delay(Duration::from_millis(100))).path("/late"));
    proxy.add(Rule::new(Action::Trickle(100)).path("/slow"));
    proxy.add(Rule::new(Action::Hang).path("/never"));
    let began = Instant::now();
    ask(&proxy, "GET", "/late", "").await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    let began = Instant::now();
    let slow = ask(&proxy, "GET", "/slow", "twenty bytes of text").await.unwrap();
    assert!(slow.ends_with("twenty bytes of text"), "{slow}");
    assert!(began.elapsed() >= Duration::from_millis(150), "five at a time, each 50 ms");
    let never = timeout(Duration::from_millis(100), ask(&proxy, "GET", "/never", "")).await;
    assert!(never.is_err());
    proxy.wait_for("it gave up", SECOND, |one| one.end == End::Left).await.unwrap();

    let hung = ask(&proxy, "GET", "/never", "");
    let (hung, cut) = tokio::join!(hung, async {
        proxy.wait_for("it hangs", SECOND, |one| one.number == 4).await.unwrap();
        proxy.cut(Cut::Reset, |_| true)
    });
    assert!(is_reset(&hung), "{hung:?}");
    assert_eq!(cut, 1);
}

#[tokio::test]
async fn callbacks_come_before_and_after_the_upstream() {
    let (server, proxy) = cluster().await;
    let seen = server.clone();
    let (sender, written) = std::sync::mpsc::channel();
    let before = sender.clone();
    proxy.add(
        Rule::new(Action::before(move |exchange| {
            before.send(("before", exchange.write, seen.seen().len())).unwrap();
            if exchange.write == Some(2) { Then::Drop } else { Then::GoOn }
        }))
        .writes(),
    );
    let seen = server.clone();
    proxy.add(
        Rule::new(Action::after(move |exchange| {
            sender.send(("after", exchange.write, seen.seen().len())).unwrap();
            if exchange.upstream == Some(200) { Then::Drop } else { Then::GoOn }
        }))
        .write(1),
    );
    assert!(is_reset(&ask(&proxy, "POST", DEPLOYMENTS, "").await));
    assert!(is_reset(&ask(&proxy, "POST", DEPLOYMENTS, "").await));
    ask(&proxy, "GET", DEPLOYMENTS, "").await.unwrap();
    let calls: Vec<_> = written.try_iter().collect();
    assert_eq!(calls, [("before", Some(1), 0), ("after", Some(1), 1), ("before", Some(2), 1)]);
    assert_eq!(server.seen().len(), 2, "the second write never went on");
}

#[tokio::test]
async fn a_write_that_is_held_goes_on_without_its_client() {
    let (server, proxy) = cluster().await;
    let gate = Gate::new();
    proxy.add(Rule::new(Action::Hold(gate.clone())).verb("create"));
    let stream = connect(&proxy, "POST", DEPLOYMENTS, "").await;
    timeout(SECOND, gate.arrived(1)).await.unwrap();
    drop(stream);
    sleep(Duration::from_millis(20)).await;
    assert_eq!(server.seen().len(), 0);
    gate.open();
    proxy.wait_for("the write", SECOND, |one| one.upstream == Some(200)).await.unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn watches_flow_event_by_event() {
    let (server, proxy) = cluster().await;
    let mut watch = Watch::open(&proxy).await;
    server.event("event 1").await;
    assert_eq!(watch.within(1_000).await.as_deref(), Some("event 1"));
    server.event("event 2").await;
    assert_eq!(watch.within(1_000).await.as_deref(), Some("event 2"));
    drop(watch);
    let ended = proxy.wait_for("the client left", SECOND, |one| one.end == End::Left).await;
    assert_eq!(ended.unwrap().response_bytes, 16);
    server.nobody_watches().await;
}

#[tokio::test]
async fn a_watch_that_is_held_gets_its_events_later() {
    let (server, proxy) = cluster().await;
    let mut watch = Watch::open(&proxy).await;
    server.event("event 1").await;
    assert_eq!(watch.within(1_000).await.as_deref(), Some("event 1"));
    let held = proxy.hold_watches("deployments");
    server.event("event 2").await;
    server.event("event 3").await;
    assert_eq!(watch.within(50).await, None, "nothing comes while it is held");
    let other = proxy.hold_watches("replicasets");
    held.release();
    assert_eq!(watch.within(1_000).await.as_deref(), Some("event 2"));
    assert_eq!(watch.within(1_000).await.as_deref(), Some("event 3"));
    assert_eq!(watch.within(50).await, None, "and then nothing more comes");
    drop(other);
}

#[tokio::test]
async fn watches_can_be_cut() {
    let (server, proxy) = cluster().await;
    for how in [Cut::End, Cut::Close, Cut::Reset] {
        let mut watch = Watch::open(&proxy).await;
        server.event("event 1").await;
        assert_eq!(watch.within(1_000).await.as_deref(), Some("event 1"));
        assert_eq!(proxy.cut_watches(how, "replicasets"), 0);
        assert_eq!(proxy.cut_watches(how, "deployments"), 1);
        let next = timeout(SECOND, watch.next()).await.unwrap();
        match how {
            Cut::End | Cut::Close => assert_eq!(next.unwrap(), None),
            Cut::Reset => assert_eq!(next.unwrap_err().kind(), ErrorKind::ConnectionReset),
        }
        server.nobody_watches().await;
    }
    let cut = |exchange: &Exchange| exchange.end == End::Cut;
    proxy.wait_for("the end", SECOND, |one| one.number == 3 && cut(one)).await.unwrap();
    assert_eq!(proxy.count(cut), 3);
}

#[tokio::test]
async fn a_proxy_can_go_down_and_come_back() {
    let (server, proxy) = cluster().await;
    let mut watch = Watch::open(&proxy).await;
    server.event("event 1").await;
    watch.within(1_000).await.unwrap();
    proxy.down().await;
    let error = timeout(SECOND, watch.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    proxy.up().await;
    ask(&proxy, "GET", DEPLOYMENTS, "").await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_reset() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let proxy = FaultProxy::start(Upstream::http(format!("http://{unused}"))).await.unwrap();
    assert!(is_reset(&ask(&proxy, "POST", "/api/v2/alerts", "[]").await));
    assert!(matches!(proxy.writes()[0].end, End::Failed(_)), "{}", proxy.trace());
    assert!(FaultProxy::start(Upstream::git("somewhere")).await.is_err());
}

#[tokio::test]
async fn git_and_prometheus_write_in_their_own_ways() {
    let server = Server::start().await;
    let git = FaultProxy::start(Upstream::git(&server.url)).await.unwrap();
    let pack = "x".repeat(300_000);
    ask(&git, "POST", "/shop/fleet.git/git-upload-pack", "0000").await.unwrap();
    let pushed = ask(&git, "POST", "/shop/fleet.git/git-receive-pack", &pack).await.unwrap();
    assert!(pushed.ends_with(&pack), "a large body passes");
    assert_eq!(git.writes()[0].path, "/shop/fleet.git/git-receive-pack");
    assert_eq!(git.writes().len(), 1);
    let prometheus = FaultProxy::start(Upstream::prometheus(&server.url)).await.unwrap();
    ask(&prometheus, "POST", "/api/v1/query", "query=up").await.unwrap();
    assert_eq!((prometheus.writes().len(), &prometheus.log()[0].body[..]), (0, &b"query=up"[..]));
}

#[tokio::test]
async fn an_upstream_is_known_by_its_authority() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        // The first client does not trust it and hangs up; the second one asks.
        for _ in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            let session = rustls::ServerConnection::new(Arc::new(config.clone())).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            let mut request = [0; 1_000];
            if stream.read(&mut request).is_ok_and(|count| count > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            }
        }
    });
    let stranger = FaultProxy::start(Upstream::kubernetes(&url, "")).await.unwrap();
    assert!(is_reset(&ask(&stranger, "GET", "/healthz", "").await));
    let known = Upstream::kubernetes(&url, made.cert.pem());
    let proxy = FaultProxy::start(known).await.unwrap();
    let answer = ask(&proxy, "GET", "/healthz", "").await.unwrap();
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    server.join().unwrap();
}
