//! Fields of a tree, read one by one. What is wrong is kept, and something harmless taken instead.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::resolve::nearest::one_of;
use crate::resolve::tree::{Node, Value};
use crate::resolve::units;
use crate::resolve::{Fault, FieldPath, schema};

/// What is wrong so far.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) faults: Vec<Fault>,
}

/// An object, and where it stands. `None`: it is not there, which is told already.
pub(super) struct Map<'a> {
    node: Option<&'a Node>,
    at: FieldPath,
}

impl<'a> Map<'a> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&'a Node> {
        self.node.and_then(|node| node.get(name))
    }
}

/// Both ends are in it.
#[derive(Clone, Copy)]
pub(super) struct Range(pub(super) f64, pub(super) f64);

impl Fields {
    fn wrong(&mut self, at: &FieldPath, node: Option<&Node>, expected: impl Into<String>) {
        let found = node.map_or_else(|| "nothing".to_owned(), Node::found);
        self.faults.push(Fault::new(at, found, expected));
    }

    /// An object with no other fields than these.
    pub(super) fn map<'a>(&mut self, node: &'a Node, at: &FieldPath, known: &[&str]) -> Map<'a> {
        let Value::Map(entries) = &node.value else {
            self.wrong(at, Some(node), "an object");
            return Map { node: None, at: at.clone() };
        };
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                let at = at.field(&entry.key);
                self.faults.push(schema::unknown(&entry.key, known.iter().copied(), &at));
            }
        }
        Map { node: Some(node), at: at.clone() }
    }

    /// An object in an object.
    pub(super) fn inner<'a>(&mut self, map: &Map<'a>, name: &str, known: &[&str]) -> Map<'a> {
        let at = map.at.field(name);
        if let Some(node) = map.get(name) {
            return self.map(node, &at, known);
        }
        if map.node.is_some() {
            self.wrong(&at, None, format!("an object of {}", all_of(known)));
        }
        Map { node: None, at }
    }

    /// A list; nothing is an empty one.
    pub(super) fn list<'a>(
        &mut self,
        map: &Map<'a>,
        name: &str,
        most: usize,
    ) -> (&'a [Node], FieldPath) {
        let at = map.at.field(name);
        let items = match map.get(name).map(|node| (node, &node.value)) {
            None => &[],
            Some((_, Value::List(items))) if items.len() <= most => items.as_slice(),
            Some((_, Value::List(items))) => {
                let expected = format!("at most {most}");
                self.faults.push(Fault::new(&at, format!("{} entries", items.len()), expected));
                &[]
            }
            Some((node, _)) => {
                self.wrong(&at, Some(node), "a list");
                &[]
            }
        };
        (items, at)
    }

    /// A field read by `parse`. Where it is missing or wrong, `default` is taken; without one, a
    /// missing field is wrong.
    fn read<T>(
        &mut self,
        map: &Map<'_>,
        name: &str,
        default: Option<T>,
        expected: &str,
        parse: impl Fn(&Node) -> Option<T>,
    ) -> Option<T> {
        map.node?;
        match map.get(name) {
            None if default.is_some() => default,
            node => {
                let read = node.and_then(parse);
                if read.is_none() {
                    self.wrong(&map.at.field(name), node, expected);
                }
                read
            }
        }
    }

    pub(super) fn text(&mut self, map: &Map<'_>, name: &str) -> String {
        const LONGEST: usize = 200;
        let expected = "a text of at most 200 characters on one line";
        let read = self.read(map, name, None, expected, |node| {
            let text = node.text()?;
            let fits = text.len() <= LONGEST && !text.contains(char::is_control);
            (fits && !text.is_empty()).then(|| text.to_owned())
        });
        read.unwrap_or_default()
    }

    /// The name of a template.
    pub(super) fn name(&mut self, map: &Map<'_>, name: &str) -> Option<String> {
        const LONGEST: usize = 40;
        let expected = "a name such as v2, of at most 40 letters, digits, dashes and dots";
        self.read(map, name, None, expected, |node| {
            let text = node.text()?;
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
            let fits = !text.is_empty() && text.len() <= LONGEST && text.chars().all(plain);
            fits.then(|| text.to_owned())
        })
    }

    pub(super) fn span(
        &mut self,
        map: &Map<'_>,
        name: &str,
        default: Option<TimeDelta>,
        (least, most): (TimeDelta, TimeDelta),
    ) -> TimeDelta {
        let expected =
            format!("a time span such as 90s or 1h30m, {} to {}", show(least), show(most));
        let read = self.read(map, name, default, &expected, |node| {
            let span = units::duration(node.text()?)?;
            (span >= least && span <= most).then_some(span)
        });
        read.unwrap_or(least)
    }

    /// A share such as `0.1%`.
    pub(super) fn share(&mut self, map: &Map<'_>, name: &str, default: Option<f64>) -> f64 {
        let expected = "a share such as 0.1%, at most 100%";
        let read = self.read(map, name, default, expected, |node| units::fraction(node.text()?));
        read.unwrap_or_default()
    }

    pub(super) fn number(
        &mut self,
        map: &Map<'_>,
        name: &str,
        default: Option<f64>,
        range: Range,
    ) -> f64 {
        let expected = format!("a number from {} to {}", range.0, range.1);
        let read = self.read(map, name, default, &expected, |node| {
            number(node).filter(|number| *number >= range.0 && *number <= range.1)
        });
        read.unwrap_or(range.0)
    }

    pub(super) fn whole(
        &mut self,
        map: &Map<'_>,
        name: &str,
        default: Option<u32>,
        (least, most): (u32, u32),
    ) -> u32 {
        let expected = format!("a whole number from {least} to {most}");
        let read = self.read(map, name, default, &expected, |node| match node.value {
            Value::Integer(number) => {
                u32::try_from(number).ok().filter(|number| (least..=most).contains(number))
            }
            _ => None,
        });
        read.unwrap_or(least)
    }

    /// One of some words.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        map: &Map<'_>,
        name: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let expected = one_of(words.iter().map(|(word, _)| *word));
        self.read(map, name, None, &expected, |node| {
            let text = node.text()?;
            words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant)
        })
    }

    /// Saying it is saying yes.
    pub(super) fn must_be_true(&mut self, map: &Map<'_>, name: &str) {
        let _ = self.read(map, name, None, "true", |node| {
            matches!(node.value, Value::Bool(true)).then_some(())
        });
    }

    /// Numbers by name.
    pub(super) fn values(&mut self, map: &Map<'_>, name: &str) -> BTreeMap<String, f64> {
        let at = map.at.field(name);
        let Some(node) = map.get(name) else { return BTreeMap::new() };
        let Value::Map(entries) = &node.value else {
            self.wrong(&at, Some(node), "an object of numbers");
            return BTreeMap::new();
        };
        let mut values = BTreeMap::new();
        for entry in entries {
            match number(&entry.value) {
                Some(number) => {
                    values.insert(entry.key.clone(), number);
                }
                None => self.wrong(&at.field(&entry.key), Some(&entry.value), "a number"),
            }
        }
        values
    }
}

/// `a, b and c`.
fn all_of(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => words.concat(),
    }
}

fn number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Integer(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// `100ms`, `5s`, `31d`: the largest unit that is whole.
fn show(span: TimeDelta) -> String {
    let milliseconds = span.num_milliseconds();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    units.into_iter().find(|(_, unit)| milliseconds != 0 && milliseconds % unit == 0).map_or_else(
        || if milliseconds == 0 { "0s".to_owned() } else { format!("{milliseconds}ms") },
        |(name, unit)| format!("{}{name}", milliseconds / unit),
    )
}
