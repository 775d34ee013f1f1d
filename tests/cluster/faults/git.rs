//! Git fails while the revert is made: traffic is home before, and there is one revert.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_testbed::{
    fault::{Action, Cut, FaultProxy, Gate, Lost, Reply, Rule, Upstream},
    world::World,
};

use super::{BAD, says, traffic_is_home};
use crate::{
    releases::{Before, it_was_reverted_once, nothing_more_happens, phases_until},
    runner::Story,
    shop::{SOON, Setting, Shop},
};

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::matrix("git_that_is_down_delays_the_revert_alone", |world| {
            delays_the_revert_alone(world, "git-down", Action::Refuse)
        }),
        Story::matrix("git_that_hangs_delays_the_revert_alone", |world| {
            delays_the_revert_alone(world, "git-hangs", Action::Hang)
        }),
        Story::matrix("git_that_shows_a_page_delays_the_revert_alone", |world| {
            let page = Reply::new(200).header("content-type", "text/html");
            let page = page.body("<!doctype html><title>Sign in</title>");
            delays_the_revert_alone(world, "git-page", Action::Reply(page))
        }),
        Story::matrix("a_push_whose_answer_is_lost_is_made_once", |world| {
            a_push_whose_answer_is_lost_is_made_once(world, Lost::Reset)
        }),
        Story::matrix("a_push_that_a_gateway_gives_up_is_made_once", |world| {
            a_push_whose_answer_is_lost_is_made_once(world, Lost::Status(504))
        }),
        Story::matrix("a_push_that_outlives_its_controller_is_made_once", |world| {
            a_push_outlives_its_controller(world, true)
        }),
        Story::matrix("a_push_that_comes_after_its_successor_is_refused", |world| {
            a_push_outlives_its_controller(world, false)
        }),
    ]
}

async fn open(world: &'static World, name: &str) -> Result<(FaultProxy, Shop)> {
    let git = FaultProxy::start(Upstream::git(world.forge().url())).await?;
    let setting = Setting { forge: Some(git.url()), ..Setting::default() };
    Ok((git, Shop::open_as(world, name, setting).await?))
}

/// Traffic goes home at once, status says what Git does, and the revert follows once Git is back.
async fn delays_the_revert_alone(world: &'static World, name: &str, action: Action) -> Result<()> {
    let (git, shop) = open(world, name).await?;
    let before = Before::of(&shop).await?;
    let start = shop.load.mark();
    let fault = git.add(Rule::new(action));
    let bad = shop.release("v2", BAD).await?;
    traffic_is_home(&shop, start).await?;
    says(&shop, "GitUnavailable").await?;
    let status = shop.rollout().await?["status"].take();
    println!("{}: {} {}", shop.namespace, status["phase"], status["message"]);
    ensure!(status["phase"] == "Reverting" && status["weight"] == 0, "{status}");
    ensure!(shop.repository.log().await?.len() == before.commits + 1, "somebody wrote to Git");
    git.remove(fault);
    git.cut(Cut::Close, |_| true);
    phases_until(&shop, 1, SOON * 3).await?;
    it_was_reverted_once(&shop, &before, &bad).await?;
    nothing_more_happens(&shop).await
}

/// The commit is on the branch, and nobody has heard of it: the branch is asked before anything
/// is tried again.
async fn a_push_whose_answer_is_lost_is_made_once(world: &'static World, lost: Lost) -> Result<()> {
    let (git, shop) = open(world, "push-lost").await?;
    let before = Before::of(&shop).await?;
    let fault = git.add(Rule::new(Action::LoseAnswer(lost)).writes().once());
    let start = shop.load.mark();
    let bad = shop.release("v2", BAD).await?;
    traffic_is_home(&shop, start).await?;
    phases_until(&shop, 1, SOON * 3).await?;
    ensure!(git.applied(fault) == Some(1), "no answer was lost\n{}", git.trace());
    it_was_reverted_once(&shop, &before, &bad).await?;
    nothing_more_happens(&shop).await
}

/// A push is on its way, its controller is killed, and the next one makes its own: whichever
/// arrives first is the revert, and the other one is refused.
async fn a_push_outlives_its_controller(world: &'static World, first_wins: bool) -> Result<()> {
    let (git, mut shop) = open(world, "push-late").await?;
    let before = Before::of(&shop).await?;
    let (first, second) = (Gate::new(), Gate::new());
    git.add(Rule::new(Action::Hold(first.clone())).write(1));
    git.add(Rule::new(Action::Hold(second.clone())).write(2));
    let bad = shop.release("v2", BAD).await?;
    arrived(&git, &first).await?;
    shop.kill_controller()?;
    arrived(&git, &second).await?;
    let (winner, loser, number) = if first_wins { (first, second, 1) } else { (second, first, 2) };
    winner.open();
    let is_done =
        move |write: Option<u64>, status: Option<u16>| write == Some(number) && status.is_some();
    git.wait_for("the push of the winner", SOON, |exchange| {
        is_done(exchange.write, exchange.upstream)
    })
    .await?;
    loser.open();
    phases_until(&shop, 1, SOON * 3).await?;
    it_was_reverted_once(&shop, &before, &bad).await?;
    nothing_more_happens(&shop).await
}

async fn arrived(git: &FaultProxy, gate: &Gate) -> Result<()> {
    let within = Duration::from_mins(1);
    let arrived = tokio::time::timeout(within, gate.arrived(1)).await;
    ensure!(arrived.is_ok(), "no push arrived\n{}", git.trace());
    Ok(())
}
