//! Reading files: documents to objects, with file and line for all that is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use tidegate_api as api;

use super::invalid::{Fault, FieldPath, Invalid, ObjectKey, quoted};
use super::nearest::one_of;
use super::tree::{Node, Unreadable, Value, read};
use super::{rules, schema};

/// Objects read from files, and where each came from.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Rollouts, in the order of the files.
    pub rollouts: Vec<api::Rollout>,
    /// Classes.
    pub classes: Vec<api::RolloutClass>,
    /// Templates of a namespace.
    pub templates: Vec<api::AnalysisTemplate>,
    /// Templates of the cluster.
    pub cluster_templates: Vec<api::ClusterAnalysisTemplate>,
    /// Config repositories.
    pub repositories: Vec<api::ConfigRepository>,
    /// Metric sources.
    pub sources: Vec<api::MetricSource>,
    /// Objects of other groups, as they are.
    pub others: Vec<serde_json::Value>,
    places: BTreeMap<ObjectKey, Place>,
}

#[derive(Clone, Debug)]
struct Place {
    file: PathBuf,
    tree: Node,
}

/// Reads files of one or more YAML documents. What is wrong with any of them is told at once, by
/// file and line; of a document that is wrong in hundreds of places, the first hundred.
pub fn load(files: &[PathBuf]) -> Result<Objects, Vec<Invalid>> {
    let mut loader = Loader::default();
    for file in files {
        match std::fs::read(file) {
            Err(error) => loader.whole_file(file, &error.to_string(), "a file that can be read"),
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => loader.text(file, &text),
                Err(error) => {
                    let good = error.utf8_error().valid_up_to();
                    let found = format!("byte {good} that is no UTF-8");
                    loader.whole_file(file, &found, "text in UTF-8");
                }
            },
        }
    }
    loader.finish()
}

/// Reads YAML documents that are in memory already; `name` stands for the file.
pub fn load_text(name: &str, text: &str) -> Result<Objects, Vec<Invalid>> {
    let mut loader = Loader::default();
    loader.text(Path::new(name), text);
    loader.finish()
}

/// The templates that come with Tidegate.
pub fn shipped() -> Result<Vec<api::ClusterAnalysisTemplate>, Vec<Invalid>> {
    let mut loader = Loader::default();
    for (name, text) in [
        ("http-errors.yaml", include_str!("../../analysis-templates/http-errors.yaml")),
        ("http-latency.yaml", include_str!("../../analysis-templates/http-latency.yaml")),
        ("pod-health.yaml", include_str!("../../analysis-templates/pod-health.yaml")),
    ] {
        loader.text(&Path::new("analysis-templates").join(name), text);
    }
    loader.finish().map(|objects| objects.cluster_templates)
}

impl Objects {
    /// Adds file and line to what is wrong with objects that came from files.
    pub fn locate(&self, faults: Vec<Fault>) -> Vec<Invalid> {
        let mut located: Vec<_> = faults
            .into_iter()
            .map(|fault| {
                let place = fault.object.as_ref().and_then(|object| self.places.get(object));
                let line = place.map_or(0, |place| place.tree.line_of(&fault.field));
                invalid(place.map(|place| place.file.clone()), line, fault)
            })
            .collect();
        sort(&mut located);
        located
    }
}

fn invalid(file: Option<PathBuf>, line: usize, fault: Fault) -> Invalid {
    let Fault { object, field, found, expected } = fault;
    Invalid { file, object, line, field, found, expected }
}

fn sort(all: &mut Vec<Invalid>) {
    all.sort_by(|a, b| {
        (&a.file, a.line, &a.field, &a.found).cmp(&(&b.file, b.line, &b.field, &b.found))
    });
    all.dedup();
}

/// Our kinds, and what else each document must be checked for.
const KINDS: [&str; 6] = [
    "AnalysisTemplate",
    "ClusterAnalysisTemplate",
    "ConfigRepository",
    "MetricSource",
    "Rollout",
    "RolloutClass",
];
const NAMESPACED: [&str; 2] = ["AnalysisTemplate", "Rollout"];

#[derive(Default)]
struct Loader {
    objects: Objects,
    invalid: Vec<Invalid>,
}

impl Loader {
    fn finish(mut self) -> Result<Objects, Vec<Invalid>> {
        if self.invalid.is_empty() {
            return Ok(self.objects);
        }
        sort(&mut self.invalid);
        Err(self.invalid)
    }

    fn whole_file(&mut self, file: &Path, found: &str, expected: &str) {
        let fault = Fault::new(&FieldPath::root(), found, expected);
        self.invalid.push(invalid(Some(file.to_owned()), 0, fault));
    }

    fn text(&mut self, file: &Path, text: &str) {
        match read(text) {
            Ok(documents) => {
                for document in documents {
                    self.document(file, &document);
                }
            }
            Err(Unreadable { line, found, expected }) => {
                let fault = Fault::new(&FieldPath::root(), found, expected);
                self.invalid.push(invalid(Some(file.to_owned()), line, fault));
            }
        }
    }

    fn document(&mut self, file: &Path, tree: &Node) {
        let mut faults = Vec::new();
        if let Some(key) = self.object(tree, &mut faults)
            && faults.is_empty()
        {
            if let Some(first) = self.objects.places.get(&key) {
                let expected =
                    format!("it once; {}:{} has it", first.file.display(), first.tree.line);
                let at = FieldPath::of("metadata.name");
                faults.push(Fault::new(&at, format!("{key} again"), expected));
            } else {
                let place = Place { file: file.to_owned(), tree: tree.clone() };
                self.objects.places.insert(key, place);
            }
        }
        self.invalid.extend(faults.into_iter().map(|fault| {
            let line = tree.line_of(&fault.field);
            invalid(Some(file.to_owned()), line, fault)
        }));
    }

    /// One document to one object. `None`: of another group, or something is wrong.
    fn object(&mut self, tree: &Node, faults: &mut Vec<Fault>) -> Option<ObjectKey> {
        if !matches!(tree.value, Value::Map(_)) {
            faults.push(Fault::new(&FieldPath::root(), tree.found(), "a Kubernetes object"));
            return None;
        }
        let api_version = required(tree, "apiVersion", api::API_VERSION, faults);
        let kind = required(tree, "kind", "a kind such as Rollout", faults);
        let (api_version, kind) = (api_version?, kind?);
        if !is_ours(api_version) {
            self.objects.others.push(tree.to_json());
            return None;
        }
        if api_version != api::API_VERSION {
            let at = FieldPath::of("apiVersion");
            faults.push(Fault::new(&at, quoted(api_version), api::API_VERSION));
            return None;
        }
        let Some(kind) = KINDS.into_iter().find(|known| *known == kind) else {
            let expected = if kind == "Trial" {
                "another kind: the controller writes Trials".to_owned()
            } else {
                one_of(KINDS)
            };
            faults.push(Fault::new(&FieldPath::of("kind"), quoted(kind), expected));
            return None;
        };
        check_envelope(kind, tree, faults);
        let key = ObjectKey {
            kind,
            namespace: NAMESPACED.contains(&kind).then(|| {
                let namespace = tree.get("metadata").and_then(|meta| meta.get("namespace"));
                namespace.and_then(Node::text).unwrap_or("default").to_owned()
            }),
            name: tree.get("metadata")?.get("name")?.text()?.to_owned(),
        };
        if faults.is_empty() {
            self.typed(kind, tree, faults);
        }
        Some(key)
    }

    fn typed(&mut self, kind: &str, tree: &Node, faults: &mut Vec<Fault>) {
        let all = &mut self.objects;
        match kind {
            "Rollout" => take(tree, &mut all.rollouts, faults, |found| rules::rollout(&found.spec)),
            "RolloutClass" => {
                take(tree, &mut all.classes, faults, |found| rules::class(&found.spec));
            }
            "AnalysisTemplate" => take(tree, &mut all.templates, faults, |found| {
                rules::template(&found.spec.args, &found.spec.metrics)
            }),
            "ClusterAnalysisTemplate" => {
                take(tree, &mut all.cluster_templates, faults, |found| {
                    rules::template(&found.spec.args, &found.spec.metrics)
                });
            }
            "ConfigRepository" => {
                take(tree, &mut all.repositories, faults, |found| rules::repository(&found.spec));
            }
            _ => take(tree, &mut all.sources, faults, |found| rules::source(&found.spec)),
        }
    }
}

fn is_ours(api_version: &str) -> bool {
    api_version.split('/').next() == Some(api::GROUP)
}

fn required<'a>(
    tree: &'a Node,
    name: &str,
    expected: &str,
    faults: &mut Vec<Fault>,
) -> Option<&'a str> {
    let node = tree.get(name);
    let text = node.and_then(Node::text);
    if text.is_none() {
        let found = node.map_or_else(|| "nothing".to_owned(), Node::found);
        faults.push(Fault::new(&FieldPath::of(name), found, expected));
    }
    text
}

/// The schema's check of the object, and of what every object has.
fn check_envelope(kind: &str, tree: &Node, faults: &mut Vec<Fault>) {
    let Some(root) = schemas().get(kind) else { return };
    let Value::Map(entries) = &tree.value else { return };
    let spec = root.properties.as_ref().and_then(|all| all.get("spec"));
    for entry in entries {
        if schema::is_enough(faults) {
            return;
        }
        let at = FieldPath::root().field(&entry.key);
        match (entry.key.as_str(), spec) {
            // Status is the controller's; what a file says of it is never taken.
            ("apiVersion" | "kind" | "status", _) => {}
            ("metadata", _) => check_metadata(&entry.value, &at, faults),
            ("spec", Some(spec)) => schema::check(&entry.value, spec, &at, faults),
            (key, _) => {
                let known = ["apiVersion", "kind", "metadata", "spec"];
                faults.push(schema::unknown(key, known.into_iter(), &at));
            }
        }
    }
    for (name, expected) in [("metadata", "an object with a name"), ("spec", "an object")] {
        if tree.get(name).is_none() {
            faults.push(Fault::new(&FieldPath::of(name), "nothing", expected));
        }
    }
}

fn check_metadata(node: &Node, at: &FieldPath, faults: &mut Vec<Fault>) {
    const NAME: &str = "a name of small letters, digits, dashes and dots";
    for (field, is_required) in [("name", true), ("namespace", false)] {
        let Some(value) = node.get(field) else {
            if is_required {
                faults.push(Fault::new(&at.field(field), "nothing", NAME));
            }
            continue;
        };
        if !value.text().is_some_and(is_object_name) {
            faults.push(Fault::new(&at.field(field), value.found(), NAME));
        }
    }
    for field in ["labels", "annotations"] {
        let at = at.field(field);
        match node.get(field).map(|node| (node, &node.value)) {
            None => {}
            Some((_, Value::Map(entries))) => {
                let wrong = entries.iter().filter(|entry| entry.value.text().is_none());
                for entry in wrong.take(10) {
                    let expected =
                        format!("a text: write it in quotes, \"{}\"", entry.value.found());
                    faults.push(Fault::new(&at.field(&entry.key), entry.value.found(), expected));
                }
            }
            Some((node, _)) => faults.push(Fault::new(&at, node.found(), "an object")),
        }
    }
}

fn is_object_name(name: &str) -> bool {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.starts_with(ends)
        && name.ends_with(ends)
        && name.chars().all(|c| ends(c) || c == '-' || c == '.')
}

/// A tree without faults as an object, and what its rules say.
fn take<K: DeserializeOwned>(
    tree: &Node,
    into: &mut Vec<K>,
    faults: &mut Vec<Fault>,
    rules: impl Fn(&K) -> Vec<Fault>,
) {
    match serde_json::from_value::<K>(tree.to_json()) {
        Ok(object) => {
            faults.extend(rules(&object));
            into.push(object);
        }
        // The schema has seen all but unusual fields of metadata.
        Err(error) => {
            let at = FieldPath::of("metadata");
            faults.push(Fault::new(&at, error.to_string(), "an object's metadata"));
        }
    }
}

fn schemas() -> &'static BTreeMap<String, JSONSchemaProps> {
    static SCHEMAS: OnceLock<BTreeMap<String, JSONSchemaProps>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let all = api::crds().into_iter().filter_map(|crd| {
            let version = crd.spec.versions.into_iter().next()?;
            Some((crd.spec.names.kind, version.schema?.open_api_v3_schema?))
        });
        all.collect()
    })
}

/// The key of an object, however it came.
pub(crate) fn key_of<K>(kind: &'static str, object: &K) -> ObjectKey
where
    K: ResourceExt,
{
    ObjectKey {
        kind,
        namespace: NAMESPACED
            .contains(&kind)
            .then(|| object.namespace().unwrap_or_else(|| "default".to_owned())),
        name: object.name_any(),
    }
}
