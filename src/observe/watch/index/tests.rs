use super::*;

fn object(name: &str, labels: &[(&str, &str)]) -> Object {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Object {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        labels: labels.collect(),
        ..Object::default()
    }
}

fn rollout(name: &str, workload: &str, version: u64) -> Object {
    Object { version, workload: Some(workload.to_owned()), ..object(name, &[]) }
}

fn key(name: &str) -> Key {
    Key { namespace: "shop".to_owned(), name: name.to_owned() }
}

/// Knows the Rollouts web, of the Deployment front, and api, of the Deployment api.
fn index() -> Index {
    let mut index = Index::default();
    assert_eq!(index.touched(Kind::Rollout, &rollout("web", "front", 1), false), [key("web")]);
    assert_eq!(index.touched(Kind::Rollout, &rollout("api", "api", 1), false), [key("api")]);
    index
}

#[test]
fn a_status_that_we_wrote_does_not_wake_us() {
    let mut index = index();
    assert!(index.touched(Kind::Rollout, &rollout("web", "front", 1), false).is_empty());
    assert_eq!(index.touched(Kind::Rollout, &rollout("web", "front", 2), false), [key("web")]);
    assert_eq!(index.touched(Kind::Rollout, &rollout("web", "front", 2), true), [key("web")]);
    assert!(index.touched(Kind::Deployment, &object("front", &[]), false).is_empty());
}

#[test]
fn a_deployment_wakes_the_rollout_that_names_it_and_the_one_it_is_labelled_with() {
    let mut index = index();
    let plain = object("front", &[]);
    assert_eq!(index.touched(Kind::Deployment, &plain, false), [key("web")]);
    let labelled = object("left", &[(ROLLOUT_LABEL, "gone")]);
    assert_eq!(index.touched(Kind::Deployment, &labelled, false), [key("gone")]);
    assert!(index.touched(Kind::Deployment, &object("other", &[]), false).is_empty());
}

#[test]
fn a_long_name_is_found_by_its_cut_label() {
    let mut index = Index::default();
    let long = "r".repeat(80);
    index.touched(Kind::Rollout, &rollout(&long, "front", 1), false);
    let held = object("front", &[(HELD_LABEL, &names::label_value(&long))]);
    assert_eq!(index.touched(Kind::Service, &held, false), [key(&long)]);
}

#[test]
fn an_engine_wakes_the_rollouts_of_what_it_applies() {
    let mut index = index();
    let flux = [
        ("kustomize.toolkit.fluxcd.io/name", "apps"),
        ("kustomize.toolkit.fluxcd.io/namespace", "shop"),
    ];
    let apps = object("apps", &[]);
    assert!(index.touched(Kind::Kustomization, &apps, false).is_empty());
    index.touched(Kind::Deployment, &object("front", &flux), false);
    assert_eq!(index.touched(Kind::Kustomization, &apps, false), [key("web")]);
    index.touched(Kind::Rollout, &rollout("web", "front", 1), true);
    assert!(index.touched(Kind::Kustomization, &apps, false).is_empty());
}

#[test]
fn a_new_service_wakes_the_namespace_and_those_of_the_beginning_do_so_once() {
    let mut index = index();
    let service = object("metrics", &[]);
    assert!(index.touched(Kind::Service, &service, false).is_empty());
    assert_eq!(index.told(Kind::Service, None), [key("api"), key("web")]);
    assert_eq!(index.touched(Kind::Service, &service, false), [key("api"), key("web")]);
    let held = object("front", &[(HELD_LABEL, "web")]);
    assert_eq!(index.touched(Kind::Service, &held, false), [key("web")]);
    assert!(index.told(Kind::Deployment, None).is_empty());
}

#[test]
fn what_rollouts_refer_to_wakes_them_when_it_changes_and_not_by_its_status() {
    let mut index = index();
    let mut source = object("default", &[]);
    source.namespace = String::new();
    source.version = 1;
    assert_eq!(index.touched(Kind::MetricSource, &source, false), [key("api"), key("web")]);
    assert!(index.touched(Kind::MetricSource, &source, false).is_empty());
    source.version = 2;
    assert_eq!(index.touched(Kind::MetricSource, &source, false), [key("api"), key("web")]);
    let elsewhere = Object { namespace: "other".to_owned(), version: 1, ..object("slo", &[]) };
    assert!(index.touched(Kind::AnalysisTemplate, &elsewhere, false).is_empty());
}

#[test]
fn a_suspended_namespace_wakes_its_rollouts_and_the_controller_s_own_wakes_all() {
    let mut index = Index::at_home("tidegate-system");
    let _ = index.touched(Kind::Rollout, &rollout("web", "front", 1), false);
    let namespace = |name: &str, value: &str| Object {
        annotations: [(SUSPEND_ANNOTATION.to_owned(), value.to_owned())].into(),
        namespace: String::new(),
        ..object(name, &[])
    };
    let mut touched =
        |name, value, gone| index.touched(Kind::Namespace, &namespace(name, value), gone);
    assert!(touched("shop", "false", false).is_empty());
    assert_eq!(touched("shop", "true", false), [key("web")]);
    assert!(touched("shop", "true", false).is_empty(), "nothing is new");
    assert_eq!(touched("shop", "false", false), [key("web")]);
    assert!(touched("bank", "true", false).is_empty());
    assert_eq!(touched("tidegate-system", "true", false), [key("web")]);
    assert_eq!(touched("tidegate-system", "true", true), [key("web")]);
}
