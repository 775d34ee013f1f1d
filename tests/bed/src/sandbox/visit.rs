//! Runs a command inside a sandbox that is up.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::{ROLE, code_of, run};

/// Runs `command` in the namespaces of the run in `folder`, with more environment.
///
/// Must be called while this process has one thread only: a user namespace is entered by whole
/// processes.
///
/// # Errors
/// Fails when the run has ended, or when it belongs to somebody else.
pub fn visit(
    folder: &Path,
    command: &[OsString],
    environment: &[(&str, OsString)],
) -> Result<ExitCode> {
    let Some((program, arguments)) = command.split_first() else { bail!("no command is given") };
    let pid = run::read_pid(folder).context("no sandbox is up")?;
    let kinds = [
        ("user", CloneFlags::CLONE_NEWUSER),
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("pid", CloneFlags::CLONE_NEWPID),
    ];
    let mut files = Vec::new();
    for (name, kind) in kinds {
        let (theirs, ours) = (format!("/proc/{pid}/ns/{name}"), format!("/proc/self/ns/{name}"));
        let theirs_id = fs::read_link(&theirs).with_context(|| {
            format!("the sandbox of {} has ended, or is not yours", folder.display())
        })?;
        // Entering the user namespace one is in already is an error.
        if theirs_id != fs::read_link(&ours).context("read this process's namespaces")? {
            files.push((
                name,
                kind,
                File::open(&theirs).with_context(|| format!("open {theirs}"))?,
            ));
        }
    }
    // Entering a mount namespace moves the process to its root.
    let here = env::current_dir().context("find the current folder")?;
    for (name, kind, file) in files {
        setns(file, kind)
            .with_context(|| format!("enter the {name} namespace of process {pid}"))?;
    }
    let status = Command::new(program)
        .args(arguments)
        .current_dir(here)
        .env_remove(ROLE)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .status()
        .with_context(|| format!("run {}", program.display()))?;
    Ok(code_of(status))
}
