//! The sandbox keeps its promises: nothing outlives a run, and what is asked passes through.
//!
//! The stories run in a sandbox, and start this executable again in another one inside it.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tidegate_testbed::{
    components::{self, Tier},
    sandbox::{self, Next, ROLE, RUN, Sandbox},
    world::{Daemon, World, WorldOptions, eventually},
};
use tokio::signal::unix::{SignalKind, signal};

/// Says which part the executable plays in a nested sandbox.
const PART: &str = "TIDEGATE_BED_NESTED";
/// The line that a nested part prints when it is up, before its folder.
const UP: &str = "nested sandbox up: ";

/// The main function of a nested sandbox, if this process belongs to one.
pub(crate) fn nested() -> Option<ExitCode> {
    let part = env::var(PART).ok()?;
    Some(sandbox::main(|| Ok(Next::Enter), |sandbox| play(&part, sandbox)))
}

fn play(part: &str, sandbox: &Sandbox) -> Result<ExitCode> {
    let up = || println!("{UP}{}", sandbox.folder().display());
    match part {
        "exit" => Ok(ExitCode::from(7)),
        "stubborn" => {
            // Orphans in sessions of their own that hear no signal but SIGKILL.
            let script = "trap '' TERM HUP INT; for i in 1 2 3; do setsid sleep 1000 & done; wait";
            let logs = sandbox.folder().join("logs");
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let _daemon = Daemon::start("stubborn", &logs, command)?;
            up();
            loop {
                thread::park();
            }
        }
        "world" => {
            let runtime = tokio::runtime::Runtime::new()?;
            let components = components::ensure(Tier::Smoke)?;
            let options = WorldOptions::default();
            let _world = runtime.block_on(World::start(&components, sandbox, &options))?;
            up();
            loop {
                thread::park();
            }
        }
        "count" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut interrupts = signal(SignalKind::interrupt())?;
                up();
                interrupts.recv().await;
                // A second one would come at once: the stages pass signals on without delay.
                let more = tokio::time::timeout(Duration::from_millis(300), interrupts.recv());
                Ok(ExitCode::from(if more.await.is_ok() { 2 } else { 42 }))
            })
        }
        other => bail!("{PART}={other} is no part"),
    }
}

fn start(program: &Path, part: &str) -> Command {
    let mut command = Command::new(program);
    command.env_remove(ROLE).env_remove(RUN).env(PART, part);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn this_program() -> Result<PathBuf> {
    env::current_exe().context("find this executable")
}

/// Waits for the line of a nested sandbox that is up, and gives its folder.
fn folder_of(child: &mut Child) -> Result<String> {
    let output = child.stdout.take().context("its output is taken")?;
    for line in BufReader::new(output).lines() {
        if let Some(folder) = line?.strip_prefix(UP) {
            return Ok(folder.to_owned());
        }
    }
    let mut errors = String::new();
    if let Some(mut stream) = child.stderr.take() {
        stream.read_to_string(&mut errors)?;
    }
    bail!("it ended before it was up: {errors}")
}

/// The processes that belong to the run in `folder`: all carry its name in their environment.
fn processes_of(folder: &str) -> Result<Vec<String>> {
    let mark = format!("{RUN}={folder}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // Processes end while we look.
        let Ok(environment) = fs::read(path.join("environ")) else { continue };
        if environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes()) {
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            found.push(format!("{} {}", path.display(), name.trim()));
        }
    }
    Ok(found)
}

async fn sigkill_leaves_nothing(part: &'static str, at_least: usize) -> Result<()> {
    let mut child = start(&this_program()?, part).spawn()?;
    let (mut child, folder) = tokio::task::spawn_blocking(move || {
        let folder = folder_of(&mut child);
        (child, folder)
    })
    .await?;
    let folder = folder?;
    eventually("all processes of the sandbox run", Duration::from_secs(5), async || {
        let running = processes_of(&folder)?;
        ensure!(running.len() >= at_least, "only {running:?} run");
        Ok(Some(()))
    })
    .await?;
    child.kill()?;
    child.wait()?;
    eventually("the end of all processes", Duration::from_secs(5), async || {
        let left = processes_of(&folder)?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(Some(()))
    })
    .await
}

pub(crate) async fn nothing_is_left_after_sigkill(_: &'static World) -> Result<()> {
    // enter, init, the part, the shell, three sleepers.
    sigkill_leaves_nothing("stubborn", 7).await
}

pub(crate) async fn no_world_is_left_after_sigkill(_: &'static World) -> Result<()> {
    sigkill_leaves_nothing("world", 10).await
}

pub(crate) async fn exit_codes_pass_through(_: &'static World) -> Result<()> {
    let program = this_program()?;
    let output = tokio::process::Command::from(start(&program, "exit")).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(7), "{}: {errors}", output.status);
    Ok(())
}

pub(crate) async fn ctrl_c_arrives_once(_: &'static World) -> Result<()> {
    let mut child = start(&this_program()?, "count").spawn()?;
    let pid = child.id();
    let (mut child, folder) = tokio::task::spawn_blocking(move || {
        let folder = folder_of(&mut child);
        (child, folder)
    })
    .await?;
    folder?;
    // To its process group alone, as a terminal does it with the foreground.
    let sent = Command::new("kill").args(["-INT", &pid.to_string()]).status()?;
    ensure!(sent.success(), "kill: {sent}");
    let status = tokio::task::spawn_blocking(move || child.wait()).await??;
    ensure!(status.code() == Some(42), "{status}");
    Ok(())
}

/// Whoever is not root gets in by a user namespace, or reads why not and what helps.
pub(crate) async fn a_user_gets_in_or_is_told_why(_: &'static World) -> Result<()> {
    let home = tempfile::tempdir()?;
    let program = home.path().join("stories");
    fs::copy(this_program()?, &program)?;
    for path in [home.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let mut command = start(&program, "exit");
    command.current_dir("/");
    let cache = home.path().join("cache");
    fs::create_dir(&cache)?;
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777))?;
    command.env("TIDEGATE_TESTBED_DIR", &cache);
    // Inside a user namespace there is nobody else to become.
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let many = map.split_whitespace().nth(2).is_some_and(|count| count != "1");
    if many {
        command.uid(65_534).gid(65_534);
    }
    let output = tokio::process::Command::from(command).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let explained = errors.contains("  cause: ") && errors.contains("  help: ");
    ensure!(output.status.code() == Some(7) || explained, "{}: {errors}", output.status);
    Ok(())
}
