//! The process of a container: started in a group of its own, and never left behind.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::env::Invocation;

/// How much of a probe's output is shown.
const SHOWN: usize = 1024;

/// A running process. Dropping it kills it with all it has started.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Group,
}

/// A process group, killed when it is dropped.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error says that nobody is left in it.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }
}

impl Process {
    /// Starts the program; what it prints is appended to the log.
    pub(super) fn start(invocation: &Invocation, directory: &str, log: &Path) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command(invocation, directory)
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()?;
        let group = Group::of(&child);
        Ok(Self { child, group })
    }

    /// The process id; `None`: it has ended.
    pub(super) fn id(&self) -> Option<i32> {
        self.group.0.map(Pid::as_raw)
    }

    /// Waits for the end. What the process started ends with it, as in a container.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        drop(std::mem::replace(&mut self.group, Group(None)));
        status
    }

    /// Asks the process to end. Those it started hear nothing, as in a container.
    pub(super) fn terminate(&self) {
        if let (Some(process), Some(_)) = (self.group.0, self.child.id()) {
            let _ = kill(process, Signal::SIGTERM);
        }
    }

    /// Kills the process and those it started.
    pub(super) fn kill(&self) {
        if let Some(group) = self.id() {
            kill_group(group);
        }
    }
}

/// Kills every process of a group. Nothing happens when it is gone.
pub(super) fn kill_group(group: i32) {
    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
}

/// Runs a command to its end, beside the container's process. The error is what it printed.
pub(super) async fn run(
    invocation: &Invocation,
    directory: &str,
    within: Duration,
) -> Result<(), String> {
    let mut child = command(invocation, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", invocation.argv.join(" ")))?;
    let group = Group::of(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let ended = timeout(within, async { tokio::join!(child.wait(), said(out), said(err)) }).await;
    drop(group);
    match ended {
        Err(_) => Err(format!("command timed out after {}s", within.as_secs())),
        Ok((Ok(status), _, _)) if status.success() => Ok(()),
        Ok((Ok(status), out, err)) => {
            let said = format!("{out}{err}");
            if said.is_empty() { Err(status.to_string()) } else { Err(said) }
        }
        Ok((Err(error), _, _)) => Err(error.to_string()),
    }
}

/// Reads a stream to its end and keeps the beginning.
async fn said(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    use tokio::io::AsyncReadExt as _;
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let room = SHOWN.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn command(invocation: &Invocation, directory: &str) -> Command {
    let mut words = invocation.argv.iter();
    let program = words.next().map(String::as_str).unwrap_or_default();
    let mut command = Command::new(program);
    command
        .args(words)
        .env_clear()
        .envs(&invocation.env)
        .current_dir(directory)
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Exit code as a container runtime tells it: 128 plus the signal when one ended the process.
pub(super) fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

/// Why a program could not be started, in the words of a container runtime.
pub(super) fn start_message(program: &str, error: &io::Error) -> String {
    let cause = match error.kind() {
        io::ErrorKind::NotFound if program.contains('/') => {
            format!("stat {program}: no such file or directory")
        }
        io::ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    format!(
        "failed to create containerd task: failed to create shim task: OCI runtime create \
         failed: runc create failed: unable to start container process: error during container \
         init: exec: \"{program}\": {cause}"
    )
}

/// Makes the folder for logs.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}
