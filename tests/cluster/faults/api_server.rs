//! The API server fails: answers that are lost, refusals, watches that are silent.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tidegate_testbed::{
    fault::{Action, Exchange, FaultProxy, Lost, Reply, Rule, Then, Upstream},
    world::{World, eventually},
};

use super::{BAD, traffic_is_home};
use crate::{
    releases::{
        Before, GOOD, it_was_handed_over, it_was_reverted_once, nothing_more_happens, phases_until,
    },
    runner::Story,
    shop::{SOON, Shop},
};

/// Every kind of object that a trial writes.
const WRITTEN: [&str; 7] = [
    "controllerrevisions",
    "deployments",
    "httproutes",
    "replicasets",
    "rollouts/status",
    "services",
    "trials",
];
/// The weight is asked for again within this time, however often and however it is refused.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::matrix("lost_answers_change_no_abort", lost_answers_change_no_abort),
        Story::matrix("lost_answers_change_no_hand_over", lost_answers_change_no_hand_over),
        Story::matrix("a_refused_way_home_is_taken_again", a_refused_way_home_is_taken_again),
        Story::matrix("silent_watches_are_noticed", silent_watches_are_noticed),
    ]
}

async fn open(world: &'static World, name: &str) -> Result<(FaultProxy, Shop)> {
    let admin = world.admin();
    let upstream = Upstream::kubernetes(&admin.server, admin.ca_pem.as_bytes());
    let api = FaultProxy::start(upstream).await?;
    let shop = Shop::open_through(world, name, Some(&api.url())).await?;
    Ok((api, shop))
}

/// Of each kind of object, the answers to two writes never arrive, once by a reset and once by a
/// gateway that gives up.
fn lose_answers(api: &FaultProxy) {
    for resource in WRITTEN {
        for (lost, nth) in [(Lost::Reset, 1), (Lost::Status(504), 3)] {
            let rule = Rule::new(Action::LoseAnswer(lost)).resource(resource);
            api.add(rule.writes().nth(nth).once());
        }
    }
}

fn lost(api: &FaultProxy) -> Result<()> {
    let lost = api.count(|exchange| !exchange.faults.is_empty());
    println!("{lost} answers were lost");
    ensure!(lost >= WRITTEN.len(), "{}", api.trace());
    Ok(())
}

async fn lost_answers_change_no_abort(world: &'static World) -> Result<()> {
    let (api, shop) = open(world, "lost-bad").await?;
    let before = Before::of(&shop).await?;
    lose_answers(&api);
    let start = shop.load.mark();
    let bad = shop.release("v2", BAD).await?;
    traffic_is_home(&shop, start).await?;
    phases_until(&shop, 1, SOON * 2).await?;
    lost(&api)?;
    it_was_reverted_once(&shop, &before, &bad).await?;
    nothing_more_happens(&shop).await
}

async fn lost_answers_change_no_hand_over(world: &'static World) -> Result<()> {
    let (api, shop) = open(world, "lost-good").await?;
    let before = Before::of(&shop).await?;
    lose_answers(&api);
    let start = shop.load.mark();
    shop.release("v3", 0.0).await?;
    phases_until(&shop, 1, GOOD).await?;
    lost(&api)?;
    it_was_handed_over(&shop, &before).await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    // The last answer was lost at the end: that it was is said, and that it is over.
    eventually("nothing is wrong any more", SOON, async || {
        let status = shop.rollout().await?["status"].take();
        ensure!(!status.to_string().contains("no answer"), "{}", status["message"]);
        Ok(Some(()))
    })
    .await?;
    nothing_more_happens(&shop).await
}

/// Weight 0 is refused in every way there is, one after the other, with the advice to come back in
/// an hour among them: it is written within seconds all the same.
async fn a_refused_way_home_is_taken_again(world: &'static World) -> Result<()> {
    let (api, shop) = open(world, "refused").await?;
    let before = Before::of(&shop).await?;
    let aborts = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&aborts);
    let note = Action::before(move |_| {
        noted.store(true, Ordering::Relaxed);
        Then::GoOn
    });
    api.add(Rule::new(note).when(is_abort));
    let busy = Reply::kubernetes(429, "TooManyRequests", "busy").header("retry-after", "3600");
    let broken = Reply::kubernetes(500, "InternalError", "broken");
    let conflict = Reply::kubernetes(409, "Conflict", "somebody was faster");
    let faults = [
        Action::Reply(busy),
        Action::Reply(broken),
        Action::Reply(conflict),
        Action::Refuse,
        Action::Hang,
    ];
    for (nth, action) in (1..).zip(faults) {
        let aborts = Arc::clone(&aborts);
        let rule = Rule::new(action).resource("httproutes").verb("patch");
        api.add(rule.when(move |_| aborts.load(Ordering::Relaxed)).nth(nth).once());
    }
    let start = shop.load.mark();
    let bad = shop.release("v2", BAD).await?;
    traffic_is_home(&shop, start).await?;
    let log = api.log();
    let abort = log.iter().find(|exchange| is_abort(exchange)).context("no abort is recorded")?;
    let patches = log.iter().filter(|exchange| {
        exchange.is_about("httproutes") && exchange.verb() == "patch" && exchange.at >= abort.at
    });
    let (refused, written): (Vec<_>, Vec<_>) =
        patches.partition(|exchange| !exchange.faults.is_empty());
    ensure!(refused.len() == 5, "refused {} times\n{}", refused.len(), api.trace());
    let home = written.first().context("it was never written")?.at;
    let took = home.saturating_duration_since(abort.at);
    println!("{}: weight 0 is written after {:.1} s", shop.namespace, took.as_secs_f64());
    ensure!(took <= PATIENCE, "it took {} s\n{}", took.as_secs(), api.trace());
    phases_until(&shop, 1, SOON * 2).await?;
    it_was_reverted_once(&shop, &before, &bad).await?;
    nothing_more_happens(&shop).await
}

/// Watches that are open and tell nothing any more, as after a firewall forgot them, while a
/// release goes bad.
async fn silent_watches_are_noticed(world: &'static World) -> Result<()> {
    let (api, shop) = open(world, "silent-watch").await?;
    let before = Before::of(&shop).await?;
    let newest = api.log().last().map_or(0, |exchange| exchange.number);
    let held = api.hold(move |exchange| exchange.is_watch() && exchange.number <= newest);
    let released = Instant::now();
    let bad = shop.release("v2", BAD).await?;
    phases_until(&shop, 1, SOON * 3).await?;
    println!("{}: over after {:.0} s", shop.namespace, released.elapsed().as_secs_f64());
    it_was_reverted_once(&shop, &before, &bad).await?;
    held.release();
    nothing_more_happens(&shop).await
}

fn is_abort(exchange: &Exchange) -> bool {
    exchange.is_about("rollouts/status")
        && exchange.write.is_some()
        && String::from_utf8_lossy(&exchange.body).contains("Aborting")
}
