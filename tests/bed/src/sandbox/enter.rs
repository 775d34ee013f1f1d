//! The stage that leaves the host's namespaces.

use std::{
    env, fs,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::{getegid, geteuid},
};

use super::{ROLE, RUN, TRIAL, Way, init, lifeline, run, wait_passing_signals};

/// Goes into new namespaces, starts their init, and cleans up after it.
pub(super) fn run(way: Way) -> Result<ExitCode> {
    let folder = PathBuf::from(env::var_os(RUN).ok_or_else(|| anyhow!("{RUN} is not set"))?);
    let trial = env::var_os(TRIAL).is_some();
    let lock = if trial { None } else { Some(run::lock(&folder)?) };
    let stream = lifeline::connect()?;
    // Afterwards its path would be told as the old mount namespace sees it.
    let program = env::current_exe().context("find this executable")?;
    unshare_all(way)?;

    let mut command = Command::new(program);
    command
        .args(env::args_os().skip(1))
        .env(ROLE, "init")
        .stdin(Stdio::from(OwnedFd::from(stream)))
        .process_group(0);
    let signals = init::Signals::block()?;
    let mut child = command.spawn().context("start init in the new namespaces")?;
    // The command holds this process's copy of the lifeline.
    drop(command);
    if !trial {
        run::write_pid(&folder, child.id())?;
    }
    let status = wait_passing_signals(&signals, &mut child)?;
    drop(lock);
    if !trial {
        // This stage still sees what init mounted; on the disk it fails, as nothing is mounted.
        umount2(&run::data(&folder), MntFlags::MNT_DETACH).ok();
        run::finish(&folder, status.success());
    }
    Ok(super::code_of(status))
}

fn unshare_all(way: Way) -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if way == Way::User {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).context("unshare")?;
    if way == Way::User {
        fs::write("/proc/self/setgroups", "deny").context("write setgroups")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("write uid_map")?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("write gid_map")?;
    }
    // Without this, mounts made inside would appear on the host.
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("make mounts private")
}
