//! Making what is missing, one component after another.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::cache::{Cache, Lock};
use super::golang::{self, Site};
use super::recipe::{Recipe, Source};
use super::run::Teller;
use super::wheel;

/// Makes components, and first the toolchains they need.
pub(super) fn all(cache: &Cache, missing: &[&'static Recipe], lock: &Lock) -> anyhow::Result<()> {
    let plan = plan(missing, |recipe| match &recipe.source {
        Source::Go(build) => golang::missing_toolchain(cache, build),
        Source::Wheel(_) | Source::Toolchain(_) => None,
    });
    let Some(_) = plan.first() else { return Ok(()) };
    println!("components: {} to be made in {}", plan.len(), cache.root().display());
    for (index, recipe) in plan.iter().enumerate() {
        let subject = format!("{} {}", recipe.name, recipe.version);
        let mut teller = Teller::about(&subject, &format!("{} of {}", index + 1, plan.len()));
        teller.say("begins");
        one(cache, recipe, lock, &mut teller).with_context(|| {
            format!("the component {} {} cannot be made", recipe.name, recipe.version)
        })?;
        teller.say(&format!("ready after {} s", teller.seconds()));
    }
    cache.sweep(lock)?;
    offer(cache);
    Ok(())
}

/// Each toolchain stands once, before the first component that needs it.
pub(super) fn plan(
    missing: &[&'static Recipe],
    toolchain: impl Fn(&Recipe) -> Option<&'static Recipe>,
) -> Vec<&'static Recipe> {
    let mut plan: Vec<&'static Recipe> = Vec::new();
    for recipe in missing {
        for part in toolchain(recipe).into_iter().chain([*recipe]) {
            if !plan.iter().any(|known| known.entry() == part.entry()) {
                plan.push(part);
            }
        }
    }
    plan
}

fn one(cache: &Cache, recipe: &Recipe, lock: &Lock, teller: &mut Teller) -> anyhow::Result<()> {
    let stage = cache.stage(recipe, lock)?;
    let (made, work) = (stage.join("made"), stage.join("work"));
    for folder in [&made, &work] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let log = cache.log(recipe)?;
    match &recipe.source {
        Source::Wheel(wheel) => wheel::make(wheel, &made, &work, &log, teller)?,
        Source::Toolchain(toolchain) => {
            let site = Site { cache, made: &made, work: &work, log: &log };
            golang::toolchain(toolchain, &site, teller)?;
        }
        Source::Go(build) => {
            let site = Site { cache, made: &made, work: &work, log: &log };
            golang::build(recipe, build, &site, teller)?;
        }
    }
    cache.finish(recipe, &made, lock)
}

/// Says what could be deleted now.
fn offer(cache: &Cache) {
    let gib = |folder: &str| size(&cache.root().join(folder)) as f64 / f64::from(1 << 30);
    let (modules, objects) = (gib("gomod"), gib("gobuild"));
    let root = cache.root().display();
    println!(
        "components: done; {root} has {:.1} GiB, of which {modules:.1} in gomod and {objects:.1} \
         in gobuild serve building only: `chmod -R u+w {root}/gomod && rm -rf {root}/go{{mod,build}}` \
         frees them",
        gib(".")
    );
}

/// The bytes of all files below a folder; what cannot be read counts as nothing.
pub fn size(folder: &Path) -> u64 {
    let Ok(files) = fs::read_dir(folder) else { return 0 };
    files
        .flatten()
        .map(|file| match file.metadata() {
            Ok(found) if found.is_dir() => size(&file.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}
