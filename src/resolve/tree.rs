//! YAML as a tree that knows its lines. Hostile input is an error, never a crash or a hang: bytes,
//! depth, and nodes are bounded, and an alias counts as all it stands for.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Tag};

use super::invalid::{FieldPath, Segment, quoted};

/// Larger than any file of manifests we know by a factor of ten.
const MAX_BYTES: usize = 4 << 20;
/// Deeper than any Kubernetes object by a factor of two.
const MAX_DEPTH: usize = 64;
/// All files of a large application together stay far below. A long text counts as one more value
/// for each `TEXT_PER_NODE` bytes, so that aliases of it are bounded too.
const MAX_NODES: usize = 200_000;
/// See `MAX_NODES`.
const TEXT_PER_NODE: usize = 32;

/// A value with the line it begins on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) value: Node,
}

/// Why a text is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) line: usize,
    pub(crate) found: String,
    pub(crate) expected: String,
}

impl Unreadable {
    fn new(line: usize, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { line, found: found.into(), expected: expected.into() }
    }
}

impl From<ScanError> for Unreadable {
    fn from(error: ScanError) -> Self {
        Self::new(error.marker().line(), error.info(), "YAML")
    }
}

/// The documents of a text; empty ones are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, Unreadable> {
    if text.len() > MAX_BYTES {
        let found = format!("{} bytes", text.len());
        return Err(Unreadable::new(0, found, format!("at most {MAX_BYTES}")));
    }
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next?;
        builder.take(event, span.start.line())?;
    }
    Ok(builder.documents)
}

/// A list or map that is not closed yet.
struct Open {
    line: usize,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    /// `seen`: keys so far with their lines; `key`: read, waiting for its value.
    Map {
        entries: Vec<Entry>,
        seen: BTreeMap<String, usize>,
        key: Option<(String, usize)>,
    },
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    /// What each anchor stands for, and how many nodes that is.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Unreadable> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref(), line)?;
                let node = Node { line, value };
                self.count(size(&node), line)?;
                self.put(node, anchor)
            }
            Event::Alias(anchor) => {
                let Some(&(_, size)) = self.anchors.get(&anchor) else {
                    return Err(Unreadable::new(line, "an alias of itself", "a value"));
                };
                self.count(size, line)?;
                let node = self.anchors.get(&anchor).map(|(node, _)| node.clone());
                node.map_or(Ok(()), |node| self.put(node, 0))
            }
            Event::SequenceStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "seq", line)?;
                self.push(anchor, line, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "map", line)?;
                let (entries, seen) = (Vec::new(), BTreeMap::new());
                self.push(anchor, line, Content::Map { entries, seen, key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), Unreadable> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let expected = format!("at most {MAX_NODES} in a file");
            return Err(Unreadable::new(line, "too many values", expected));
        }
        Ok(())
    }

    fn push(&mut self, anchor: usize, line: usize, content: Content) -> Result<(), Unreadable> {
        self.count(1, line)?;
        if self.open.len() >= MAX_DEPTH {
            let found = "a list or object too deep inside others";
            return Err(Unreadable::new(line, found, format!("at most {MAX_DEPTH} levels")));
        }
        if let Some(Open { content: Content::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(Unreadable::new(line, "a list or object as a key", "a text as a key"));
        }
        self.open.push(Open { line, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Unreadable> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        self.put(Node { line: open.line, value }, open.anchor)
    }

    /// A value is complete: it is a document, an entry of a list, a key, or a key's value.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Unreadable> {
        if anchor != 0 {
            // Kept copies count as well: anchors alone must not fill the memory.
            let size = size(&node);
            self.count(size, node.line)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => {
                if node.value != Value::Null {
                    self.documents.push(node);
                }
            }
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, seen, key }) => match key.take() {
                Some((key, line)) => entries.push(Entry { key, line, value: node }),
                None => *key = Some((as_key(&node, seen)?, node.line)),
            },
        }
        Ok(())
    }
}

fn as_key(node: &Node, seen: &mut BTreeMap<String, usize>) -> Result<String, Unreadable> {
    let key = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Bool(bool) => bool.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => {
            return Err(Unreadable::new(node.line, node.found(), "a text as a key"));
        }
    };
    if key == "<<" {
        let expected = "no merge keys: Kubernetes tools do not agree on them";
        return Err(Unreadable::new(node.line, "<<", expected));
    }
    if let Some(first) = seen.insert(key.clone(), node.line) {
        let found = format!("{} again", quoted(&key));
        let expected = format!("it once; the first is on line {first}");
        return Err(Unreadable::new(node.line, found, expected));
    }
    Ok(key)
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| 1 + size(&entry.value)).sum(),
        Value::Text(text) => text.len() / TEXT_PER_NODE,
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => 0,
    }
}

fn collection_tag(tag: Option<&Tag>, allowed: &str, line: usize) -> Result<(), Unreadable> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.core_suffix() == Some(allowed) => Ok(()),
        Some(tag) => Err(Unreadable::new(line, quoted(&tag.original()), "no tag")),
    }
}

/// A scalar by the YAML 1.2 core schema.
fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    line: usize,
) -> Result<Value, Unreadable> {
    match tag.map(Tag::core_suffix) {
        Some(Some("str")) => return Ok(Value::Text(text.to_owned())),
        Some(Some("null" | "bool" | "int" | "float")) | None => {}
        Some(_) => {
            let tag = tag.map(Tag::original).unwrap_or_default();
            return Err(Unreadable::new(line, quoted(&tag), "no tag"));
        }
    }
    if style != ScalarStyle::Plain {
        return Ok(Value::Text(text.to_owned()));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).unwrap_or_else(|| Value::Text(text.to_owned())),
    })
}

fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(Value::Integer);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok().map(Value::Integer);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !digits.contains(|c: char| c.is_ascii_digit())
        || digits.contains(|c: char| !matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'))
    {
        return None;
    }
    if let Ok(number) = text.parse() {
        return Some(Value::Integer(number));
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float)
}

impl Node {
    /// What stands there, for people.
    pub(crate) fn found(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(bool) => bool.to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Text(text) => quoted(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "an object".to_owned(),
        }
    }

    /// A field of an object; `None` where it is missing or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
            .filter(|node| node.value != Value::Null)
    }

    /// The text that stands there.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The line of a field: its key's, or that of the last thing on the way to it that is there.
    pub(crate) fn line_of(&self, field: &FieldPath) -> usize {
        let (mut node, mut line) = (self, self.line);
        for segment in field.segments() {
            match (segment, &node.value) {
                (Segment::Field(name), Value::Map(entries)) => {
                    let Some(entry) = entries.iter().find(|entry| entry.key == *name) else {
                        break;
                    };
                    (node, line) = (&entry.value, entry.line);
                }
                (Segment::Index(index), Value::List(items)) => {
                    let Some(item) = items.get(*index) else { break };
                    (node, line) = (item, item.line);
                }
                _ => break,
            }
        }
        line
    }

    /// As JSON, without nulls, as the API server would drop them.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(bool) => (*bool).into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .filter(|entry| entry.value.value != Value::Null)
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}
