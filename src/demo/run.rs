//! `tidegate demo`: builds the world, tells the story, and says at the end whether it came true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tidegate_engine::reason::Reason;
use tidegate_engine::state::{Outcome, Phase};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::control::{Control, ControlError, Turn};
use super::load::{Load, LoadSettings};
use super::local::{Local, LocalError};
use super::processes::Pods;
use super::proxy::{Proxy, ProxyError};
use super::recorder::Recorder;
use super::report::{Event, Reporter};
use super::repository::{PATH, Repository};
use super::scrape::Scraper;
use super::story::{Cue, PULL, SCRAPE, Story, TURN};
use super::{plan, verdict};
use crate::git::GitError;
use crate::sync::{self, Checkout, LocalCluster, SyncError, Target};

/// Flags of `tidegate demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Print one JSON object a line instead of the view
    #[arg(long)]
    pub json: bool,
    /// Decides errors, latencies and routing of requests; the same seed is the same demo but for
    /// timing
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Make the config repository in this new or empty directory, and keep it
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// Requests per second
    #[arg(long, default_value_t = 600.0, value_name = "RATE")]
    pub rate: f64,
}

/// Why the demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The directory for the repository has something in it.
    #[error("--repo {0}: found files in it, expected a new or empty directory")]
    NotEmpty(String),
    /// A rate that makes no load.
    #[error("--rate: found {0}, expected 50 to 2000 requests per second")]
    Rate(f64),
    /// The machine.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The repository.
    #[error("the config repository cannot be used")]
    Git(#[from] GitError),
    /// The local cluster.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The controller.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The sync.
    #[error("the sync applied nothing")]
    Sync(#[from] SyncError),
    /// The proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The load.
    #[error("the load cannot start")]
    Load(#[from] super::http::HttpError),
    /// The Rollout in the repository.
    #[error("the Rollout cannot be used: {0}")]
    Plan(String),
}

impl DemoError {
    /// The flags cannot be used; nothing was written.
    pub const fn is_bad_input(&self) -> bool {
        matches!(self, Self::NotEmpty(_) | Self::Rate(_))
    }
}

fn io(what: &str) -> impl FnOnce(std::io::Error) -> DemoError + '_ {
    move |source| DemoError::Io { what: what.to_owned(), source }
}

/// Tells the story; answers whether all of it happened as it should.
pub async fn run(args: DemoArgs) -> Result<bool, DemoError> {
    if !(50.0..=2000.0).contains(&args.rate) {
        return Err(DemoError::Rate(args.rate));
    }
    let scratch = tempfile::tempdir().map_err(io("a temporary directory cannot be made"))?;
    let dir = args.repo.clone().unwrap_or_else(|| scratch.path().join("config.git"));
    refuse_full(&dir)?;
    let repository = Repository::init(&dir, Utc::now())?;
    let pods = Pods::of_this_binary(args.seed).map_err(io("this binary cannot be found"))?;
    let (proxy, address) = Proxy::start(args.seed).await?;
    let local = Local::new(
        LocalCluster::new(),
        pods,
        proxy,
        Scraper::start(SCRAPE),
        repository.remote().clone(),
    );
    let recorder = Arc::new(Recorder::default());
    let reporter = Reporter::for_stdout(args.json).map_err(io("the terminal cannot be used"))?;
    let mut demo = Demo {
        local,
        repository,
        control: None,
        state_file: scratch.path().join("state.json"),
        recorder: recorder.clone(),
        reporter,
        started: Instant::now(),
        told: Told::default(),
        story: Story::new(Utc::now()),
    };
    let settings = LoadSettings { rate: args.rate, ..LoadSettings::default() };
    let ended = demo.play(|| Load::start(address, settings, recorder)).await;
    demo.finish(ended, args.repo.as_deref())
}

fn refuse_full(dir: &Path) -> Result<(), DemoError> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(DemoError::NotEmpty(dir.display().to_string())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => {
            Err(DemoError::Io { what: format!("--repo {} cannot be read", dir.display()), source })
        }
    }
}

/// What was told already.
#[derive(Debug, Default)]
pub(super) struct Told {
    commits: BTreeSet<String>,
    phase: Option<Phase>,
    weight: u8,
    reason: Option<Reason>,
    message: String,
    synced: Option<String>,
    last_verdict: Option<DateTime<Utc>>,
}

pub(super) struct Demo {
    pub(super) local: Local,
    pub(super) repository: Repository,
    pub(super) control: Option<Control>,
    state_file: PathBuf,
    pub(super) recorder: Arc<Recorder>,
    pub(super) reporter: Reporter,
    pub(super) started: Instant,
    told: Told,
    story: Story,
}

/// How the story ended.
pub(super) enum Ended {
    /// As it should.
    Well,
    /// A chapter did not come true.
    Badly(String),
    /// A person closed it.
    Closed,
}

impl Demo {
    /// Pull, settle, take a turn, tell: until the story ends.
    async fn play(
        &mut self,
        load: impl FnOnce() -> Result<Load, super::http::HttpError>,
    ) -> Result<Ended, DemoError> {
        let mut load_to_start = Some(load);
        let mut load = None;
        let mut ticks = interval(TURN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut pulled, mut counted) = (None::<Instant>, Utc::now());
        self.say("A config repository, a sync, and v1 starts: three pods behind a gateway.");
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.reporter.closed() => return Ok(Ended::Closed),
                _ = tokio::signal::ctrl_c() => return Ok(Ended::Closed),
            }
            let now = Utc::now();
            if pulled.is_none_or(|at| at.elapsed() >= PULL) {
                self.pull().await?;
                pulled = Some(Instant::now());
            }
            self.local.settle(now)?;
            self.turn(now)?;
            if load.is_none()
                && self.local.is_serving()
                && let Some(start) = load_to_start.take()
            {
                load = Some(start()?);
            }
            if now - counted >= self.pace() {
                self.tell_traffic(counted, now);
                counted = now;
            }
            if let Some(ended) = self.follow(load.is_some(), now)? {
                return Ok(ended);
            }
        }
    }

    /// The sync pulls the branch and applies the path.
    async fn pull(&mut self) -> Result<(), DemoError> {
        for commit in self.repository.log(10)?.into_iter().rev() {
            if self.told.commits.insert(commit.id.as_str().to_owned()) {
                let id = commit.id.as_str().to_owned();
                let (subject, author) = (commit.subject, commit.author);
                self.tell(&if commit.trial.is_some() {
                    Event::Reverted { id, subject }
                } else {
                    Event::Commit { id, subject, author }
                });
            }
        }
        let (revision, files) = self.repository.snapshot()?;
        let checkout =
            Checkout { revision: revision.as_str().to_owned(), files, skipped: Vec::new() };
        let settings = sync::Settings {
            name: "demo".to_owned(),
            namespace: "shop".to_owned(),
            path: PATH.to_owned(),
            allow_empty: false,
            dry_run: false,
        };
        let target = Target::Local(self.local.api.clone());
        let report = sync::sync_once(&checkout, &target, &settings).await?;
        if report.is_complete() && self.told.synced.as_deref() != Some(revision.as_str()) {
            self.told.synced = Some(revision.as_str().to_owned());
            self.tell(&Event::Synced { id: revision.as_str().to_owned() });
        }
        self.local.deployed = Some(revision);
        Ok(())
    }

    fn turn(&mut self, now: DateTime<Utc>) -> Result<(), DemoError> {
        if self.control.is_none() {
            let planned = plan::of(&self.local.api).map_err(DemoError::Plan)?;
            self.control = Some(Control::new(planned, self.state_file.clone()));
            self.local.watch_over()?;
        }
        let Some(control) = &mut self.control else { return Ok(()) };
        let turn = control.turn(&mut self.local, now)?;
        if !turn.decision.effects.is_empty() {
            self.local.settle(now)?;
        }
        self.tell_turn(&turn, now);
        Ok(())
    }

    fn tell_turn(&mut self, turn: &Turn, now: DateTime<Utc>) {
        let (before, next) = (&turn.before, &turn.decision.next);
        let phase = next.phase();
        if self.told.phase != Some(phase) {
            self.told.phase = Some(phase);
            self.tell(&Event::Stage { stage: format!("{phase:?}") });
        }
        let weight = self.local.proxy.weight().percent();
        // At the end of a promotion the route goes home to a Service that is the canary's: its
        // own weight is 0 then, and nothing has moved.
        let is_home = weight == 0 && matches!(phase, Phase::Promoting | Phase::Idle);
        if self.told.weight != weight {
            self.told.weight = weight;
            if !is_home {
                self.tell(&Event::Weight { weight });
            }
        }
        let reason = turn.decision.reason;
        let again = self.told.reason == Some(reason) && is_waiting(reason);
        if !again && self.told.message != turn.decision.message {
            self.told.reason = Some(reason);
            self.told.message.clone_from(&turn.decision.message);
            let message = self.in_words(&turn.decision.message);
            self.tell(&Event::Decision { reason, message });
        }
        if before.last != next.last
            && let Some(ended) = &next.last
        {
            let version = self.version_of_stable();
            match &ended.outcome {
                Outcome::Promoted => self.tell(&Event::Promoted { version }),
                Outcome::Aborted { revert: Some(_), .. } => self.tell(&Event::Restored { version }),
                Outcome::Aborted { .. } | Outcome::Watched { .. } => {}
            }
        }
        let pace = self.pace();
        if let Some(judgement) = &turn.judgement
            && let Some(view) =
                verdict::worth_telling(judgement, &mut self.told.last_verdict, now, pace)
        {
            self.tell(&Event::Verdict(view));
        }
    }

    /// What the story wants now.
    fn follow(&mut self, loaded: bool, now: DateTime<Utc>) -> Result<Option<Ended>, DemoError> {
        let Some(control) = &self.control else { return Ok(None) };
        let at_rest = loaded && self.local.is_serving() && self.local.is_as_in_git();
        match self.story.next(&control.state, at_rest, now) {
            Cue::Wait => {}
            Cue::CommitBad => {
                self.say("v1 serves. Ada commits v2. It has a bug: one request in three fails.");
                self.repository.release("v1", "v2", now)?;
            }
            Cue::Reverted => {
                self.say("v2 is gone, from the cluster and from Git. v1 serves as before.");
            }
            Cue::CommitGood => {
                self.say("Ada commits v3, with the bug mended.");
                self.repository.release("v1", "v3", now)?;
            }
            Cue::End => {
                self.say("v3 was proven no worse than v1 and serves now: the tested pods.");
                return Ok(Some(Ended::Well));
            }
            Cue::GiveUp => {
                let chapter = format!("{:?} did not come true", self.story.chapter);
                return Ok(Some(Ended::Badly(chapter)));
            }
        }
        Ok(None)
    }
}

/// Reasons that are said again and again with other numbers while nothing changes.
fn is_waiting(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NeedMoreData
            | Reason::CanaryStarting
            | Reason::WeightShifting
            | Reason::Settling
            | Reason::MetricsUnavailable
    )
}
