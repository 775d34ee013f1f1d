//! Generated files are what the code says. `UPDATE=1` writes them.

use std::path::Path;

use tidegate::cli::crd::{CrdArgs, CrdError, files, run};

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
