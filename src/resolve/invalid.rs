//! What is wrong, where, and what was expected instead.

use std::fmt;
use std::path::PathBuf;

/// One step on the way to a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// A field of an object.
    Field(String),
    /// An entry of a list, from 0.
    Index(usize),
}

/// The way from an object's root to a field, such as `spec.strategy.canary.steps[1].weight`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(Vec<Segment>);

impl FieldPath {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Fields, one inside the other, separated by dots.
    pub fn of(fields: &str) -> Self {
        Self(fields.split('.').map(|field| Segment::Field(field.to_owned())).collect())
    }

    /// A field of what this leads to.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Field(name.to_owned()));
        path
    }

    /// An entry of the list this leads to.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Index(index));
        path
    }

    /// The steps.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Field(name) if is_plain(name) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(f, "{dot}{name}")?;
                }
                Segment::Field(name) => write!(f, "[{}]", quoted(name))?,
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// A text as people should see it: in quotes, on one line, not endless.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{:?}", start + "…")
}

/// Names an object among all that were read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Such as `Rollout`.
    pub kind: &'static str,
    /// `None` for kinds of the cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// What is wrong with one field of one object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}found {found}, expected {expected}", prefix(object.as_ref(), field))]
pub struct Fault {
    /// Which object; `None` while it is plain.
    pub object: Option<ObjectKey>,
    /// Which field.
    pub field: FieldPath,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
}

fn prefix(object: Option<&ObjectKey>, field: &FieldPath) -> String {
    let object = object.map(|object| format!("{object}: ")).unwrap_or_default();
    let field = if field.segments().is_empty() { String::new() } else { format!("{field}: ") };
    object + &field
}

impl Fault {
    /// A fault of an object that is plain from where the fault is used.
    pub fn new(field: &FieldPath, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { object: None, field: field.clone(), found: found.into(), expected: expected.into() }
    }

    /// The same, of this object.
    #[must_use]
    pub fn of(mut self, object: &ObjectKey) -> Self {
        self.object.get_or_insert_with(|| object.clone());
        self
    }
}

/// What is wrong is on the list already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told;

/// What is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// Which file; `None`: the object did not come from one.
    pub file: Option<PathBuf>,
    /// Which object; `None`: the file does not say.
    pub object: Option<ObjectKey>,
    /// Which line, from 1; 0: the file as a whole.
    pub line: usize,
    /// Which field.
    pub field: FieldPath,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if self.line > 0 {
                write!(f, ":{}", self.line)?;
            }
            f.write_str(": ")?;
        }
        // With file and line the object is plain.
        let object = self.object.as_ref().filter(|_| self.file.is_none());
        write!(f, "{}", prefix(object, &self.field))?;
        write!(f, "found {}, expected {}", self.found, self.expected)
    }
}
