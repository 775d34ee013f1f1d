//! One sync, from files to a report.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::drift::{self, Drift};
use super::inventory::{self, FIELD_MANAGER, Inventory, InventoryError};
use super::object::{HELD_LABEL, ObjectRef, apply_rank, metadata_entry, prune_disabled};
use super::render::{Files, Manifest, RenderError, check_skipped, is_dns, render};
use super::report::{Held, ObjectReport, ObjectResult, Report};
use super::target::{Applied, Outcome, Target, TargetError, located};

/// How often a kind is asked for again that is defined in the same sync. API servers serve a new
/// definition after about a second.
const KIND_ATTEMPTS: u32 = 10;

/// The pause between two such attempts.
const KIND_PAUSE: Duration = Duration::from_millis(500);

/// The files of a repository at one commit.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// The commit.
    pub revision: String,
    /// All files that a render may read, by their path from the root of the repository.
    pub files: Files,
    /// What is in the repository but is no regular file (links, submodules), by its path.
    pub skipped: Vec<String>,
}

/// What is synced, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of the sync; its inventory is the ConfigMap `tidegate-sync-<name>`.
    pub name: String,
    /// Where the inventory is, and objects that name no namespace.
    pub namespace: String,
    /// The directory (or file) of the repository.
    pub path: String,
    /// Whether a path without any object is accepted. It deletes everything.
    pub allow_empty: bool,
    /// Look, and write nothing.
    pub dry_run: bool,
}

/// Why a sync applied nothing.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The files cannot be rendered.
    #[error("the files cannot be rendered")]
    Render(#[from] RenderError),
    /// There is not one object.
    #[error("`{path}` has no objects: nothing is applied and nothing deleted (--allow-empty)")]
    Empty {
        /// The path.
        path: String,
    },
    /// Two objects are one, now that their namespaces are known.
    #[error("{object} is in {first} and in {second}, with and without its namespace")]
    Duplicate {
        /// The object.
        object: Box<ObjectRef>,
        /// The first file.
        first: String,
        /// The second file.
        second: String,
    },
    /// The repository has an object of the inventory's name.
    #[error("{file} is the inventory of this sync: rename it, or the sync")]
    OwnInventory {
        /// The file.
        file: String,
    },
    /// Not the name of a sync or a namespace.
    #[error("`{0}` is not a name: lower-case letters, digits and `-`")]
    Name(String),
    /// The inventory.
    #[error("the objects cannot be kept track of")]
    Inventory(#[from] InventoryError),
}

/// Applies the path of a checkout to the target, once.
pub async fn sync_once(
    checkout: &Checkout,
    target: &Target,
    settings: &Settings,
) -> Result<Report, SyncError> {
    for name in [&settings.name, &settings.namespace] {
        if !is_dns(name) {
            return Err(SyncError::Name(name.clone()));
        }
    }
    check_skipped(&checkout.files, &checkout.skipped, &settings.path)?;
    let manifests = match render(&checkout.files, &settings.path) {
        Err(error) if settings.allow_empty && error.is_nothing_here() => Vec::new(),
        rendered => rendered?,
    };
    if manifests.is_empty() && !settings.allow_empty {
        return Err(SyncError::Empty { path: settings.path.clone() });
    }
    let at = inventory::reference(&settings.name, &settings.namespace);
    let stored = Inventory::read(target, &at).await?;
    let mut run = Run {
        target,
        only_look: settings.dry_run,
        kind_attempts: if settings.dry_run { 0 } else { KIND_ATTEMPTS },
        definitions: definitions(&manifests),
        report: Report {
            revision: checkout.revision.clone(),
            previous: stored.revision.clone(),
            dry_run: settings.dry_run,
            objects: Vec::new(),
            pruned: Vec::new(),
            kept: Vec::new(),
            not_pruned: Vec::new(),
            drift: Vec::new(),
        },
    };
    let objects = run.locate(manifests, settings, &at).await?;
    let (home, objects): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|o| is_home(&o.reference, settings));
    // The namespace of the inventory comes before it, and is never deleted by it.
    run.apply_all(home).await;
    let intent = Inventory {
        revision: stored.revision.clone(),
        attempted: Some(checkout.revision.clone()),
        objects: union(&stored, &objects),
        resource_version: None,
    };
    let intent = run.write(intent, &at, &stored).await?;
    let wanted: BTreeMap<String, ObjectRef> = by_id(&objects);
    run.apply_all(objects).await;
    if run.report.failed() > 0 {
        return Ok(run.report);
    }
    let mut objects = wanted.clone();
    for object in to_prune(&stored, &wanted) {
        if let Err(error) = run.prune(&object).await {
            run.report.not_pruned.push((object.clone(), error.to_string()));
            objects.insert(object.id(), object);
        }
    }
    let complete = run.report.is_complete();
    let done = Inventory {
        revision: if complete { intent.attempted.clone() } else { intent.revision.clone() },
        objects,
        ..intent.clone()
    };
    run.write(done, &at, &intent).await?;
    Ok(run.report)
}

/// One object of the render with its full name.
struct Located {
    reference: ObjectRef,
    manifest: Manifest,
}

/// One sync under way.
struct Run<'a> {
    target: &'a Target,
    only_look: bool,
    /// How often this sync still waits for a kind that it defines itself.
    kind_attempts: u32,
    /// The definitions of kinds in the render, which the server may not know yet.
    definitions: Vec<Value>,
    report: Report,
}

impl Run<'_> {
    /// Gives every object its full name. What cannot be named is reported as failed.
    async fn locate(
        &mut self,
        manifests: Vec<Manifest>,
        settings: &Settings,
        inventory: &ObjectRef,
    ) -> Result<Vec<Located>, SyncError> {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        let mut objects = Vec::new();
        for mut manifest in manifests {
            let Some(reference) = manifest.reference() else { continue };
            let reference = match defined_scope(&self.definitions, &reference) {
                Some(namespaced) => Ok(located(&reference, namespaced, &settings.namespace)),
                None => self.target.locate(&reference, &settings.namespace).await,
            };
            let reference = match reference {
                Ok(reference) => reference,
                Err(error) => {
                    self.failed(&manifest, &error);
                    continue;
                }
            };
            if reference.id() == inventory.id() {
                return Err(SyncError::OwnInventory { file: manifest.file });
            }
            if let Some(first) = found.insert(reference.id(), manifest.file.clone()) {
                let second = manifest.file;
                let object = Box::new(reference);
                return Err(SyncError::Duplicate { object, first, second });
            }
            set_namespace(&mut manifest.object, reference.namespace.as_deref());
            objects.push(Located { reference, manifest });
        }
        Ok(objects)
    }

    async fn apply_all(&mut self, objects: Vec<Located>) {
        for Located { reference, manifest } in objects {
            let outcome = self.apply_when_known(&reference, &manifest.object).await;
            let Outcome { applied, object } = match outcome {
                Ok(outcome) => outcome,
                Err(error) => {
                    self.failed_as(reference, &manifest, &error);
                    continue;
                }
            };
            let held = held(&reference, &manifest.object, &object);
            let (file, result) = (manifest.file, ObjectResult::Applied(applied));
            self.report.objects.push(ObjectReport { object: reference, file, result, held });
        }
    }

    /// Applies, and waits a little for the kind where this sync defines it itself.
    async fn apply_when_known(
        &mut self,
        reference: &ObjectRef,
        desired: &Value,
    ) -> Result<Outcome, TargetError> {
        loop {
            let outcome = self.apply(reference, desired).await;
            let unknown = matches!(outcome, Err(TargetError::UnknownKind { .. }));
            if !unknown || defined_scope(&self.definitions, reference).is_none() {
                return outcome;
            }
            if self.only_look {
                return Ok(Outcome { applied: Applied::Created, object: desired.clone() });
            }
            if self.kind_attempts == 0 {
                return outcome;
            }
            self.kind_attempts -= 1;
            tokio::time::sleep(KIND_PAUSE).await;
        }
    }

    async fn apply(
        &mut self,
        reference: &ObjectRef,
        desired: &Value,
    ) -> Result<Outcome, TargetError> {
        let live = self.target.get(reference).await?;
        let drift: Vec<Drift> =
            live.as_ref().map_or_else(Vec::new, |live| drift::compare(reference, desired, live));
        let changed = !drift.is_empty();
        self.report.drift.extend(drift);
        if !self.only_look {
            // What Git says wins over other managers; what a trial holds, the server keeps.
            return self.target.apply(desired, live.as_ref(), FIELD_MANAGER, true).await;
        }
        Ok(match live {
            None => Outcome { applied: Applied::Created, object: desired.clone() },
            Some(object) if changed => Outcome { applied: Applied::Changed, object },
            Some(object) => Outcome { applied: Applied::Unchanged, object },
        })
    }

    async fn prune(&mut self, object: &ObjectRef) -> Result<(), TargetError> {
        let live = match self.target.get(object).await {
            // The definition of its kind is gone, and all objects of the kind with it.
            Err(TargetError::UnknownKind { .. }) => None,
            answer => answer?,
        };
        let Some(live) = live else { return Ok(()) };
        if prune_disabled(&live) {
            self.report.kept.push(object.clone());
            return Ok(());
        }
        let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
        if self.only_look || self.target.delete(object, uid).await? {
            self.report.pruned.push(object.clone());
        }
        Ok(())
    }

    async fn write(
        &self,
        inventory: Inventory,
        at: &ObjectRef,
        stored: &Inventory,
    ) -> Result<Inventory, InventoryError> {
        if self.only_look {
            return Ok(inventory);
        }
        inventory.write(self.target, at, stored).await
    }

    fn failed(&mut self, manifest: &Manifest, error: &TargetError) {
        if let Some(reference) = manifest.reference() {
            self.failed_as(reference, manifest, error);
        }
    }

    fn failed_as(&mut self, object: ObjectRef, manifest: &Manifest, error: &TargetError) {
        let result = ObjectResult::Failed(error.to_string());
        let file = manifest.file.clone();
        self.report.objects.push(ObjectReport { object, file, result, held: None });
    }
}

fn definitions(manifests: &[Manifest]) -> Vec<Value> {
    let definitions = manifests.iter().map(|m| &m.object);
    definitions.filter(|o| o["kind"] == "CustomResourceDefinition").cloned().collect()
}

/// Whether a definition in the same render says that the kind has namespaces.
fn defined_scope(definitions: &[Value], reference: &ObjectRef) -> Option<bool> {
    let of = |d: &&Value| {
        d.pointer("/spec/group") == Some(&json!(reference.group))
            && d.pointer("/spec/names/kind") == Some(&json!(reference.kind))
    };
    let definition = definitions.iter().find(of)?;
    Some(definition.pointer("/spec/scope") == Some(&json!("Namespaced")))
}

fn set_namespace(object: &mut Value, namespace: Option<&str>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    match namespace {
        Some(namespace) => metadata.insert("namespace".to_owned(), json!(namespace)),
        None => metadata.remove("namespace"),
    };
}

/// The namespace that the inventory is in.
fn is_home(reference: &ObjectRef, settings: &Settings) -> bool {
    reference.group.is_empty()
        && reference.kind == "Namespace"
        && reference.name == settings.namespace
}

fn by_id(objects: &[Located]) -> BTreeMap<String, ObjectRef> {
    objects.iter().map(|o| (o.reference.id(), o.reference.clone())).collect()
}

fn union(stored: &Inventory, objects: &[Located]) -> BTreeMap<String, ObjectRef> {
    let mut all = stored.objects.clone();
    all.extend(by_id(objects));
    all
}

/// What was applied before and is wanted no more, in the reverse of the order of application.
fn to_prune(stored: &Inventory, wanted: &BTreeMap<String, ObjectRef>) -> Vec<ObjectRef> {
    let gone = stored.objects.iter().filter(|(id, _)| !wanted.contains_key(*id));
    let mut gone: Vec<ObjectRef> = gone.map(|(_, object)| object.clone()).collect();
    gone.sort_by_key(|o| std::cmp::Reverse((apply_rank(&o.group, &o.kind), o.id())));
    gone
}

fn held(reference: &ObjectRef, desired: &Value, stored: &Value) -> Option<Held> {
    let by = metadata_entry(stored, "labels", HELD_LABEL)?.to_owned();
    let fields = drift::compare(reference, desired, stored);
    Some(Held { by, fields: fields.into_iter().map(|d| d.path).collect() })
}
