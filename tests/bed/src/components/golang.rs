//! Go: its toolchain, and programs built from their published modules.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::cache::Cache;
use super::recipe::{Amended, GoBuild, Kept, Recipe, Toolchain};
use super::run::{self, Teller};
use super::{host, mirror, pins, unpack, wheel};

/// The module a toolchain is published as.
const TOOLCHAIN: &str = "golang.org/toolchain";

/// What the environment may say about how Go reaches modules. Nothing else of Go's is taken from
/// it: a user's flags must not change what is built under the same key.
const REACH: [&str; 7] =
    ["GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOVCS"];

/// What takes part in making one entry.
pub(super) struct Site<'a> {
    pub(super) cache: &'a Cache,
    /// The entry in the making.
    pub(super) made: &'a Path,
    /// A folder for everything else; removed afterwards.
    pub(super) work: &'a Path,
    pub(super) log: &'a Path,
}

/// What `go mod download -json` tells of a module.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    zip: PathBuf,
    #[serde(default)]
    dir: PathBuf,
    sum: String,
}

/// Builds the programs of a component and keeps the files that belong to them.
pub(super) fn build(
    recipe: &Recipe,
    build: &GoBuild,
    site: &Site,
    teller: &mut Teller,
) -> anyhow::Result<()> {
    if build.cgo {
        host::cc()?;
    }
    let root = host::go_of(build.toolchain)
        .unwrap_or_else(|| site.cache.entry(build.toolchain).join("go"));
    for (name, text) in
        [("go.mod", build.go_mod), ("go.sum", build.go_sum), ("tools.go", build.tools_go)]
    {
        let file = site.work.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(amended) = &build.amended {
        amend(amended, &root, site, teller)?;
    }
    let bin = site.made.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    // A package alone would be named after its folder, such as `cmd`.
    let out = match recipe.programs {
        [(_, path)] => site.made.join(path),
        _ => bin,
    };
    let mut command = go(&root, site);
    command
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", build.ldflags])
        .args(["-tags", build.tags, "-o"])
        .arg(&out)
        .args(build.packages)
        .env("GOFLAGS", "-mod=readonly")
        .env("CGO_ENABLED", if build.cgo { "1" } else { "0" });
    run::to_log(command, "building", site.log, teller)?;
    build.kept.iter().try_for_each(|kept| keep(kept, &root, site))
}

/// Fetches a toolchain with a Go of any version: the host's, or one that pip brings.
pub(super) fn toolchain(
    wanted: &Toolchain,
    site: &Site,
    teller: &mut Teller,
) -> anyhow::Result<()> {
    let version = format!("v0.0.1-{}.linux-amd64", wanted.release);
    let zip = if let Some(file) = mirror::find(&wanted.file, site.work, teller)? {
        file
    } else {
        let root =
            any_go(site, teller).with_context(|| format!("no way to fetch {}", wanted.release))?;
        let zip = download(&root, &format!("{TOOLCHAIN}@{version}"), site, teller)?.zip;
        unpack::check(&zip, &wanted.file)?;
        zip
    };
    unpack::zip(&zip, &format!("{TOOLCHAIN}@{version}/"), &site.made.join("go"), |path| {
        path.starts_with("bin/") || path.starts_with("pkg/tool/")
    })
}

/// The folder of a Go that can at least download modules.
fn any_go(site: &Site, teller: &mut Teller) -> anyhow::Result<PathBuf> {
    if let Some(go) = host::on_path("go") {
        let mut command = Command::new(go);
        command.args(["env", "GOROOT"]).env("GOTOOLCHAIN", "local");
        if let Some(root) = run::ask(command) {
            return Ok(root.into());
        }
    }
    let folder = site.work.join("bootstrap");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    wheel::make(&pins::ANY_GO, &folder, &folder, site.log, teller)
        .context("the host has no `go`; installing one of any version since 1.19 helps too")?;
    Ok(folder.join("go"))
}

/// The `go` of a toolchain, as if there were no other and no settings of the user's.
fn go(root: &Path, site: &Site) -> Command {
    let mut command = Command::new(root.join("bin/go"));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let of_go = text.starts_with("GO") || text.starts_with("CGO_");
        if of_go && !REACH.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(site.work)
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env("GOTELEMETRY", "off")
        .env("GOFLAGS", "")
        .env("GOROOT", root)
        .env("GOMODCACHE", site.cache.root().join("gomod"))
        .env("GOCACHE", site.cache.root().join("gobuild"));
    command
}

/// Downloads one module, whether it is required by anything or not.
fn download(
    root: &Path,
    module: &str,
    site: &Site,
    teller: &mut Teller,
) -> anyhow::Result<Downloaded> {
    // Not in the folder of our `go.mod`, which may replace the module.
    let folder = site.work.join("nowhere");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let command = |json: bool| {
        let mut command = go(root, site);
        command.args(["mod", "download"]).args(json.then_some("-json")).arg(module);
        command.current_dir(&folder).env("GO111MODULE", "on").env("GOWORK", "off");
        command
    };
    let ours = folder.join("go.mod");
    fs::write(&ours, "module nowhere\n")
        .with_context(|| format!("cannot write {}", ours.display()))?;
    run::to_log(command(false), &format!("fetching {module}"), site.log, teller)?;
    let told = run::ask(command(true)).with_context(|| format!("lost the module {module}"))?;
    serde_json::from_str(&told).with_context(|| format!("cannot read what go says of {module}"))
}

/// Lays a writable copy of a module beside our `go.mod` and adds the files it lacks.
fn amend(amended: &Amended, root: &Path, site: &Site, teller: &mut Teller) -> anyhow::Result<()> {
    let Amended { module, sum, folder, files } = amended;
    let found = download(root, module, site, teller)?;
    if found.sum != *sum {
        bail!("the module {module} is not the one that is pinned: {} instead of {sum}", found.sum);
    }
    let copy = site.work.join(folder);
    unpack::copy(&found.dir, &copy)?;
    for (path, content) in *files {
        let file = copy.join(path);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Copies files of a module that took part in the build into the entry.
fn keep(kept: &Kept, root: &Path, site: &Site) -> anyhow::Result<()> {
    let Kept { module, from, to } = kept;
    let mut command = go(root, site);
    command.args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]);
    let folder = run::ask(command)
        .filter(|folder| !folder.is_empty())
        .with_context(|| format!("the module {module} took no part in the build"))?;
    unpack::copy(&Path::new(&folder).join(from), &site.made.join(to))
}

/// The toolchain a recipe needs and neither the host nor the cache has.
pub(super) fn missing_toolchain(cache: &Cache, build: &GoBuild) -> Option<&'static Recipe> {
    let toolchain = build.toolchain;
    (!cache.has(toolchain) && host::go_of(toolchain).is_none()).then_some(toolchain)
}
