//! Pages that are written by the code they describe: `UPDATE=1` writes them anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_engine::defaults;
use tidegate_engine::reason::Reason;

use crate::stories;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn is_fresh(page: &str, text: &str) {
    let path = root().join("docs").join(page);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(there, text, "docs/{page} is stale: UPDATE=1 writes it anew");
}

/// One line, no gaps, nothing that a table would take for its own.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[test]
fn the_page_of_defaults_is_fresh() {
    let mut page =
        "# Defaults\n\nEvery default and why it is what it is. Written by the tests from \
        `src/engine/defaults.rs`.\n\n| name | value | why |\n|---|---|---|\n"
            .to_owned();
    for row in defaults::ALL {
        let _ = writeln!(page, "| `{}` | {} | {} |", row.name, row.value, cell(row.why));
    }
    is_fresh("defaults.md", &page);
}

#[test]
fn the_page_of_reasons_is_fresh() {
    let mut page = "# Reasons\n\nWhy the controller decided what it decided: the reasons of \
        conditions, events and alerts, and labels of metrics. Written by the tests from \
        `src/engine/reason.rs`. What keeps a Rollout from trials at all is in \
        [run.md](run.md#when-something-is-wrong).\n\n| reason | what it means |\n|---|---|\n"
        .to_owned();
    for reason in Reason::ALL {
        let _ = writeln!(page, "| `{reason}` | {} |", cell(reason.meaning()));
    }
    is_fresh("reasons.md", &page);
}

#[test]
fn a_reason_is_told_in_a_story() {
    let told: String = stories::all().into_iter().map(|(_, story)| story).collect();
    let words: BTreeSet<&str> =
        told.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    // Of what the API server refuses the engine knows nothing; turns of the controller tell it.
    let is_ours = |reason: &&Reason| !matches!(reason, Reason::Forbidden | Reason::TemplateMutated);
    let ours = Reason::ALL.iter().filter(is_ours);
    let never: Vec<_> = ours.filter(|reason| !words.contains(reason.as_str())).collect();
    assert!(never.is_empty(), "no story tells {never:?}");
}

#[test]
fn stories_have_a_title() {
    for (name, story) in stories::all() {
        assert!(story.starts_with("# "), "{name} does not say what it is about");
        assert!(Path::new(&name).extension().is_some_and(|end| end == "txt"), "{name}");
    }
}
