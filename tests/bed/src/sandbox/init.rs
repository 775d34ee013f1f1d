//! PID 1 of the new namespaces.

use std::{
    env,
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{self, Command, ExitCode, Stdio},
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::{
        prctl::set_pdeathsig,
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{ROLE, RUN, TRIAL, network, run};

/// The signals a stage waits for, blocked so that none is lost between two waits.
pub(super) struct Signals(SigSet);

impl Signals {
    /// Blocks them in this thread. Programs started afterwards inherit that.
    pub(super) fn block() -> Result<Self> {
        let set = Self::set();
        set.thread_block().context("block signals")?;
        Ok(Self(set))
    }

    /// Takes back what was inherited from the stage before.
    pub(super) fn unblock() -> Result<()> {
        Self::set().thread_unblock().context("unblock signals")
    }

    fn set() -> SigSet {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        set
    }

    /// The next of them.
    pub(super) fn next(&self) -> Result<Signal> {
        self.0.wait().context("wait for a signal")
    }
}

/// Sends the signal on; a process that has ended in the meantime needs none.
pub(super) fn pass_on(signal: Signal, pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        kill(Pid::from_raw(pid), signal).ok();
    }
}

/// Sets the namespaces up, runs the role `inside`, and reaps whatever is orphaned.
pub(super) fn run() -> Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).context("ask for a signal at the parent's end")?;
    let signals = Signals::block()?;
    let trial = env::var_os(TRIAL).is_some();
    let folder = PathBuf::from(env::var_os(RUN).ok_or_else(|| anyhow!("{RUN} is not set"))?);
    set_up(&folder, trial)?;
    if trial {
        return Ok(ExitCode::SUCCESS);
    }
    watch_lifeline();
    let child = Command::new(env::current_exe().context("find this executable")?)
        .args(env::args_os().skip(1))
        .env(ROLE, "inside")
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .context("start the work inside the namespaces")?;
    loop {
        match signals.next()? {
            Signal::SIGCHLD => {
                if let Some(code) = reap(child.id()) {
                    return Ok(ExitCode::from(code));
                }
            }
            signal => pass_on(signal, child.id()),
        }
    }
}

fn set_up(folder: &std::path::Path, trial: bool) -> Result<()> {
    network::set_up()?;
    let none: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if let Err(error) = mount(Some("proc"), "/proc", Some("proc"), flags, none)
        && !trial
    {
        // Inside Docker parts of /proc are hidden, and then a fresh one is refused.
        eprintln!("test bed: note: /proc shows the host's processes: mount: {error}");
    }
    let data = run::data(folder);
    std::fs::create_dir_all(&data).with_context(|| format!("make {}", data.display()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if run::memory_suffices()
        && let Err(error) = mount(Some("tmpfs"), &data, Some("tmpfs"), flags, Some("mode=0755"))
        && !trial
    {
        eprintln!("test bed: note: data is kept on disk: mount tmpfs: {error}");
    }
    // A world has thousands of connections; the soft limit is often 1024.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok();
    }
    Ok(())
}

/// Ends this process, and with it the namespace, when the outer process has ended.
fn watch_lifeline() {
    thread::spawn(|| {
        let mut nothing = [0];
        // Nothing is ever sent: an answer is the end of the socket or its error.
        drop(std::io::stdin().read(&mut nothing));
        process::exit(137);
    });
}

/// Collects every ended process; the exit code of `child` if it was among them.
fn reap(child: u32) -> Option<u8> {
    let mut answer = None;
    loop {
        let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return answer,
            Ok(_) | Err(_) => continue,
        };
        if u32::try_from(pid.as_raw()) == Ok(child) {
            answer = Some(u8::try_from(code).unwrap_or(u8::MAX));
        }
    }
}
