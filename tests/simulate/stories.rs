//! Each example scenario is a story; its golden file is what people see, and what the docs show.

use std::fs;

use chrono::TimeDelta;
use tidegate::simulate::show;
use tidegate_engine::sim::{Event, Happening, Run, Turned};
use tidegate_engine::state::{Outcome, Phase};

use crate::support::{root, simulate, world};

const ALL: [&str; 5] =
    ["bad-release", "good-release", "little-traffic", "shared-incident", "slow-release"];

#[test]
fn every_scenario_goes_as_it_is_told() {
    let mut wrong = Vec::new();
    for name in ALL {
        let world = world(name);
        let told = show::story(&world.scenario, 1, &world.run(1));
        let file = root().join("tests/simulate/golden").join(name).with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, &told).unwrap();
        }
        let golden = fs::read_to_string(&file).unwrap_or_default();
        if told != golden {
            wrong.push(format!("{name}:\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE=1 writes them anew", wrong.join("\n"));
}

#[test]
fn the_examples_are_all_told() {
    let files = fs::read_dir(root().join("examples/scenarios")).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ALL);
}

#[test]
fn the_docs_show_what_is_told() {
    let docs = fs::read_to_string(root().join("docs/simulate.md")).unwrap();
    for name in ALL {
        let file = root().join("tests/simulate/golden").join(name).with_extension("txt");
        let golden = fs::read_to_string(file).unwrap();
        assert!(docs.contains(&golden), "docs/simulate.md does not show {name} as it is");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let world = world("good-release");
    assert_eq!(world.run(7), world.run(7));
    assert_ne!(world.run(7), world.run(8));
}

#[test]
fn the_binary_prints_the_same_for_the_same_seed() {
    let arguments = ["examples/rollout.yaml", "--runs", "8", "--seed", "3", "--json"];
    let first = simulate(root(), &arguments);
    let second = simulate(root(), &arguments);
    assert!(first.status.success() && first.stderr.is_empty());
    assert_eq!(first.stdout, second.stdout);
    let printed: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(printed["seed"], 3);
    assert_eq!(printed["statistics"]["aborted"], 8);
    assert_eq!(printed["statistics"]["wrongPromotions"]["count"], 0);
}

#[test]
fn a_run_as_json_has_its_timeline() {
    let out = simulate(root(), &["examples/rollout.yaml", "--json"]);
    let printed: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let run = &printed["run"];
    assert_eq!(run["timeline"][0]["at"], 60.0);
    assert_eq!(run["timeline"][0]["event"], "a commit brings v2");
    assert_eq!(run["steps"][0]["weight"], 5);
    assert_eq!(run["serves"], "v1");
    assert!(run["trials"][0]["afterTraffic"].as_f64().unwrap() < 60.0);
}

fn ends(run: &Run) -> &Outcome {
    &run.trials.first().unwrap().outcome
}

#[test]
fn a_gateway_that_is_gone_promotes_nothing() {
    let mut world = world("good-release");
    let what = Happening::Gateway { up: false };
    world.scenario.events.push(Event { at: TimeDelta::minutes(3), what });
    let run = world.run(1);
    // Weight 0 cannot be read back either: the way home is asked for until it can.
    assert_eq!(run.trials, []);
    assert_eq!(run.phase, Phase::Aborting);
    assert_eq!(run.serves.unwrap().as_str(), "v1");
}

#[test]
fn metrics_that_are_gone_neither_promote_nor_abort() {
    let mut world = world("good-release");
    let what = Happening::Metrics { up: false };
    world.scenario.events.push(Event { at: TimeDelta::seconds(70), what });
    let run = world.run(1);
    assert_eq!(run.trials, []);
    assert_eq!(run.phase, Phase::Baking);
    let verdicts: Vec<_> = run
        .timeline
        .iter()
        .filter_map(|line| match &line.turned {
            Turned::Verdict { verdict, .. } => Some(*verdict),
            Turned::Event(_) | Turned::Decision { .. } => None,
        })
        .collect();
    assert_eq!(verdicts, ["Error"]);
}

#[test]
fn pods_that_crash_are_reverted_before_they_get_traffic() {
    let text = fs::read_to_string(crate::support::scenario("good-release")).unwrap();
    let text = text + "  - {at: 62s, crashLoop: v2}\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("crash.yaml");
    fs::write(&file, text).unwrap();
    let world = tidegate::simulate::World::read(&[crate::support::rollout()], Some(&file)).unwrap();
    let run = world.run(1);
    assert!(matches!(ends(&run), Outcome::Aborted { cause, .. } if cause.is_blame()));
    assert_eq!(run.harmed, 0);
    assert_eq!(run.trials.first().unwrap().after_traffic, None);
}
