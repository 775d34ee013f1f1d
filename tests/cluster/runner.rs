//! Runs stories on one shared world; used by every target that needs one.
//!
//! A story is an `async fn(&'static World) -> anyhow::Result<()>`. All stories of a run share the
//! world and have a Kubernetes namespace each; those marked [`Story::alone`] have the world to
//! themselves while they run.

use std::{
    env,
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use tidegate_testbed::{
    components::{self, Tier as Programs},
    observer,
    sandbox::{self, Next, Sandbox},
    world::{World, WorldOptions},
};
use tokio::{runtime::Runtime, sync::RwLock};

/// The longest a story may take; it is told to be hanging then.
const STORY_WITHIN: Duration = Duration::from_mins(5);

/// When a story runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// With every `cargo test --workspace`.
    Smoke,
    /// Only with `cargo test --test matrix`, which is `--include-ignored`.
    Matrix,
}

/// Not `Send`: a story is told on the thread of its trial, with async closures where it likes.
type Told = Pin<Box<dyn Future<Output = Result<()>>>>;

/// One test on the shared world.
pub(crate) struct Story {
    name: &'static str,
    tier: Tier,
    alone: bool,
    argocd: bool,
    tell: Box<dyn FnOnce(&'static World) -> Told + Send>,
}

impl Story {
    /// A story of the smoke tier.
    pub(crate) fn smoke<F, T>(name: &'static str, tell: F) -> Self
    where
        F: FnOnce(&'static World) -> T + Send + 'static,
        T: Future<Output = Result<()>> + 'static,
    {
        let tell = Box::new(|world: &'static World| Box::pin(tell(world)) as Told);
        Self { name, tier: Tier::Smoke, alone: false, argocd: false, tell }
    }

    /// A story of the matrix tier.
    pub(crate) fn matrix<F, T>(name: &'static str, tell: F) -> Self
    where
        F: FnOnce(&'static World) -> T + Send + 'static,
        T: Future<Output = Result<()>> + 'static,
    {
        Self { tier: Tier::Matrix, ..Self::smoke(name, tell) }
    }

    /// Marks a story that kills servers or measures time: no other runs beside it.
    #[must_use]
    pub(crate) fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// Marks a story that needs Argo CD: it is built and started only for a run with such a story.
    #[must_use]
    pub(crate) fn with_argocd(self) -> Self {
        Self { argocd: true, ..self }
    }
}

/// What has to be known of a story before there is a world.
#[derive(Clone, Copy)]
struct Title {
    name: &'static str,
    tier: Tier,
    argocd: bool,
}

impl Title {
    fn is_ignored(self) -> bool {
        self.tier == Tier::Matrix
    }
}

impl From<&Story> for Title {
    fn from(story: &Story) -> Self {
        Self { name: story.name, tier: story.tier, argocd: story.argocd }
    }
}

/// The main function of a target: runs the stories; those of the matrix tier are ignored tests.
pub(crate) fn run(stories: Vec<Story>) -> ExitCode {
    let arguments = Arguments::from_args();
    let titles: Vec<_> = stories.iter().map(Title::from).collect();
    sandbox::main(|| outside(&arguments, &titles), |sandbox| inside(sandbox, stories))
}

/// What is decided before there is a world: listing needs none, neither does a filter that leaves
/// no story.
fn outside(arguments: &Arguments, titles: &[Title]) -> Result<Next> {
    if arguments.list {
        let listed = titles
            .iter()
            .map(|title| Trial::test(title.name, || Ok(())).with_ignored_flag(title.is_ignored()))
            .collect();
        return Ok(Next::Done(libtest_mimic::run(arguments, listed).exit_code()));
    }
    let chosen = chosen(arguments, titles);
    if chosen.is_empty() {
        println!("no story is chosen: the test bed stays down");
        return Ok(Next::Done(ExitCode::SUCCESS));
    }
    if env::var("TIDEGATE_TESTBED").is_ok_and(|value| value == "off") {
        let names: Vec<_> = chosen.iter().map(|title| title.name).collect();
        println!("left out because of TIDEGATE_TESTBED=off: {}", names.join(", "));
        return Ok(Next::Done(ExitCode::SUCCESS));
    }
    components::ensure(programs(&chosen)).context("make the programs of the test bed ready")?;
    Ok(Next::Enter)
}

/// The stories that the harness will run.
fn chosen(arguments: &Arguments, titles: &[Title]) -> Vec<Title> {
    let is_chosen = |title: &&Title| is_chosen(arguments, title.name, title.is_ignored());
    titles.iter().filter(is_chosen).copied().collect()
}

fn programs(chosen: &[Title]) -> Programs {
    if chosen.iter().any(|title| title.argocd) { Programs::All } else { Programs::Smoke }
}

/// Whether the harness will run a test of this name; `left_out` are those of a higher tier.
fn is_chosen(arguments: &Arguments, name: &str, left_out: bool) -> bool {
    let fits = |text: &str| if arguments.exact { name == text } else { name.contains(text) };
    let wanted = if arguments.ignored { left_out } else { !left_out || arguments.include_ignored };
    wanted
        && arguments.filter.as_deref().is_none_or(fits)
        && !arguments.skip.iter().any(|text| fits(text))
}

fn inside(sandbox: &Sandbox, stories: Vec<Story>) -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    // A story mostly waits: for pods, scrapes, evidence. More at once would be in each other's way.
    let processors = thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(processors + 1);
    let titles: Vec<_> = stories.iter().map(Title::from).collect();
    let chosen = chosen(&arguments, &titles);
    let components = components::ensure(programs(&chosen))?;
    let runtime = Arc::new(Runtime::new().context("start a runtime")?);
    let argocd = chosen.iter().any(|title| title.argocd);
    let options = WorldOptions { argocd, ..WorldOptions::default() };
    let world = runtime.block_on(World::start(&components, sandbox, &options))?;
    // The namespaces end with this process, and the servers with them: nobody need drop it.
    let world: &'static World = Box::leak(Box::new(world));

    let left_out: Vec<_> = stories
        .iter()
        .filter(|story| story.tier == Tier::Matrix && !is_chosen(&arguments, story.name, true))
        .map(|story| story.name)
        .collect();
    let quiet = Arc::new(RwLock::new(()));
    let trials = stories
        .into_iter()
        .map(|story| {
            let (runtime, quiet) = (Arc::clone(&runtime), Arc::clone(&quiet));
            let ignored = story.tier == Tier::Matrix;
            Trial::test(story.name, move || runtime.block_on(told(story, world, &quiet)))
                .with_ignored_flag(ignored)
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if left_out.is_empty() {
        println!("left out: nothing");
    } else {
        println!("left out, for `cargo test --test matrix`: {}", left_out.join(", "));
    }
    Ok(conclusion.exit_code())
}

async fn told(story: Story, world: &'static World, quiet: &RwLock<()>) -> Result<(), Failed> {
    // One of the two is held while the story is told.
    let (_beside, _alone) = if story.alone {
        (None, Some(quiet.write().await))
    } else {
        (Some(quiet.read().await), None)
    };
    let start = Instant::now();
    let end = match tokio::time::timeout(STORY_WITHIN, (story.tell)(world)).await {
        Ok(end) => end,
        Err(_) => Err(anyhow!("it hangs: no end after {} s", STORY_WITHIN.as_secs())),
    };
    let seconds = start.elapsed().as_secs_f64();
    // What was seen on the way counts too, also where the end is as it must be.
    let end = match (end, observer::witnessed()) {
        (Ok(()), Ok(revisions)) => {
            println!("{}: {seconds:.1} s, {revisions} revisions witnessed", story.name);
            return Ok(());
        }
        (Ok(()), Err(seen)) => seen,
        (Err(error), Ok(_)) => error,
        (Err(error), Err(seen)) => anyhow!("{error:#}\n{seen:#}"),
    };
    println!("{}: {seconds:.1} s", story.name);
    Err(Failed::from(format!("{end:#}\nlogs: {}", world.logs().display())))
}
