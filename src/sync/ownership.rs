//! Who owns which field, as server-side apply keeps it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde_json::Value;

use super::fields::{self, FieldPath, Lists, Segment};

/// The leaves that each field manager owns.
pub(crate) type Owners = BTreeMap<String, BTreeSet<FieldPath>>;

/// A field that another manager has given another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldConflict {
    pub(crate) path: String,
    pub(crate) manager: String,
}

/// Fields that name the object or belong to the server: they have no owner.
fn has_owner(path: &[Segment]) -> bool {
    let name = |at: usize| match path.get(at) {
        Some(Segment::Field(name)) => Some(name.as_str()),
        _ => None,
    };
    match name(0) {
        Some("apiVersion" | "kind" | "status") | None => false,
        Some("metadata") => {
            matches!(name(1), Some("labels" | "annotations" | "finalizers" | "ownerReferences"))
        }
        Some(_) => true,
    }
}

/// The leaves of an object that can have an owner.
pub(crate) fn owned_leaves(lists: Lists, object: &Value) -> BTreeMap<FieldPath, Value> {
    let mut leaves = fields::leaves(lists, object);
    leaves.retain(|path, _| has_owner(path));
    leaves
}

/// Applies `desired` to `live` as `manager`: sets what it names, removes what the manager named
/// before and does not name now, leaves everything else.
///
/// With `force`, fields of other managers change hands; without, each is a conflict and nothing
/// changes.
pub(crate) fn apply(
    live: &mut Value,
    owners: &mut Owners,
    desired: &Value,
    manager: &str,
    force: bool,
) -> Result<(), Vec<FieldConflict>> {
    let lists = Lists::of(desired);
    let wanted = owned_leaves(lists, desired);
    let conflicts = conflicts(lists, live, owners, &wanted, manager);
    if !force && !conflicts.is_empty() {
        let text = |(manager, path): (String, FieldPath)| FieldConflict {
            path: fields::display(&path),
            manager,
        };
        return Err(conflicts.into_iter().map(text).collect());
    }
    for (other, path) in conflicts {
        if let Some(owned) = owners.get_mut(&other) {
            owned.remove(&path);
        }
    }
    let before = owners.remove(manager).unwrap_or_default();
    let mut dropped: Vec<&FieldPath> = before
        .iter()
        .filter(|path| !wanted.contains_key(*path))
        .filter(|path| !owners.values().any(|owned| owns_at_or_below(owned, path)))
        .collect();
    // Deepest first. Twice, since the key of a list item can only go after the item's other
    // fields.
    dropped.sort_by_key(|path| std::cmp::Reverse(path.len()));
    for path in dropped.iter().chain(&dropped) {
        fields::remove(lists, live, path);
    }
    fields::overlay(lists, live, desired);
    if !wanted.is_empty() {
        owners.insert(manager.to_owned(), wanted.into_keys().collect());
    }
    owners.retain(|_, owned| !owned.is_empty());
    Ok(())
}

/// Gives `manager` what it changed by an update that is not an apply.
pub(crate) fn record_update(owners: &mut Owners, old: &Value, new: &Value, manager: &str) {
    let lists = Lists::of(new);
    let (before, after) = (owned_leaves(lists, old), owned_leaves(lists, new));
    let changed: BTreeSet<FieldPath> = after
        .iter()
        .filter(|(path, value)| before.get(*path) != Some(*value))
        .map(|(path, _)| path.clone())
        .collect();
    for owned in owners.values_mut() {
        owned.retain(|path| after.contains_key(path) && !changed.contains(path));
    }
    if !changed.is_empty() {
        owners.entry(manager.to_owned()).or_default().extend(changed);
    }
    owners.retain(|_, owned| !owned.is_empty());
}

fn conflicts(
    lists: Lists,
    live: &Value,
    owners: &Owners,
    wanted: &BTreeMap<FieldPath, Value>,
    manager: &str,
) -> Vec<(String, FieldPath)> {
    let mut found = Vec::new();
    for (other, owned) in owners.iter().filter(|(other, _)| *other != manager) {
        for (path, value) in wanted {
            let current = fields::get(lists, live, path);
            let equal = current == Some(value);
            // An empty map says no more than that there is a map.
            let only_map = is_empty_map(value) && current.is_some_and(Value::is_object);
            if !equal && !only_map {
                let overlapping = at_or_below(owned, path).map(|p| (other.clone(), p.clone()));
                found.extend(overlapping);
            }
            let above = (1..path.len()).filter_map(|len| owned.get(path.get(..len)?));
            let above = above.filter(|p| !fields::get(lists, live, p).is_some_and(is_empty_map));
            found.extend(above.map(|p| (other.clone(), p.clone())));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn at_or_below<'a>(
    owned: &'a BTreeSet<FieldPath>,
    path: &'a [Segment],
) -> impl Iterator<Item = &'a FieldPath> {
    let from = (Bound::Included(path), Bound::Unbounded);
    owned.range::<[Segment], _>(from).take_while(move |p| p.starts_with(path))
}

fn owns_at_or_below(owned: &BTreeSet<FieldPath>, path: &[Segment]) -> bool {
    at_or_below(owned, path).next().is_some()
}

fn is_empty_map(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
}
