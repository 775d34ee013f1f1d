//! What the host must bring, and what it may bring.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::recipe::{Recipe, Source, Toolchain};
use super::run;

/// The host's Git: Gitea and Argo CD run it.
pub(super) fn git() -> anyhow::Result<PathBuf> {
    on_path("git").context(
        "`git` is not on PATH, and Gitea, Flux and Argo CD are tested with it: \
         install it with the system's package manager",
    )
}

/// The host's C compiler: Gitea's database is written in C.
pub(super) fn cc() -> anyhow::Result<()> {
    on_path("cc").map(|_| ()).context(
        "`cc` is not on PATH, and Gitea's database is written in C: install a C compiler, \
         such as the package `gcc` or `build-essential`",
    )
}

/// The folder of the host's Go, if it is exactly the release that is wanted.
pub(super) fn go_of(toolchain: &Recipe) -> Option<PathBuf> {
    let Source::Toolchain(Toolchain { release, .. }) = &toolchain.source else { return None };
    let go = |arguments: &[&str]| {
        let mut command = Command::new(on_path("go")?);
        command.args(arguments).env("GOTOOLCHAIN", "local");
        run::ask(command)
    };
    is_release(&go(&["version"])?, release)
        .then(|| go(&["env", "GOROOT"]))
        .flatten()
        .map(PathBuf::from)
        .filter(|root| root.join("bin/go").is_file())
}

/// Whether `go version` printed exactly this release, for the platform we build on.
pub(super) fn is_release(version: &str, release: &str) -> bool {
    let words: Vec<&str> = version.split_whitespace().collect();
    words == ["go", "version", release, "linux/amd64"]
}

/// Whether Python's pip can be run.
pub(super) fn has_pip() -> bool {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--version"]);
    run::ask(command).is_some()
}

/// Finds a program as a shell would.
pub(super) fn on_path(program: &str) -> Option<PathBuf> {
    find(program, &env::var_os("PATH")?)
}

pub(super) fn find(program: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
