//! Brings the test bed up until Ctrl-C: a real cluster, gateway, Prometheus, Alertmanager.
//!
//! ```text
//! cargo run --example world                 # up, until Ctrl-C
//! cargo run --example world -- sh           # in another terminal: a shell inside
//! cargo run --example world -- kubectl get pods -A
//! ```

#![expect(clippy::print_stdout, reason = "an example talks to people")]

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use tidegate_testbed::{
    components::{self, Components, Program, Tier},
    sandbox::{self, Next, Sandbox, cache_folder, visit},
    world::{World, WorldOptions, ports},
};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    sandbox::main(outside, inside)
}

/// The file that says where the world is that is up.
fn record() -> Result<PathBuf> {
    Ok(cache_folder()?.join("world"))
}

fn outside() -> Result<Next> {
    let command: Vec<OsString> = env::args_os().skip(1).collect();
    if command.is_empty() {
        components::ensure(Tier::Smoke).context("make the programs of the test bed ready")?;
        return Ok(Next::Enter);
    }
    let Ok(folder) = fs::read_to_string(record()?) else {
        bail!("no world is up; start one in another terminal: cargo run --example world");
    };
    let folder = PathBuf::from(folder.trim());
    let programs = folder.join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = env::join_paths([programs].into_iter().chain(env::split_paths(&path)))?;
    let environment =
        [("PATH", paths), ("KUBECONFIG", folder.join("config/admin.kubeconfig").into())];
    visit(&folder, &command, &environment).map(Next::Done)
}

fn inside(sandbox: &Sandbox) -> Result<ExitCode> {
    let components = components::ensure(Tier::Smoke)?;
    link_programs(&components, &sandbox.folder().join("bin"))?;
    tokio::runtime::Runtime::new().context("start a runtime")?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let options = WorldOptions::default();
        let world = tokio::select! {
            world = World::start(&components, sandbox, &options) => world?,
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        };
        let record = record()?;
        fs::write(&record, sandbox.folder().as_os_str().as_encoded_bytes())
            .with_context(|| format!("write {}", record.display()))?;
        describe(&world, sandbox)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        println!("the world goes down");
        // Another world may have taken its place in the meantime; then that one is forgotten.
        fs::remove_file(record).ok();
        Ok(ExitCode::SUCCESS)
    })
}

/// Puts the programs a visitor may want into one folder.
fn link_programs(components: &Components, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join("kubectl");
    symlink(components.program(Program::Kubectl), &path)
        .with_context(|| format!("link {}", path.display()))
}

fn describe(world: &World, sandbox: &Sandbox) -> Result<()> {
    println!(
        "
inside, on 127.0.0.1
  API server    https :{api}      KUBECONFIG={kubeconfig}
  gateway       http  :{gateway}      Gateway `contour` in the namespace `projectcontour`
  Prometheus    http  :{prometheus}
  Alertmanager  http  :{alertmanager}      logs of all servers: {logs}

try, in another terminal
  cargo run --example world -- kubectl get pods,gateways,httproutes -A
  cargo run --example world -- curl -H 'Host: shop.example.com' http://127.0.0.1:{gateway}/
  cargo run --example world -- curl 'http://127.0.0.1:{prometheus}/api/v1/query?query=up'
  cargo run --example world -- sh          # a shell inside; the same is
  nsenter -t {pid} -U -n -m -p --preserve-credentials    # without -U if the world is root's

Ctrl-C ends it all.",
        api = ports::API_SERVER,
        gateway = ports::GATEWAY,
        prometheus = ports::PROMETHEUS,
        alertmanager = ports::ALERTMANAGER,
        kubeconfig = world.kubeconfig().display(),
        logs = world.logs().display(),
        pid = sandbox.host_pid()?,
    );
    Ok(())
}
