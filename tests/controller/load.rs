//! Files that are wrong, and what is said about them.

use std::path::{Path, PathBuf};

use tidegate::resolve::{load, load_text};

const HEAD: &str =
    "apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\nmetadata:\n  name: web\nspec:\n";

/// What is said of a Rollout whose spec begins on line 6 with the workload.
fn said(spec: &str) -> Vec<String> {
    said_of(&format!("{HEAD}  workloadRef: {{name: web}}\n{spec}"))
}

fn said_of(text: &str) -> Vec<String> {
    match load_text("rollout.yaml", text) {
        Ok(objects) => panic!("nothing was found wrong with {objects:#?}"),
        Err(invalid) => invalid.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_weight_out_of_range_is_named_with_file_line_and_field() {
    let spec =
        "  strategy:\n    canary:\n      steps:\n        - weight: 5\n        - weight: 120\n";
    assert_eq!(
        said(spec),
        ["rollout.yaml:11: spec.strategy.canary.steps[1].weight: found 120, expected 0 to 100"]
    );
}

#[test]
fn a_weight_that_falls_is_named_with_the_one_before() {
    let spec =
        "  strategy:\n    canary:\n      steps:\n        - weight: 25\n        - weight: 10\n";
    assert_eq!(
        said(spec),
        ["rollout.yaml:11: spec.strategy.canary.steps[1].weight: \
          found 10, expected at least 25: weights never fall"]
    );
}

#[test]
fn an_unknown_field_is_named_with_the_one_that_was_meant() {
    assert_eq!(
        said("  strategy:\n    canary:\n      steps:\n        - wieght: 5\n"),
        ["rollout.yaml:10: spec.strategy.canary.steps[0].wieght: \
          found an unknown field, expected weight (did you mean it?)"]
    );
    assert_eq!(
        said("  onFailure: Revert\n  strategie: {}\n"),
        ["rollout.yaml:8: spec.strategie: \
          found an unknown field, expected strategy (did you mean it?)"]
    );
    assert_eq!(
        said("  limits: {zzz: 5m}\n"),
        ["rollout.yaml:7: spec.limits.zzz: found an unknown field, \
          expected drain, handOver, ready, scaleDownDelay, settle, shift or verdict"]
    );
}

#[test]
fn a_wrong_type_says_what_stands_there_and_what_should() {
    assert_eq!(
        said("  services: web\n"),
        ["rollout.yaml:7: spec.services: found \"web\", expected a list"]
    );
    assert_eq!(
        said("  strategy: {canary: {steps: [{weight: lots}]}}\n"),
        ["rollout.yaml:7: spec.strategy.canary.steps[0].weight: \
          found \"lots\", expected a whole number, 0 to 100"]
    );
    assert_eq!(
        said("  strategy: {canary: {steps: [{weight: 5.5}]}}\n"),
        ["rollout.yaml:7: spec.strategy.canary.steps[0].weight: \
          found 5.5, expected a whole number, 0 to 100"]
    );
    assert_eq!(
        said("  analysis: {templates: [{name: a, args: {slo: 0.5}}]}\n"),
        ["rollout.yaml:7: spec.analysis.templates[0].args.slo: \
          found 0.5, expected a text: write it in quotes, \"0.5\""]
    );
}

#[test]
fn a_time_span_says_its_form() {
    assert_eq!(
        said("  limits: {ready: 5 minutes}\n"),
        ["rollout.yaml:7: spec.limits.ready: \
          found \"5 minutes\", expected a time span such as 90s or 1h30m"]
    );
    assert_eq!(
        said("  limits: {ready: 9999d}\n"),
        ["rollout.yaml:7: spec.limits.ready: \
          found \"9999d\", expected a time span such as 90s or 1h30m, at most 366d"]
    );
}

#[test]
fn an_unknown_word_says_the_known_ones() {
    assert_eq!(
        said("  onFailure: Rollback\n"),
        ["rollout.yaml:7: spec.onFailure: found \"Rollback\", expected Revert or Hold"]
    );
}

#[test]
fn a_missing_field_is_told_where_it_would_be() {
    let text = format!("{HEAD}  onFailure: Hold\n  git: {{repository: fleet}}\n");
    assert_eq!(
        said_of(&text),
        [
            "rollout.yaml:5: spec.workloadRef: found nothing, expected an object",
            "rollout.yaml:7: spec.git.paths: found nothing, expected a list",
        ]
    );
    assert_eq!(
        said_of("apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\n"),
        [
            "rollout.yaml:1: metadata: found nothing, expected an object with a name",
            "rollout.yaml:1: spec: found nothing, expected an object",
        ]
    );
}

#[test]
fn several_faults_are_told_at_once_by_line() {
    let spec = "  onFailure: rollback\n  mode: Watch\n  windows: [{from: '9', to: '17:00'}]\n";
    assert_eq!(
        said(spec),
        [
            "rollout.yaml:7: spec.onFailure: found \"rollback\", expected Revert or Hold",
            "rollout.yaml:8: spec.mode: found \"Watch\", expected Enforce or Observe",
            "rollout.yaml:9: spec.windows[0].from: \
             found \"9\", expected a time of day such as 09:30",
        ]
    );
}

#[test]
fn what_stands_twice_is_named_twice() {
    assert_eq!(
        said("  onFailure: Hold\n  onFailure: Revert\n"),
        ["rollout.yaml:8: found \"onFailure\" again, expected it once; the first is on line 7"]
    );
    assert_eq!(
        said("  services: [web, api, web]\n"),
        ["rollout.yaml:7: spec.services[2]: \
          found \"web\" again, expected it once; spec.services[0] has it"]
    );
    assert_eq!(
        said("  analysis:\n    templates:\n      - name: a\n      - name: a\n"),
        ["rollout.yaml:10: spec.analysis.templates[1].name: \
          found \"a\" again, expected it once; spec.analysis.templates[0].name has it"]
    );
    let twice =
        format!("{HEAD}  workloadRef: {{name: web}}\n---\n{HEAD}  workloadRef: {{name: a}}\n");
    assert_eq!(
        said_of(&twice),
        ["rollout.yaml:11: metadata.name: found Rollout default/web again, \
          expected it once; rollout.yaml:1 has it"]
    );
}

#[test]
fn lists_have_bounds() {
    assert_eq!(
        said("  strategy: {canary: {steps: []}}\n"),
        ["rollout.yaml:7: spec.strategy.canary.steps: \
          found an empty list, expected at least 1 entry"]
    );
    let many = vec!["{weight: 5}"; 33].join(",");
    assert_eq!(
        said(&format!("  strategy: {{canary: {{steps: [{many}]}}}}\n")),
        ["rollout.yaml:7: spec.strategy.canary.steps: found 33 entries, expected at most 32"]
    );
}

#[test]
fn a_kind_of_ours_must_be_known() {
    assert_eq!(
        said_of("apiVersion: tidegate.dev/v1alpha1\nkind: Rolout\nmetadata: {name: a}\n"),
        ["rollout.yaml:2: kind: found \"Rolout\", expected AnalysisTemplate, \
          ClusterAnalysisTemplate, ConfigRepository, MetricSource, Rollout or RolloutClass"]
    );
    assert_eq!(
        said_of("apiVersion: tidegate.dev/v1\nkind: Rollout\nmetadata: {name: a}\n"),
        ["rollout.yaml:1: apiVersion: found \"tidegate.dev/v1\", expected tidegate.dev/v1alpha1"]
    );
    assert_eq!(
        said_of("kind: Rollout\n"),
        ["rollout.yaml:1: apiVersion: found nothing, expected tidegate.dev/v1alpha1"]
    );
    assert_eq!(
        said_of("- a\n- b\n"),
        ["rollout.yaml:1: found a list, expected a Kubernetes object"]
    );
}

#[test]
fn metadata_is_looked_at_too() {
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\nmetadata:\n  name: Web\n  \
                labels:\n    version: 1.5\nspec: {workloadRef: {name: web}}\n";
    assert_eq!(
        said_of(text),
        [
            "rollout.yaml:4: metadata.name: found \"Web\", \
             expected a name of small letters, digits, dashes and dots",
            "rollout.yaml:6: metadata.labels.version: \
             found 1.5, expected a text: write it in quotes, \"1.5\"",
        ]
    );
}

#[test]
fn promql_that_does_not_parse_is_named_in_its_template() {
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: a}\n\
                spec:\n  metrics:\n    - name: m\n      ratio:\n        total: requests{\n        \
                bad: rate(errors[5m])\n";
    let said = said_of(text);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(
        said[0].starts_with(
            "rollout.yaml:8: spec.metrics[0].ratio.total: found \"requests{\", expected PromQL ("
        ),
        "{}",
        said[0]
    );
    assert_eq!(
        said[1],
        "rollout.yaml:9: spec.metrics[0].ratio.bad: found \"rate(errors[5m])\", expected a metric \
         with label matchers, such as http_requests_total{code=~\"5..\"}"
    );
}

#[test]
fn an_unknown_argument_in_a_template_is_named() {
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: a}\n\
                spec:\n  args: [{name: slo}]\n  metrics:\n    - name: m\n      latency:\n        \
                histogram: h\n        slo: $(sol)\n";
    assert_eq!(
        said_of(text),
        ["rollout.yaml:10: spec.metrics[0].latency.slo: \
          found $(sol), expected $(slo) (did you mean it?)"]
    );
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: ConfigRepository\nmetadata: {name: a}\n\
                spec:\n  url: https://me:hunter2@git.example.com/fleet\n";
    assert_eq!(
        said_of(text),
        ["rollout.yaml:5: spec.url: found \"https://…@git.example.com/fleet\", \
          expected https://host/path or ssh://user@host/path, without a password"]
    );
}

#[test]
fn yaml_that_is_none_is_told_by_line() {
    let said = said_of("a: [1\nb: }\n");
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with("rollout.yaml:2: found "), "{}", said[0]);
    assert!(said[0].ends_with(", expected YAML"), "{}", said[0]);
}

#[test]
fn files_are_read_and_what_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good.yaml");
    std::fs::write(&good, format!("{HEAD}  workloadRef: {{name: web}}\n")).unwrap();
    let broken = dir.path().join("broken.yaml");
    std::fs::write(&broken, b"a: \xff\n").unwrap();
    let missing = dir.path().join("missing.yaml");

    assert_eq!(load(std::slice::from_ref(&good)).unwrap().rollouts.len(), 1);
    let invalid = load(&[good, broken.clone(), missing.clone()]).unwrap_err();
    assert_eq!(invalid.len(), 2);
    let expected =
        format!("{}: found byte 3 that is no UTF-8, expected text in UTF-8", broken.display());
    assert_eq!(invalid[0].to_string(), expected);
    assert!(invalid[1].to_string().starts_with(&format!("{}: found No such", missing.display())));
}

#[test]
fn other_objects_and_empty_documents_are_let_through() {
    let text =
        "---\n# nothing\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n";
    let objects = load_text("all.yaml", text).unwrap();
    assert_eq!(objects.others.len(), 1);
    assert_eq!(objects.others[0]["kind"], "Deployment");
    assert!(objects.rollouts.is_empty());
}

#[test]
fn a_null_is_a_field_that_is_not_there() {
    let text = format!("{HEAD}  workloadRef: {{name: web}}\n  services:\n  strategy: null\n");
    let objects = load_text("rollout.yaml", &text).unwrap();
    assert_eq!(objects.rollouts[0].spec.services, None);
    assert_eq!(objects.rollouts[0].spec.strategy, None);
}

#[test]
fn anchors_stand_for_what_they_name() {
    let text = format!(
        "{HEAD}  workloadRef: {{name: &name web}}\n  services: [*name]\n  \
         limits: {{ready: &t 5m, drain: *t}}\n"
    );
    let objects = load_text("rollout.yaml", &text).unwrap();
    assert_eq!(objects.rollouts[0].spec.services, Some(vec!["web".into()]));
}

#[test]
fn what_is_written_in_the_repository_can_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = Vec::new();
    for dir in ["analysis-templates", "src/demo/manifests"] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                files.push(path);
            }
        }
    }
    files.sort();
    let objects = match load(&files) {
        Ok(objects) => objects,
        Err(invalid) => panic!("{invalid:#?}"),
    };
    let names: Vec<_> = objects
        .cluster_templates
        .iter()
        .map(|template| template.metadata.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["contour-errors", "http-errors", "http-latency", "pod-health"]);
    assert_eq!(objects.rollouts.len(), 1);
}
