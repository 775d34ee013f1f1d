//! One pod: a process that is started, probed, restarted when it crashes, and stopped in order.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::http::Getter;
use super::service::Listening;

/// Probes without an answer until a pod that was ready counts as not ready, as in Kubernetes.
const FAILURE_THRESHOLD: u32 = 3;

/// Crashes in a row from which on a pod is crash-looping: one may be chance.
const CRASH_LOOP: u32 = 2;

/// How pods are treated.
#[derive(Clone, Debug)]
pub struct PodSettings {
    /// Time between two readiness probes.
    pub probe_interval: Duration,
    /// Wait before the first restart; doubles with each crash in a row.
    pub back_off: Duration,
    /// The longest wait before a restart.
    pub back_off_limit: Duration,
    /// A pod that lived so long has recovered from earlier crashes.
    pub recovered: Duration,
    /// Time a process may take to listen.
    pub start_limit: Duration,
    /// Time a process may take to stop before it is killed.
    pub grace: Duration,
}

impl Default for PodSettings {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_millis(50),
            back_off: Duration::from_millis(200),
            back_off_limit: Duration::from_secs(5),
            recovered: Duration::from_secs(10),
            start_limit: Duration::from_secs(20),
            grace: Duration::from_secs(10),
        }
    }
}

/// A pod, as one look shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its name; never used twice.
    pub name: String,
    /// When it was asked for.
    pub created: DateTime<Utc>,
    /// Where its process listens; `None`: it does not.
    pub address: Option<SocketAddr>,
    /// Whether its process is alive.
    pub running: bool,
    /// Whether the last readiness probe said so.
    pub ready: bool,
    /// How often its process was started again.
    pub restarts: u32,
    /// Whether it crashes again and again.
    pub crash_looping: bool,
    /// What its process said when it last crashed.
    pub message: Option<String>,
}

impl Pod {
    pub(super) fn new(name: String, created: DateTime<Utc>) -> Self {
        Self {
            name,
            created,
            address: None,
            running: false,
            ready: false,
            restarts: 0,
            crash_looping: false,
            message: None,
        }
    }
}

/// Keeps one pod alive until it is told to stop.
pub(super) struct Supervisor {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) settings: PodSettings,
    pub(super) getter: Getter,
    pub(super) pod: Arc<Mutex<Pod>>,
    pub(super) changes: watch::Sender<u64>,
    pub(super) stop: watch::Receiver<bool>,
}

/// How a process ended.
enum End {
    /// It was told to.
    Stopped,
    /// By itself; what it said.
    Crashed(String),
}

impl Supervisor {
    /// Ends when the pod's process has ended after `stop` became true (or its sender is gone).
    pub(super) async fn run(self) {
        let mut stop = self.stop.clone();
        let mut crashes = 0;
        loop {
            let began = Instant::now();
            let message = match self.live(&mut stop).await {
                End::Stopped => break,
                End::Crashed(message) => message,
            };
            crashes = if began.elapsed() < self.settings.recovered { crashes + 1 } else { 1 };
            self.update(|pod| {
                pod.running = false;
                pod.ready = false;
                pod.address = None;
                pod.crash_looping = crashes >= CRASH_LOOP;
                pod.message = Some(message.clone());
            });
            tokio::select! {
                () = told(&mut stop) => break,
                () = sleep(back_off(&self.settings, crashes)) => {}
            }
            self.update(|pod| pod.restarts += 1);
        }
        self.update(|pod| {
            pod.running = false;
            pod.ready = false;
            pod.address = None;
        });
    }

    /// One process, from start to end.
    async fn live(&self, stop: &mut watch::Receiver<bool>) -> End {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => return End::Crashed(format!("the process cannot be started: {error}")),
        };
        // The process lives as long as we hold its standard input.
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let last_line = tokio::spawn(last_line(stderr));
        self.update(|pod| pod.running = true);
        tokio::select! {
            biased;
            () = told(stop) => {
                drop(stdin);
                self.update(|pod| pod.ready = false);
                if timeout(self.settings.grace, child.wait()).await.is_err() {
                    // It may have ended in between: then there is nothing to kill.
                    let _ = child.kill().await;
                }
                End::Stopped
            }
            status = child.wait() => {
                let said = last_line.await.ok().flatten();
                End::Crashed(match (said, status) {
                    (Some(line), _) => line,
                    (None, Ok(status)) => status.to_string(),
                    (None, Err(error)) => error.to_string(),
                })
            }
            () = self.probe(stdout) => {
                let _ = child.kill().await;
                let limit = self.settings.start_limit.as_secs_f64();
                End::Crashed(format!("the process did not listen within {limit} s"))
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    /// Learns the address, then asks for readiness for ever. Returns only when the process does
    /// not listen in time.
    async fn probe(&self, stdout: Option<ChildStdout>) {
        let began = Instant::now();
        let Ok(listening) = timeout(self.settings.start_limit, listening(stdout)).await else {
            return;
        };
        self.update(|pod| pod.address = Some(listening.address));
        let mut silent = 0;
        loop {
            match self.getter.get(listening.address, "/readyz").await {
                Ok((status, _)) => {
                    silent = 0;
                    self.update(|pod| pod.ready = status == StatusCode::OK);
                }
                Err(_) => silent += 1,
            }
            if silent >= FAILURE_THRESHOLD {
                self.update(|pod| pod.ready = false);
            }
            if began.elapsed() >= self.settings.recovered {
                self.update(|pod| pod.crash_looping = false);
            }
            sleep(self.settings.probe_interval).await;
        }
    }

    /// Changes the pod and says so, when it is a change.
    fn update(&self, change: impl Fn(&mut Pod)) {
        let mut pod = self.pod.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pod.clone();
        change(&mut pod);
        let changed = *pod != before;
        drop(pod);
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

/// Resolves when the pod is to stop, or nobody is left who could say so.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The wait after so many crashes in a row.
fn back_off(settings: &PodSettings, crashes: u32) -> Duration {
    let factor = 2_u32.saturating_pow(crashes.saturating_sub(1));
    settings.back_off.saturating_mul(factor).min(settings.back_off_limit)
}

/// The line with the address. Never resolves when the output ends without one: then the process
/// has ended or is about to, and how it ended says more.
async fn listening(stdout: Option<ChildStdout>) -> Listening {
    if let Some(stdout) = stdout {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(listening) = serde_json::from_str(&line) {
                return listening;
            }
        }
    }
    std::future::pending().await
}

/// The first line of the last thing the process said; read to the end, so that it never blocks.
async fn last_line(stream: Option<impl AsyncRead + Unpin>) -> Option<String> {
    let mut lines = BufReader::new(stream?).lines();
    let mut last = None;
    while let Ok(Some(line)) = lines.next_line().await {
        if !line.trim().is_empty() {
            last = Some(line);
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit() {
        let settings = PodSettings::default();
        let waits: Vec<u128> =
            [1, 2, 3, 6, 90].map(|crashes| back_off(&settings, crashes).as_millis()).to_vec();
        assert_eq!(waits, [200, 400, 800, 5000, 5000]);
    }
}
