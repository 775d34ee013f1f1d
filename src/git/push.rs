//! Push over `http(s)` by speaking `receive-pack`: the advertisement, one compare-and-swap
//! command with a small pack, and the server's report.

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::objs::Kind;
use gix::protocol::Handshake;
use gix::protocol::transport::client::blocking_io::http::Transport;
use gix::protocol::transport::client::blocking_io::{RequestWriter, Transport as _};
use gix::protocol::transport::client::{MessageKind, WriteMode};
use gix::protocol::transport::{Protocol, Service};
use gix_pack::data::output;

use crate::git::error::{GitError, HttpFailure};
use crate::git::http::Session;
use crate::git::message::clean_line;
use crate::git::remote::Remote;
use crate::git::report::{Report, parse_report};

/// What the server says beside its report (hooks write there): kept up to this many bytes.
const MESSAGES: usize = 16 << 10;

/// The largest report that is read: it has one line per branch, and we push one.
const REPORT: u64 = 1 << 20;

/// Objects to send: id, kind and content.
pub(crate) type Objects = Vec<(ObjectId, Kind, Vec<u8>)>;

/// One branch to move, and what to.
#[derive(Debug)]
pub(crate) struct Move<'a> {
    pub branch: &'a str,
    /// What the branch must be at.
    pub old: ObjectId,
    /// What it shall be at.
    pub new: ObjectId,
    /// What the server does not have yet. The commit first.
    pub objects: &'a Objects,
}

/// The fate of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The branch is at the new commit.
    Done,
    /// Nothing was sent: the branch is elsewhere already.
    Moved,
    /// The server said no. Whether it was a race must be read from the branch, not from the text.
    Rejected(String),
    /// It may have happened or not.
    Unknown(String),
}

/// Pushes. An error means that nothing was sent.
pub(crate) fn push(
    remote: &Remote,
    wanted: &Move<'_>,
    stop: &Arc<AtomicBool>,
) -> Result<Pushed, GitError> {
    let reference = format!("refs/heads/{}", wanted.branch);
    // receive-pack has no protocol 2. With 1 no version is asked for, and version 0 is read.
    let (mut transport, failure) = remote.transport(Protocol::V1, stop)?;
    let shaken = gix::protocol::handshake(
        &mut transport,
        Service::ReceivePack,
        |_| Ok(None),
        Vec::new(),
        &mut gix::progress::Discard,
    );
    let handshake = match shaken {
        Ok(handshake) => handshake,
        Err(error) => {
            return match remote.explain(error, &failure) {
                refused @ GitError::CredentialsRefused { .. } => {
                    Ok(Pushed::Rejected(refused.chain()))
                }
                other => Err(other),
            };
        }
    };
    check(remote, &handshake)?;
    match advertised(&handshake, &reference) {
        Some(at) if at == wanted.new => return Ok(Pushed::Done),
        Some(at) if at == wanted.old => {}
        Some(_) | None => return Ok(Pushed::Moved),
    }
    let side_band = has(&handshake, "side-band-64k");
    let body = body(&handshake, wanted, &reference).map_err(|source| GitError::Malformed {
        remote: remote.name(),
        source: Box::new(source),
    })?;
    match exchange(&mut transport, &body, side_band) {
        Ok((report, said)) => Ok(match parse_report(&report, &reference) {
            Report::Accepted => Pushed::Done,
            Report::Rejected(why) => Pushed::Rejected(join(&why, &said)),
            Report::Unknown => Pushed::Unknown(join("the server gave no report", &said)),
        }),
        Err(error) => Ok(match failure.take() {
            // A client error is a decision of the server. It was too early, too slow or too much
            // (408, 425, 429) is not.
            Some(failure @ HttpFailure::Status(400..=407 | 409..=424 | 426..=428 | 430..=499)) => {
                Pushed::Rejected(failure.to_string())
            }
            Some(failure) => Pushed::Unknown(failure.to_string()),
            None => Pushed::Unknown(clean_line(&format!("{error:#}"), 300)),
        }),
    }
}

fn join(why: &str, said: &str) -> String {
    match (why.is_empty(), said.is_empty()) {
        (true, _) => said.to_owned(),
        (_, true) => why.to_owned(),
        _ => clean_line(&format!("{why}: {said}"), 600),
    }
}

fn has(handshake: &Handshake, name: &str) -> bool {
    handshake.capabilities.contains(name)
}

/// A server without a report could not be asked what became of a push.
fn check(remote: &Remote, handshake: &Handshake) -> Result<(), GitError> {
    let format = handshake.capabilities.capability("object-format").and_then(|c| c.value());
    let lacks = if !has(handshake, "report-status") {
        Some("the server does not report what became of a push")
    } else if format.is_some_and(|f| f != "sha1") {
        Some("the repository does not use SHA-1 ids")
    } else {
        None
    };
    lacks.map_or(Ok(()), |why| {
        Err(GitError::Malformed { remote: remote.name(), source: why.into() })
    })
}

/// Where the server says the branch is.
fn advertised(handshake: &Handshake, reference: &str) -> Option<ObjectId> {
    handshake.refs.iter().flatten().find_map(|r| {
        let (name, target, _) = r.unpack();
        if name == reference { target.map(ToOwned::to_owned) } else { None }
    })
}

/// The command and the pack as one body.
fn body(handshake: &Handshake, wanted: &Move<'_>, reference: &str) -> gix::Result<Vec<u8>> {
    let mut asked = vec!["report-status"];
    for name in ["side-band-64k", "atomic"] {
        if has(handshake, name) {
            asked.push(name);
        }
    }
    if has(handshake, "object-format") {
        asked.push("object-format=sha1");
    }
    asked.push(concat!("agent=tidegate/", env!("CARGO_PKG_VERSION")));
    let (old, new) = (wanted.old, wanted.new);
    let command = format!("{old} {new} {reference}\0 {}", asked.join(" "));
    let mut body = Vec::new();
    let io = gix::Error::from_error;
    gix_packetline::blocking_io::encode::data_to_write(command.as_bytes(), &mut body)
        .map_err(io)?;
    gix_packetline::blocking_io::encode::flush_to_write(&mut body).map_err(io)?;
    body.extend_from_slice(&pack(wanted.objects)?);
    Ok(body)
}

/// A pack without deltas: a revert is a handful of small objects.
fn pack(objects: &Objects) -> gix::Result<Vec<u8>> {
    let mut entries = Vec::with_capacity(objects.len());
    for (id, kind, data) in objects {
        let object = gix::objs::Data { kind: *kind, object_hash: id.kind(), data };
        let count = output::Count::from_data(*id, None);
        entries.push(output::Entry::from_data(&count, &object, gix_zlib::Compression::DEFAULT)?);
    }
    let count = u32::try_from(entries.len()).map_err(gix::Error::from_error)?;
    let mut out = Vec::new();
    let written = output::bytes::FromEntriesIter::new(
        std::iter::once(Ok(entries)),
        &mut out,
        count,
        gix_pack::data::Version::V2,
        gix::hash::Kind::Sha1,
    );
    for chunk in written {
        chunk?;
    }
    Ok(out)
}

/// Sends the body; gives back the report, and what hooks said.
fn exchange(
    transport: &mut Transport<Session>,
    body: &[u8],
    side_band: bool,
) -> gix::Result<(Vec<u8>, String)> {
    let io = |e: std::io::Error| gix::Error::from_error(e);
    let request: RequestWriter<'_> = transport
        .request(WriteMode::OneLfTerminatedLinePerWriteCall, MessageKind::Flush, false)
        .map_err(gix::Error::from_error)?;
    let (mut writer, mut reader) = request.into_parts();
    writer.write_all(body).map_err(io)?;
    writer.flush().map_err(io)?;
    drop(writer);
    let said = Arc::new(Mutex::new(Vec::<u8>::new()));
    let mut report = Vec::new();
    if side_band {
        let heard = Arc::clone(&said);
        reader.set_progress_handler(Some(Box::new(move |_is_error, text: &[u8]| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.len() < MESSAGES {
                heard.extend_from_slice(text);
                heard.push(b'\n');
            }
            ControlFlow::Continue(())
        })));
        (&mut reader).take(REPORT).read_to_end(&mut report).map_err(io)?;
    } else {
        // Without side-band the reader takes the lines apart; put together again, there is one
        // parser for both.
        while let Some(line) = reader.readline() {
            let line = line.map_err(io)??;
            if let Some(data) = line.as_slice() {
                gix_packetline::blocking_io::encode::data_to_write(data, &mut report)
                    .map_err(io)?;
            }
        }
    }
    drop(reader);
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((report, clean_line(&said.to_str_lossy(), 500)))
}
