//! A server that tests may kill and start again.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use kube::Client;
use nix::sys::signal::Signal;

use super::{process::Daemon, wait::eventually};

/// Time a server has to become ready. Ten times what it takes on two cores with nothing else to do.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// How to start a program, as often as wanted.
#[derive(Debug, Clone)]
pub struct Launch {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Launch {
    /// A program without arguments; `name` is the name of its log.
    pub fn new(name: &'static str, program: PathBuf) -> Self {
        Self { name, program, arguments: Vec::new(), environment: Vec::new() }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds `<flag><path>`; the flag ends with `=`.
    #[must_use]
    pub fn path(self, flag: &str, path: &Path) -> Self {
        let mut argument = OsString::from(flag);
        argument.push(path);
        self.arg(argument)
    }

    /// Adds arguments that need no formatting.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The command, ready to be run.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        command
    }
}

/// How a server is asked whether it is ready.
#[derive(Clone)]
pub enum Ready {
    /// It answers 2xx to a GET of this URL.
    Http(String),
    /// The API server's `/readyz`, asked with this client.
    Api(Client),
    /// It has no such question: it is ready when what it does is seen.
    Seen,
}

/// A server with the way to start it. All methods take `&self`: tests share one world.
pub struct Server {
    name: &'static str,
    launch: Mutex<Launch>,
    logs: PathBuf,
    ready: Ready,
    daemon: Mutex<Daemon>,
}

impl Server {
    /// Starts it; does not wait.
    ///
    /// # Errors
    /// Fails when the program cannot be run.
    pub fn launch(launch: Launch, logs: &Path, ready: Ready) -> Result<Self> {
        let daemon = Daemon::start(launch.name, logs, launch.command())?;
        Ok(Self {
            name: launch.name,
            launch: Mutex::new(launch),
            logs: logs.to_owned(),
            ready,
            daemon: Mutex::new(daemon),
        })
    }

    /// Its name, which is the name of its log.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The process id inside the namespaces.
    pub fn pid(&self) -> u32 {
        self.daemon().pid()
    }

    /// Kills it (SIGKILL). It stays down until [`Server::start`].
    pub fn kill(&self) {
        self.daemon().kill();
    }

    /// Stops time for it (SIGSTOP): connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.daemon().signal(Signal::SIGSTOP);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.daemon().signal(Signal::SIGCONT);
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// Fails when it runs on for 30 s.
    pub async fn stop(&self) -> Result<()> {
        self.daemon().signal(Signal::SIGTERM);
        eventually(self.name, Duration::from_secs(30), async || Ok(self.daemon().has_exited()))
            .await
            .context("wait for its end")
            .map(drop)
    }

    /// Starts it again and waits until it is ready. What runs still is killed before.
    ///
    /// # Errors
    /// Fails when it does not become ready.
    pub async fn start(&self) -> Result<()> {
        {
            let command = lock(&self.launch).command();
            let mut daemon = self.daemon();
            daemon.kill();
            *daemon = Daemon::start(self.name, &self.logs, command)?;
        }
        self.ready().await
    }

    /// Starts it again with other arguments, which stay.
    ///
    /// # Errors
    /// Fails when it does not become ready.
    pub async fn start_as(&self, launch: Launch) -> Result<()> {
        *lock(&self.launch) = launch;
        self.start().await
    }

    /// Waits until it is ready; ends early when it has ended.
    ///
    /// # Errors
    /// Fails with the end of its log.
    pub async fn ready(&self) -> Result<()> {
        let mut ended = None;
        eventually(self.name, READY_WITHIN, async || {
            if let Err(error) = self.daemon().still_runs() {
                ended = Some(error);
                return Ok(Some(()));
            }
            self.ask().await
        })
        .await
        .with_context(|| self.daemon().last_words())?;
        ended.map_or(Ok(()), Err)
    }

    async fn ask(&self) -> Result<Option<()>> {
        match &self.ready {
            Ready::Http(url) => {
                let answer = reqwest::get(url).await.with_context(|| format!("GET {url}"))?;
                if !answer.status().is_success() {
                    bail!("GET {url}: {}", answer.status());
                }
                Ok(Some(()))
            }
            Ready::Api(kube) => {
                let question = http_request("/readyz")?;
                kube.request_text(question).await.context("GET /readyz")?;
                Ok(Some(()))
            }
            Ready::Seen => Ok(Some(())),
        }
    }

    fn daemon(&self) -> MutexGuard<'_, Daemon> {
        lock(&self.daemon)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn http_request(path: &str) -> Result<hyper::Request<Vec<u8>>> {
    hyper::Request::get(path).body(Vec::new()).map_err(|error| anyhow!(error))
}
