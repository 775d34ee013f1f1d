//! What many Rollouts cost: `cargo bench --bench scale -- [--json]`.
//!
//! On the test bed, with pods that are no processes (kwok): a real API server, its controllers, the
//! policies, Prometheus. In turn
//!
//! 1. so many Deployments roll out by themselves: what a plain rolling update costs;
//! 2. the same with a Rollout each, all released at once, two steps;
//! 3. many more Rollouts at rest;
//! 4. many on trial, all of which fail in the same moment.
//!
//! `--rollouts N`, `--idle N` and `--failing N` set how many there are (500, 2000, 1000); 0 leaves a
//! part out. `--trace` shows what the controller asks the API server for. Progress goes to standard
//! error; the last line of `--json` is the result.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark prints its numbers, and runs programs"
)]

mod cost;
mod fleet;
mod kwok;

#[path = "../../tests/cluster/shop.rs"]
#[expect(dead_code, reason = "the stories need more of it")]
mod shop;

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tidegate_testbed::{
    components::{self, Tier},
    fault::{Action, FaultProxy, Rule, Upstream},
    sandbox::{self, Next, Sandbox},
    world::{World, WorldOptions, ports},
};

use cost::Cost;
use fleet::{Fleet, Kind};

/// The bars: what is promised.
const MOST_CPU_MS: f64 = 5.0;
const MOST_MEMORY_MB: f64 = 40.0;
const MOST_REQUESTS: f64 = 1.1;
const MOST_IDLE_MEMORY_MB: f64 = 60.0;
const MOST_SECONDS: f64 = 10.0;

/// How long nothing must happen.
const REST: Duration = Duration::from_secs(30);

/// What was asked for on the command line.
struct Wanted {
    json: bool,
    trace: bool,
    rollouts: usize,
    idle: usize,
    failing: usize,
}

impl Wanted {
    fn read() -> Result<Self> {
        let arguments: Vec<String> = env::args().collect();
        let number = |flag: &str, usual: usize| {
            let given = arguments.iter().skip_while(|argument| *argument != flag).nth(1);
            given.map_or(Ok(usual), |given| given.parse().with_context(|| format!("{flag} N")))
        };
        let is_asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
        Ok(Self {
            json: is_asked("--json"),
            trace: is_asked("--trace"),
            rollouts: number("--rollouts", 500)?,
            idle: number("--idle", 2000)?,
            failing: number("--failing", 1000)?,
        })
    }
}

fn main() -> ExitCode {
    sandbox::main(outside, inside)
}

fn outside() -> Result<Next> {
    // `cargo test --all-targets` runs benchmarks, too; only `cargo bench` says so.
    if !env::args().any(|argument| argument == "--bench") {
        println!("scale: measured by `cargo bench --bench scale`");
        return Ok(Next::Done(ExitCode::SUCCESS));
    }
    Wanted::read()?;
    components::ensure(Tier::All).context("make the programs of the test bed ready")?;
    Ok(Next::Enter)
}

fn inside(sandbox: &Sandbox) -> Result<ExitCode> {
    let wanted = Wanted::read()?;
    let components = components::ensure(Tier::All)?;
    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    let world = runtime.block_on(World::start(&components, sandbox, &WorldOptions::default()))?;
    // The namespaces end with this process, and the servers with them: nobody need drop it.
    let world: &'static World = Box::leak(Box::new(world));
    let is_met = runtime.block_on(Box::pin(measure(world, &wanted)))?;
    if !is_met {
        eprintln!("a bar is missed");
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(world: &'static World, wanted: &Wanted) -> Result<bool> {
    shop::installed(world).await?;
    let _kwok = kwok::start(world).await?;
    let mut result = json!({"bench": "scale"});
    let mut is_met = true;
    if wanted.rollouts > 0 {
        let wave = Box::pin(wave(world, wanted.rollouts, wanted.trace)).await?;
        is_met &= wave.is_met();
        result["wave"] = wave.json();
        tell(wanted, &wave.to_string());
    }
    if wanted.idle > 0 {
        let idle = Box::pin(idle(world, wanted.idle)).await?;
        is_met &= idle.is_met();
        result["idle"] = idle.json();
        tell(wanted, &idle.to_string());
    }
    if wanted.failing > 0 {
        let failing = Box::pin(failing(world, wanted.failing)).await?;
        is_met &= failing.seconds <= MOST_SECONDS;
        result["failing"] = failing.json();
        tell(wanted, &failing.to_string());
    }
    if wanted.json {
        result["met"] = json!(is_met);
        println!("{result}");
    }
    Ok(is_met)
}

fn tell(wanted: &Wanted, line: &str) {
    if wanted.json { eprintln!("{line}") } else { println!("{line}") }
}

/// All released at once.
struct Wave {
    rollouts: usize,
    /// Requests to the API server for each Deployment that rolls out by itself.
    plain: f64,
    /// The same with a Rollout.
    requests: f64,
    /// The controller's processor time for each Rollout.
    cpu_ms: f64,
    /// The controller's memory at its most.
    memory_mb: f64,
}

impl Wave {
    fn ratio(&self) -> f64 {
        self.requests / self.plain
    }

    fn is_met(&self) -> bool {
        self.cpu_ms <= MOST_CPU_MS
            && self.memory_mb <= MOST_MEMORY_MB
            && self.ratio() <= MOST_REQUESTS
    }

    fn json(&self) -> Value {
        json!({
            "rollouts": self.rollouts, "cpu_ms_per_rollout": self.cpu_ms,
            "memory_mb": self.memory_mb, "requests_plain": self.plain,
            "requests": self.requests, "ratio": self.ratio(),
        })
    }
}

impl std::fmt::Display for Wave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} released at once, for each of them", self.rollouts)?;
        writeln!(f, "  processor, ms   {:.1}   (at most 5)", self.cpu_ms)?;
        writeln!(f, "  requests        {:.1}   (by itself {:.1})", self.requests, self.plain)?;
        writeln!(f, "  ratio           {:.2}   (at most 1.1)", self.ratio())?;
        write!(f, "  memory, MB      {:.0}   (in all, at most 40)", self.memory_mb)
    }
}

async fn wave(world: &'static World, rollouts: usize, trace: bool) -> Result<Wave> {
    let fleet = Fleet::new(world, "wave", rollouts).await?;
    fleet.create(Kind::Deployment).await?;
    fleet.create(Kind::Service).await?;
    fleet.wait_rolled_out("v1").await?;
    let before = cost::requests(world).await?;
    fleet.release("v2").await?;
    fleet.wait_rolled_out("v2").await?;
    let plain = cost::requests(world).await? - before;

    fleet.create(Kind::Rollout).await?;
    let api = if trace { Some(shop::proxy(world).await?) } else { None };
    let controller = fleet.controller(api.as_ref().map(FaultProxy::url).as_deref()).await?;
    fleet.wait_phase("Idle").await?;
    api.iter().for_each(FaultProxy::start_over);
    let (before, start) = (cost::requests(world).await?, Cost::of(&controller)?);
    fleet.release("v3").await?;
    fleet.wait_promoted().await?;
    let (requests, end) = (cost::requests(world).await? - before, Cost::of(&controller)?);
    if let Some(api) = &api {
        tell_requests(api, rollouts);
    }
    drop(controller);
    fleet.delete().await?;
    let each = |all: f64| all / rollouts as f64;
    Ok(Wave {
        rollouts,
        plain: each(plain),
        requests: each(requests),
        cpu_ms: each(end.cpu_ms - start.cpu_ms),
        memory_mb: end.most_memory_mb,
    })
}

/// What the controller asked for, the most first.
fn tell_requests(api: &FaultProxy, rollouts: usize) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for target in api.log().iter().filter_map(|exchange| exchange.target.as_ref()) {
        let part = target.subresource.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
        *kinds.entry(format!("{} {}{part}", target.verb, target.resource)).or_default() += 1;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| Reverse(*count));
    for (kind, count) in kinds {
        eprintln!("  {:.1} {kind}", count as f64 / rollouts as f64);
    }
}

/// Many at rest.
struct Idle {
    rollouts: usize,
    writes: usize,
    /// Requests of all kinds in the time in which nothing happened.
    requests: usize,
    /// The controller's share of a processor, in percent.
    cpu_percent: f64,
    memory_mb: f64,
}

impl Idle {
    fn is_met(&self) -> bool {
        self.writes == 0 && self.memory_mb <= MOST_IDLE_MEMORY_MB
    }

    fn json(&self) -> Value {
        json!({
            "rollouts": self.rollouts, "writes": self.writes, "requests": self.requests,
            "cpu_percent": self.cpu_percent, "memory_mb": self.memory_mb,
        })
    }
}

impl std::fmt::Display for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} at rest for {} s", self.rollouts, REST.as_secs())?;
        writeln!(f, "  writes          {}   (none)", self.writes)?;
        writeln!(f, "  requests        {}", self.requests)?;
        writeln!(f, "  processor, %    {:.1}", self.cpu_percent)?;
        write!(f, "  memory, MB      {:.0}   (at most 60)", self.memory_mb)
    }
}

async fn idle(world: &'static World, rollouts: usize) -> Result<Idle> {
    let fleet = Fleet::new(world, "idle", rollouts).await?;
    fleet.create(Kind::Deployment).await?;
    fleet.create(Kind::Service).await?;
    fleet.wait_rolled_out("v1").await?;
    fleet.create(Kind::Rollout).await?;
    let api = shop::proxy(world).await?;
    let controller = fleet.controller(Some(&api.url())).await?;
    fleet.wait_phase("Idle").await?;
    // The last of them is told of its own writes.
    tokio::time::sleep(REST).await;
    api.start_over();
    let start = Cost::of(&controller)?;
    tokio::time::sleep(REST).await;
    let end = Cost::of(&controller)?;
    let idle = Idle {
        rollouts,
        writes: api.writes().len(),
        requests: api.log().len(),
        cpu_percent: (end.cpu_ms - start.cpu_ms) / REST.as_millis() as f64 * 100.0,
        memory_mb: end.memory_mb,
    };
    drop(controller);
    fleet.delete().await?;
    Ok(idle)
}

/// Many that fail in the same moment.
struct Failing {
    rollouts: usize,
    /// From that moment until the first Service leads to stable alone: a number is asked for each
    /// 8 s, as often as its source is told to be scraped.
    seen: f64,
    /// From there to the last.
    seconds: f64,
}

impl Failing {
    fn json(&self) -> Value {
        json!({"rollouts": self.rollouts, "seen_s": self.seen, "home_s": self.seconds})
    }
}

impl std::fmt::Display for Failing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} failing at once", self.rollouts)?;
        writeln!(f, "  first home, s   {:.1}", self.seen)?;
        write!(f, "  last home, s    {:.1}   (after the first, at most 10)", self.seconds)
    }
}

async fn failing(world: &'static World, rollouts: usize) -> Result<Failing> {
    let straight = format!("http://127.0.0.1:{}", ports::PROMETHEUS);
    let numbers = FaultProxy::start(Upstream::prometheus(straight)).await?;
    let mut fleet = Fleet::new(world, "failing", rollouts).await?;
    fleet.judge(&numbers.url()).await?;
    fleet.create(Kind::Deployment).await?;
    fleet.create(Kind::Service).await?;
    fleet.wait_rolled_out("v1").await?;
    fleet.create(Kind::Rollout).await?;
    let _controller = fleet.controller(None).await?;
    fleet.wait_phase("Idle").await?;
    fleet.release("v2").await?;
    fleet.wait_phase("Baking").await?;
    fleet.wait_shared().await?;
    let start = Instant::now();
    numbers.add(Rule::new(Action::rewrite(|_, body| {
        String::from_utf8_lossy(&body).replace("\"0\"]", "\"1\"]").into_bytes().into()
    })));
    let first = fleet.wait_home().await?;
    let seen = (first - start).as_secs_f64();
    Ok(Failing { rollouts, seen, seconds: first.elapsed().as_secs_f64() })
}
