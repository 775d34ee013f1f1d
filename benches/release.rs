//! What one bad and one good release cost: `cargo bench --bench release -- [--json]`.
//!
//! On the test bed, a real cluster: 200 requests a second, a scrape every 2 s, Flux, Gitea, Contour
//! and Envoy. After 45 s of version 1 comes version 2, which fails one request in three at weight 10.
//! `--runs N` says how many bad releases there are, `--no-good` leaves the good one out, and
//! `--trace` shows what the controller wrote, and when. Progress goes to standard error; the last
//! line of `--json` is the result.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark prints its numbers, and runs programs"
)]

#[path = "../tests/cluster/shop.rs"]
#[expect(dead_code, reason = "the stories need more of it")]
mod shop;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tidegate_testbed::{
    components::{self, Tier},
    fault::Exchange,
    load::{Record, Request},
    sandbox::{self, Next, Sandbox},
    world::{World, WorldOptions},
};

use shop::{Shop, proxy};

/// The bars: what is promised.
const MOST_BAD_MEDIAN: f64 = 20.0;
const MOST_BAD_WORST: f64 = 40.0;
const MOST_EXPOSURE: f64 = 4.0;
const MOST_REVERT: f64 = 5.0;
const MOST_WRITES: usize = 40;
const PODS: usize = 3;

/// How long stable serves before a bad release.
const PAST: Duration = Duration::from_secs(45);
const WITHIN: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(50);

/// What was asked for on the command line.
struct Wanted {
    json: bool,
    trace: bool,
    good: bool,
    runs: usize,
}

impl Wanted {
    fn read() -> Result<Self> {
        let arguments: Vec<String> = env::args().collect();
        let is_asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
        let runs = arguments.iter().skip_while(|argument| *argument != "--runs").nth(1);
        let runs = runs.map_or(Ok(9), |runs| runs.parse()).context("--runs takes a number")?;
        ensure!(runs > 0, "--runs takes a number above 0");
        let (json, trace) = (is_asked("--json"), is_asked("--trace"));
        Ok(Self { json, trace, good: !is_asked("--no-good"), runs })
    }
}

fn main() -> ExitCode {
    sandbox::main(outside, inside)
}

fn outside() -> Result<Next> {
    // `cargo test --all-targets` runs benchmarks, too; only `cargo bench` says so.
    if !env::args().any(|argument| argument == "--bench") {
        println!("release: measured by `cargo bench --bench release`");
        return Ok(Next::Done(ExitCode::SUCCESS));
    }
    Wanted::read()?;
    components::ensure(Tier::Smoke).context("make the programs of the test bed ready")?;
    Ok(Next::Enter)
}

fn inside(sandbox: &Sandbox) -> Result<ExitCode> {
    let wanted = Wanted::read()?;
    let components = components::ensure(Tier::Smoke)?;
    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    let options = WorldOptions::default();
    let world = runtime.block_on(World::start(&components, sandbox, &options))?;
    // The namespaces end with this process, and the servers with them: nobody need drop it.
    let world: &'static World = Box::leak(Box::new(world));
    let is_met = runtime.block_on(Box::pin(measure(world, &wanted)))?;
    if !is_met {
        eprintln!("a bar is missed");
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(world: &'static World, wanted: &Wanted) -> Result<bool> {
    let mut bad = Vec::new();
    for run in 1..=wanted.runs {
        let one = Box::pin(bad_release(world, wanted.trace)).await?;
        eprintln!(
            "bad release {run} of {}: {} bad responses in {:.1} s, revert {:.1} s after the abort",
            wanted.runs, one.responses, one.exposure, one.revert
        );
        bad.push(one);
    }
    let good =
        if wanted.good { Some(Box::pin(good_release(world, wanted.trace)).await?) } else { None };
    let responses = Spread::of(bad.iter().map(|one| one.responses as f64));
    let exposure = Spread::of(bad.iter().map(|one| one.exposure));
    let revert = Spread::of(bad.iter().map(|one| one.revert));
    let others = bad.iter().map(|one| one.others).sum::<usize>();
    let is_met = responses.median <= MOST_BAD_MEDIAN
        && responses.worst <= MOST_BAD_WORST
        && exposure.median <= MOST_EXPOSURE
        && revert.worst <= MOST_REVERT
        && others == 0
        && good.as_ref().is_none_or(Good::is_met);
    if wanted.json {
        let good = good.as_ref().map(Good::json);
        let line = json!({
            "bench": "release", "runs": wanted.runs, "bad_responses": responses.json(),
            "exposure_s": exposure.json(), "revert_s": revert.json(),
            "stable_failures": others, "good": good, "met": is_met,
        });
        println!("{line}");
        return Ok(is_met);
    }
    println!("bad release, weight 10, 200 requests/s, {} runs", wanted.runs);
    println!("  bad responses   {responses}   (median at most 20, worst 40)");
    println!("  exposure, s     {exposure}   (median at most 4)");
    println!("  abort to Git, s {revert}   (at most 5)");
    println!("  other failures  {others}   (none)");
    if let Some(good) = good {
        println!("good release");
        println!("  requests lost   {}   (none)", good.lost);
        println!("  pods created    {}   (3)", good.pods);
        println!("  API writes      {}   (at most 40)", good.writes);
    }
    Ok(is_met)
}

/// One bad release.
struct Bad {
    /// Bad responses of version 2.
    responses: usize,
    /// From the first of them to the last, in seconds.
    exposure: f64,
    /// From the record of the abort to the revert on the remote, in seconds.
    revert: f64,
    /// Failures that version 2 has no part in.
    others: usize,
}

async fn bad_release(world: &'static World, trace: bool) -> Result<Bad> {
    let proxy = proxy(world).await?;
    let shop = Shop::open_through(world, "bad", Some(&proxy.url())).await?;
    // A service has a past: without one the guard lane waits for a second scrape.
    tokio::time::sleep(PAST).await;
    proxy.start_over();
    let start = shop.load.mark();
    let commit = shop.release("v2", 1.0 / 3.0).await?;
    let (ended, reverted) = (Instant::now() + WITHIN, async {
        while shop.repository.head().await? == commit {
            tokio::time::sleep(POLL).await;
        }
        Ok::<_, anyhow::Error>(Instant::now())
    });
    let timed = tokio::time::timeout_at(ended.into(), reverted).await;
    let reverted = timed.context("no revert in time")??;
    outcome(&shop, "Aborted", ended, async || Ok(())).await?;
    let record = shop.load.snapshot().since(start);
    let failed = record.failed();
    let is_bad = |request: &&&Request| request.version.as_deref() == Some("v2");
    let bad: Vec<_> = failed.iter().filter(is_bad).collect();
    tell_failures(&record, |request| request.version.as_deref() != Some("v2"));
    let first = bad.first().context("version 2 never failed")?.sent;
    let last = bad.iter().map(|request| request.ended()).max().unwrap_or(first);
    let writes = proxy.writes();
    if trace {
        tell_writes(&writes, first);
        eprintln!("  {:+.2} s the last bad response", (last - first).as_secs_f64());
    }
    let abort = writes.iter().find(|write| is_abort(write)).context("no abort is recorded")?;
    Ok(Bad {
        responses: bad.len(),
        exposure: (last - first).as_secs_f64(),
        revert: reverted.saturating_duration_since(abort.at).as_secs_f64(),
        others: failed.len() - bad.len(),
    })
}

fn is_abort(write: &Exchange) -> bool {
    write.is_about("rollouts/status") && String::from_utf8_lossy(&write.body).contains("Aborting")
}

/// The good release.
struct Good {
    lost: usize,
    pods: usize,
    writes: usize,
}

impl Good {
    fn is_met(&self) -> bool {
        self.lost == 0 && self.pods == PODS && self.writes <= MOST_WRITES
    }

    fn json(&self) -> Value {
        json!({"lost": self.lost, "pods": self.pods, "writes": self.writes})
    }
}

async fn good_release(world: &'static World, trace: bool) -> Result<Good> {
    let proxy = proxy(world).await?;
    let shop = Shop::open_through(world, "good", Some(&proxy.url())).await?;
    let before = pods(&shop).await?;
    let mut seen = before.clone();
    proxy.start_over();
    let start = shop.load.mark();
    shop.release("v3", 0.0).await?;
    outcome(&shop, "Promoted", Instant::now() + WITHIN, async || {
        seen.extend(pods(&shop).await?);
        Ok(())
    })
    .await?;
    let writes = proxy.writes();
    if trace {
        tell_writes(&writes, start);
    }
    let record = shop.load.snapshot().since(start);
    tell_failures(&record, |_| true);
    let lost = record.failed().len();
    let good = Good { lost, pods: seen.difference(&before).count(), writes: writes.len() };
    eprintln!(
        "good release: {} requests lost, {} pods created, {} writes, {:.0} s",
        good.lost,
        good.pods,
        good.writes,
        start.elapsed().as_secs_f64()
    );
    Ok(good)
}

async fn pods(shop: &Shop) -> Result<BTreeSet<String>> {
    let pods = shop.list("v1", "Pod").await?;
    Ok(pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect())
}

/// Waits for the end of the trial, and looks on.
async fn outcome(
    shop: &Shop,
    expected: &str,
    until: Instant,
    mut look: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    loop {
        look().await?;
        match shop.outcome(1).await? {
            Some(outcome) if outcome == expected => return Ok(()),
            Some(outcome) => bail!("expected {expected}, the trial ended as {outcome}"),
            None => {
                let phase = shop.phase().await?;
                ensure!(Instant::now() < until, "the trial does not end: {phase}");
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What should not have failed, and when: each reason once.
fn tell_failures(record: &Record, which: impl Fn(&Request) -> bool) {
    let mut reasons: BTreeMap<String, (usize, Vec<&Request>)> = BTreeMap::new();
    for request in record.failed().into_iter().filter(|request| which(request)) {
        let (count, ends) = reasons.entry(request.outcome.to_string()).or_default();
        *count += 1;
        ends.truncate(1);
        ends.push(request);
    }
    for (reason, (count, ends)) in reasons {
        let at = |request: Option<&&Request>| {
            request.map(|request| record.wall(request.sent).format("%H:%M:%S%.3f").to_string())
        };
        let (from, to) =
            (at(ends.first()).unwrap_or_default(), at(ends.last()).unwrap_or_default());
        eprintln!("  {count} times from {from} to {to}: {reason}");
    }
}

fn tell_writes(writes: &[Exchange], zero: Instant) {
    for write in writes {
        let seconds = if write.at < zero {
            -(zero - write.at).as_secs_f64()
        } else {
            (write.at - zero).as_secs_f64()
        };
        let body = String::from_utf8_lossy(&write.body);
        let phase = ["phase\":\"", "weight\":"].iter().find_map(|key| {
            let from = body.find(key)? + key.len();
            Some(body[from..].chars().take(12).collect::<String>())
        });
        eprintln!("  {seconds:+.2} s {write} {}", phase.unwrap_or_default());
    }
}

/// The middle and the worst of some numbers.
struct Spread {
    median: f64,
    worst: f64,
}

impl Spread {
    fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = numbers.collect();
        all.sort_by(f64::total_cmp);
        let at = |index: usize| all.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(all.len() / 2), worst: at(all.len().saturating_sub(1)) }
    }

    fn json(&self) -> Value {
        json!({"median": self.median, "worst": self.worst})
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "median {:.1}, worst {:.1}", self.median, self.worst)
    }
}
