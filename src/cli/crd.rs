//! `tidegate crd`: the definitions the API server gets.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tidegate_api::crds;

/// Arguments of `tidegate crd`. Without any, all definitions are printed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CrdArgs {
    /// Write one file per kind into this directory.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Write nothing; fail when the files in the directory (crds, if --dir does not say) differ.
    #[arg(long)]
    pub check: bool,
}

/// Why `tidegate crd` failed.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A definition could not be written as YAML.
    #[error("cannot write {name} as YAML")]
    Yaml {
        /// Name of the definition.
        name: String,
        /// What the library says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The output is closed.
    #[error("cannot print the definitions")]
    Print(#[source] io::Error),
    /// The files are not what the types say.
    #[error("{}: not as generated; run `tidegate crd --dir {}`", list(stale), dir.display())]
    Stale {
        /// Files that differ, are missing, or are of no kind of ours.
        stale: Vec<PathBuf>,
        /// Where they are.
        dir: PathBuf,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let mut text = String::new();
    for (index, path) in paths.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a String does not fail.
        let _ = write!(text, "{comma}{}", path.display());
    }
    text
}

/// Prints, writes or compares the definitions.
pub fn run(args: &CrdArgs, out: &mut impl io::Write) -> Result<(), CrdError> {
    let files = files()?;
    match (&args.dir, args.check) {
        (dir, true) => check(&files, dir.as_deref().unwrap_or_else(|| Path::new("crds"))),
        (Some(dir), false) => write(&files, dir),
        (None, false) => {
            for file in &files {
                write!(out, "---\n{}", file.text).map_err(CrdError::Print)?;
            }
            out.flush().map_err(CrdError::Print)
        }
    }
}

/// One definition as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrdFile {
    /// Such as `tidegate.dev_rollouts.yaml`.
    pub name: String,
    /// Its YAML, with a line that says where it comes from.
    pub text: String,
}

/// All definitions as files, by name.
pub fn files() -> Result<Vec<CrdFile>, CrdError> {
    crds().iter().map(file).collect()
}

fn file(crd: &CustomResourceDefinition) -> Result<CrdFile, CrdError> {
    let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
    let yaml = serde_saphyr::to_string(crd)
        .map_err(|source| CrdError::Yaml { name: name.clone(), source: Box::new(source) })?;
    let text = format!("# Generated from src/api by `tidegate crd --dir crds`.\n{yaml}");
    Ok(CrdFile { name, text })
}

fn write(files: &[CrdFile], dir: &Path) -> Result<(), CrdError> {
    std::fs::create_dir_all(dir)
        .map_err(|source| CrdError::File { path: dir.to_owned(), source })?;
    for file in files {
        let path = dir.join(&file.name);
        std::fs::write(&path, &file.text).map_err(|source| CrdError::File { path, source })?;
    }
    Ok(())
}

fn check(files: &[CrdFile], dir: &Path) -> Result<(), CrdError> {
    let mut stale = Vec::new();
    for file in files {
        let path = dir.join(&file.name);
        match std::fs::read_to_string(&path) {
            Ok(text) if text == file.text => {}
            Ok(_) => stale.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => stale.push(path),
            Err(source) => return Err(CrdError::File { path, source }),
        }
    }
    let unreadable = |source| CrdError::File { path: dir.to_owned(), source };
    if dir.is_dir() {
        for entry in std::fs::read_dir(dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_some_and(|extension| extension == "yaml")
                && !files.iter().any(|file| file.name == name)
            {
                stale.push(path);
            }
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        stale.sort();
        Err(CrdError::Stale { stale, dir: dir.to_owned() })
    }
}
