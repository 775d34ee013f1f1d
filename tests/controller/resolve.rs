//! A Rollout and what it refers to, to a plan.

use chrono::TimeDelta;
use tidegate::resolve::{
    GateQuery, HttpQuery, Objects, Query, References, Resolved, load_text, resolve, shipped,
};
use tidegate_engine::judge::{Bounds, HardLimit, Kind, Margin, PassMargin, Ratio, Threshold};
use tidegate_engine::plan::{
    Gate, GateAt, GateKind, GitPlan, GitWrite, Limits, Mode, OnFailure, OnInconclusive,
    OnLowTraffic, OnRestart, OnTimeout, PromoteBy, Step, Traffic, Weight,
};
use tidegate_engine::windows::Windows;

const AROUND: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: RolloutClass
metadata:
  name: standard
  annotations: {tidegate.dev/is-default-class: 'true'}
spec:
  strategy: {canary: {steps: [{weight: 10, bake: 1m}, {weight: 50}]}}
  onFailure: Hold
  onRestart: Trial
  limits: {ready: 20m, drain: 10s}
  maxConcurrentTrials: 3
  notify: {labels: {team: shop}}
  analysis: {sensitivity: Sensitive, templates: [{name: http-errors}]}
---
apiVersion: tidegate.dev/v1alpha1
kind: ConfigRepository
metadata: {name: fleet}
spec:
  url: https://git.example.com/fleet
  branch: production
  write: PushThenPullRequest
  pullRequests: {forge: GitHub}
  allow: [{namespaces: [shop], paths: [apps/shop/**, apps/one]}]
---
apiVersion: tidegate.dev/v1alpha1
kind: MetricSource
metadata: {name: default}
spec: {url: 'http://prometheus:9090', allowedNamespaces: [shop]}
";

fn objects(spec: &str, more: &str) -> Objects {
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\n\
         metadata: {{name: web, namespace: shop}}\nspec:\n  \
         workloadRef: {{name: web}}\n{spec}\n---{more}"
    );
    match load_text("all.yaml", &text) {
        Ok(objects) => objects,
        Err(invalid) => panic!("{invalid:#?}"),
    }
}

/// All that the Rollout of these objects comes to, or what is said about it.
fn resolved(objects: &Objects, with_sources: bool) -> Result<Resolved, Vec<String>> {
    let mut cluster_templates = shipped().unwrap();
    cluster_templates.extend(objects.cluster_templates.iter().cloned());
    let references = References {
        classes: &objects.classes,
        templates: &objects.templates,
        cluster_templates: &cluster_templates,
        repositories: &objects.repositories,
        sources: with_sources.then_some(&objects.sources),
        routes_found: true,
    };
    resolve(&objects.rollouts[0], &references)
        .map_err(|faults| objects.locate(faults).iter().map(ToString::to_string).collect())
}

fn good(spec: &str, more: &str) -> Resolved {
    match resolved(&objects(spec, more), true) {
        Ok(resolved) => resolved,
        Err(said) => panic!("{said:#?}"),
    }
}

fn said(spec: &str, more: &str) -> Vec<String> {
    resolved(&objects(spec, more), true).unwrap_err()
}

fn weight(percent: u8, bake: TimeDelta) -> Step {
    Step::Weight { weight: Weight::new(percent).unwrap(), bake }
}

#[test]
fn only_the_workload_is_needed() {
    let resolved = good("", "\n");
    let plan = &resolved.plan;
    assert_eq!(plan.rollout, "shop/web");
    assert_eq!(plan.mode, Mode::Enforce);
    assert_eq!(plan.traffic, Traffic::Routes);
    let two = TimeDelta::minutes(2);
    assert_eq!(plan.steps, [5, 25, 50, 100].map(|percent| weight(percent, two)));
    assert_eq!(plan.on_failure, OnFailure::Revert);
    assert_eq!(plan.on_inconclusive, OnInconclusive::Pause);
    assert_eq!(plan.on_low_traffic, OnLowTraffic::Pause);
    assert_eq!(plan.limits, Limits::default());
    assert_eq!(plan.git, None);
    assert!(plan.analysis.criteria.is_empty());
    assert_eq!(plan.analysis.bounds, Bounds::STANDARD);
    assert_eq!(plan.on_restart, OnRestart::Pass);
    assert_eq!(plan.windows, Windows::default());
    assert_eq!(resolved.services, None);
    assert_eq!(resolved.plan.class, None);
}

#[test]
fn what_a_rollout_does_not_say_its_class_does() {
    let resolved = good("  limits: {drain: 5s}\n  analysis: {wrongPromote: 1%}", AROUND);
    let plan = &resolved.plan;
    let two = TimeDelta::minutes(2);
    assert_eq!(plan.steps, [weight(10, TimeDelta::minutes(1)), weight(50, two), weight(100, two)]);
    assert_eq!(plan.on_failure, OnFailure::Hold);
    assert_eq!(plan.limits.ready, TimeDelta::minutes(20));
    assert_eq!(plan.limits.drain, TimeDelta::seconds(5));
    assert_eq!(plan.limits.settle, Limits::default().settle);
    assert_eq!(plan.analysis.bounds, Bounds::new(0.05, 0.01).unwrap());
    assert_eq!(plan.analysis.criteria.len(), 1);
    assert_eq!(resolved.plan.class.as_deref(), Some("standard"));
    assert_eq!(plan.on_restart, OnRestart::Trial);
    assert_eq!(resolved.plan.max_trials, Some(3));
    assert_eq!(resolved.alert_labels["team"], "shop");
}

#[test]
fn by_surge_the_rolling_update_takes_the_place_of_the_last_step() {
    let two = TimeDelta::minutes(2);
    let plan = good("  promotion: Surge", "\n").plan;
    assert_eq!(plan.promotion, PromoteBy::Surge);
    assert_eq!(plan.steps, [weight(5, two), weight(25, two)]);
    let steps = "  promotion: Surge\n  strategy: {canary: {steps: [{weight: 20, bake: 2m}]}}";
    assert_eq!(good(steps, "\n").plan.steps, [weight(20, two)]);
    let class = AROUND.replace("  onFailure: Hold", "  onFailure: Hold\n  promotion: Surge");
    let plan = good("", &class).plan;
    assert_eq!((plan.promotion, plan.steps.len()), (PromoteBy::Surge, 2));
    let own = good("  promotion: HandOver", &class).plan;
    assert_eq!((own.promotion, own.steps.len()), (PromoteBy::HandOver, 3));
    let steps = "  strategy: {canary: {steps: [{weight: 100}]}}";
    let all = said(steps, &class);
    assert!(all[0].contains("steps[0].weight: found 100, expected at most 99"), "{all:?}");
    let switch = said("  strategy: {blueGreen: {}}", &class);
    assert!(switch[0].contains("spec.strategy: found blueGreen, expected canary"), "{switch:?}");
    let late = said("  gates: [{name: smoke, at: Promoted, job: {cronJob: smoke}}]", &class);
    let words = "spec.gates[0].at: found Promoted, expected Start, Step or Promotion";
    assert!(late[0].contains(words), "{late:?}");
}

#[test]
fn windows_are_minutes_of_days() {
    let windows = "  windows: [{days: [Mon], from: '09:00', to: '17:30'}]";
    let open = good(windows, "\n").plan.windows;
    let at = |text: &str| text.parse().unwrap();
    // 2 March 2026 is a Monday.
    assert!(open.is_open(at("2026-03-02T17:29:00Z")));
    assert!(!open.is_open(at("2026-03-02T17:30:00Z")));
    assert_eq!(open.opens(at("2026-03-02T17:30:00Z")), Some(at("2026-03-09T09:00:00Z")));
}

#[test]
fn a_rollout_s_own_word_counts_more() {
    let own = "  onFailure: Revert\n  analysis: {falseRollback: 2%, templates: []}\n  \
               strategy: {blueGreen: {preview: 1m, pause: {duration: 5m}, bake: 3m, \
               previewService: web-next}}";
    let resolved = good(own, AROUND);
    assert_eq!(resolved.plan.on_failure, OnFailure::Revert);
    assert_eq!(resolved.plan.traffic, Traffic::Switch);
    assert_eq!(
        resolved.plan.steps,
        [
            weight(0, TimeDelta::minutes(1)),
            Step::Pause { resume_after: Some(TimeDelta::minutes(5)) },
            weight(100, TimeDelta::minutes(3)),
        ]
    );
    assert_eq!(resolved.canary_service.as_deref(), Some("web-next"));
    assert!(resolved.plan.analysis.criteria.is_empty());
    assert_eq!(resolved.plan.analysis.bounds, Bounds::new(0.02, 0.05).unwrap());
}

#[test]
fn a_gateway_is_not_asked_where_it_does_not_tell_the_revisions_apart() {
    let gateway = "
apiVersion: tidegate.dev/v1alpha1
kind: ClusterAnalysisTemplate
metadata: {name: gateway}
spec:
  metrics:
    - name: gateway
      by: backend
      ratio: {total: 'requests{to=\"$(backend)\"}', bad: 'requests{to=\"$(backend)\",code=\"500\"}'}
";
    let asks = "  analysis: {templates: [{name: gateway}]}\n";
    let gateway = format!("{AROUND}---{gateway}");
    good(asks, &gateway);
    let switch = format!("{asks}  strategy: {{blueGreen: {{}}}}");
    for spec in [format!("{asks}  routes: []"), switch] {
        let said = said(&spec, &gateway);
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(
            said[0].contains("spec.analysis.templates") && said[0].contains("by pod"),
            "{said:?}"
        );
    }
}

#[test]
fn every_example_is_a_plan() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found = Vec::new();
    for name in ["rollout.yaml", "blue-green.yaml", "gates.yaml"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let around = AROUND.replace("apps/one", "apps/web");
        let objects = load_text(name, &format!("{text}---{around}")).unwrap();
        let plan = resolved(&objects, true).unwrap().plan;
        found.push((plan.traffic, plan.analysis.criteria.len()));
    }
    assert_eq!(found, [(Traffic::Routes, 2), (Traffic::Switch, 2), (Traffic::Routes, 1)]);
}

#[test]
fn gates_are_a_rollout_s_own_or_its_class_s() {
    let class = AROUND.replace(
        "  onFailure: Hold",
        "  onFailure: Hold\n  gates: [{name: smoke, at: Start, job: {cronJob: smoke.v1}}]",
    );
    let resolved = good("", &class);
    let smoke = Gate {
        name: "smoke".to_owned(),
        at: GateAt::Start,
        kind: GateKind::Job,
        timeout: TimeDelta::minutes(10),
        on_timeout: OnTimeout::Pause,
    };
    assert_eq!(resolved.plan.gates, [smoke]);
    assert_eq!(resolved.gates["smoke"], GateQuery::Job { cron_job: "smoke.v1".to_owned() });
    assert_eq!(good("  gates: []", &class).plan.gates, []);
    let own = "  gates:\n    - {name: approval, at: Promotion, timeout: 2d, onTimeout: Abort, \
               http: {service: approvals, port: 8080, path: /web?x=1, method: POST}}\n    \
               - {name: load, at: Step, onTimeout: Proceed, http: {service: load, port: 80}}";
    let resolved = good(own, &class);
    let said: Vec<_> = resolved.plan.gates.iter().map(|gate| (gate.at, gate.on_timeout)).collect();
    let expected = [(GateAt::Promotion, OnTimeout::Abort), (GateAt::Step, OnTimeout::Proceed)];
    assert_eq!(said, expected);
    assert_eq!(resolved.plan.gates[0].timeout, TimeDelta::days(2));
    let http = |service: &str, port, path: &str, posts| {
        let (service, path) = (service.to_owned(), path.to_owned());
        GateQuery::Http(HttpQuery { service, port, path, posts })
    };
    assert_eq!(resolved.gates["approval"], http("approvals", 8080, "/web?x=1", true));
    assert_eq!(resolved.gates["load"], http("load", 80, "/", false));
}

#[test]
fn a_pause_keeps_the_weight_and_100_is_implied() {
    let resolved = good("  strategy: {canary: {steps: [{weight: 20}, {pause: {}}]}}", "\n");
    assert_eq!(resolved.plan.steps.len(), 3);
    assert_eq!(resolved.plan.weight_at(1).percent(), 20);
    assert_eq!(resolved.plan.steps[2], weight(100, TimeDelta::minutes(2)));
}

#[test]
fn without_routes_the_weight_is_a_share_of_pods() {
    let pods = good("  routes: []", "\n");
    assert_eq!(pods.plan.traffic, Traffic::Pods);
    assert_eq!(pods.routes, Some(vec![]));

    // The class's steps are for routes; the Rollout has none.
    let class = AROUND.replace("{weight: 50}", "{weight: 60}");
    assert_eq!(
        said("  routes: []", &class),
        ["all.yaml:14: spec.strategy.canary.steps[1].weight: found 60, \
          expected at most 50, or 100: without routes the weight is a share of pods"]
    );
}

#[test]
fn the_shipped_templates_become_criteria_and_queries() {
    let own = "  analysis: {templates: [{name: http-errors}, {name: http-latency, \
               args: {slo: 500ms}}, {name: pod-health}]}";
    let resolved = good(own, AROUND);
    let names: Vec<_> =
        resolved.plan.analysis.criteria.iter().map(|criterion| &criterion.name).collect();
    assert_eq!(names, ["errors", "latency", "restarts", "ready"]);
    assert_eq!(resolved.plan.analysis.criteria[0].kind, Kind::Ratio(Ratio::ERRORS));
    assert_eq!(resolved.plan.analysis.criteria[1].kind, Kind::Ratio(Ratio::SLOW));
    assert!(matches!(resolved.plan.analysis.criteria[3].kind, Kind::Threshold(threshold)
        if threshold.failures() == 3 && threshold.of() == 5));

    let pods = ["web-a".to_owned()];
    let Query::Counters(errors) = &resolved.queries["errors"] else { panic!() };
    let texts = errors.by_pod("namespace", "shop", "pod", &pods);
    assert_eq!(
        texts.second,
        r#"max by (pod) (sum by (pod,instance,job,prometheus_replica) (http_requests_total{code=~"5..",namespace="shop",pod=~"web-a"}))"#
    );
    let Query::Counters(latency) = &resolved.queries["latency"] else { panic!() };
    let texts = latency.by_pod("namespace", "shop", "pod", &pods);
    assert_eq!(
        texts.total,
        r#"max by (pod) (sum by (pod,instance,job,prometheus_replica) (http_request_duration_seconds_count{namespace="shop",pod=~"web-a"}))"#
    );
    assert_eq!(
        texts.second,
        "max by (pod) (sum by (pod,instance,job,prometheus_replica) \
         (http_request_duration_seconds_bucket\
         {le=~\"0\\\\.5\",namespace=\"shop\",pod=~\"web-a\"}))"
    );
    assert!(texts.second_is_good);
    let Query::Scalar(ready) = &resolved.queries["ready"] else { panic!() };
    assert_eq!(
        ready.text(&pods, "web-canary"),
        r#"avg(kube_pod_status_ready{namespace="shop",pod=~"web-a",condition="true"})"#
    );
}

#[test]
fn margins_and_limits_are_taken_over() {
    let template = "
apiVersion: tidegate.dev/v1alpha1
kind: AnalysisTemplate
metadata: {name: own, namespace: shop}
spec:
  args: [{name: limit, default: 2%}]
  metrics:
    - name: gateway
      by: backend
      ratio:
        total: requests{service=\"$(backend)\"}
        bad: errors{service=\"$(backend)\"}
        failIfWorseThan: {relative: 100%, absolute: 0.1pp}
        passIfNotWorseThan: {absolute: 0.5pp}
        hardLimit: $(limit)
    - name: auto
      ratio: {total: a, bad: b, slo: 99.9%}
    - name: load
      threshold: {query: 'max(load)', op: '>=', limit: '-1.5e3', failures: 2, of: 2, minSamples: 9}
";
    let resolved =
        good("  analysis: {templates: [{name: own}]}", &format!("{template}---{AROUND}"));
    let criteria = &resolved.plan.analysis.criteria;
    assert_eq!(
        criteria[0].kind,
        Kind::Ratio(Ratio {
            fail: Margin::new(2.0, 0.001).unwrap(),
            pass: PassMargin::Fixed(Margin::new(1.0, 0.005).unwrap()),
            guard: Some(HardLimit::new(0.02, 3.0).unwrap()),
        })
    );
    assert_eq!(
        criteria[1].kind,
        Kind::Ratio(Ratio { pass: PassMargin::Auto { slo: Some(0.999) }, ..Ratio::ERRORS })
    );
    let threshold = Threshold::new(tidegate_engine::judge::Op::AtLeast, -1500.0, 2, 2, 9).unwrap();
    assert_eq!(criteria[2].kind, Kind::Threshold(threshold));
    let Query::Counters(gateway) = &resolved.queries["gateway"] else { panic!() };
    assert_eq!(
        gateway.by_backend("web").total,
        r#"max by (instance) (sum by (instance,job,prometheus_replica) (requests{service="web"}))"#
    );
}

#[test]
fn the_repository_says_branch_and_way_of_writing() {
    let git = |path| format!("  git: {{repository: fleet, paths: [{path}]}}");
    assert_eq!(
        good(&git("apps/shop/web"), AROUND).plan.git,
        Some(GitPlan {
            repository: "fleet".into(),
            branch: "production".into(),
            paths: vec!["apps/shop/web".into()],
            write: GitWrite::PushThenPullRequest,
        })
    );
    for allowed in ["apps/shop", "apps/one"] {
        assert!(good(&git(allowed), AROUND).plan.git.is_some());
    }
    for refused in ["apps/shopping", "apps/one/two", "apps", "other"] {
        assert_eq!(
            said(&git(refused), AROUND),
            [format!(
                "all.yaml:6: spec.git.paths[0]: found \"{refused}\", expected a path that \
                 ConfigRepository fleet allows the namespace shop"
            )]
        );
    }
}

#[test]
fn whether_there_is_a_repository_is_not_for_everybody_to_know() {
    let fault = |name: &str| {
        format!(
            "all.yaml:6: spec.git.repository: found \"{name}\", \
             expected a ConfigRepository that is there and allows the namespace shop"
        )
    };
    let git = |name: &str| format!("  git: {{repository: {name}, paths: [apps/shop/web]}}");
    let closed = AROUND.replace("namespaces: [shop]", "namespaces: [bank]");
    assert_eq!(said(&git("fleet"), &closed), [fault("fleet")]);
    assert_eq!(said(&git("flee"), AROUND), [fault("flee")]);
    assert_eq!(said(&git("anything"), "\n"), [fault("anything")]);
}

#[test]
fn a_name_nobody_has_is_told_with_the_nearest() {
    assert_eq!(
        said("  class: standart\n  git: {repository: flet, paths: [a]}", AROUND),
        [
            "all.yaml:6: spec.class: found \"standart\", \
             expected the name of a RolloutClass: standard (did you mean it?)",
            "all.yaml:7: spec.git.repository: found \"flet\", \
             expected a ConfigRepository that is there and allows the namespace shop",
        ]
    );
    assert_eq!(
        said("  analysis:\n    templates:\n      - name: http-error", AROUND),
        ["all.yaml:8: spec.analysis.templates[0].name: found \"http-error\", \
          expected the name of a template: http-errors (did you mean it?)"]
    );
    assert_eq!(
        said("  class: a", "\n"),
        ["all.yaml:6: spec.class: found \"a\", \
          expected the name of a RolloutClass, and there is none"]
    );
}

#[test]
fn arguments_are_given_and_known() {
    assert_eq!(
        said("  analysis: {templates: [{name: http-latency}]}", AROUND),
        ["all.yaml:6: spec.analysis.templates[0].args.slo: found nothing, \
          expected the slowest a request may be, a bound of the histogram such as 500ms"]
    );
    assert_eq!(
        said(
            "  analysis: {templates: [{name: http-latency, args: {slo: 1s, histgram: h}}]}",
            AROUND
        ),
        ["all.yaml:6: spec.analysis.templates[0].args.histgram: \
          found an unknown argument, expected histogram (did you mean it?)"]
    );
}

#[test]
fn an_argument_that_does_not_fit_is_told_in_the_template() {
    let objects =
        objects("  analysis: {templates: [{name: http-latency, args: {slo: fast}}]}", AROUND);
    assert_eq!(
        resolved(&objects, true).unwrap_err(),
        ["ClusterAnalysisTemplate http-latency: spec.metrics[0].latency.slo: \
          found \"fast\" for $(slo), expected a time span above 0s, such as 500ms"]
    );
}

#[test]
fn an_argument_cannot_leave_its_place() {
    let evil = r#"up"} or vector(0) or x{a="#;
    let own =
        format!("  analysis: {{templates: [{{name: http-errors, args: {{requests: '{evil}'}}}}]}}");
    let said = said(&own, AROUND);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].contains("expected a metric with label matchers"), "{said:#?}");
}

#[test]
fn two_metrics_of_one_name_are_refused() {
    let template = "
apiVersion: tidegate.dev/v1alpha1
kind: AnalysisTemplate
metadata: {name: own, namespace: shop}
spec: {metrics: [{name: errors, ratio: {total: a, bad: b}}]}
";
    assert_eq!(
        said(
            "  analysis: {templates: [{name: http-errors}, {name: own}]}",
            &format!("{template}---{AROUND}")
        ),
        ["all.yaml:6: spec.analysis.templates[1].name: found a second metric \"errors\", \
          expected metrics of different names in all templates"]
    );
}

#[test]
fn a_namespace_s_own_template_comes_first_and_another_s_is_not_seen() {
    let template = |namespace: &str| {
        format!(
            "\napiVersion: tidegate.dev/v1alpha1\nkind: AnalysisTemplate\n\
             metadata: {{name: http-errors, namespace: {namespace}}}\n\
             spec: {{metrics: [{{name: own, ratio: {{total: a, bad: b}}}}]}}\n---{AROUND}"
        )
    };
    let own = "  analysis: {templates: [{name: http-errors}]}";
    let name = |resolved: Resolved| resolved.plan.analysis.criteria[0].name.clone();
    assert_eq!(name(good(own, &template("shop"))), "own");
    assert_eq!(name(good(own, &template("bank"))), "errors");
    let cluster = "  analysis: {templates: [{name: http-errors, kind: ClusterAnalysisTemplate}]}";
    assert_eq!(name(good(cluster, &template("shop"))), "errors");
}

#[test]
fn a_metric_source_must_be_there_and_allow_the_namespace() {
    let own = "  analysis: {templates: [{name: http-errors}]}";
    let closed = AROUND.replace("allowedNamespaces: [shop]", "allowedNamespaces: [bank]");
    // Whether there is one is not for everybody to know.
    for around in [closed.as_str(), "\n"] {
        assert_eq!(
            said(own, around),
            ["all.yaml:6: spec.analysis.source: found \"default\", \
              expected a MetricSource that is there and allows the namespace shop"]
        );
    }
    // The demonstration asks the pods itself.
    assert!(resolved(&objects(own, "\n"), false).is_ok());
    // Nothing is measured: nobody needs to be asked.
    assert!(resolved(&objects("", "\n"), true).is_ok());
}

#[test]
fn two_default_classes_are_one_too_many() {
    let second = AROUND.replace("name: standard", "name: other");
    let said = said("", &format!("{AROUND}---{}", second.split("---").next().unwrap()));
    assert_eq!(
        said,
        ["all.yaml:4: spec.class: found two default classes, standard and other, \
          expected one, or a class by its name"]
    );
}
