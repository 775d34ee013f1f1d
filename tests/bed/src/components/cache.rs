//! The cache directory: entries that are whole or absent, and one writer at a time.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::recipe::Recipe;
use super::run::Teller;

/// Where unfinished entries lie; what is in it belongs to the holder of the lock.
const STAGING: &str = "unfinished";

/// The cache directory.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
}

/// Held while entries are made; the kernel lets go of it when the process ends in any way.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Cache {
    pub(super) fn open() -> anyhow::Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = variable("TIDEGATE_TESTBED_DIR")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&variable("XDG_CACHE_HOME")?).join("tidegate-testbed")))
            .or_else(|| Some(Path::new(&variable("HOME")?).join(".cache/tidegate-testbed")));
        let Some(root) = root else {
            bail!("no place for the test bed's cache: set TIDEGATE_TESTBED_DIR or HOME");
        };
        Self::at(&root)
    }

    pub(super) fn at(root: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot make the cache directory {}", root.display());
        fs::create_dir_all(root).with_context(context)?;
        Ok(Self { root: root.canonicalize().with_context(context)? })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a component lies, or will lie.
    pub(super) fn entry(&self, recipe: &Recipe) -> PathBuf {
        self.root.join(recipe.entry())
    }

    /// Whether a component is there; an entry appears under its name only when it is whole.
    pub(super) fn has(&self, recipe: &Recipe) -> bool {
        self.entry(recipe).is_dir()
    }

    /// The file that keeps what the build of a component says.
    pub(super) fn log(&self, recipe: &Recipe) -> anyhow::Result<PathBuf> {
        let folder = self.root.join("log");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(folder.join(format!("{}.log", recipe.entry())))
    }

    /// Waits until no other run makes entries, and says so while it waits.
    pub(super) fn lock(&self, teller: &mut Teller) -> anyhow::Result<Lock> {
        let path = self.root.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open the lock {}", path.display()))?;
        let mut waited = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if waited => {
                    teller.still("waiting for another run that builds them");
                }
                Err(TryLockError::WouldBlock) => {
                    teller.say("waiting for another run that builds them");
                    waited = true;
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// An empty folder for an unfinished entry. What a killed run left is removed first.
    pub(super) fn stage(&self, recipe: &Recipe, _lock: &Lock) -> anyhow::Result<PathBuf> {
        let folder = self.root.join(STAGING);
        remove(&folder)?;
        let stage = folder.join(recipe.entry());
        fs::create_dir_all(&stage)
            .with_context(|| format!("cannot make the folder {}", stage.display()))?;
        Ok(stage)
    }

    /// Gives a finished entry its name. Renaming is atomic: nobody sees half of it.
    pub(super) fn finish(&self, recipe: &Recipe, made: &Path, _lock: &Lock) -> anyhow::Result<()> {
        for path in recipe.programs.iter().map(|(_, path)| path) {
            let program = made.join(path);
            if !program.is_file() {
                bail!("{} {} has no {path} after its build", recipe.name, recipe.version);
            }
        }
        for path in recipe.folders.iter().map(|(_, path)| path) {
            let empty =
                fs::read_dir(made.join(path)).map_or(true, |mut files| files.next().is_none());
            if empty {
                bail!("{} {} has nothing in {path} after its build", recipe.name, recipe.version);
            }
        }
        fs::write(made.join("definition.txt"), recipe.definition())
            .with_context(|| format!("cannot write into {}", made.display()))?;
        let entry = self.entry(recipe);
        fs::rename(made, &entry)
            .with_context(|| format!("cannot rename {} to {}", made.display(), entry.display()))
    }

    /// Removes what is left of staging.
    pub(super) fn sweep(&self, _lock: &Lock) -> anyhow::Result<()> {
        remove(&self.root.join(STAGING))
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
