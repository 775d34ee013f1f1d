//! The part of Kustomize that most directories use.
//!
//! `resources`, `patches`, `namespace`, `labels`, `commonLabels`, `commonAnnotations`, `replicas`
//! and `images`. Everything else is refused by name, since leaving a field out in silence would
//! apply something else than what the authors look at.

use std::collections::BTreeMap;

use serde_json::Value;

use super::patch::{self, Patch, Selector};
use super::render::{Loader, Manifest, Problem, RenderError, check_distinct, read, resolve};
use super::transform::{self, ImageRule, LabelRule, ReplicaRule};
use super::yaml::{Field, Kind, Node};

/// What to do about a field that is not rendered.
const RENDER_ELSEWHERE: &str = "let Flux or Argo CD render this directory";

/// What to do about a field that Kustomize itself has deprecated.
const USE_PATCHES: &str = "write it as `patches`";

/// What to do about `bases`.
const USE_RESOURCES: &str = "write it as `resources`";

/// A parsed Kustomize file.
#[derive(Debug, Default)]
pub(crate) struct Kustomization {
    file: String,
    resources: Vec<Entry>,
    patches: Vec<PatchEntry>,
    namespace: Option<String>,
    labels: Vec<LabelRule>,
    annotations: BTreeMap<String, String>,
    replicas: Vec<ReplicaRule>,
    images: Vec<ImageRule>,
}

/// One entry of `resources`.
#[derive(Debug)]
struct Entry {
    line: u64,
    field: String,
    path: String,
}

/// One entry of `patches`, before its file is read.
#[derive(Debug)]
struct PatchEntry {
    line: u64,
    field: String,
    target: Option<Selector>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Inline(String),
    Path(String),
}

impl Kustomization {
    /// Reads a Kustomize file.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self, RenderError> {
        let documents = read(file, bytes)?;
        let mut parsed = Self { file: file.to_owned(), ..Self::default() };
        let [document] = documents.as_slice() else {
            let problem = Problem::Invalid("the file is empty or has several documents".to_owned());
            return Err(RenderError::new(file, documents.get(1).map(|d| d.line), None, problem));
        };
        let reader = Reader { file };
        for field in reader.map(document, "")? {
            parsed.read_field(&reader, field)?;
        }
        Ok(parsed)
    }

    fn read_field(&mut self, reader: &Reader<'_>, field: &Field) -> Result<(), RenderError> {
        let (name, value) = (field.key.as_str(), &field.value);
        match name {
            "apiVersion" => reader.one_of(value, name, &["kustomize.config.k8s.io/v1beta1"])?,
            "kind" => reader.one_of(value, name, &["Kustomization"])?,
            "metadata" => {}
            "resources" => {
                for (field, item) in reader.list(value, name)? {
                    let path = reader.text(item, &field)?;
                    self.resources.push(Entry { line: item.line, field, path });
                }
            }
            "patches" => {
                for (field, item) in reader.list(value, name)? {
                    self.patches.push(reader.patch(item, field)?);
                }
            }
            "namespace" => self.namespace = Some(reader.text(value, name)?),
            "labels" => {
                for (field, item) in reader.list(value, name)? {
                    self.labels.push(reader.label_rule(item, &field)?);
                }
            }
            "commonLabels" => {
                let pairs = reader.texts(value, name)?;
                self.labels.push(LabelRule { pairs, selectors: true, templates: true });
            }
            "commonAnnotations" => self.annotations = reader.texts(value, name)?,
            "replicas" => {
                for (field, item) in reader.list(value, name)? {
                    self.replicas.push(reader.replica_rule(item, &field)?);
                }
            }
            "images" => {
                for (field, item) in reader.list(value, name)? {
                    self.images.push(reader.image_rule(item, &field)?);
                }
            }
            "bases" => return Err(reader.unsupported(field.line, "", name, USE_RESOURCES)),
            "patchesStrategicMerge" | "patchesJson6902" => {
                return Err(reader.unsupported(field.line, "", name, USE_PATCHES));
            }
            _ => return Err(reader.unsupported(field.line, "", name, RENDER_ELSEWHERE)),
        }
        Ok(())
    }
}

/// Renders a directory by its Kustomize file, in the order in which Kustomize transforms.
pub(crate) fn build(
    loader: &mut Loader<'_>,
    directory: &str,
    kustomization: &Kustomization,
) -> Result<Vec<Manifest>, RenderError> {
    let mut manifests = Vec::new();
    for (index, entry) in kustomization.resources.iter().enumerate() {
        let earlier = kustomization.resources.iter().take(index);
        if earlier.clone().any(|e| e.path == entry.path) {
            return Err(kustomization.error(entry, Problem::NamedTwice(entry.path.clone())));
        }
        manifests.extend(load(loader, directory, kustomization, entry)?);
    }
    check_distinct(&manifests)?;
    for entry in &kustomization.patches {
        let patch = load_patch(loader, directory, kustomization, entry)?;
        patch::apply(&patch, &mut manifests)?;
    }
    if let Some(namespace) = &kustomization.namespace {
        transform::set_namespace(&mut manifests, namespace);
    }
    for manifest in &mut manifests {
        for rule in &kustomization.labels {
            transform::add_labels(&mut manifest.object, rule);
        }
        transform::add_annotations(&mut manifest.object, &kustomization.annotations);
        for rule in &kustomization.replicas {
            transform::set_replicas(&mut manifest.object, rule);
        }
        for rule in &kustomization.images {
            transform::set_images(&mut manifest.object, rule);
        }
    }
    check_distinct(&manifests)?;
    Ok(manifests)
}

fn load(
    loader: &mut Loader<'_>,
    directory: &str,
    kustomization: &Kustomization,
    entry: &Entry,
) -> Result<Vec<Manifest>, RenderError> {
    let error = |problem| kustomization.error(entry, problem);
    if is_url(&entry.path) {
        return Err(error(Problem::Url(entry.path.clone())));
    }
    let path = resolve(directory, &entry.path)
        .ok_or_else(|| error(Problem::OutsideRepository(entry.path.clone())))?;
    if loader.files.contains_key(&path) {
        return loader.manifests_of(&path);
    }
    if !loader.has_below(&path) {
        return Err(error(Problem::Missing(path)));
    }
    if loader.kustomization_of(&path).is_none() {
        return Err(error(Problem::NoKustomization(path)));
    }
    loader.directory(&path).map_err(|e| match e.problem {
        // The entry that closes the circle is where one looks for it.
        Problem::Cycle(_) if e.line.is_none() => error(e.problem),
        _ => e,
    })
}

fn is_url(path: &str) -> bool {
    path.contains("://")
        || path.contains("?ref=")
        || path.starts_with("git@")
        || path.starts_with("github.com/")
}

fn load_patch(
    loader: &Loader<'_>,
    directory: &str,
    kustomization: &Kustomization,
    entry: &PatchEntry,
) -> Result<Patch, RenderError> {
    let error = |problem| {
        RenderError::new(&kustomization.file, Some(entry.line), Some(&entry.field), problem)
    };
    let (file, documents) = match &entry.source {
        Source::Inline(text) => {
            let documents = read(&kustomization.file, text.as_bytes()).map_err(|e| {
                let line = e.line.map_or(entry.line, |line| entry.line + line);
                RenderError { line: Some(line), field: Some(entry.field.clone()), ..e }
            })?;
            (kustomization.file.clone(), documents)
        }
        Source::Path(path) => {
            let file = resolve(directory, path)
                .ok_or_else(|| error(Problem::OutsideRepository(path.clone())))?;
            if !loader.files.contains_key(&file) {
                return Err(error(Problem::Missing(file)));
            }
            let documents = read(&file, loader.bytes(&file))?;
            (file, documents)
        }
    };
    if documents.is_empty() {
        return Err(error(Problem::Invalid("the patch is empty".to_owned())));
    }
    let inline = matches!(entry.source, Source::Inline(_));
    let line = if inline { entry.line } else { 1 };
    let field = inline.then(|| entry.field.clone());
    Ok(Patch { file, line, field, target: entry.target.clone(), documents })
}

impl Kustomization {
    fn error(&self, entry: &Entry, problem: Problem) -> RenderError {
        RenderError::new(&self.file, Some(entry.line), Some(&entry.field), problem)
    }
}

/// Reads the fields of one file, and knows its name for errors.
struct Reader<'a> {
    file: &'a str,
}

impl Reader<'_> {
    fn error(&self, line: u64, field: &str, problem: Problem) -> RenderError {
        RenderError::new(self.file, Some(line), Some(field), problem)
    }

    fn invalid(&self, line: u64, field: &str, text: &str) -> RenderError {
        self.error(line, field, Problem::Invalid(text.to_owned()))
    }

    fn unsupported(&self, line: u64, at: &str, name: &str, hint: &'static str) -> RenderError {
        self.error(line, at, Problem::Unsupported(name.to_owned(), hint))
    }

    fn map<'n>(&self, node: &'n Node, field: &str) -> Result<&'n [Field], RenderError> {
        match &node.kind {
            Kind::Map(fields) => Ok(fields),
            _ => Err(self.invalid(node.line, field, "a map is expected here")),
        }
    }

    fn list<'n>(&self, node: &'n Node, at: &str) -> Result<Vec<(String, &'n Node)>, RenderError> {
        match &node.kind {
            Kind::List(items) => {
                Ok(items.iter().enumerate().map(|(i, n)| (format!("{at}[{i}]"), n)).collect())
            }
            Kind::Scalar(Value::Null) => Ok(Vec::new()),
            _ => Err(self.invalid(node.line, at, "a list is expected here")),
        }
    }

    fn text(&self, node: &Node, field: &str) -> Result<String, RenderError> {
        match &node.kind {
            Kind::Scalar(Value::String(text)) => Ok(text.clone()),
            Kind::Scalar(Value::Number(_) | Value::Bool(_)) => {
                Err(self.invalid(node.line, field, "a string is expected here: quote the value"))
            }
            _ => Err(self.invalid(node.line, field, "a string is expected here")),
        }
    }

    fn flag(&self, node: &Node, field: &str) -> Result<bool, RenderError> {
        match node.kind {
            Kind::Scalar(Value::Bool(flag)) => Ok(flag),
            _ => Err(self.invalid(node.line, field, "true or false is expected here")),
        }
    }

    fn one_of(&self, node: &Node, field: &str, known: &[&str]) -> Result<(), RenderError> {
        let text = self.text(node, field)?;
        if known.contains(&text.as_str()) {
            return Ok(());
        }
        Err(self.unsupported(node.line, field, &text, RENDER_ELSEWHERE))
    }

    fn texts(&self, node: &Node, at: &str) -> Result<BTreeMap<String, String>, RenderError> {
        let fields = self.map(node, at)?.iter();
        fields
            .map(|f| Ok((f.key.clone(), self.text(&f.value, &format!("{at}.{}", f.key))?)))
            .collect()
    }

    fn label_rule(&self, node: &Node, at: &str) -> Result<LabelRule, RenderError> {
        let mut rule = LabelRule::default();
        for f in self.map(node, at)? {
            let field = format!("{at}.{}", f.key);
            match f.key.as_str() {
                "pairs" => rule.pairs = self.texts(&f.value, &field)?,
                "includeSelectors" => rule.selectors = self.flag(&f.value, &field)?,
                "includeTemplates" => rule.templates = self.flag(&f.value, &field)?,
                _ => return Err(self.unsupported(f.line, at, &f.key, RENDER_ELSEWHERE)),
            }
        }
        Ok(rule)
    }

    fn image_rule(&self, node: &Node, at: &str) -> Result<ImageRule, RenderError> {
        let mut rule = ImageRule::default();
        for f in self.map(node, at)? {
            let text = self.text(&f.value, &format!("{at}.{}", f.key))?;
            match f.key.as_str() {
                "name" => rule.name = text,
                "newName" => rule.new_name = Some(text),
                "newTag" => rule.new_tag = Some(text),
                "digest" => rule.digest = Some(text),
                _ => return Err(self.unsupported(f.line, at, &f.key, RENDER_ELSEWHERE)),
            }
        }
        if rule.name.is_empty() {
            return Err(self.invalid(node.line, at, "`name` is missing"));
        }
        Ok(rule)
    }

    fn replica_rule(&self, node: &Node, at: &str) -> Result<ReplicaRule, RenderError> {
        let mut rule = ReplicaRule::default();
        for f in self.map(node, at)? {
            match f.key.as_str() {
                "name" => rule.name = self.text(&f.value, &format!("{at}.name"))?,
                "count" => {
                    let count = f.value.to_value().as_u64();
                    let text = "a whole number is expected here";
                    rule.count = count.ok_or_else(|| self.invalid(f.line, at, text))?;
                }
                _ => return Err(self.unsupported(f.line, at, &f.key, RENDER_ELSEWHERE)),
            }
        }
        Ok(rule)
    }

    fn patch(&self, node: &Node, at: String) -> Result<PatchEntry, RenderError> {
        let (mut target, mut inline, mut path) = (None, None, None);
        for f in self.map(node, &at)? {
            let field = format!("{at}.{}", f.key);
            match f.key.as_str() {
                "target" => target = Some(self.selector(&f.value, &field)?),
                "patch" => inline = Some((f.line, self.text(&f.value, &field)?)),
                "path" => path = Some((f.line, self.text(&f.value, &field)?)),
                _ => return Err(self.unsupported(f.line, &at, &f.key, RENDER_ELSEWHERE)),
            }
        }
        let (line, source) = match (inline, path) {
            (Some((line, text)), None) => (line, Source::Inline(text)),
            (None, Some((line, path))) => (line, Source::Path(path)),
            _ => {
                let text = "one of `patch` and `path` is expected here";
                return Err(self.invalid(node.line, &at, text));
            }
        };
        Ok(PatchEntry { line, field: at, target, source })
    }

    fn selector(&self, node: &Node, at: &str) -> Result<Selector, RenderError> {
        let mut selector = Selector::default();
        for f in self.map(node, at)? {
            let field = format!("{at}.{}", f.key);
            let text = self.text(&f.value, &field)?;
            let added = match f.key.as_str() {
                "group" | "version" | "kind" | "name" | "namespace" => selector.add(&f.key, &text),
                "labelSelector" => selector.add_labels(&text),
                _ => return Err(self.unsupported(f.line, at, &f.key, RENDER_ELSEWHERE)),
            };
            added.map_err(|text| self.invalid(f.line, &field, &text))?;
        }
        Ok(selector)
    }
}
