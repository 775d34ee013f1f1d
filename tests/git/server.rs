//! A smart-HTTP Git server: `git http-backend` as CGI, basic auth, and faults on request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{PASSWORD, USER, clean};

/// What came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
}

impl Seen {
    /// The request that carries a pack to the server.
    pub(crate) fn is_push(&self) -> bool {
        self.method == "POST" && self.path.ends_with("/git-receive-pack")
    }

    /// The request for the branches before a push.
    pub(crate) fn is_push_advertisement(&self) -> bool {
        self.query == "service=git-receive-pack"
    }

    pub(crate) fn is_fetch(&self) -> bool {
        self.query == "service=git-upload-pack" || self.path.ends_with("/git-upload-pack")
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Serve,
    Status(u16),
    Redirect(String),
    /// An answer that is not Git's.
    Say(&'static str, Vec<u8>),
    /// Hang up without doing anything.
    Cut,
    /// Do it, then hang up.
    ServeThenCut,
    /// Do it, answer so many bytes of the body, then hang up.
    ServeSome(usize),
    /// Do nothing and say nothing for a while.
    Silence(Duration),
}

type Script = Box<dyn FnMut(&Seen) -> Act + Send>;

pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    script: Mutex<Script>,
    seen: Mutex<Vec<Seen>>,
}

impl Server {
    /// Serves the repositories below `root`. Its threads end with the test process.
    pub(crate) fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            script: Mutex::new(Box::new(|_| Act::Serve)),
            seen: Mutex::default(),
        });
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                // A client that hangs up is part of the tests.
                std::thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Self { port, shared }
    }

    pub(crate) fn url(&self, repo: &str) -> String {
        format!("http://127.0.0.1:{}/{repo}", self.port)
    }

    /// From now on, this decides.
    pub(crate) fn script(&self, script: impl FnMut(&Seen) -> Act + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// From now on, everything works.
    pub(crate) fn heal(&self) {
        self.script(|_| Act::Serve);
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn pushes(&self) -> usize {
        self.seen().iter().filter(|s| s.is_push()).count()
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers: Vec<(String, String)> = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    assert!(header("transfer-encoding").is_none(), "the body has a known length");
    let length = header("content-length").map_or(0, |l| l.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let seen = Seen {
        method: method.into(),
        path: path.into(),
        query: query.into(),
        authorization: header("authorization"),
    };
    shared.seen.lock().unwrap().push(seen.clone());
    let act = (shared.script.lock().unwrap())(&seen);
    let protocol = header("git-protocol");
    let kind = header("content-type").unwrap_or_default();
    let run = || backend(&shared.root, &seen, &body, &kind, protocol.as_deref());
    match act {
        Act::Serve if seen.authorization.as_deref() != Some(&*expected()) => {
            answer(stream, "401 no", "WWW-Authenticate: Basic realm=\"git\"\r\n", b"", None)
        }
        Act::Serve => {
            let (status, headers, out) = run();
            answer(stream, &status, &headers, &out, None)
        }
        Act::Status(code) => answer(stream, &format!("{code} as told"), "", b"", None),
        Act::Redirect(to) => answer(stream, "302 there", &format!("Location: {to}\r\n"), b"", None),
        Act::Say(kind, body) => {
            answer(stream, "200 ok", &format!("Content-Type: {kind}\r\n"), &body, None)
        }
        Act::Cut => stream.shutdown(Shutdown::Both),
        Act::ServeThenCut => {
            run();
            stream.shutdown(Shutdown::Both)
        }
        Act::ServeSome(most) => {
            let (status, headers, out) = run();
            answer(stream, &status, &headers, &out, Some(most))
        }
        Act::Silence(time) => {
            std::thread::sleep(time);
            stream.shutdown(Shutdown::Both)
        }
    }
}

/// `Basic` of the one user there is.
fn expected() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::from("Basic ");
    for chunk in format!("{USER}:{PASSWORD}").as_bytes().chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

fn answer(
    mut stream: TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
    most: Option<usize>,
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body[..most.unwrap_or(length).min(length)])?;
    stream.shutdown(Shutdown::Both)
}

fn backend(
    root: &Path,
    seen: &Seen,
    body: &[u8],
    kind: &str,
    protocol: Option<&str>,
) -> (String, String, Vec<u8>) {
    let mut command = Command::new("git");
    clean(&mut command)
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", &seen.path)
        .env("QUERY_STRING", &seen.query)
        .env("REQUEST_METHOD", &seen.method)
        .env("CONTENT_TYPE", kind)
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("REMOTE_USER", USER)
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(protocol) = protocol {
        command.env("GIT_PROTOCOL", protocol);
    }
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = body.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let out = child.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    let split = out.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(out.len());
    let (mut status, mut headers) = ("200 OK".to_owned(), String::new());
    for line in String::from_utf8_lossy(&out[..split]).lines() {
        match line.strip_prefix("Status: ") {
            Some(s) => s.clone_into(&mut status),
            None => headers = headers + line + "\r\n",
        }
    }
    (status, headers, out.get(split + 4..).unwrap_or_default().to_vec())
}
