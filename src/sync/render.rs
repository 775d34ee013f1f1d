//! Files to objects: plain YAML and simple Kustomize. Pure.
//!
//! A render either gives every object of the path or fails as a whole: half a directory must
//! never be applied, since what is missing would be pruned.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kustomize::{self, Kustomization};
use super::object::{ObjectRef, apply_rank};
use super::yaml::{self, Kind, Node};

/// Most directories that one render enters, counted each time one is named.
const MAX_DIRECTORIES: usize = 1_000;

/// The names a Kustomize file may have.
const KUSTOMIZATION_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The files of a repository by their path from its root.
pub type Files = BTreeMap<String, Vec<u8>>;

/// One object and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file, from the root of the repository.
    pub file: String,
    /// The line on which the object begins in it.
    pub line: u64,
    /// The object, with `apiVersion`, `kind` and `metadata.name`.
    pub object: Value,
}

impl Manifest {
    /// The name of the object.
    pub(crate) fn reference(&self) -> Option<ObjectRef> {
        ObjectRef::of(&self.object)
    }
}

/// Why nothing was rendered: the file, the line and the field where they are known, and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", self.place())]
pub struct RenderError {
    /// The file or directory, from the root of the repository.
    pub file: String,
    /// The line, counted from 1.
    pub line: Option<u64>,
    /// The field, such as `resources[1]`.
    pub field: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The path is not in the repository, or has no manifests below it.
    #[error("no manifests here")]
    NothingHere,
    /// The path leaves the repository.
    #[error("the path `{0}` leads out of the repository")]
    OutsideRepository(String),
    /// A file or directory that is named does not exist.
    #[error("`{0}` is not in the repository")]
    Missing(String),
    /// A directory that is named has no Kustomize file.
    #[error("the directory `{0}` has no kustomization.yaml")]
    NoKustomization(String),
    /// A symbolic link or a submodule.
    #[error("a symbolic link or submodule, which is not followed")]
    NotFollowed,
    /// A remote resource.
    #[error("`{0}` is a URL; only paths in the repository are read")]
    Url(String),
    /// A directory that includes itself.
    #[error("the directories include each other: {0}")]
    Cycle(String),
    /// One entry is given twice.
    #[error("`{0}` is named twice")]
    NamedTwice(String),
    /// Too many directories.
    #[error("more than {MAX_DIRECTORIES} directories are included")]
    TooManyDirectories,
    /// The file is not YAML.
    #[error("{0}")]
    Syntax(String),
    /// Not an object of Kubernetes.
    #[error("not a Kubernetes object: {0}")]
    NotAnObject(String),
    /// Two objects with one name.
    #[error("{object} is also in {first}")]
    Duplicate {
        /// The name of the object.
        object: String,
        /// File and line of the first one.
        first: String,
    },
    /// A part of Kustomize that is not rendered.
    #[error("`{0}` is not supported; {1}")]
    Unsupported(String, &'static str),
    /// A value that makes no sense.
    #[error("{0}")]
    Invalid(String),
}

impl RenderError {
    pub(crate) fn new(file: &str, line: Option<u64>, field: Option<&str>, what: Problem) -> Self {
        let field = field.filter(|f| !f.is_empty()).map(str::to_owned);
        Self { file: file.to_owned(), line: line.filter(|l| *l > 0), field, problem: what }
    }

    /// Whether the path is just not there, or has no manifests.
    pub(crate) fn is_nothing_here(&self) -> bool {
        self.problem == Problem::NothingHere
    }

    fn place(&self) -> String {
        let file = if self.file.is_empty() { "." } else { &self.file };
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let field = self.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
        format!("{file}{line}: {field}")
    }
}

/// Renders `path` (a directory or a file, from the root of the repository) in apply order.
///
/// A directory with a Kustomize file is rendered by it; of any other, all `.yaml`, `.yml` and
/// `.json` files below it are read in order of their names, hidden ones excepted.
pub fn render(files: &Files, path: &str) -> Result<Vec<Manifest>, RenderError> {
    let at = |problem| RenderError::new(path, None, None, problem);
    let root = resolve("", path).ok_or_else(|| at(Problem::OutsideRepository(path.to_owned())))?;
    let mut loader = Loader { files, stack: Vec::new(), entered: 0 };
    let mut manifests = if files.contains_key(&root) {
        loader.manifests_of(&root)?
    } else if loader.has_below(&root) {
        loader.directory(&root)?
    } else {
        return Err(at(Problem::NothingHere));
    };
    check_distinct(&manifests)?;
    // Patches and transformations can set a namespace that was not in the file.
    let bad = |m: &&Manifest| m.reference().and_then(|r| r.namespace).is_some_and(|n| !is_dns(&n));
    if let Some(manifest) = manifests.iter().find(bad) {
        let problem = Problem::NotAnObject("not the name of a namespace".to_owned());
        let (line, field) = (Some(manifest.line), Some("metadata.namespace"));
        return Err(RenderError::new(&manifest.file, line, field, problem));
    }
    manifests.sort_by_key(|m| m.reference().map(|r| apply_rank(&r.group, &r.kind)));
    Ok(manifests)
}

/// Refuses a directory in which a link or a submodule may hide manifests: not to follow them in
/// silence would delete what they stand for. Names in Kustomize files are checked when they are
/// read.
pub(crate) fn check_skipped(
    files: &Files,
    skipped: &[String],
    path: &str,
) -> Result<(), RenderError> {
    let Some(root) = resolve("", path) else { return Ok(()) };
    let loader = Loader { files, stack: Vec::new(), entered: 0 };
    let prefix = prefix_of(&root);
    let may_hide = |name: &&String| {
        let Some(below) = name.strip_prefix(&prefix) else { return **name == root };
        let last = below.rsplit('/').next().unwrap_or(below);
        let hidden = below.split('/').any(|part| part.starts_with('.'));
        !hidden && (is_manifest(last) || !last.contains('.'))
    };
    if loader.kustomization_of(&root).is_some() {
        return Ok(());
    }
    match skipped.iter().find(may_hide) {
        None => Ok(()),
        Some(name) => Err(RenderError::new(name, None, None, Problem::NotFollowed)),
    }
}

fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
}

/// Joins `relative` to the directory `base`; none when it leaves the repository.
pub(crate) fn resolve(base: &str, relative: &str) -> Option<String> {
    if relative.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = base.split('/').filter(|p| !p.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Two objects of one name: one of them would be lost without a word.
pub(crate) fn check_distinct(manifests: &[Manifest]) -> Result<(), RenderError> {
    let mut seen: BTreeMap<String, &Manifest> = BTreeMap::new();
    for manifest in manifests {
        let Some(reference) = manifest.reference() else { continue };
        if let Some(first) = seen.insert(reference.id(), manifest) {
            let first = format!("{}:{}", first.file, first.line);
            let problem = Problem::Duplicate { object: reference.to_string(), first };
            return Err(RenderError::new(&manifest.file, Some(manifest.line), None, problem));
        }
    }
    Ok(())
}

/// Reads files and directories of one render.
pub(crate) struct Loader<'a> {
    pub(crate) files: &'a Files,
    /// The directories that are being rendered, outermost first.
    stack: Vec<String>,
    entered: usize,
}

impl Loader<'_> {
    /// Whether there are files below the directory.
    pub(crate) fn has_below(&self, directory: &str) -> bool {
        let prefix = prefix_of(directory);
        self.files.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix))
    }

    /// The Kustomize file of a directory.
    pub(crate) fn kustomization_of(&self, directory: &str) -> Option<String> {
        let prefix = prefix_of(directory);
        let mut names = KUSTOMIZATION_NAMES.iter().map(|name| format!("{prefix}{name}"));
        names.find(|name| self.files.contains_key(name))
    }

    /// Renders a directory, by its Kustomize file if it has one.
    pub(crate) fn directory(&mut self, directory: &str) -> Result<Vec<Manifest>, RenderError> {
        let error = |problem| RenderError::new(directory, None, None, problem);
        if self.stack.iter().any(|entered| entered == directory) {
            let mut names: Vec<_> = self.stack.iter().map(|d| or_dot(d)).collect();
            names.push(or_dot(directory));
            return Err(error(Problem::Cycle(names.join(" -> "))));
        }
        self.entered += 1;
        if self.entered > MAX_DIRECTORIES {
            return Err(error(Problem::TooManyDirectories));
        }
        self.stack.push(directory.to_owned());
        let manifests = match self.kustomization_of(directory) {
            Some(file) => self.kustomized(directory, &file),
            None => self.plain(directory),
        };
        self.stack.pop();
        manifests
    }

    fn kustomized(&mut self, directory: &str, file: &str) -> Result<Vec<Manifest>, RenderError> {
        let parsed = Kustomization::parse(file, self.bytes(file))?;
        kustomize::build(self, directory, &parsed)
    }

    fn plain(&mut self, directory: &str) -> Result<Vec<Manifest>, RenderError> {
        let prefix = prefix_of(directory);
        let mut manifests = Vec::new();
        let mut entered: Vec<String> = Vec::new();
        let files = self.files;
        for name in files.range(prefix.clone()..).map(|(name, _)| name) {
            let Some(below) = name.strip_prefix(&prefix) else { break };
            if below.split('/').any(|part| part.starts_with('.')) {
                continue;
            }
            if let Some(inner) = self.kustomized_parent(directory, name) {
                if !entered.contains(&inner) {
                    manifests.extend(self.directory(&inner)?);
                    entered.push(inner);
                }
            } else if is_manifest(name) {
                manifests.extend(self.manifests_of(name)?);
            }
        }
        Ok(manifests)
    }

    /// The outermost directory below `directory`, on the way to `file`, with a Kustomize file.
    fn kustomized_parent(&self, directory: &str, file: &str) -> Option<String> {
        let prefix = prefix_of(directory);
        let below = file.strip_prefix(&prefix)?;
        let slashes = below.match_indices('/').map(|(at, _)| prefix.len() + at);
        let mut parents = slashes.filter_map(|end| file.get(..end));
        parents.find(|parent| self.kustomization_of(parent).is_some()).map(str::to_owned)
    }

    /// All objects of one file.
    pub(crate) fn manifests_of(&self, file: &str) -> Result<Vec<Manifest>, RenderError> {
        let mut manifests = Vec::new();
        for node in read(file, self.bytes(file))? {
            objects_of(file, &node, &mut manifests)?;
        }
        Ok(manifests)
    }

    /// The content of a file; nothing when it is not there.
    pub(crate) fn bytes(&self, file: &str) -> &[u8] {
        self.files.get(file).map_or(&[], Vec::as_slice)
    }
}

/// The documents of a file, with its name in the error.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Vec<Node>, RenderError> {
    yaml::documents(bytes)
        .map_err(|e| RenderError::new(file, e.line, None, Problem::Syntax(e.message)))
}

fn prefix_of(directory: &str) -> String {
    if directory.is_empty() { String::new() } else { format!("{directory}/") }
}

fn or_dot(directory: &str) -> &str {
    if directory.is_empty() { "." } else { directory }
}

/// The object of a document, or the items of a `List`.
fn objects_of(file: &str, node: &Node, found: &mut Vec<Manifest>) -> Result<(), RenderError> {
    let is_list = node.get("kind").is_some_and(|k| k.to_value() == "List");
    if let (true, Some(items)) = (is_list, node.get("items")) {
        let Kind::List(items) = &items.kind else {
            let problem = Problem::NotAnObject("`items` is not a list".to_owned());
            return Err(RenderError::new(file, Some(items.line), Some("items"), problem));
        };
        return items.iter().try_for_each(|item| objects_of(file, item, found));
    }
    check_object(file, node)?;
    found.push(Manifest { file: file.to_owned(), line: node.line, object: node.to_value() });
    Ok(())
}

/// An object needs `apiVersion`, `kind` and `metadata.name`, and names without control characters.
fn check_object(file: &str, node: &Node) -> Result<(), RenderError> {
    let error = |line: u64, field: &str, text: &str| {
        let problem = Problem::NotAnObject(text.to_owned());
        Err(RenderError::new(file, Some(line), Some(field), problem))
    };
    if !matches!(node.kind, Kind::Map(_)) {
        return error(node.line, "", "the document is not a map");
    }
    let metadata = node.get("metadata");
    let name = metadata.and_then(|m| m.get("name"));
    let fields = [
        ("apiVersion", node.get("apiVersion")),
        ("kind", node.get("kind")),
        ("metadata.name", name),
    ];
    for (field, value) in fields {
        let Some(value) = value else {
            return error(node.line, field, "the field is missing");
        };
        check_text(value).or_else(|text| error(value.line, field, text))?;
    }
    if let Some(namespace) = metadata.and_then(|m| m.get("namespace")) {
        check_text(namespace).or_else(|t| error(namespace.line, "metadata.namespace", t))?;
    }
    for map in ["labels", "annotations"] {
        let Some(node) = metadata.and_then(|m| m.get(map)) else { continue };
        check_strings(node).or_else(|(line, key)| {
            let field = format!("metadata.{map}.{key}");
            error(line, &field, "the value is not a string: quote it")
        })?;
    }
    Ok(())
}

/// Whether this is a DNS label, as the names of namespaces are.
pub(crate) fn is_dns(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 63 && name.chars().all(inner) && !name.starts_with('-')
}

fn check_text(node: &Node) -> Result<(), &'static str> {
    let Kind::Scalar(Value::String(text)) = &node.kind else {
        return Err("the field is not a string");
    };
    if text.is_empty() {
        return Err("the field is empty");
    }
    let bad = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
    if text.contains(bad) || text.contains(' ') {
        return Err("the field has spaces or control characters");
    }
    Ok(())
}

fn check_strings(node: &Node) -> Result<(), (u64, String)> {
    let Kind::Map(fields) = &node.kind else { return Ok(()) };
    let is_text = |n: &Node| matches!(&n.kind, Kind::Scalar(Value::String(_) | Value::Null));
    fields.iter().find(|f| !is_text(&f.value)).map_or(Ok(()), |f| Err((f.line, f.key.clone())))
}
