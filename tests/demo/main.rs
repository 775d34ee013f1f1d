//! The demo's world with real processes, real sockets and real time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod load;
mod pods;
mod proxy;
mod scraper;
mod service;
mod support;
mod view;
mod world;
