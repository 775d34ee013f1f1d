//! What is applied to a cluster: rights, policies and constants agree with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate::gate::{CONTROLLER as ACCOUNT, WEBHOOK};
use tidegate::kubernetes::{Kind, WEIGHT_ANNOTATION};
use tidegate_api::{
    BREAK_GLASS_ANNOTATION, HELD_LABEL, REQUEST_ANNOTATION, REQUESTED_BY_ANNOTATION, ROLLOUT_LABEL,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// Every YAML file below `deploy/`, with its documents.
fn files() -> Vec<(PathBuf, String, Vec<Value>)> {
    let mut found = Vec::new();
    let mut todo = vec![folder()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|end| end == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let documents = serde_saphyr::from_multiple(&text)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.push((path, text, documents));
            }
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

fn objects() -> Vec<Value> {
    let objects: Vec<_> =
        files().into_iter().flat_map(|(_, _, objects)| objects).filter(is_applied).collect();
    assert!(objects.len() > 10, "the scan looks in the wrong place");
    objects
}

fn is_applied(object: &Value) -> bool {
    object["metadata"]["name"].is_string()
}

fn of_kind(kind: &str) -> Vec<Value> {
    let found: Vec<_> = objects().into_iter().filter(|object| object["kind"] == kind).collect();
    assert!(!found.is_empty(), "no {kind}");
    found
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// One thing that is allowed: in which role, on which resource, by which verb, on which names.
#[derive(Debug)]
struct Right {
    role: String,
    is_everywhere: bool,
    resource: String,
    verb: String,
    names: Vec<String>,
}

/// All rights of the controller, taken apart.
fn rights() -> Vec<Right> {
    let mut all = Vec::new();
    for kind in ["ClusterRole", "Role"] {
        for role in of_kind(kind) {
            for rule in role["rules"].as_array().unwrap() {
                assert!(rule.get("nonResourceURLs").is_none(), "{rule}");
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        all.extend(texts(&rule["verbs"]).into_iter().map(|verb| Right {
                            role: role["metadata"]["name"].as_str().unwrap().to_owned(),
                            is_everywhere: kind == "ClusterRole",
                            resource: format!("{group}/{resource}"),
                            verb,
                            names: texts(&rule["resourceNames"]),
                        }));
                    }
                }
            }
        }
    }
    all
}

/// What the program does with objects of a kind. A new kind does not compile without its rights.
fn needed(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Deployment | Kind::Rollout | Kind::HttpRoute => &["get", "list", "watch", "patch"],
        Kind::ReplicaSet | Kind::ControllerRevision | Kind::Service => {
            &["get", "list", "watch", "create", "patch", "delete"]
        }
        Kind::Trial => &["get", "list", "create", "patch", "delete"],
        Kind::Pod
        | Kind::Namespace
        | Kind::RolloutClass
        | Kind::AnalysisTemplate
        | Kind::ClusterAnalysisTemplate
        | Kind::ConfigRepository
        | Kind::MetricSource
        | Kind::Kustomization
        | Kind::Application => &["get", "list", "watch"],
        Kind::ConfigMap
        | Kind::BackendTlsPolicy
        | Kind::HealthCheckPolicy
        | Kind::GcpBackendPolicy
        | Kind::TargetGroupConfiguration
        | Kind::UpstreamSettingsPolicy => &["list"],
        Kind::EndpointSlice | Kind::HorizontalPodAutoscaler | Kind::PodDisruptionBudget => &[],
        Kind::Node
        | Kind::CronJob
        | Kind::Secret
        | Kind::MutatingAdmissionPolicy
        | Kind::MutatingAdmissionPolicyBinding
        | Kind::MutatingWebhookConfiguration
        | Kind::ValidatingWebhookConfiguration => &["get"],
        Kind::Event => &["create"],
        Kind::Lease => &["get", "create", "patch"],
        Kind::Job => &["get", "create"],
    }
}

/// What stands on parts of objects, and on kinds that are only asked for in one place.
const OTHERS: &[(&str, &[&str])] = &[
    ("apps/deployments/finalizers", &["update"]),
    ("tidegate.dev/rollouts/status", &["patch"]),
    ("tidegate.dev/trials/status", &["patch"]),
];

#[test]
fn the_controller_may_do_what_it_does_and_nothing_else() {
    let mut wanted: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for kind in Kind::ALL {
        let resource = format!("{}/{}", kind.group(), kind.plural());
        wanted.entry(resource).or_default().extend(needed(*kind));
    }
    for (resource, verbs) in OTHERS {
        wanted.entry((*resource).to_owned()).or_default().extend(*verbs);
    }
    let rights = rights();
    let mut given: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for right in rights.iter().filter(|right| right.role == "tidegate") {
        given.entry(right.resource.clone()).or_default().insert(&right.verb);
    }
    wanted.retain(|_, verbs| !verbs.is_empty());
    assert_eq!(given, wanted);
}

#[test]
fn no_right_is_a_wildcard() {
    for right in rights() {
        for part in [&right.resource, &right.verb] {
            assert!(!part.contains('*'), "{right:?}");
        }
        for verb in ["escalate", "bind", "impersonate", "deletecollection"] {
            assert_ne!(right.verb, verb, "{right:?}");
        }
    }
}

#[test]
fn secrets_are_read_by_name_in_the_controller_s_own_namespace_alone() {
    let secrets: Vec<_> =
        rights().into_iter().filter(|right| right.resource == "/secrets").collect();
    assert!(!secrets.is_empty());
    for right in secrets {
        assert!(!right.is_everywhere, "{right:?}");
        assert!(right.verb == "get" || !right.names.is_empty(), "{right:?}");
        assert!(["get", "patch", "update"].contains(&right.verb.as_str()), "{right:?}");
    }
    for role in of_kind("Role") {
        assert_eq!(role["metadata"]["namespace"], "tidegate-system");
    }
}

#[test]
fn rights_go_to_the_account_that_the_pods_have_and_the_policies_let_through() {
    let account = &of_kind("ServiceAccount")[0]["metadata"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let name =
        format!("system:serviceaccount:{}:{}", text(&account["namespace"]), text(&account["name"]));
    assert_eq!(name, ACCOUNT);
    for binding in of_kind("ClusterRoleBinding").into_iter().chain(of_kind("RoleBinding")) {
        let subjects = binding["subjects"].as_array().unwrap();
        assert_eq!(subjects.len(), 1);
        assert_eq!(subjects[0]["kind"], "ServiceAccount");
        assert_eq!(subjects[0]["name"], account["name"]);
        assert_eq!(subjects[0]["namespace"], account["namespace"]);
    }
    let deployment = &of_kind("Deployment")[0];
    assert_eq!(deployment["spec"]["template"]["spec"]["serviceAccountName"], account["name"]);
    assert_eq!(deployment["metadata"]["namespace"], account["namespace"]);
}

/// What is asked of a Rollout has nothing to do with what a trial holds.
fn is_of_held_objects(policy: &Value) -> bool {
    policy["metadata"]["name"] != "request.tidegate.dev"
}

#[test]
fn every_policy_looks_at_our_labels_alone_and_has_both_ways_out() {
    for policy in of_kind("MutatingAdmissionPolicy").into_iter().filter(is_of_held_objects) {
        let name = policy["metadata"]["name"].as_str().unwrap();
        let label = if name == "gate.tidegate.dev" { ROLLOUT_LABEL } else { HELD_LABEL };
        let spec = &policy["spec"];
        let expected = serde_json::json!([{"key": label, "operator": "Exists"}]);
        assert_eq!(
            spec["matchConstraints"]["objectSelector"]["matchExpressions"], expected,
            "{name}"
        );
        assert_eq!(spec["reinvocationPolicy"], "IfNeeded", "{name}: webhooks run after it");
        let conditions = spec["matchConditions"].to_string();
        assert!(conditions.contains(&format!("!= '{ACCOUNT}'")), "{name}");
        assert!(conditions.contains(&format!("'{BREAK_GLASS_ANNOTATION}' in")), "{name}");
        assert!(spec["mutations"].to_string().contains(label), "{name}: it restores its label");
    }
}

/// The webhook must not be asked, and so cannot fail, where the policies would let pass.
#[test]
fn the_webhook_looks_at_the_same_objects_and_has_the_same_ways_out() {
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let configuration = &of_kind(kind)[0];
        assert_eq!(configuration["metadata"]["name"], WEBHOOK);
        let hooks = configuration["webhooks"].as_array().unwrap();
        assert_eq!(hooks.len(), 4);
        for hook in hooks {
            let resource = hook["rules"][0]["resources"][0].as_str().unwrap();
            let policy = of_kind("MutatingAdmissionPolicy")
                .into_iter()
                .find(|policy| {
                    let rules = &policy["spec"]["matchConstraints"]["resourceRules"];
                    rules[0]["resources"][0] == resource
                })
                .unwrap();
            let constraints = &policy["spec"]["matchConstraints"];
            assert_eq!(hook["rules"], constraints["resourceRules"], "{resource}");
            assert_eq!(hook["objectSelector"], constraints["objectSelector"], "{resource}");
            let exempt = |conditions: &Value| -> Vec<Value> {
                let names = ["not-the-controller", "not-break-glass", "has-to-do-with-a-request"];
                let all = conditions.as_array().unwrap().iter();
                all.filter(|one| names.contains(&one["name"].as_str().unwrap())).cloned().collect()
            };
            let conditions = exempt(&hook["matchConditions"]);
            assert_eq!(conditions, exempt(&policy["spec"]["matchConditions"]), "{resource}");
            assert_eq!(conditions.len(), 2);
            assert_eq!(hook["failurePolicy"], "Fail");
            assert_eq!(hook["timeoutSeconds"], 2);
            assert!(hook["clientConfig"].get("caBundle").is_none(), "{resource}: it is ours");
        }
    }
}

#[test]
fn policies_speak_of_no_label_or_annotation_but_ours() {
    let known = [
        ROLLOUT_LABEL,
        HELD_LABEL,
        BREAK_GLASS_ANNOTATION,
        WEIGHT_ANNOTATION,
        REQUEST_ANNOTATION,
        REQUESTED_BY_ANNOTATION,
    ];
    for (path, _, documents) in files() {
        for document in documents.iter().filter(|document| {
            document["kind"].as_str().is_some_and(|kind| kind.ends_with("AdmissionPolicy"))
        }) {
            let text = document["spec"].to_string();
            let after = text.split("tidegate.dev/").skip(1);
            for rest in after {
                let key: String = rest
                    .chars()
                    .take_while(|sign| sign.is_ascii_alphanumeric() || *sign == '-')
                    .collect();
                let is_known = known.contains(&format!("tidegate.dev/{key}").as_str());
                let is_other = key == "v1alpha1" || key.is_empty();
                assert!(is_known || is_other, "{}: tidegate.dev/{key}", path.display());
            }
        }
    }
}

/// Who may change Rollouts may not ask them for anything by that alone; the roles have all verbs.
#[test]
fn each_request_is_a_right_of_its_own() {
    use tidegate_engine::observed::What;
    let policy = of_kind("ValidatingAdmissionPolicy")
        .into_iter()
        .find(|policy| policy["metadata"]["name"] == "request.tidegate.dev")
        .unwrap();
    let known = policy["spec"]["variables"].to_string();
    let given: BTreeSet<_> = rights()
        .into_iter()
        .filter(|right| {
            right.role == "tidegate-operator" && right.resource == "tidegate.dev/rollouts"
        })
        .map(|right| right.verb)
        .collect();
    for what in What::ALL {
        let verb = if *what == (What::Abort { hold: true }) { "abort" } else { what.as_str() };
        assert!(known.contains(&format!("'{verb}'")), "{verb}");
        assert!(given.contains(verb), "{verb}");
    }
}

#[test]
fn every_policy_is_bound_to_everything() {
    for kind in ["MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"] {
        let bindings = of_kind(&format!("{kind}Binding"));
        for policy in of_kind(kind) {
            let name = &policy["metadata"]["name"];
            let bound: Vec<_> =
                bindings.iter().filter(|binding| &binding["spec"]["policyName"] == name).collect();
            assert_eq!(bound.len(), 1, "{kind} {name}");
            assert!(bound[0]["spec"].get("matchResources").is_none(), "{kind} {name}");
        }
    }
}

/// The hold of the scale reads how far a promotion is out of the controller's memory.
#[test]
fn the_hold_of_the_scale_knows_the_hand_over() {
    use tidegate_engine::state::{Promotion, Stage};
    let since = chrono::DateTime::UNIX_EPOCH;
    let stage = Stage::Promoting { part: Promotion::HandingOver, since };
    let stage = serde_json::to_value(stage).unwrap();
    assert_eq!(stage["Promoting"]["part"], "HandingOver");
    let policy = of_kind("ValidatingAdmissionPolicy")
        .into_iter()
        .find(|policy| policy["metadata"]["name"] == "hold-scale.tidegate.dev")
        .unwrap();
    let conditions = policy["spec"]["matchConditions"].to_string();
    assert!(conditions.contains("params.?status.state.trial.stage.Promoting.part.orValue('')"));
    assert!(conditions.contains("== 'HandingOver'"));
}

#[test]
fn each_kustomization_names_every_file_beside_it() {
    for (path, _, documents) in files() {
        if !path.ends_with("kustomization.yaml") {
            continue;
        }
        let here = path.parent().unwrap();
        let named: BTreeSet<_> = texts(&documents[0]["resources"]).into_iter().collect();
        for name in &named {
            assert!(here.join(name).exists(), "{}: {name}", path.display());
        }
        let beside = fs::read_dir(here).unwrap().map(|entry| entry.unwrap().path());
        for file in beside.filter(|file| file.extension().is_some_and(|end| end == "yaml")) {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(name == "kustomization.yaml" || named.contains(name), "{}", file.display());
        }
    }
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let list: Value =
        serde_saphyr::from_str(&fs::read_to_string(crds.join("Kustomization")).unwrap()).unwrap();
    let named: BTreeSet<_> = texts(&list["resources"]).into_iter().collect();
    let there: BTreeSet<_> = fs::read_dir(&crds)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(named, there);
}

#[test]
fn the_pod_is_as_restricted_as_its_namespace_wants() {
    let pod = &of_kind("Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        assert!(["/healthz", "/readyz"].contains(&path), "{probe}: {path}");
    }
}
