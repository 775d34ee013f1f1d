//! The folder of one run.

use std::{
    env,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result, anyhow};
use chrono::Utc;

/// Runs whose logs are kept after a failure.
const KEPT: usize = 5;
/// Data goes to memory when this much is free, in kilobytes: a world's stores need some 300 MB.
const ENOUGH_MEMORY: u64 = 2_000_000;

/// The cache shared by all clones: programs, runs.
///
/// # Errors
/// Fails when neither `TIDEGATE_TESTBED_DIR` nor `HOME` is set.
pub fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("TIDEGATE_TESTBED_DIR") {
        return std::path::absolute(folder).context("TIDEGATE_TESTBED_DIR");
    }
    if let Some(caches) = env::var_os("XDG_CACHE_HOME") {
        return Ok(Path::new(&caches).join("tidegate-testbed"));
    }
    let home = env::var_os("HOME").ok_or_else(|| {
        anyhow!("neither TIDEGATE_TESTBED_DIR nor HOME is set: there is no place for the test bed")
    })?;
    Ok(Path::new(&home).join(".cache/tidegate-testbed"))
}

/// Makes the folder of a new run and removes the oldest of those that ended.
pub(super) fn create() -> Result<PathBuf> {
    let runs = cache_folder()?.join("runs");
    fs::create_dir_all(&runs).with_context(|| format!("make {}", runs.display()))?;
    prune(&runs);
    let folder = runs.join(format!("{}-{}", Utc::now().format("%Y%m%dT%H%M%S"), process::id()));
    fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

fn prune(runs: &Path) {
    let mut ended: Vec<PathBuf> = fs::read_dir(runs)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| has_ended(folder))
        .collect();
    ended.sort();
    let many = ended.len().saturating_sub(KEPT);
    for folder in ended.drain(..many) {
        // A run of another user may stay: it is theirs to remove.
        fs::remove_dir_all(folder).ok();
    }
}

/// Whether no process holds the run's lock. A run that has no lock yet is just being started.
fn has_ended(folder: &Path) -> bool {
    File::open(lock_file(folder)).is_ok_and(|file| file.try_lock().is_ok())
}

/// Locks the run for as long as the file is held.
pub(super) fn lock(folder: &Path) -> Result<File> {
    let path = lock_file(folder);
    let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(anyhow!("{} belongs to a run", path.display())),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    }
}

/// Removes the folder of a run that ended well; tells where it is otherwise.
pub(super) fn finish(folder: &Path, success: bool) {
    if success {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                eprintln!("test bed: note: {} is left: {error}", folder.display());
            }
            Ok(()) | Err(_) => {}
        }
    } else if fs::read_dir(folder.join("logs")).is_ok_and(|mut logs| logs.next().is_some()) {
        eprintln!("test bed: the logs of this run are in {}", folder.join("logs").display());
    }
}

/// The folder that lies in memory.
pub(super) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Whether data may lie in memory.
pub(super) fn memory_suffices() -> bool {
    let Ok(memory) = fs::read_to_string("/proc/meminfo") else { return false };
    memory
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .is_some_and(|free| free >= ENOUGH_MEMORY)
}

/// Writes down the process id of init as the host sees it.
pub(super) fn write_pid(folder: &Path, pid: u32) -> Result<()> {
    let (path, half) = (folder.join("init.pid"), folder.join("init.pid.half"));
    fs::write(&half, pid.to_string()).context("write init.pid")?;
    fs::rename(half, path).context("write init.pid")
}

/// Reads it back.
pub(super) fn read_pid(folder: &Path) -> Result<u32> {
    let path = folder.join("init.pid");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("{} holds no process id", path.display()))
}

/// The file that is locked while the run lives.
pub(super) fn lock_file(folder: &Path) -> PathBuf {
    folder.join("lock")
}
