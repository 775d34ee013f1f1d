//! A small cluster in memory: objects, versions, owners of fields, a watch, the gate.
//!
//! It does what a sync and a trial need of an API server and nothing else: no schemas, no
//! defaults, no finalizers, no garbage collection. Nothing here reads a clock.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::fields::{self, without_nulls};
use super::gate;
use super::object::ObjectRef;
use super::ownership::{self, Owners};
use super::target::{Applied, Outcome, TargetError};

/// A cluster in memory; clones are the same cluster.
#[derive(Clone)]
pub struct LocalCluster {
    store: Arc<Mutex<Store>>,
    changes: watch::Sender<u64>,
    file: Option<PathBuf>,
}

/// Everything that is kept; also the form of the file.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Store {
    /// Counts the writes; the last one is the newest `resourceVersion`.
    version: u64,
    /// By [`ObjectRef::id`].
    objects: BTreeMap<String, Stored>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    object: Value,
    owners: Owners,
}

impl fmt::Debug for LocalCluster {
    // Objects may be Secrets: only their number is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = self.lock();
        f.debug_struct("LocalCluster")
            .field("version", &store.version)
            .field("objects", &store.objects.len())
            .finish_non_exhaustive()
    }
}

impl Default for LocalCluster {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalCluster {
    /// An empty cluster that is gone with its last clone.
    pub fn new() -> Self {
        Self::with(Store::default(), None)
    }

    /// A cluster that is kept in a JSON file, written after each change.
    pub fn open(file: &Path) -> Result<Self, TargetError> {
        let failed = |message: String| TargetError::Store { file: file.to_owned(), message };
        let store = match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| failed(e.to_string()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Store::default(),
            Err(e) => return Err(failed(e.to_string())),
        };
        Ok(Self::with(store, Some(file.to_owned())))
    }

    fn with(store: Store, file: Option<PathBuf>) -> Self {
        let changes = watch::Sender::new(store.version);
        Self { store: Arc::new(Mutex::new(store)), changes, file }
    }

    /// A receiver of the number of writes so far; it changes with each write.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The number of writes so far.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// The object of that name, whatever its version.
    pub fn get(&self, reference: &ObjectRef) -> Option<Value> {
        self.lock().objects.get(&reference.id()).map(|stored| stored.object.clone())
    }

    /// The objects of a kind, of one namespace or of all, by namespace and name.
    pub fn list(&self, group: &str, kind: &str, namespace: Option<&str>) -> Vec<Value> {
        let wanted = |object: &Value| {
            ObjectRef::of(object).is_some_and(|r| {
                r.group == group
                    && r.kind == kind
                    && (namespace.is_none() || r.namespace.as_deref() == namespace)
            })
        };
        let store = self.lock();
        store.objects.values().map(|s| &s.object).filter(|o| wanted(o)).cloned().collect()
    }

    /// Every object, by its id.
    pub fn all(&self) -> Vec<Value> {
        self.lock().objects.values().map(|stored| stored.object.clone()).collect()
    }

    /// The fields that each manager owns, as people read them.
    pub fn owners(&self, reference: &ObjectRef) -> BTreeMap<String, Vec<String>> {
        let store = self.lock();
        let Some(stored) = store.objects.get(&reference.id()) else { return BTreeMap::new() };
        let shown = stored.owners.iter().map(|(manager, paths)| {
            (manager.clone(), paths.iter().map(|p| fields::display(p)).collect())
        });
        shown.collect()
    }

    /// Server-side apply: sets what `desired` names, as `manager`, and removes what the manager
    /// named before and does not name now.
    ///
    /// A `metadata.resourceVersion` in `desired` must be that of the stored object.
    pub fn apply(
        &self,
        desired: &Value,
        manager: &str,
        force: bool,
    ) -> Result<Outcome, TargetError> {
        let reference = ObjectRef::of(desired).ok_or(TargetError::NotAnObject)?;
        let mut desired = without_nulls(desired);
        let precondition = take_server_fields(&mut desired);
        let mut store = self.lock();
        let old = store.objects.get(&reference.id()).cloned();
        check_version(&reference, old.as_ref(), precondition.as_deref())?;
        let mut new = old.clone().unwrap_or_else(|| Stored {
            object: json!({"apiVersion": desired["apiVersion"], "kind": desired["kind"]}),
            owners: Owners::new(),
        });
        ownership::apply(&mut new.object, &mut new.owners, &desired, manager, force).map_err(
            |conflicts| TargetError::Owned {
                object: Box::new(reference.clone()),
                fields: conflicts
                    .into_iter()
                    .map(|c| format!("{} (owned by {})", c.path, c.manager))
                    .collect(),
            },
        )?;
        self.store_object(&mut store, &reference, old.as_ref(), new, manager)
    }

    /// Merge patch (RFC 7386), with a `resourceVersion` that the object must still have.
    pub fn patch(
        &self,
        reference: &ObjectRef,
        manager: &str,
        patch: &Value,
        resource_version: Option<&str>,
    ) -> Result<Outcome, TargetError> {
        let mut store = self.lock();
        let old = store.objects.get(&reference.id()).cloned();
        let old =
            old.ok_or_else(|| TargetError::NotFound { object: Box::new(reference.clone()) })?;
        check_version(reference, Some(&old), resource_version)?;
        let mut new = old.clone();
        let mut patch = patch.clone();
        take_server_fields(&mut patch);
        fields::json_merge(&mut new.object, &patch);
        if ObjectRef::of(&new.object).map(|r| r.id()) != Some(reference.id()) {
            return Err(TargetError::NotAnObject);
        }
        ownership::record_update(&mut new.owners, &old.object, &new.object, manager);
        self.store_object(&mut store, reference, Some(&old), new, manager)
    }

    /// Deletes the object; with a `uid`, only if it is still that one. False when it is not there.
    pub fn delete(&self, reference: &ObjectRef, uid: Option<&str>) -> Result<bool, TargetError> {
        let mut store = self.lock();
        let Some(stored) = store.objects.get(&reference.id()) else { return Ok(false) };
        if uid.is_some_and(|uid| stored.object.pointer("/metadata/uid") != Some(&json!(uid))) {
            return Err(TargetError::Conflict { object: Box::new(reference.clone()) });
        }
        self.commit(&mut store, &reference.id(), None)?;
        Ok(true)
    }

    /// Stores `new` with its versions, after the gate; an object that stays equal is not written.
    fn store_object(
        &self,
        store: &mut Store,
        reference: &ObjectRef,
        old: Option<&Stored>,
        mut new: Stored,
        manager: &str,
    ) -> Result<Outcome, TargetError> {
        if let Some(old) = old {
            new.object = gate::admission(manager, &old.object, new.object);
            if new.object == old.object && new.owners == old.owners {
                return Ok(Outcome { applied: Applied::Unchanged, object: new.object });
            }
        }
        let version = store.version + 1;
        let old_object = old.map(|old| &old.object);
        let count = |v: &Value| v.pointer("/metadata/generation").and_then(Value::as_u64);
        let generation = match old_object {
            None => 1,
            Some(old) => count(old).unwrap_or(1) + u64::from(content(old) != content(&new.object)),
        };
        let uid = old_object.and_then(|old| old.pointer("/metadata/uid")).cloned();
        if let Some(metadata) = new.object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
            metadata.insert("generation".to_owned(), json!(generation));
            metadata
                .insert("uid".to_owned(), uid.unwrap_or_else(|| json!(format!("uid-{version}"))));
        }
        let object = new.object.clone();
        self.commit(store, &reference.id(), Some(new))?;
        let applied = if old.is_some() { Applied::Changed } else { Applied::Created };
        Ok(Outcome { applied, object })
    }

    /// Stores or deletes one object: in the file first, so that nothing is announced and then
    /// lost.
    fn commit(&self, store: &mut Store, id: &str, new: Option<Stored>) -> Result<(), TargetError> {
        let put = |store: &mut Store, value: Option<Stored>| match value {
            Some(value) => store.objects.insert(id.to_owned(), value),
            None => store.objects.remove(id),
        };
        let old = put(store, new);
        store.version += 1;
        if let Some(file) = &self.file
            && let Err(message) = save(file, store)
        {
            put(store, old);
            store.version -= 1;
            return Err(TargetError::Store { file: file.clone(), message });
        }
        self.changes.send_replace(store.version);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // A store is replaced as a whole: a panic elsewhere leaves it whole too.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes beside the file and renames, so that a crash leaves the old or the new one.
fn save(file: &Path, store: &Store) -> Result<(), String> {
    let text = serde_json::to_vec(store).map_err(|e| e.to_string())?;
    let directory =
        file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(directory).map_err(|e| e.to_string())?;
    beside.write_all(&text).map_err(|e| e.to_string())?;
    beside.as_file().sync_all().map_err(|e| e.to_string())?;
    beside.persist(file).map(|_| ()).map_err(|e| e.to_string())
}

/// What a change of makes a new generation: everything but metadata and status.
fn content(object: &Value) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status")).collect()
}

/// Removes the fields that the server sets, and answers the `resourceVersion` among them.
fn take_server_fields(object: &mut Value) -> Option<String> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    for name in ["uid", "generation", "creationTimestamp", "managedFields"] {
        metadata.remove(name);
    }
    metadata.remove("resourceVersion")?.as_str().map(str::to_owned)
}

fn check_version(
    reference: &ObjectRef,
    stored: Option<&Stored>,
    wanted: Option<&str>,
) -> Result<(), TargetError> {
    let Some(wanted) = wanted else { return Ok(()) };
    let version = stored.and_then(|s| s.object.pointer("/metadata/resourceVersion"));
    if version.and_then(Value::as_str) == Some(wanted) {
        return Ok(());
    }
    Err(TargetError::Conflict { object: Box::new(reference.clone()) })
}
