//! The examples, and the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tidegate::simulate::World;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn rollout() -> PathBuf {
    root().join("examples/rollout.yaml")
}

pub(crate) fn scenario(name: &str) -> PathBuf {
    root().join("examples/scenarios").join(name).with_extension("yaml")
}

pub(crate) fn world(name: &str) -> World {
    World::read(&[rollout()], Some(&scenario(name))).unwrap()
}

/// `tidegate simulate` with these arguments, in a directory.
pub(crate) fn simulate(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("simulate")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}
