//! What one sync did, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::drift::Drift;
use super::object::ObjectRef;
use super::target::Applied;

/// What one sync did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[must_use = "objects can have failed although the sync went through"]
pub struct Report {
    /// The revision that was rendered.
    pub revision: String,
    /// The revision that was applied as a whole before this sync.
    pub previous: Option<String>,
    /// Whether this was only a look: nothing was written, and the rest says what would be.
    pub dry_run: bool,
    /// Every object of the render, in apply order.
    pub objects: Vec<ObjectReport>,
    /// Objects that were deleted because the repository has them no more.
    pub pruned: Vec<ObjectRef>,
    /// Objects that the repository has no more and that ask to be kept; no longer ours.
    pub kept: Vec<ObjectRef>,
    /// Objects that could not be deleted, and why.
    pub not_pruned: Vec<(ObjectRef, String)>,
    /// Where live objects differed before this sync. With the same revision as before someone
    /// else changed them; with a new one the changes of the repository are among them.
    pub drift: Vec<Drift>,
}

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectReport {
    /// The object.
    pub object: ObjectRef,
    /// The file it is in.
    pub file: String,
    /// What happened.
    pub result: ObjectResult,
    /// Set when a trial holds the object.
    pub held: Option<Held>,
}

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ObjectResult {
    /// The target took it.
    Applied(Applied),
    /// The target did not take it; the others were applied all the same.
    Failed(String),
}

/// An object of which a trial holds fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Who holds it, as the label of the object says: the name of the Rollout.
    pub by: String,
    /// Fields that stay as they are until the trial ends.
    pub fields: Vec<String>,
}

impl Report {
    /// Whether everything is as in the repository now (held fields excepted).
    pub fn is_complete(&self) -> bool {
        let applied = |o: &ObjectReport| matches!(o.result, ObjectResult::Applied(_));
        self.not_pruned.is_empty() && self.objects.iter().all(applied)
    }

    /// How many objects had this result.
    pub fn count(&self, applied: Applied) -> usize {
        self.objects.iter().filter(|o| o.result == ObjectResult::Applied(applied)).count()
    }

    /// How many objects were not taken.
    pub fn failed(&self) -> usize {
        let failed = |o: &&ObjectReport| matches!(o.result, ObjectResult::Failed(_));
        self.objects.iter().filter(failed).count()
    }

    /// How many objects are as they were.
    pub fn unchanged(&self) -> usize {
        self.count(Applied::Unchanged)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let would = if self.dry_run { " (dry run: nothing is written)" } else { "" };
        writeln!(f, "revision {}{would}", self.revision)?;
        for report in &self.objects {
            match &report.result {
                ObjectResult::Applied(Applied::Unchanged) => {}
                ObjectResult::Applied(Applied::Created) => writeln!(f, "+ {}", report.object)?,
                ObjectResult::Applied(Applied::Changed) => writeln!(f, "~ {}", report.object)?,
                ObjectResult::Failed(text) => {
                    writeln!(f, "! {} ({}): {text}", report.object, report.file)?;
                }
            }
            if let Some(held) = &report.held {
                let fields = if held.fields.is_empty() {
                    "no field differs".to_owned()
                } else {
                    held.fields.join(", ")
                };
                writeln!(f, "  held by Rollout {}: {fields}", held.by)?;
            }
        }
        for object in &self.pruned {
            writeln!(f, "- {object}")?;
        }
        for object in &self.kept {
            writeln!(f, "  {object} is no longer in the repository and is kept")?;
        }
        for (object, text) in &self.not_pruned {
            writeln!(f, "! {object} is not deleted: {text}")?;
        }
        for drift in &self.drift {
            writeln!(f, "  differed: {drift}")?;
        }
        write!(
            f,
            "{} created, {} changed, {} unchanged, {} deleted, {} failed",
            self.count(Applied::Created),
            self.count(Applied::Changed),
            self.unchanged(),
            self.pruned.len(),
            self.failed() + self.not_pruned.len(),
        )
    }
}
