//! The validation rules of the definitions, run as the API server runs them, and held to the same
//! answers as the reading of files.

use std::collections::BTreeSet;

use kube_cel::{ErrorKind, Validator, compile_schema};
use serde_json::Value;
use tidegate::resolve::load_text;
use tidegate_api::crds;

fn schema(kind: &str) -> Value {
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
    serde_json::to_value(schema).unwrap()
}

fn object(kind: &str, spec: &str) -> (String, Value) {
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: x}}\nspec:\n{spec}"
    );
    let object = serde_saphyr::from_str(&text).unwrap();
    (text, object)
}

/// The messages of the rules that refuse the object.
fn refusals(kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(&schema(kind), object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .into_vec()
            .into_iter()
            .map(|error| {
                assert_eq!(error.kind, ErrorKind::ValidationFailure, "{error:?}");
                error.message
            })
            .collect(),
    }
}

fn both_accept(kind: &str, spec: &str) {
    let (text, object) = object(kind, spec);
    assert_eq!(refusals(kind, &object, None), Vec::<String>::new(), "{text}");
    if let Err(invalid) = load_text("x.yaml", &text) {
        panic!("{text}\n{invalid:#?}");
    }
}

fn both_refuse(kind: &str, spec: &str, message: &str) {
    let (text, object) = object(kind, spec);
    assert_eq!(refusals(kind, &object, None), [message], "{text}");
    assert!(load_text("x.yaml", &text).is_err(), "{text}");
}

fn canary(steps: &str) -> String {
    format!("  workloadRef: {{name: web}}\n  strategy: {{canary: {{steps: [{steps}]}}}}")
}

#[test]
fn weights_never_fall_and_end_at_100() {
    for good in [
        "{weight: 5}",
        "{weight: 0}, {weight: 5}, {pause: {}}, {weight: 5}, {weight: 100}",
        "{pause: {duration: 5m}}, {weight: 100, bake: 1h30m}",
    ] {
        both_accept("Rollout", &canary(good));
    }
    let falls = "weights never fall from one step to the next";
    both_refuse("Rollout", &canary("{weight: 20}, {pause: {}}, {weight: 10}"), falls);
    let last = "weight 100 is the last step, once";
    both_refuse("Rollout", &canary("{weight: 100}, {weight: 100}"), last);
    both_refuse("Rollout", &canary("{weight: 100}, {pause: {}}"), last);
}

#[test]
fn a_step_is_a_weight_or_a_pause() {
    let one = "expected exactly one of weight and pause";
    both_refuse("Rollout", &canary("{weight: 5, pause: {}}"), one);
    both_refuse("Rollout", &canary("{}"), one);
    let bake = "bake belongs to a weight; a pause has pause.duration";
    both_refuse("Rollout", &canary("{pause: {}, bake: 5m}"), bake);
}

#[test]
fn a_strategy_is_canary_or_blue_green() {
    let one = "expected exactly one of canary and blueGreen";
    let workload = "  workloadRef: {name: web}\n  strategy:";
    both_refuse("Rollout", &format!("{workload} {{}}"), one);
    let both = format!("{workload} {{canary: {{steps: [{{weight: 5}}]}}, blueGreen: {{}}}}");
    both_refuse("Rollout", &both, one);
    both_accept("Rollout", &format!("{workload} {{blueGreen: {{preview: 5m, pause: {{}}}}}}"));
}

#[test]
fn without_routes_only_shares_of_pods_can_be_had() {
    let pods = |steps| format!("{}\n  routes: []", canary(steps));
    both_accept("Rollout", &pods("{weight: 50}, {weight: 100}"));
    both_accept("Rollout", &canary("{weight: 75}"));
    let message = "without routes the weight is a share of pods: up to 50, or 100";
    both_refuse("Rollout", &pods("{weight: 51}"), message);
}

#[test]
fn by_surge_there_is_neither_a_last_step_nor_a_preview() {
    let surge = |steps| format!("{}\n  promotion: Surge", canary(steps));
    both_accept("Rollout", &surge("{weight: 5}, {pause: {}}, {weight: 25}"));
    both_accept("Rollout", "  workloadRef: {name: web}\n  promotion: Surge");
    let message =
        "promotion Surge has neither blueGreen nor a weight of 100: it rolls the rest out";
    both_refuse("Rollout", &surge("{weight: 5}, {weight: 100}"), message);
    let preview = "  promotion: Surge\n  strategy: {blueGreen: {}}";
    both_refuse("Rollout", &format!("  workloadRef: {{name: web}}\n{preview}"), message);
    both_refuse("RolloutClass", preview, message);
    let gate = |at| {
        let gates = format!("  gates: [{{name: smoke, at: {at}, job: {{cronJob: smoke}}}}]");
        format!("  promotion: Surge\n{gates}")
    };
    let message = "promotion Surge has no gate at Promoted: the way back is not one write then";
    both_refuse("Rollout", &format!("  workloadRef: {{name: web}}\n{}", gate("Promoted")), message);
    both_refuse("RolloutClass", &gate("Promoted"), message);
    both_accept("RolloutClass", &gate("Promotion"));
}

#[test]
fn a_service_is_pinned_or_shared() {
    let services = |shared: &str| {
        format!("  workloadRef: {{name: web}}\n  services: [web]\n  sharedServices: [{shared}]")
    };
    both_accept("Rollout", &services("metrics"));
    let message = "a Service is in services or in sharedServices, not in both";
    both_refuse("Rollout", &services("metrics, web"), message);
}

#[test]
fn a_path_stays_inside_its_repository() {
    let git = |path: &str| {
        format!("  workloadRef: {{name: web}}\n  git: {{repository: fleet, paths: ['{path}']}}")
    };
    both_accept("Rollout", &git("apps/web.d/..data"));
    for path in ["apps/../other", "..", "apps//web", "apps/./web"] {
        both_refuse("Rollout", &git(path), "a path has no empty part, no . and no ..");
    }
}

#[test]
fn sensitivity_and_false_rollback_exclude_each_other() {
    let spec = "  workloadRef: {name: web}\n  analysis: {sensitivity: Standard, falseRollback: 1%}";
    both_refuse("Rollout", spec, "expected sensitivity or falseRollback, not both");
}

#[test]
fn a_window_opens_before_it_closes() {
    let window = |from: &str, to: &str| {
        format!("  workloadRef: {{name: web}}\n  windows: [{{from: '{from}', to: '{to}'}}]")
    };
    both_accept("Rollout", &window("09:00", "17:00"));
    let message = "from is before to; a window over midnight is two windows";
    both_refuse("Rollout", &window("22:00", "06:00"), message);
    both_refuse("Rollout", &window("09:00", "09:00"), message);
}

#[test]
fn a_gate_is_a_service_or_a_job_and_has_a_name_of_its_own() {
    let gates = |gates: &str| format!("  workloadRef: {{name: web}}\n  gates: [{gates}]");
    let (http, job) = ("http: {service: tests, port: 80}", "job: {cronJob: smoke}");
    let smoke = |how: &str| format!("{{name: smoke, at: Start{how}}}");
    both_accept("Rollout", &gates(&smoke(&format!(", {job}"))));
    let full = "http: {service: tests, port: 80, path: '/a?b=c', method: POST}, timeout: 1h";
    both_accept("Rollout", &gates(&smoke(&format!(", {full}, onTimeout: Proceed"))));
    let one = "expected exactly one of http and job";
    both_refuse("Rollout", &gates(&smoke("")), one);
    both_refuse("Rollout", &gates(&smoke(&format!(", {http}, {job}"))), one);
    // What a schema says without rules.
    let twice = smoke(&format!(", {job}"));
    for wrong in [
        format!("{twice}, {twice}"),
        smoke(", http: {service: tests.other, port: 80}"),
        smoke(", http: {service: tests, port: 0}"),
        smoke(", http: {service: tests, port: 80, path: 'http://elsewhere/'}"),
        smoke(", http: {service: tests, port: 80, path: '//a#b'}"),
        smoke(", http: {service: tests, port: 80, method: DELETE}"),
        smoke(&format!(", {job}, timeout: soon")),
    ] {
        let (text, _) = object("Rollout", &gates(&wrong));
        assert!(load_text("x.yaml", &text).is_err(), "{text}");
    }
}

fn metric(metric: &str) -> String {
    format!("  metrics: [{{name: m, {metric}}}]")
}

#[test]
fn a_metric_is_one_thing() {
    let kind = "ClusterAnalysisTemplate";
    both_accept(kind, &metric("ratio: {total: a, bad: b}"));
    both_accept(kind, &metric("latency: {histogram: a, slo: 500ms}"));
    let threshold = "threshold: {query: a, op: '<', limit: '1'";
    both_accept(kind, &metric(&format!("{threshold}}}")));
    let one = "expected exactly one of ratio, latency and threshold";
    both_refuse(kind, "  metrics: [{name: m}]", one);
    both_refuse(
        kind,
        &metric("ratio: {total: a, bad: b}, latency: {histogram: a, slo: 500ms}"),
        one,
    );
    let margin = "ratio: {total: a, bad: b, failIfWorseThan: {}}";
    both_refuse(kind, &metric(margin), "expected relative, absolute or both");
    let more = "failures is at most of";
    both_refuse(kind, &metric(&format!("{threshold}, failures: 6}}")), more);
    both_refuse(kind, &metric(&format!("{threshold}, failures: 2, of: 1}}")), more);
}

#[test]
fn an_argument_has_a_name_of_its_own() {
    let args = |name: &str| {
        format!("  args: [{{name: {name}}}]\n  metrics: [{{name: m, ratio: {{total: a, bad: b}}}}]")
    };
    both_accept("AnalysisTemplate", &args("slo"));
    let message = "namespace, workload, pods and backend are always there";
    both_refuse("AnalysisTemplate", &args("pods"), message);
}

#[test]
fn a_repository_has_an_address_without_a_password() {
    for url in [
        "https://git.example.com/team/fleet.git",
        "https://git.example.com:8443/fleet",
        "ssh://git@git.example.com/team/fleet.git",
        "ssh://git.example.com:2222/fleet",
        "http://localhost:3000/fleet",
        "http://gitea.git.svc/team/fleet.git",
        "http://gitea.git.svc.cluster.local:3000/fleet",
    ] {
        both_accept("ConfigRepository", &format!("  url: {url}"));
    }
    for url in [
        "https://user:secret@git.example.com/fleet",
        "https://token@git.example.com/fleet",
        "ssh://git:secret@git.example.com/fleet",
        "http://git.example.com/fleet",
        "http://gitea.svc.example.com/fleet",
        "git://git.example.com/fleet",
        "file:///etc",
        "git@git.example.com:fleet.git",
        "https://git.example.com",
        "https://git.example.com/fleet?x=y",
    ] {
        let message = "expected https://host/path or ssh://user@host/path, without a password";
        both_refuse("ConfigRepository", &format!("  url: {url}"), message);
    }
}

#[test]
fn a_repository_that_opens_pull_requests_names_its_forge() {
    let url = "  url: https://git.example.com/fleet";
    both_accept(
        "ConfigRepository",
        &format!("{url}\n  write: PullRequest\n  pullRequests: {{forge: GitHub}}"),
    );
    for write in ["PullRequest", "PushThenPullRequest"] {
        let message = "write by pull request needs pullRequests";
        both_refuse("ConfigRepository", &format!("{url}\n  write: {write}"), message);
    }
    let allow = |path: &str| format!("{url}\n  allow: [{{namespaces: [shop], paths: ['{path}']}}]");
    both_accept("ConfigRepository", &allow("apps/shop/**"));
    for path in ["apps/../**", "..", "apps//shop", "../shop"] {
        let message = "a path has no empty part and no ..";
        both_refuse("ConfigRepository", &allow(path), message);
    }
}

#[test]
fn a_metric_source_has_one_way_to_say_who_asks() {
    let source = |more: &str| {
        format!("  url: http://prometheus.monitoring:9090/x\n  allowedNamespaces: ['*']\n{more}")
    };
    both_accept("MetricSource", &source("  basicAuth: prometheus"));
    both_refuse(
        "MetricSource",
        &source("  basicAuth: prometheus\n  bearerToken: {name: a, key: b}"),
        "expected bearerToken or basicAuth, not both",
    );
    both_refuse(
        "MetricSource",
        "  url: http://user:secret@prometheus\n  allowedNamespaces: [shop]",
        "expected http:// or https:// with a host, without user, query and fragment",
    );
}

#[test]
fn a_rollout_keeps_its_workload() {
    let (_, old) = object("Rollout", "  workloadRef: {name: web}");
    let (_, new) = object("Rollout", "  workloadRef: {name: api}");
    assert_eq!(refusals("Rollout", &old, Some(&old)), Vec::<String>::new());
    assert_eq!(
        refusals("Rollout", &new, Some(&old)),
        ["workloadRef.name cannot change: make a Rollout for the other workload"]
    );
}

#[test]
fn what_a_trial_records_is_written_once() {
    let spec = "  rollout: web\n  stable: a\n  canary: b\n  started: '2026-01-01T00:00:00Z'";
    let (_, running) = object("Trial", spec);
    let mut ended = running.clone();
    ended["status"] = serde_json::json!({"outcome": "Promoted", "reason": "Promoted"});
    assert_eq!(refusals("Trial", &ended, Some(&running)), Vec::<String>::new());

    let mut denied = ended.clone();
    denied["status"]["outcome"] = "Aborted".into();
    assert_eq!(refusals("Trial", &denied, Some(&ended)), ["outcome is written once"]);
    denied["status"] = serde_json::json!({});
    assert_eq!(refusals("Trial", &denied, Some(&ended)), ["outcome is written once"]);
    let mut moved = running.clone();
    moved["spec"]["canary"] = "c".into();
    assert_eq!(refusals("Trial", &moved, Some(&running)), ["a Trial's spec never changes"]);
    // A reason may change: it is the last decision's.
    let mut later = ended.clone();
    later["status"]["reason"] = "Stable".into();
    assert_eq!(refusals("Trial", &later, Some(&ended)), Vec::<String>::new());
}

/// Every rule of a schema, with where it stands.
fn rules(schema: &Value, path: &str, found: &mut BTreeSet<(String, String)>) {
    if let Some(compiled) = schema.get("x-kubernetes-validations") {
        let errors = compile_schema(schema);
        assert!(!errors.has_errors(), "{path}: {:?}", errors.compilation_errors());
        for rule in compiled.as_array().unwrap() {
            let message = rule["message"].as_str().unwrap();
            found.insert((path.to_owned(), message.to_owned()));
        }
    }
    match schema {
        Value::Object(fields) => {
            for (name, field) in fields {
                rules(field, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| rules(item, path, found)),
        _ => {}
    }
}

#[test]
fn every_rule_compiles_and_has_a_message() {
    let mut found = BTreeSet::new();
    for crd in crds() {
        rules(&schema(&crd.spec.names.kind), &crd.spec.names.kind, &mut found);
    }
    let messages: BTreeSet<_> = found.iter().map(|(_, message)| message).collect();
    // Each message is in a test above; a new rule needs one too, and then this number.
    assert_eq!(messages.len(), 27, "{messages:#?}");
}

/// Lists, texts and maps without an upper bound make the cost of rules unbounded.
fn unbounded(schema: &Value, path: &str, found: &mut Vec<String>) {
    let has = |name: &str| schema.get(name).is_some();
    match schema.get("type").and_then(Value::as_str) {
        Some("array") if !has("maxItems") => found.push(path.to_owned()),
        Some("string") if !has("maxLength") && !has("enum") => found.push(path.to_owned()),
        Some("object") if has("additionalProperties") && !has("maxProperties") => {
            found.push(path.to_owned());
        }
        _ => {}
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if name != "conditions" {
            unbounded(property, &format!("{path}.{name}"), found);
        }
    }
    if has("items") {
        unbounded(&schema["items"], &format!("{path}[]"), found);
    }
}

#[test]
fn everything_has_an_upper_bound_and_a_description() {
    fn undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property.get("description").is_none() {
                found.push(path.clone());
            }
            undescribed(property, &path, found);
            undescribed(&property["items"], &format!("{path}[]"), found);
        }
    }
    let (mut endless, mut silent) = (Vec::new(), Vec::new());
    for crd in crds() {
        let schema = schema(&crd.spec.names.kind);
        unbounded(&schema, &crd.spec.names.kind, &mut endless);
        undescribed(&schema, &crd.spec.names.kind, &mut silent);
    }
    assert_eq!(endless, Vec::<String>::new());
    // Kubernetes shows the type's description for spec and status themselves.
    silent.retain(|path| path.matches('.').count() > 1);
    assert_eq!(silent, Vec::<String>::new());
}
