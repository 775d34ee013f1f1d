use serde_json::{Value, json};

use super::*;

const ADDRESSES: Addresses<'_> = Addresses { pod: "10.244.0.2", host: "10.244.255.1" };

fn run(container: &Value, sources: &Sources) -> Result<Invocation, String> {
    let mut container = container.clone();
    container["name"] = json!("web");
    container["image"] = json!("app:1.2");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app.example.com/tier": "a"}},
        "spec": {"nodeName": "node-1", "serviceAccountName": "web", "containers": [container]},
    }))
    .unwrap();
    let image = Image {
        program: "/bin/app".into(),
        arguments: vec!["serve".to_owned()],
        env: BTreeMap::from([("ROLE".to_owned(), "app".to_owned())]),
    };
    invocation(&pod, &pod.spec.as_ref().unwrap().containers[0], &image, ADDRESSES, sources)
}

#[test]
fn references_are_replaced_and_unknown_ones_stay() {
    let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    let expanded = ["$(A)", "x$(A)y$(A)", "$(B)", "$$(A)", "$A", "$(A", "5$", ""]
        .map(|text| expand(text, &env));
    assert_eq!(expanded, ["1", "x1y1", "$(B)", "$(A)", "$A", "$(A", "5$", ""]);
}

#[test]
fn arguments_follow_the_images_own_unless_a_command_replaces_them() {
    let none = Sources::new();
    let plain = run(&json!({"args": ["--listen=$(POD_IP)"]}), &none).unwrap();
    assert_eq!(plain.argv, ["/bin/app", "serve", "--listen=10.244.0.2"]);
    let replaced = run(&json!({"command": ["sh", "-c"], "args": ["true"]}), &none).unwrap();
    assert_eq!(replaced.argv, ["sh", "-c", "true"]);
}

#[test]
fn a_version_is_the_tag_and_the_pods_own_variables_win() {
    let env =
        run(&json!({"env": [{"name": "ROLE", "value": "own"}]}), &Sources::new()).unwrap().env;
    assert_eq!((env["IMAGE_TAG"].as_str(), env["ROLE"].as_str()), ("1.2", "own"));
    assert_eq!(env["HOSTNAME"], "web-1");
}

#[test]
fn the_downward_api_is_known() {
    let paths = [
        ("metadata.name", "web-1"),
        ("metadata.namespace", "shop"),
        ("metadata.labels['app.example.com/tier']", "a"),
        ("metadata.annotations['absent']", ""),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "web"),
        ("status.podIP", "10.244.0.2"),
        ("status.hostIP", "10.244.255.1"),
    ];
    for (path, value) in paths {
        let entry = json!({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let env = run(&json!({"env": [entry]}), &Sources::new()).unwrap().env;
        assert_eq!(env["X"], value, "{path}");
    }
}

#[test]
fn what_is_missing_is_named_unless_it_is_optional() {
    let key = |optional: bool| {
        let reference = json!({"name": "settings", "key": "colour", "optional": optional});
        json!({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": reference}}]})
    };
    let wanted = Wanted::ConfigMap("settings".to_owned());
    let absent = Sources::from([(wanted.clone(), None)]);
    let empty = Sources::from([(wanted.clone(), Some(BTreeMap::new()))]);
    let full = BTreeMap::from([("colour".to_owned(), "blue".to_owned())]);
    let full = Sources::from([(wanted, Some(full))]);
    assert_eq!(run(&key(false), &absent).unwrap_err(), "configmap \"settings\" not found");
    assert_eq!(
        run(&key(false), &empty).unwrap_err(),
        "couldn't find key colour in ConfigMap shop/settings"
    );
    assert!(!run(&key(true), &absent).unwrap().env.contains_key("X"));
    assert!(!run(&key(true), &empty).unwrap().env.contains_key("X"));
    assert_eq!(run(&key(false), &full).unwrap().env["X"], "blue");
}

#[test]
fn whole_objects_come_with_their_prefix() {
    let container = json!({"envFrom": [{"prefix": "S_", "secretRef": {"name": "keys"}}]});
    let wanted = Wanted::Secret("keys".to_owned());
    let values = BTreeMap::from([("token".to_owned(), "t".to_owned())]);
    let sources = Sources::from([(wanted.clone(), Some(values))]);
    assert_eq!(run(&container, &sources).unwrap().env["S_token"], "t");
    let absent = Sources::from([(wanted, None)]);
    assert_eq!(run(&container, &absent).unwrap_err(), "secret \"keys\" not found");
}
