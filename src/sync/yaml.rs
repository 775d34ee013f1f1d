//! YAML and JSON with line numbers and limits.
//!
//! Files come from a repository that many people write to, so depth, size and alias expansion are
//! bounded, and a key given twice is an error instead of a silent choice. Every value keeps the
//! line it stands on, so that an error can point at it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// Largest file that is read, in bytes. A `ConfigMap` may hold 1 MiB; large CRDs are below 2 MiB.
const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// Deepest nesting. The deepest schemas in use (CRDs of CRDs) stay below 40.
const MAX_DEPTH: usize = 64;

/// Most nodes that aliases may add to one file. Hand-written files stay below a few hundred.
const MAX_ALIAS_EVENTS: usize = 50_000;

/// A value and the line it stands on, counted from 1 (0 when unknown).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The line of the first character of the value.
    pub(crate) line: u64,
    /// The value.
    pub(crate) kind: Kind,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Null, a boolean, a number or a string.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<Field>),
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    /// The line of the key.
    pub(crate) line: u64,
    /// The key.
    pub(crate) key: String,
    /// The value.
    pub(crate) value: Node,
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// The line, counted from 1, where it is known.
    pub(crate) line: Option<u64>,
    /// What the parser says.
    pub(crate) message: String,
}

impl Node {
    /// The same value without lines.
    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Map(fields) => {
                let entries = fields.iter().map(|f| (f.key.clone(), f.value.to_value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// Whether there is nothing here: a document of comments only, or an explicit null.
    pub(crate) fn is_null(&self) -> bool {
        self.kind == Kind::Scalar(Value::Null)
    }

    /// The value of a field, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(fields) => fields.iter().find(|f| f.key == key).map(|f| &f.value),
            Kind::Scalar(_) | Kind::List(_) => None,
        }
    }
}

/// Reads all documents of a file; documents without content are left out.
pub(crate) fn documents(bytes: &[u8]) -> Result<Vec<Node>, YamlError> {
    let error = |message: String| YamlError { line: None, message };
    if bytes.len() > MAX_FILE_BYTES {
        return Err(error(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| error(format!("not UTF-8: {e}")))?;
    let nodes: Vec<Node> = serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|e| YamlError { line: line_of(&e), message: first_line(&e.to_string()) })?;
    Ok(nodes.into_iter().filter(|node| !node.is_null()).collect())
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIAS_EVENTS },
        // `defaultMode: 0644` is octal for every other tool that reads these files.
        legacy_octal_numbers: true,
        // Only true and false are booleans; `on` and `yes` stay strings.
        strict_booleans: true,
        with_snippet: false,
    }
}

fn line_of(error: &serde_saphyr::Error) -> Option<u64> {
    error.location().map(|location| location.line()).filter(|line| *line > 0)
}

/// What the parser says, without the place, which is said before it, and without hints for
/// programmers.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or(line);
    let line = line.split(", set DuplicateKeyPolicy").next().unwrap_or(line);
    line.trim().to_owned()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, a list or a scalar")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::from(value)))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Kind, E> {
        let number = Number::from_f64(value);
        number.map(|n| Kind::Scalar(Value::Number(n))).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let line = key.referenced.line();
            fields.push(Field { line, key: key.value, value: access.next_value()? });
        }
        Ok(Kind::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let nodes =
            documents(b"# c\na: 1\nb:\n- x\n- y: 0644\n---\n# only a comment\n---\nc: on\n");
        let nodes = nodes.unwrap();
        assert_eq!(nodes.len(), 2);
        let Kind::Map(fields) = &nodes[0].kind else { panic!("a map") };
        assert_eq!(fields.iter().map(|f| f.line).collect::<Vec<_>>(), [2, 3]);
        let Kind::List(items) = &fields[1].value.kind else { panic!("a list") };
        assert_eq!(items.iter().map(|n| n.line).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(nodes[0].to_value(), serde_json::json!({"a": 1, "b": ["x", {"y": 420}]}));
        assert_eq!(nodes[1].to_value(), serde_json::json!({"c": "on"}));
        assert_eq!(nodes[1].line, 9);
    }

    #[test]
    fn a_key_given_twice_is_an_error_with_its_line() {
        let error = documents(b"a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(error.line, Some(3), "{error:?}");
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let list = vec![format!("*a{}", n - 1); 10].join(", ");
            text = format!("{text}a{n}: &a{n} [{list}]\n");
        }
        assert!(documents(text.as_bytes()).is_err());
    }

    #[test]
    fn nesting_without_end_is_refused() {
        assert!(documents("[".repeat(10_000).as_bytes()).is_err());
        assert!(documents("a:\n ".repeat(200).as_bytes()).is_err());
    }

    #[test]
    fn json_is_yaml_too() {
        let nodes = documents(br#"{"a": {"b": [1, 2.5, null, true, "x"]}}"#).unwrap();
        assert_eq!(nodes[0].to_value(), serde_json::json!({"a": {"b": [1, 2.5, null, true, "x"]}}));
    }
}
