//! A release whose servers fail: Git, the API server, Prometheus, Alertmanager. Traffic goes home
//! all the same, and what has to happen happens once.

mod api_server;
mod git;
mod numbers;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidegate_testbed::world::eventually;

use crate::{
    runner::Story,
    shop::{SOON, Shop},
};

/// One request in three fails.
const BAD: f64 = 1.0 / 3.0;
/// Requests of two seconds.
const ENOUGH: usize = 400;
/// Traffic is home this soon after the first bad answer, whatever else fails.
const HOME_WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn stories() -> Vec<Story> {
    let mut all = git::stories();
    all.extend(api_server::stories());
    all.extend(numbers::stories());
    all
}

/// Two seconds of requests that stable alone answered; says how long the bad version served.
async fn traffic_is_home(shop: &Shop, start: Instant) -> Result<()> {
    eventually("stable alone serves", SOON * 2, async || {
        let from = shop.load.mark().checked_sub(Duration::from_secs(3)).unwrap_or(start);
        let record = shop.load.snapshot();
        ensure!(record.since(start).error_rate() > Some(0.0), "nothing has failed yet");
        let last = record.since(from);
        ensure!(last.len() >= ENOUGH, "{} requests", last.len());
        ensure!(last.failed().is_empty(), "{} fail", last.failed().len());
        Ok(Some(()))
    })
    .await?;
    let record = shop.load.snapshot().since(start);
    let failed = record.failed();
    let (first, last) = (failed.first().map(|request| request.sent), failed.last());
    let took = last.and_then(|last| Some(last.ended().saturating_duration_since(first?)));
    let took = took.unwrap_or_default();
    println!("{}: {} failed, within {:.1} s", shop.namespace, failed.len(), took.as_secs_f64());
    ensure!(took < HOME_WITHIN, "the bad version served for {} s", took.as_secs());
    Ok(())
}

/// Waits until the Rollout says this, in its message or a condition.
async fn says(shop: &Shop, word: &str) -> Result<()> {
    eventually(&format!("it says {word}"), SOON * 2, async || {
        let status = shop.rollout().await?["status"].take();
        let said = status["message"].to_string() + &status["conditions"].to_string();
        ensure!(said.contains(word), "{} {said}", status["phase"]);
        Ok(Some(()))
    })
    .await
}
