//! The way of an answer's body to the client.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::exchange::{End, Entry};
use super::{Cut, Holds};

/// How often a body that trickles goes on.
const TICK: Duration = Duration::from_millis(50);

/// Frames that wait for a client that does not read. Of watches all are kept: whoever is slow or
/// held back misses nothing.
const WAITING: usize = 16;

/// The connection is to be dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection is dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

/// A body whose frames come through a channel.
pub(super) struct Piped {
    frames: mpsc::Receiver<Result<Frame<Bytes>, Dropped>>,
    flushed: bool,
}

impl Body for Piped {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        if self.flushed {
            return Poll::Ready(Some(Err(Dropped)));
        }
        match self.frames.poll_recv(context) {
            // What came before is sent when a body has nothing more for now, and is thrown away
            // when a body breaks: so it has nothing for now first.
            Poll::Ready(Some(Err(Dropped))) => {
                self.flushed = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }
}

/// What is to become of a body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Course {
    /// Bytes after which the connection is closed.
    pub(super) cut_after: Option<u64>,
    /// Bytes per second.
    pub(super) trickle: Option<u64>,
}

/// Passes the body on until its end; returns the other end of the way.
pub(super) fn pipe(
    body: Incoming,
    entry: Entry,
    holds: Arc<Holds>,
    reset: Arc<AtomicBool>,
    course: Course,
) -> Piped {
    let (sender, frames) = mpsc::channel(1);
    let pump = Pump {
        is_watch: entry.exchange.is_watch(),
        body,
        entry,
        holds,
        reset,
        course,
        sender,
        queue: VecDeque::new(),
        passed: 0,
    };
    tokio::spawn(pump.run());
    Piped { frames, flushed: false }
}

struct Pump {
    is_watch: bool,
    body: Incoming,
    entry: Entry,
    holds: Arc<Holds>,
    reset: Arc<AtomicBool>,
    course: Course,
    sender: mpsc::Sender<Result<Frame<Bytes>, Dropped>>,
    queue: VecDeque<Frame<Bytes>>,
    passed: u64,
}

impl Pump {
    async fn run(mut self) {
        let mut changes = self.holds.changes();
        let cut = self.entry.cut();
        tokio::pin!(cut);
        let mut next = Instant::now();
        let mut complete = false;
        loop {
            changes.mark_unchanged();
            let held = self.holds.holds(&self.entry.exchange);
            if complete && self.queue.is_empty() && !held {
                return self.entry.end(&End::Complete);
            }
            if self.course.cut_after.is_some_and(|limit| self.passed >= limit) {
                return self.drop_connection(Cut::Close, &End::Cut).await;
            }
            let room = self.is_watch || self.queue.len() < WAITING;
            let sender = self.sender.clone();
            tokio::select! {
                how = &mut cut => return self.drop_connection(how, &End::Cut).await,
                () = sender.closed() => return self.entry.end(&End::Left),
                _ = changes.changed() => {}
                frame = self.body.frame(), if !complete && room => match frame {
                    Some(Ok(frame)) => self.queue.push_back(frame),
                    Some(Err(error)) => {
                        let end = End::Failed(format!("{:#}", anyhow::Error::from(error)));
                        return self.drop_connection(Cut::Reset, &end).await;
                    }
                    None => complete = true,
                },
                permit = async {
                    sleep_until(next).await;
                    sender.reserve().await
                }, if !held && !self.queue.is_empty() => {
                    // An error means that the client is gone: the next turn sees it.
                    if let (Ok(permit), Some(frame)) = (permit, self.piece()) {
                        permit.send(Ok(frame));
                    }
                    if self.course.trickle.is_some() {
                        next = Instant::now() + TICK;
                    }
                }
            }
        }
    }

    /// The next frame, or as much of it as may be sent now.
    fn piece(&mut self) -> Option<Frame<Bytes>> {
        let mut data = match self.queue.pop_front()?.into_data() {
            Ok(data) => data,
            Err(trailers) => return Some(trailers),
        };
        let mut limit = u64::MAX;
        if let Some(cut) = self.course.cut_after {
            limit = cut.saturating_sub(self.passed);
        }
        if let Some(rate) = self.course.trickle {
            limit = limit.min((rate / 20).max(1));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if data.len() > limit {
            let rest = data.split_off(limit);
            self.queue.push_front(Frame::data(rest));
        }
        let count = data.len() as u64;
        self.passed += count;
        self.entry.note(|exchange| exchange.response_bytes += count);
        Some(Frame::data(data))
    }

    async fn drop_connection(mut self, how: Cut, end: &End) {
        if how == Cut::Reset {
            self.reset.store(true, Ordering::Release);
        }
        if how != Cut::End {
            // An error means that the client is gone already.
            let _ = self.sender.send(Err(Dropped)).await;
        }
        self.entry.end(end);
    }
}
