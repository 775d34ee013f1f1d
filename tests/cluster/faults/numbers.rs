//! Prometheus and Alertmanager fail: nothing is decided on what is not known, and people are told
//! once they can be.

use anyhow::{Result, ensure};
use tidegate_testbed::{
    fault::{Action, Cut, FaultProxy, Reply, Rule, Upstream},
    world::{World, eventually, ports},
};

use super::{BAD, traffic_is_home};
use crate::{
    releases::{Before, it_was_reverted_once, nothing_more_happens, phases_until},
    runner::Story,
    shop::{SOON, Setting, Shop},
};

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::matrix(
            "numbers_that_come_in_no_usable_form_decide_nothing",
            numbers_that_come_in_no_usable_form_decide_nothing,
        ),
        Story::matrix(
            "an_alert_arrives_once_alertmanager_is_back",
            an_alert_arrives_once_alertmanager_is_back,
        ),
    ]
}

/// Every way to fail that was seen in the field, one after the other, under a release that fails:
/// it is neither promoted nor aborted. With numbers again it is aborted at once.
async fn numbers_that_come_in_no_usable_form_decide_nothing(world: &'static World) -> Result<()> {
    let straight = format!("http://127.0.0.1:{}", ports::PROMETHEUS);
    let numbers = FaultProxy::start(Upstream::prometheus(straight)).await?;
    let setting = Setting { prometheus: Some(numbers.url()), ..Setting::default() };
    let shop = Shop::open_as(world, "numbers", setting).await?;
    let before = Before::of(&shop).await?;
    let page = Reply::new(200).header("content-type", "text/html");
    let faults = [
        ("answers 503", Action::status(503)),
        ("shows a page", Action::Reply(page.body("<!doctype html><title>Sign in</title>"))),
        ("breaks off", Action::CutAfter(20)),
        ("talks nonsense", Action::garble()),
        ("refuses", Action::Refuse),
        ("hangs", Action::Hang),
    ];
    let mut last = None;
    let mut bad = String::new();
    for (what, action) in faults {
        let rule = numbers.add(Rule::new(action));
        if let Some(last) = last.replace(rule) {
            numbers.remove(last);
        } else {
            bad = shop.release("v2", BAD).await?;
            shop.wait_phase("Baking", SOON).await?;
        }
        eventually(&format!("Prometheus {what}, and status says so"), SOON, async || {
            let status = shop.rollout().await?["status"].take();
            let asked = numbers.applied(rule).unwrap_or_default();
            ensure!(asked >= 4, "it was asked {asked} times");
            ensure!(status["verdict"] == "Error", "{status}");
            ensure!(status.to_string().contains("MetricsUnavailable"), "{status}");
            Ok(Some(()))
        })
        .await?;
        let status = shop.rollout().await?["status"].take();
        println!("{}: Prometheus {what}: {}", shop.namespace, status["message"]);
        ensure!(status["phase"] == "Baking" && status["weight"] == 10, "{what}: {status}");
    }
    let start = shop.load.mark();
    numbers.clear();
    numbers.cut(Cut::Close, |_| true);
    traffic_is_home(&shop, start).await?;
    phases_until(&shop, 1, SOON * 2).await?;
    it_was_reverted_once(&shop, &before, &bad).await?;
    nothing_more_happens(&shop).await
}

/// Down when the trial fails, and then for a minute without a use: the trial ends all the same, and
/// people hear of it once.
async fn an_alert_arrives_once_alertmanager_is_back(world: &'static World) -> Result<()> {
    let straight = format!("http://127.0.0.1:{}", ports::ALERTMANAGER);
    let alerts = FaultProxy::start(Upstream::http(straight)).await?;
    let setting = Setting { alertmanager: Some(alerts.url()), ..Setting::default() };
    let shop = Shop::open_as(world, "alerts", setting).await?;
    let start = shop.load.mark();
    let fault = alerts.add(Rule::new(Action::Refuse));
    shop.release("v2", BAD).await?;
    traffic_is_home(&shop, start).await?;
    phases_until(&shop, 1, SOON * 2).await?;
    ensure!(shop.outcome(1).await?.as_deref() == Some("Aborted"), "{}", shop.rollout().await?);
    ensure!(alerts.applied(fault) >= Some(1), "nobody was to be told");
    let busy = alerts.add(Rule::new(Action::status(503)));
    alerts.remove(fault);
    eventually("it is told again", SOON * 2, async || {
        Ok((alerts.applied(busy) >= Some(1)).then_some(()))
    })
    .await?;
    ensure!(shop.firing("TidegateAborted") == 0, "told by way of a server that is down");
    alerts.clear();
    eventually("people are told", SOON * 3, async || {
        Ok((shop.firing("TidegateAborted") > 0).then_some(()))
    })
    .await?;
    nothing_more_happens(&shop).await
}
