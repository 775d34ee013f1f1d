//! Makes the components of the test bed ready and lists them.
//!
//! `cargo run -p tidegate-testbed --example components` makes what the smoke tier needs;
//! `-- all` makes everything. Try it before going offline.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use anyhow::bail;
use tidegate_testbed::components::{self, Program, Tier};

fn main() -> anyhow::Result<()> {
    let tier = match std::env::args().nth(1).as_deref() {
        None | Some("smoke") => Tier::Smoke,
        Some("all") => Tier::All,
        Some(other) => bail!("`{other}` is not a tier: say `smoke` or `all`"),
    };
    let components = components::ensure(tier)?;
    println!("{:26} {:10} {:>9}  programs", "component", "version", "size");
    for component in components.list() {
        let programs: Vec<String> = component
            .programs
            .iter()
            .map(|program| components.program(*program))
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        println!(
            "{:26} {:10} {:>5} MiB  {}",
            component.name,
            component.version,
            components::size(&component.folder) >> 20,
            programs.join(", ")
        );
    }
    println!("git: {}", components.program(Program::Git).display());
    println!("cache: {}", components.cache().display());
    Ok(())
}
