//! Generated files are what the code says. `UPDATE=1` writes them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tidegate::cli::crd::{CrdArgs, CrdError, files, run};
use tidegate::observe::Problem;
use tidegate::resolve::load_text;
use tidegate_api::{ConditionType, crds};
use tidegate_engine::reason::Reason;

#[test]
fn the_definitions_in_crds_are_fresh() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    if std::env::var_os("UPDATE").is_some() {
        run(&CrdArgs { dir: Some(dir.clone()), check: false }, &mut Vec::new()).unwrap();
    }
    let args = CrdArgs { dir: Some(dir), check: true };
    if let Err(error) = run(&args, &mut Vec::new()) {
        panic!("{error}; or UPDATE=1 cargo test generated");
    }
}

#[test]
fn a_changed_a_missing_and_a_foreign_file_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let args = CrdArgs { dir: Some(dir.path().to_owned()), check: false };
    run(&args, &mut Vec::new()).unwrap();
    let check = CrdArgs { check: true, ..args };
    run(&check, &mut Vec::new()).unwrap();

    std::fs::write(dir.path().join("tidegate.dev_rollouts.yaml"), "changed").unwrap();
    std::fs::remove_file(dir.path().join("tidegate.dev_trials.yaml")).unwrap();
    std::fs::write(dir.path().join("tidegate.dev_waves.yaml"), "foreign").unwrap();
    let Err(CrdError::Stale { stale, .. }) = run(&check, &mut Vec::new()) else {
        panic!("nothing was found stale");
    };
    let names: Vec<_> = stale.iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(
        names,
        ["tidegate.dev_rollouts.yaml", "tidegate.dev_trials.yaml", "tidegate.dev_waves.yaml"]
    );
}

#[test]
fn without_arguments_all_definitions_are_printed_as_documents() {
    let mut printed = Vec::new();
    run(&CrdArgs::default(), &mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(printed.matches("\nkind: CustomResourceDefinition\n").count(), 7);
    assert_eq!(printed.matches("---\n#").count(), files().unwrap().len());
}

/// A person repairs a status by hand, and the controller writes it piece by piece.
#[test]
fn a_status_has_no_field_that_must_be_there() {
    for crd in crds() {
        let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        let status = serde_json::to_value(schema).unwrap()["properties"]["status"].take();
        assert_eq!(status["required"], Value::Null, "{}", crd.spec.names.kind);
    }
}

#[test]
fn the_page_of_the_controller_names_every_problem() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/run.md");
    let page = std::fs::read_to_string(path).unwrap();
    let missing: Vec<_> = Problem::ALL
        .iter()
        .filter(|problem| !page.contains(&format!("| `Stalled` | `{}` |", problem.as_str())))
        .collect();
    assert_eq!(missing, Vec::<&Problem>::new());
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rollout.md");
    std::fs::read_to_string(path).unwrap()
}

fn fields(schema: &Value, found: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        found.insert(name.clone());
        // Conditions are Kubernetes' own.
        if name != "conditions" {
            fields(property, found);
            fields(&property["items"], found);
        }
    }
    for word in schema["enum"].as_array().into_iter().flatten() {
        found.insert(word.as_str().unwrap().to_owned());
    }
}

#[test]
fn the_page_of_the_rollout_names_every_field_word_and_condition() {
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == "Rollout").unwrap();
    let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
    let mut words = BTreeSet::new();
    fields(&serde_json::to_value(schema).unwrap(), &mut words);
    for property in ["spec", "status"] {
        words.remove(property);
    }
    words.extend(ConditionType::ALL.map(|condition| condition.as_str().to_owned()));
    assert!(words.len() > 80, "the schema was not read: {words:?}");
    let page = page();
    let known: BTreeSet<_> = page.split(|c: char| !c.is_alphanumeric()).collect();
    let missing: Vec<_> =
        words.iter().filter(|word| word.split('/').any(|part| !known.contains(part))).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn the_page_of_the_rollout_names_only_reasons_there_are() {
    let page = page();
    let (_, conditions) = page.split_once("### Conditions").unwrap();
    let rows = conditions.lines().filter(|line| line.starts_with("| `") || line.starts_with("| |"));
    let mut seen = 0;
    for row in rows {
        for word in row.split('|').nth(3).unwrap().split('`').skip(1).step_by(2) {
            assert!(Reason::ALL.iter().any(|reason| reason.as_str() == word), "{word}");
            seen += 1;
        }
    }
    assert!(seen > 40, "the table was not read");
}

#[test]
fn the_example_of_the_rollout_s_page_can_be_read() {
    let page = page();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    assert_eq!(load_text("docs/rollout.md", example).unwrap().rollouts.len(), 1);
}
