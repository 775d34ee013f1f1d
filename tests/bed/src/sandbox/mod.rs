//! Namespaces of one run: what is started inside cannot outlive it, and two runs cannot meet.
//!
//! One executable plays every part; the environment variable [`ROLE`] says which:
//!
//! ```text
//! outer      fetches what needs the network, then only waits; its end is the end of the run
//!  └ enter   leaves the host's namespaces: network, mounts, processes (and users, without root)
//!     └ init PID 1 of the new namespace: sets the network up, reaps orphans, passes signals on
//!        └ inside   the real work: the tests, or the world that waits for Ctrl-C
//!           └ …     servers, and pods (role `app`)
//! ```
//!
//! The outer process listens on a socket that init holds the other end of, and never answers. When
//! the outer process ends in whatever way, SIGKILL included, init reads the end of that socket and
//! exits; the kernel then kills every process of the namespace, however it was started.

mod enter;
mod init;
mod lifeline;
mod network;
mod refused;
mod run;
mod visit;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::Signal;

pub use run::cache_folder;
pub use visit::visit;

/// The environment variable that says which part a process plays.
pub const ROLE: &str = "TIDEGATE_BED_ROLE";
/// The environment variable with the folder of the run. Every process of a run carries it.
pub const RUN: &str = "TIDEGATE_BED_RUN";
/// The environment variable with the way in that was found, see [`Way`].
const WAY: &str = "TIDEGATE_BED_WAY";
/// Set when init shall set everything up and end: a trial of the way in.
const TRIAL: &str = "TIDEGATE_BED_TRIAL";

/// What the outer process does after its own work.
#[derive(Debug)]
pub enum Next {
    /// Go into new namespaces and do the work there.
    Enter,
    /// There is nothing to do inside, for example because only a list was asked for.
    Done(ExitCode),
}

/// The namespaces this process lives in, seen from inside.
#[derive(Debug, Clone)]
pub struct Sandbox {
    folder: PathBuf,
}

impl Sandbox {
    /// The folder of this run, for logs. It is removed when the run ends with success.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder in memory for what servers store; it ends with the namespaces.
    pub fn data(&self) -> PathBuf {
        run::data(&self.folder)
    }

    /// The process id of the namespaces' init as the host sees it.
    ///
    /// # Errors
    /// Fails when the file that holds it cannot be read.
    pub fn host_pid(&self) -> Result<u32> {
        run::read_pid(&self.folder)
    }
}

/// The way into new namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With the rights this process has.
    Direct,
    /// As root of a user namespace of its own.
    User,
    /// As root, by `sudo -n`.
    Sudo,
}

/// The main function of every program that uses the bed.
///
/// `outside` runs on the host and has the network; `inside` runs in the new namespaces. A pod of
/// the test application is the same executable again, and `main` runs it at once.
pub fn main(
    outside: impl FnOnce() -> Result<Next>,
    inside: impl FnOnce(&Sandbox) -> Result<ExitCode>,
) -> ExitCode {
    let role = env::var(ROLE).unwrap_or_default();
    let done = match role.as_str() {
        "" => outside().and_then(|next| match next {
            Next::Done(code) => Ok(code),
            Next::Enter => outer(),
        }),
        "enter" => enter::run(way_from_environment()),
        "init" => init::run(),
        "inside" => {
            install_tls();
            init::Signals::unblock()
                .and_then(|()| from_environment())
                .and_then(|sandbox| inside(&sandbox))
        }
        "app" => return crate::app::main(),
        other => Err(anyhow!("{ROLE}={other} is no role of the test bed")),
    };
    done.unwrap_or_else(|error| {
        eprintln!("test bed: {error:#}");
        ExitCode::FAILURE
    })
}

/// Makes ring the provider of TLS for the whole process.
fn install_tls() {
    // An error only says that a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn from_environment() -> Result<Sandbox> {
    let folder = env::var_os(RUN).ok_or_else(|| anyhow!("{RUN} is not set"))?;
    Ok(Sandbox { folder: PathBuf::from(folder) })
}

fn way_from_environment() -> Way {
    match env::var(WAY).as_deref() {
        Ok("user") => Way::User,
        _ => Way::Direct,
    }
}

/// Finds a way in, starts the stages, and waits for their end.
fn outer() -> Result<ExitCode> {
    let way = find_way()?;
    let folder = run::create()?;
    let lifeline = lifeline::Lifeline::hold()?;
    let mut command = stage(way, &folder, &lifeline)?;
    let signals = init::Signals::block()?;
    let mut child = command.spawn().context("start the stage `enter`")?;
    let status = wait_passing_signals(&signals, &mut child)?;
    drop(lifeline);
    Ok(code_of(status))
}

/// Waits for the child; SIGINT, SIGTERM and SIGHUP go on to it.
fn wait_passing_signals(signals: &init::Signals, child: &mut Child) -> Result<ExitStatus> {
    /// Who presses Ctrl-C this often wants no orderly end.
    const PATIENCE: usize = 3;
    let mut asked = 0;
    loop {
        if let Some(status) = child.try_wait().context("wait for the sandbox")? {
            return Ok(status);
        }
        match signals.next()? {
            Signal::SIGCHLD => {}
            signal => {
                asked += 1;
                if asked >= PATIENCE {
                    bail!("interrupted {PATIENCE} times: everything inside is killed");
                }
                init::pass_on(signal, child.id());
            }
        }
    }
}

/// The exit code that says how a process ended; 128 plus the signal, as shells do.
fn code_of(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Tries the ways in, cheapest first, with a trial that sets everything up and ends.
fn find_way() -> Result<Way> {
    let ways = if nix::unistd::geteuid().is_root() {
        [Way::Direct, Way::User].as_slice()
    } else {
        [Way::User, Way::Sudo].as_slice()
    };
    let folder = tempfile::tempdir().context("make a folder for the trial")?;
    let mut answers = Vec::new();
    for &way in ways {
        let lifeline = lifeline::Lifeline::hold()?;
        let mut command = stage(way, folder.path(), &lifeline)?;
        let output = command.env(TRIAL, "1").stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => return Ok(way),
            Ok(output) => {
                answers.push((way, String::from_utf8_lossy(&output.stderr).trim().to_owned()));
            }
            Err(error) => answers.push((way, error.to_string())),
        }
    }
    bail!(refused::explain(&answers, &refused::Hindrance::of_this_host()))
}

/// The command that starts the stage `enter`.
fn stage(way: Way, folder: &Path, lifeline: &lifeline::Lifeline) -> Result<Command> {
    use std::os::unix::process::CommandExt as _;
    let program = env::current_exe().context("find this executable")?;
    let variables: [(&str, OsString); 4] = [
        (ROLE, "enter".into()),
        (RUN, folder.into()),
        (WAY, if way == Way::User { "user" } else { "direct" }.into()),
        (lifeline::NAME, lifeline.name().into()),
    ];
    let mut command = if way == Way::Sudo {
        // sudo drops the environment, so `env` brings it back.
        let mut command = Command::new("sudo");
        command.args(["-n", "--", "env"]);
        for (name, value) in env::vars_os().chain(variables.map(|(n, v)| (n.into(), v))) {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            command.arg(pair);
        }
        command.arg(program);
        command
    } else {
        let mut command = Command::new(program);
        command.envs(variables);
        command
    };
    // A group of its own: a terminal sends Ctrl-C to the outer process alone, which passes it on.
    command.args(env::args_os().skip(1)).process_group(0);
    Ok(command)
}
