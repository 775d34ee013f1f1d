//! Patches of Kustomize: strategic merge, and JSON patch by RFC 6902.

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::fields::Lists;
use super::json_patch;
use super::object::{ObjectRef, metadata_entry};
use super::render::{Manifest, Problem, RenderError};
use super::yaml::{Kind, Node};

/// Key of the directive in a strategic merge patch.
const DIRECTIVE: &str = "$patch";

/// One entry of `patches` with its content.
#[derive(Debug)]
pub(crate) struct Patch {
    /// The file with the patch itself, and where it begins there.
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) field: Option<String>,
    pub(crate) target: Option<Selector>,
    pub(crate) documents: Vec<Node>,
}

/// Which objects a patch is for. Everything given must match; texts are whole regular expressions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    texts: Vec<(String, Regex)>,
    labels: Vec<LabelTest>,
}

#[derive(Clone, Debug)]
enum LabelTest {
    Is(String, String),
    IsNot(String, String),
    Exists(String),
    Missing(String),
}

impl Selector {
    /// Adds a test of `group`, `version`, `kind`, `name` or `namespace`.
    pub(crate) fn add(&mut self, field: &str, pattern: &str) -> Result<(), String> {
        if pattern.is_empty() {
            return Ok(());
        }
        let regex = Regex::new(&format!("^(?:{pattern})$")).map_err(|e| e.to_string())?;
        self.texts.push((field.to_owned(), regex));
        Ok(())
    }

    /// Adds a label selector by equality: `a=b,c!=d,e,!f`.
    pub(crate) fn add_labels(&mut self, selector: &str) -> Result<(), String> {
        for part in selector.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let pair = |a: &str, b: &str| (a.trim().to_owned(), b.trim().to_owned());
            let test = if let Some((key, value)) = part.split_once("!=") {
                let (key, value) = pair(key, value);
                LabelTest::IsNot(key, value)
            } else if let Some((key, value)) =
                part.split_once("==").or_else(|| part.split_once('='))
            {
                let (key, value) = pair(key, value);
                LabelTest::Is(key, value)
            } else if let Some(key) = part.strip_prefix('!') {
                LabelTest::Missing(key.to_owned())
            } else {
                LabelTest::Exists(part.to_owned())
            };
            let (LabelTest::Is(key, _)
            | LabelTest::IsNot(key, _)
            | LabelTest::Exists(key)
            | LabelTest::Missing(key)) = &test;
            if key.is_empty() || key.contains([' ', '(', ')']) {
                return Err(format!("`{part}` is not a test for equality of a label"));
            }
            self.labels.push(test);
        }
        Ok(())
    }

    fn matches(&self, object: &Value) -> bool {
        let Some(reference) = ObjectRef::of(object) else { return false };
        let texts = self.texts.iter().all(|(field, regex)| {
            regex.is_match(match field.as_str() {
                "group" => &reference.group,
                "version" => &reference.version,
                "kind" => &reference.kind,
                "name" => &reference.name,
                _ => reference.namespace.as_deref().unwrap_or("default"),
            })
        });
        let label = |key: &str| metadata_entry(object, "labels", key);
        texts
            && self.labels.iter().all(|test| match test {
                LabelTest::Is(key, value) => label(key) == Some(value),
                LabelTest::IsNot(key, value) => label(key) != Some(value),
                LabelTest::Exists(key) => label(key).is_some(),
                LabelTest::Missing(key) => label(key).is_none(),
            })
    }
}

/// Applies a patch to the objects it is for.
///
/// With a target, no match is no error, as in Kustomize; a patch that names its object must find
/// it.
pub(crate) fn apply(patch: &Patch, manifests: &mut Vec<Manifest>) -> Result<(), RenderError> {
    for document in &patch.documents {
        let error = |text: String| {
            // Lines of an inline patch are counted from the line of the field.
            let line = match patch.field {
                Some(_) => patch.line,
                None => document.line,
            };
            let problem = Problem::Invalid(text);
            RenderError::new(&patch.file, Some(line), patch.field.as_deref(), problem)
        };
        let value = document.to_value();
        if matches!(document.kind, Kind::List(_)) {
            let target = patch.target.as_ref();
            let target = target.ok_or_else(|| error("a JSON patch needs a `target`".to_owned()))?;
            for manifest in manifests.iter_mut().filter(|m| target.matches(&m.object)) {
                let before = manifest.reference();
                json_patch::apply(&mut manifest.object, &value).map_err(error)?;
                keep_name(before, manifest).map_err(error)?;
            }
            continue;
        }
        let named = ObjectRef::of(&value);
        let selected = |m: &Manifest| match (&patch.target, &named) {
            (Some(target), _) => target.matches(&m.object),
            (None, Some(named)) => m.reference().is_some_and(|r| is_named(&r, named)),
            (None, None) => false,
        };
        if patch.target.is_none() && !manifests.iter().any(selected) {
            let name = named.map_or_else(|| "without a name".to_owned(), |n| n.to_string());
            return Err(error(format!("no object for this patch: {name}")));
        }
        if value.get(DIRECTIVE) == Some(&Value::from("delete")) {
            manifests.retain(|m| !selected(m));
            continue;
        }
        for manifest in manifests.iter_mut().filter(|m| selected(m)) {
            merge_object(&mut manifest.object, &value).map_err(error)?;
        }
    }
    Ok(())
}

fn is_named(reference: &ObjectRef, named: &ObjectRef) -> bool {
    reference.group == named.group
        && reference.kind == named.kind
        && reference.name == named.name
        && (named.namespace.is_none() || reference.namespace == named.namespace)
}

/// An object must not get another name by a patch: its references would point nowhere.
fn keep_name(before: Option<ObjectRef>, manifest: &Manifest) -> Result<(), String> {
    let after = manifest.reference();
    match (before, after) {
        (Some(before), Some(after))
            if (&before.group, &before.kind, &before.name)
                == (&after.group, &after.kind, &after.name) =>
        {
            Ok(())
        }
        (Some(before), _) => Err(format!("the patch changes kind or name of {before}")),
        (None, _) => Err("not an object".to_owned()),
    }
}

fn merge_object(object: &mut Value, patch: &Value) -> Result<(), String> {
    let lists = Lists::of(object);
    let mut patch = patch.clone();
    // With a target, the names in the patch are only there to make it a whole object.
    if let Value::Object(map) = &mut patch {
        map.remove("apiVersion");
        map.remove("kind");
        if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
            metadata.remove("name");
            metadata.remove("namespace");
        }
    }
    merge(lists, "", object, &patch)
}

/// Strategic merge: maps merge, null deletes, lists with keys merge by key, the rest replaces.
fn merge(lists: Lists, field: &str, base: &mut Value, patch: &Value) -> Result<(), String> {
    match patch {
        Value::Object(patch) => match directive(patch)? {
            Some("replace") => *base = clean(&Value::Object(patch.clone()))?,
            Some("delete") => *base = Value::Null,
            _ => {
                if !base.is_object() {
                    *base = Value::Object(Map::new());
                }
                let Value::Object(map) = base else { return Ok(()) };
                merge_map(lists, map, patch)?;
            }
        },
        Value::Array(items) => return merge_list(lists, field, base, items),
        other => *base = other.clone(),
    }
    Ok(())
}

fn merge_map(
    lists: Lists,
    base: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), String> {
    for (name, value) in patch.iter().filter(|(name, _)| *name != DIRECTIVE) {
        if value.is_null() {
            base.remove(name);
            continue;
        }
        let slot = base.entry(name.clone()).or_insert(Value::Null);
        merge(lists, name, slot, value)?;
        if slot.is_null() {
            base.remove(name);
        }
    }
    Ok(())
}

/// Items of the patch come first, in its order, as Kustomize has them; then the others.
fn merge_list(lists: Lists, field: &str, base: &mut Value, patch: &[Value]) -> Result<(), String> {
    let is_directive = |item: &Value| {
        item.as_object().is_some_and(|map| map.len() == 1 && map.contains_key(DIRECTIVE))
    };
    let (directives, items): (Vec<&Value>, Vec<&Value>) =
        patch.iter().partition(|item| is_directive(item));
    let items: Vec<Value> = items.into_iter().cloned().collect();
    let replace = match directives.first() {
        Some(item) => match item.as_object().map(directive).transpose()?.flatten() {
            Some("replace") => true,
            _ => return Err(format!("`{field}`: only `$patch: replace` is for a whole list")),
        },
        None => false,
    };
    let mut old = match base.take() {
        Value::Array(old) if !replace => old,
        _ => Vec::new(),
    };
    let keys = lists.keys(field, &items).filter(|_| lists.keys(field, &old).is_some());
    let Some(keys) = keys else {
        *base = clean(&Value::Array(items))?;
        return Ok(());
    };
    let mut merged = Vec::new();
    for (key, item) in keys.iter().zip(&items) {
        let found = old.iter().position(|o| lists.key(field, o).as_ref() == Some(key));
        let mut value = found.map_or(Value::Null, |index| old.remove(index));
        merge(lists, "", &mut value, item)?;
        if !value.is_null() {
            merged.push(value);
        }
    }
    merged.append(&mut old);
    *base = Value::Array(merged);
    Ok(())
}

/// The directive of a map; an unknown one is an error.
fn directive(map: &Map<String, Value>) -> Result<Option<&str>, String> {
    if let Some(name) = map.keys().find(|name| name.starts_with('$') && *name != DIRECTIVE) {
        return Err(format!("the directive `{name}` is not supported"));
    }
    match map.get(DIRECTIVE) {
        None => Ok(None),
        Some(Value::String(text)) if matches!(text.as_str(), "merge" | "replace" | "delete") => {
            Ok(Some(text))
        }
        Some(other) => Err(format!("`$patch: {other}` is not one of merge, replace, delete")),
    }
}

/// A value without directives, as it goes into an object that has nothing there yet.
fn clean(value: &Value) -> Result<Value, String> {
    match value {
        Value::Object(map) => {
            directive(map)?;
            let kept = map.iter().filter(|(name, v)| *name != DIRECTIVE && !v.is_null());
            kept.map(|(k, v)| Ok((k.clone(), clean(v)?)))
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object)
        }
        Value::Array(items) => items.iter().map(clean).collect::<Result<_, _>>().map(Value::Array),
        other => Ok(other.clone()),
    }
}
