//! One server process with a log.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::wait::eventually;
use crate::sandbox::ROLE;

/// Time a server has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes of the log that are shown when a server does not come up.
const TAIL: usize = 1_500;

/// A server that was started here. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts the command with its output appended to `<logs>/<name>.log`.
    ///
    /// The server gets a process group of its own, so that Ctrl-C reaches this process first, and
    /// never plays a role of the test bed by accident.
    ///
    /// # Errors
    /// Fails when the log cannot be written or the program cannot be run.
    pub fn start(name: &str, logs: &Path, mut command: Command) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("make {}", logs.display()))?;
        let log = logs.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let errors = file.try_clone().context("open the log twice")?;
        let program = command.get_program().to_owned();
        let child = command
            .env_remove(ROLE)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}: {}", program.display()))?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    /// The process id inside the namespaces.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        // Both only fail when it has ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Sends a signal; a process that has ended gets none.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.pid()) {
            kill(Pid::from_raw(pid), signal).ok();
        }
    }

    /// Asks it to end (SIGTERM) and waits; kills it after ten seconds.
    pub async fn stop(&mut self) {
        if self.has_exited().is_some() {
            return;
        }
        self.signal(Signal::SIGTERM);
        let ended = eventually("its end", GRACE, async || Ok(self.has_exited())).await;
        if ended.is_err() {
            self.kill();
        }
    }

    /// How it ended, if it did.
    pub fn has_exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// An error with the end of the log once the process has ended.
    ///
    /// # Errors
    /// That is its purpose: to make a wait for a dead server end early.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.has_exited() {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended: {status}; {}", self.name, self.last_words())),
        }
    }

    /// Where the log is, and its last lines.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL)..]).into_owned();
        format!("the end of {}:\n{tail}", self.log.display())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(logs: &Path, script: &str) -> Daemon {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Daemon::start("sleeper", logs, command).unwrap()
    }

    #[tokio::test]
    async fn a_server_that_ignores_the_request_to_end_is_killed() {
        let logs = tempfile::tempdir().unwrap();
        let mut daemon = sleeper(logs.path(), "echo up; trap '' KILL; exec sleep 100");
        assert_eq!(daemon.has_exited(), None);
        daemon.stop().await;
        assert!(daemon.has_exited().is_some());
    }

    #[tokio::test]
    async fn the_error_of_a_dead_server_shows_its_last_words() {
        let logs = tempfile::tempdir().unwrap();
        let mut daemon = sleeper(logs.path(), "echo no such flag >&2; exit 3");
        let ended = eventually("its end", GRACE, async || Ok(daemon.has_exited())).await.unwrap();
        assert_eq!(ended.code(), Some(3));
        let text = daemon.still_runs().unwrap_err().to_string();
        assert!(text.contains("sleeper ended") && text.contains("no such flag"), "{text}");
    }
}
