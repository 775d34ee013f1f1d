//! Checks a tree against the schema the API server has, and says all that is wrong with it.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex_lite::Regex;
use tidegate_api::TEXT_FORMS;

use super::invalid::{Fault, FieldPath, quoted};
use super::nearest::{nearest, one_of};
use super::tree::{Entry, Node, Value};

/// More than anybody reads; a document made of faults must not take for ever.
const ENOUGH: usize = 100;

/// Whether so much is wrong with a document that nothing more needs to be said.
pub(crate) fn is_enough(faults: &[Fault]) -> bool {
    faults.len() >= ENOUGH
}

/// Collects what is wrong with `node`, which stands at `path`.
pub(crate) fn check(
    node: &Node,
    schema: &JSONSchemaProps,
    path: &FieldPath,
    faults: &mut Vec<Fault>,
) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) || is_enough(faults) {
        return;
    }
    match (schema.type_.as_deref(), &node.value) {
        (Some("object"), Value::Map(entries)) => check_map(node, entries, schema, path, faults),
        (Some("array"), Value::List(items)) => check_list(items, schema, path, faults),
        (Some("string"), Value::Text(text)) => check_text(text, schema, path, faults),
        (Some("integer" | "number"), Value::Integer(number)) => {
            check_number(*number as f64, node, schema, path, faults);
        }
        (Some("number"), Value::Float(number)) => {
            check_number(*number, node, schema, path, faults);
        }
        (Some("boolean"), Value::Bool(_)) | (None, _) => {}
        (Some(expected), _) => faults.push(wrong_type(node, expected, schema, path)),
    }
}

fn wrong_type(node: &Node, expected: &str, schema: &JSONSchemaProps, path: &FieldPath) -> Fault {
    let words = match expected {
        "object" => "an object".to_owned(),
        "array" => "a list".to_owned(),
        "integer" => range(schema).map_or_else(
            || "a whole number".to_owned(),
            |range| format!("a whole number, {range}"),
        ),
        "number" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        _ => match &node.value {
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                format!("a text: write it in quotes, \"{}\"", node.found())
            }
            _ => form(schema).unwrap_or("a text").to_owned(),
        },
    };
    Fault::new(path, node.found(), words)
}

fn check_map(
    node: &Node,
    entries: &[Entry],
    schema: &JSONSchemaProps,
    path: &FieldPath,
    faults: &mut Vec<Fault>,
) {
    for name in schema.required.iter().flatten() {
        if node.get(name).is_none() {
            let property = schema.properties.as_ref().and_then(|all| all.get(name));
            faults.push(Fault::new(&path.field(name), "nothing", kind_of(property)));
        }
    }
    if let Some(max) = schema.max_properties.filter(|max| too_many(entries.len(), *max)) {
        let found = format!("{} entries", entries.len());
        faults.push(Fault::new(path, found, format!("at most {max}")));
        return;
    }
    let empty = BTreeMap::new();
    let properties = schema.properties.as_ref().unwrap_or(&empty);
    for entry in entries.iter().filter(|entry| entry.value.value != Value::Null) {
        if is_enough(faults) {
            return;
        }
        let path = path.field(&entry.key);
        match (properties.get(&entry.key), &schema.additional_properties) {
            (Some(property), _) => check(&entry.value, property, &path, faults),
            (None, Some(JSONSchemaPropsOrBool::Schema(any))) => {
                check(&entry.value, any, &path, faults);
            }
            (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
            (None, None | Some(JSONSchemaPropsOrBool::Bool(false))) => {
                faults.push(unknown(&entry.key, properties.keys().map(String::as_str), &path));
            }
        }
    }
}

/// A field nobody knows, with the one that was probably meant.
pub(crate) fn unknown<'a>(
    key: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    path: &FieldPath,
) -> Fault {
    let expected = match nearest(key, known.clone()) {
        Some(name) => format!("{name} (did you mean it?)"),
        None => one_of(known),
    };
    Fault::new(path, "an unknown field", expected)
}

fn kind_of(schema: Option<&JSONSchemaProps>) -> String {
    let Some(schema) = schema else { return "a value".to_owned() };
    if let Some(words) = form(schema) {
        return words.to_owned();
    }
    match schema.type_.as_deref() {
        Some("object") => "an object",
        Some("array") => "a list",
        Some("string") => "a text",
        Some("integer") => "a whole number",
        Some("boolean") => "true or false",
        _ => "a value",
    }
    .to_owned()
}

/// What the pattern of a text asks for, in words.
fn form(schema: &JSONSchemaProps) -> Option<&'static str> {
    let pattern = schema.pattern.as_deref()?;
    TEXT_FORMS.iter().find(|(known, _)| *known == pattern).map(|(_, words)| *words)
}

fn check_list(items: &[Node], schema: &JSONSchemaProps, path: &FieldPath, faults: &mut Vec<Fault>) {
    if let Some(max) = schema.max_items.filter(|max| too_many(items.len(), *max)) {
        let found = format!("{} entries", items.len());
        faults.push(Fault::new(path, found, format!("at most {max}")));
        return;
    }
    if let Some(min) = schema.min_items.filter(|min| too_few(items.len(), *min)) {
        let entries = if min == 1 { "entry" } else { "entries" };
        faults.push(Fault::new(path, "an empty list", format!("at least {min} {entries}")));
    }
    if let Some(JSONSchemaPropsOrArray::Schema(inner)) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            check(item, inner, &path.index(index), faults);
        }
    }
    match schema.x_kubernetes_list_type.as_deref() {
        Some("set") => {
            let texts = items.iter().map(|item| item.text().map(str::to_owned));
            check_unique(texts, |index| path.index(index), faults);
        }
        Some("map") => {
            let Some(keys) = &schema.x_kubernetes_list_map_keys else { return };
            let Some(key) = keys.first() else { return };
            let texts =
                items.iter().map(|item| item.get(key).and_then(Node::text).map(str::to_owned));
            check_unique(texts, |index| path.index(index).field(key), faults);
        }
        _ => {}
    }
}

fn check_unique(
    texts: impl Iterator<Item = Option<String>>,
    path: impl Fn(usize) -> FieldPath,
    faults: &mut Vec<Fault>,
) {
    let mut seen = BTreeMap::new();
    for (index, text) in texts.enumerate() {
        let Some(text) = text else { continue };
        if let Some(first) = seen.get(&text) {
            let found = format!("{} again", quoted(&text));
            faults.push(Fault::new(&path(index), found, format!("it once; {first} has it")));
        } else {
            let first = path(index).to_string();
            seen.insert(text, first);
        }
    }
}

fn check_text(text: &str, schema: &JSONSchemaProps, path: &FieldPath, faults: &mut Vec<Fault>) {
    if let Some(allowed) = &schema.enum_ {
        let allowed: Vec<&str> = allowed.iter().filter_map(|value| value.0.as_str()).collect();
        if !allowed.contains(&text) {
            faults.push(Fault::new(path, quoted(text), one_of(allowed)));
        }
        return;
    }
    // Kubernetes counts characters, not bytes.
    let length = text.chars().count();
    if let Some(max) = schema.max_length.filter(|max| too_many(length, *max)) {
        let found = format!("{length} characters");
        faults.push(Fault::new(path, found, format!("at most {max}")));
        return;
    }
    if let Some(pattern) = &schema.pattern {
        // A pattern of ours that is none is found by a test; here it must not stop the reading.
        let matches = Regex::new(pattern).is_ok_and(|regex| regex.is_match(text));
        if !matches {
            let words =
                form(schema).map_or_else(|| format!("a text like {pattern}"), str::to_owned);
            faults.push(Fault::new(path, quoted(text), words));
        }
    } else if let Some(min) = schema.min_length.filter(|min| too_few(length, *min)) {
        let expected = if min == 1 { "a text".to_owned() } else { format!("at least {min}") };
        faults.push(Fault::new(path, quoted(text), expected));
    }
}

fn check_number(
    number: f64,
    node: &Node,
    schema: &JSONSchemaProps,
    path: &FieldPath,
    faults: &mut Vec<Fault>,
) {
    let below = schema.minimum.is_some_and(|min| number < min);
    let above = schema.maximum.is_some_and(|max| number > max);
    if below || above {
        faults.push(Fault::new(path, node.found(), range(schema).unwrap_or_default()));
    }
}

fn range(schema: &JSONSchemaProps) -> Option<String> {
    match (schema.minimum, schema.maximum) {
        (Some(min), Some(max)) => Some(format!("{min} to {max}")),
        (Some(min), None) => Some(format!("at least {min}")),
        (None, Some(max)) => Some(format!("at most {max}")),
        (None, None) => None,
    }
}

fn too_many(count: usize, max: i64) -> bool {
    usize::try_from(max).is_ok_and(|max| count > max)
}

fn too_few(count: usize, min: i64) -> bool {
    usize::try_from(min).is_ok_and(|min| count < min)
}
