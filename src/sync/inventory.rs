//! Which objects a sync has applied, kept beside them.
//!
//! A ConfigMap `tidegate-sync-<name>` lists every object that the sync may have created. It is
//! written before new objects are applied and reduced after old ones are deleted: whenever the
//! process ends, no object of ours is unknown.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::object::ObjectRef;
use super::target::{Target, TargetError};

/// The field manager of the sync. It must not begin with `kubectl`: Flux takes the fields of
/// managers named so away.
pub const FIELD_MANAGER: &str = "tidegate-sync";

/// What a sync remembers between two runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The revision that was last applied as a whole.
    pub revision: Option<String>,
    /// The revision of which objects were last sent; ahead of `revision` while it is applied, or
    /// when an object of it failed.
    pub attempted: Option<String>,
    /// Every object that may be there because of this sync, by [`ObjectRef::id`].
    pub objects: BTreeMap<String, ObjectRef>,
    /// The version of the ConfigMap this was read from, none when there was none.
    pub(crate) resource_version: Option<String>,
}

/// The name of the ConfigMap.
pub fn reference(name: &str, namespace: &str) -> ObjectRef {
    ObjectRef {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: format!("tidegate-sync-{name}"),
    }
}

impl Inventory {
    /// Reads the inventory of a sync; an empty one when there is none.
    pub async fn read(target: &Target, at: &ObjectRef) -> Result<Self, InventoryError> {
        let Some(object) = target.get(at).await? else { return Ok(Self::default()) };
        Self::parse(&object).ok_or_else(|| InventoryError::Unreadable { object: at.clone() })
    }

    /// The inventory in a ConfigMap, or none when it is damaged.
    ///
    /// A damaged one is never taken as empty: what it listed would be forgotten.
    pub fn parse(object: &Value) -> Option<Self> {
        let data = |key: &str| object.pointer("/data")?.get(key)?.as_str();
        let text = |key: &str| data(key).filter(|text| !text.is_empty()).map(str::to_owned);
        let mut objects = BTreeMap::new();
        for line in data("objects")?.lines() {
            let (id, version) = line.rsplit_once(' ')?;
            objects.insert(id.to_owned(), ObjectRef::from_id(id, version)?);
        }
        let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        Some(Self {
            revision: text("revision"),
            attempted: text("attemptedRevision"),
            objects,
            resource_version: version.map(str::to_owned),
        })
    }

    /// Writes the inventory if it differs from `stored`, which it was made from.
    ///
    /// The write carries the version that was read: of two processes for one sync, the later one
    /// is told so.
    pub(crate) async fn write(
        mut self,
        target: &Target,
        at: &ObjectRef,
        stored: &Self,
    ) -> Result<Self, InventoryError> {
        self.resource_version.clone_from(&stored.resource_version);
        if self == *stored && self.resource_version.is_some() {
            return Ok(self);
        }
        let object = self.to_object(at);
        let live = stored.resource_version.as_ref().map(|_| &object);
        let outcome = target.apply(&object, live, FIELD_MANAGER, true).await?;
        let version = outcome.object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        self.resource_version = version.map(str::to_owned);
        Ok(self)
    }

    fn to_object(&self, at: &ObjectRef) -> Value {
        let lines = self.objects.iter().map(|(id, object)| format!("{id} {}\n", object.version));
        let lines: String = lines.collect();
        let mut metadata = json!({
            "name": at.name,
            "namespace": at.namespace,
            "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER},
        });
        if let (Some(version), Some(map)) = (&self.resource_version, metadata.as_object_mut()) {
            map.insert("resourceVersion".to_owned(), json!(version));
        }
        json!({
            "apiVersion": at.api_version(),
            "kind": at.kind,
            "metadata": metadata,
            "data": {
                "revision": self.revision.as_deref().unwrap_or_default(),
                "attemptedRevision": self.attempted.as_deref().unwrap_or_default(),
                "objects": lines,
            },
        })
    }
}

/// Why the inventory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The target failed.
    #[error("the inventory cannot be read or written")]
    Target(#[from] TargetError),
    /// Someone changed it into something else.
    #[error("the inventory {object} is damaged: restore `data.objects` or delete it")]
    Unreadable {
        /// The ConfigMap.
        object: ObjectRef,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_is_read_back_and_a_damaged_one_is_not_empty() {
        let at = reference("shop", "ops");
        let object = ObjectRef::from_id("shop_podinfo_apps_Deployment", "v1").expect("an id");
        let inventory = Inventory {
            revision: Some("abc".to_owned()),
            attempted: Some("def".to_owned()),
            objects: BTreeMap::from([(object.id(), object)]),
            resource_version: None,
        };
        let mut stored = inventory.to_object(&at);
        assert_eq!(Inventory::parse(&stored), Some(inventory));
        stored["data"]["objects"] = json!("nonsense");
        assert_eq!(Inventory::parse(&stored), None);
        stored["data"] = json!({});
        assert_eq!(Inventory::parse(&stored), None);
    }
}
