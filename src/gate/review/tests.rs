use super::*;
use crate::kubernetes::WEIGHT_ANNOTATION;

const ENGINE: &str = "system:serviceaccount:flux-system:kustomize-controller";
const PERSON: &str = "ann";

fn deployment(image: &str, paused: bool) -> Value {
    json!({
        "metadata": {"labels": {ROLLOUT_LABEL: "web"}},
        "spec": {"paused": paused, "template": {"spec": {"image": image}}},
    })
}

fn unlabelled(mut object: Value) -> Value {
    object["metadata"] = json!({});
    object
}

fn ask(resource: &str, user: &str, old: &Value, object: &Value) -> [Verdict; 2] {
    let request = AdmissionRequest {
        uid: "1".to_owned(),
        resource: resource.to_owned(),
        user: user.to_owned(),
        object: object.clone(),
        old: old.clone(),
    };
    [Stage::Mutate, Stage::Validate].map(|stage| review(stage, &request))
}

/// What is stored after the first stage, and that the second one lets it through.
fn stored(resource: &str, user: &str, old: &Value, object: &Value) -> Option<Value> {
    let [first, _] = ask(resource, user, old, object);
    let mut stored = object.clone();
    match first {
        Verdict::Pass => {}
        Verdict::Deny(_) => return None,
        Verdict::Change(operations) => apply(&mut stored, &operations),
    }
    let again = ask(resource, user, old, &stored);
    assert_eq!(again, [Verdict::Pass, Verdict::Pass], "asked again: {stored}");
    Some(stored)
}

/// The operations in use: all of them set something, but for who asked.
fn apply(object: &mut Value, operations: &[Value]) {
    for operation in operations {
        if operation["op"] == "remove" {
            assert_eq!(operation["path"], "/metadata/annotations/tidegate.dev~1requested-by");
            object["metadata"]["annotations"]
                .as_object_mut()
                .unwrap()
                .remove(REQUESTED_BY_ANNOTATION);
            continue;
        }
        assert_eq!(operation["op"], "add");
        let path = operation["path"].as_str().unwrap();
        let (parent, key) = path.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/").replace("~0", "~");
        object.pointer_mut(parent).unwrap()[key] = operation["value"].clone();
    }
}

fn paused_after(user: &str, old: &Value, object: &Value) -> Option<bool> {
    stored("apps/deployments", user, old, object).map(|stored| read::is_paused(&stored))
}

#[test]
fn a_new_template_is_paused_whoever_brings_it() {
    for user in [ENGINE, PERSON] {
        // Old image and pause, new ones, what is stored.
        let cases = [
            (("v1", false), ("v2", false), true),
            (("v1", false), ("v2", true), true),
            (("v2", true), ("v3", false), true),
            (("v1", false), ("v1", false), false),
            (("v2", true), ("v2", true), true),
            // At rest nobody pauses.
            (("v1", false), ("v1", true), false),
        ];
        for (old, new, expected) in cases {
            let (old, new) = (deployment(old.0, old.1), deployment(new.0, new.1));
            assert_eq!(paused_after(user, &old, &new), Some(expected), "{user}: {old} {new}");
        }
    }
}

#[test]
fn an_engine_that_resumes_is_held_in_silence_and_a_person_is_told() {
    let (held, resumed) = (deployment("v2", true), deployment("v2", false));
    assert_eq!(paused_after(ENGINE, &held, &resumed), Some(true));
    let [first, second] = ask("apps/deployments", PERSON, &held, &resumed);
    assert_eq!(first, Verdict::Deny(RESUMED.to_owned()));
    assert_eq!(second, first);
}

#[test]
fn the_controller_resumes_and_pauses_as_it_decides() {
    let (held, resumed) = (deployment("v2", true), deployment("v2", false));
    for (old, new) in [(&held, &resumed), (&resumed, &held), (&held, &unlabelled(resumed.clone()))]
    {
        let verdicts = ask("apps/deployments", CONTROLLER, old, new);
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Pass]);
    }
    let other = format!("{CONTROLLER}-other");
    assert_eq!(paused_after(&other, &held, &resumed), Some(true), "a name that begins like ours");
}

#[test]
fn break_glass_frees_the_object_in_the_same_write() {
    let mut free = deployment("v3", false);
    free["metadata"]["annotations"] = json!({"tidegate.dev/break-glass": "no controller"});
    for user in [ENGINE, PERSON] {
        let held = deployment("v2", true);
        assert_eq!(paused_after(user, &held, &free), Some(false));
    }
    // It was there and is taken away: held again.
    assert_eq!(paused_after(ENGINE, &free, &deployment("v4", false)), Some(true));
}

#[test]
fn a_replace_that_drops_the_label_is_gated_each_time() {
    let mut old = deployment("v1", false);
    for image in ["v2", "v3", "v4"] {
        let git = unlabelled(deployment(image, false));
        let next = stored("apps/deployments", ENGINE, &old, &git).unwrap();
        assert_eq!(read::label(&next, ROLLOUT_LABEL), Some("web"));
        assert!(read::is_paused(&next), "{image}");
        old = next;
    }
}

#[test]
fn a_template_that_comes_with_the_label_is_gated() {
    let old = unlabelled(deployment("v1", false));
    assert_eq!(paused_after(PERSON, &old, &deployment("v2", false)), Some(true));
}

#[test]
fn what_has_none_of_our_labels_is_nobody_s_business() {
    let old = unlabelled(deployment("v1", true));
    let new = unlabelled(deployment("v2", false));
    assert_eq!(ask("apps/deployments", PERSON, &old, &new), [Verdict::Pass, Verdict::Pass]);
    assert_eq!(ask("/services", PERSON, &old, &new), [Verdict::Pass, Verdict::Pass]);
    assert_eq!(ask("apps/statefulsets", PERSON, &old, &new), [Verdict::Pass, Verdict::Pass]);
}

/// Another webhook changes the template after us, and the API server asks us once more or not.
#[test]
fn what_a_later_webhook_brings_is_gated_or_refused() {
    let (old, new) = (deployment("v1@sha256:1", false), deployment("v1", false));
    // Git says the tag. First pass: paused. The webhook puts the same digest in its place.
    let mut between = stored("apps/deployments", ENGINE, &old, &new).unwrap();
    assert!(read::is_paused(&between));
    between["spec"]["template"] = old["spec"]["template"].clone();
    assert_eq!(paused_after(ENGINE, &old, &between), Some(false), "nothing has changed after all");
    // The tag has moved, and somebody changes an annotation alone.
    let moved = deployment("v1@sha256:2", false);
    assert_eq!(paused_after(PERSON, &old, &moved), Some(true));
    let [_, last] = ask("apps/deployments", PERSON, &old, &moved);
    assert_eq!(last, Verdict::Deny(UNDONE.to_owned()), "not asked again: it is not stored");
}

fn service(held: bool, selector: &Value) -> Value {
    let labels = if held { json!({HELD_LABEL: "web"}) } else { json!({}) };
    json!({"metadata": {"labels": labels}, "spec": {"selector": selector, "ports": [80]}})
}

#[test]
fn a_held_service_keeps_its_selector_and_nothing_else() {
    let pinned = json!({"app": "web", "pod-template-hash": "1"});
    let old = service(true, &pinned);
    let mut git = service(false, &json!({"app": "web", "tier": "front"}));
    git["metadata"] = json!({});
    git["spec"]["ports"] = json!([81]);
    for user in [ENGINE, PERSON] {
        let next = stored("/services", user, &old, &git).unwrap();
        assert_eq!(next["spec"]["selector"], pinned);
        assert_eq!(next["spec"]["ports"], json!([81]));
        assert_eq!(read::label(&next, HELD_LABEL), Some("web"));
    }
    let free = service(false, &json!({"app": "web"}));
    assert_eq!(ask("/services", ENGINE, &free, &old), [Verdict::Pass, Verdict::Pass]);
    let mut none = old.clone();
    none["spec"] = json!({});
    assert!(stored("/services", ENGINE, &none, &git).is_some(), "one without a selector");
    let mut glass = git;
    glass["metadata"]["annotations"] = json!({"tidegate.dev/break-glass": "why"});
    let next = stored("/services", PERSON, &old, &glass).unwrap();
    assert_eq!(next["spec"]["selector"]["tier"], "front");
}

fn rule(path: &str, backends: &Value) -> Value {
    json!({"matches": [{"path": path}], "backendRefs": backends})
}

fn route(rules: &Value) -> Value {
    json!({"metadata": {"namespace": "shop"}, "spec": {"rules": rules}})
}

#[test]
fn a_held_route_keeps_the_backends_of_the_rules_that_name_the_service() {
    let split = json!([{"name": "web", "weight": 80}, {"name": "web-canary", "weight": 20}]);
    let (plain, other) = (json!([{"name": "web"}]), json!([{"name": "other"}]));
    let mut old = route(&json!([rule("/a", &split), rule("/b", &other)]));
    old["metadata"]["labels"] = json!({HELD_LABEL: "web"});
    old["metadata"]["annotations"] = json!({HELD_LABEL: "web", WEIGHT_ANNOTATION: "20"});
    // Rules of Git, backends that are stored.
    let elsewhere = json!([{"name": "web", "namespace": "other"}]);
    let same_name = json!([{"name": "web", "kind": "Bucket"}]);
    let neighbour = json!([{"name": "other", "weight": 5}]);
    let cases = [
        ([rule("/a", &plain), rule("/b", &other)], [&split, &other]),
        ([rule("/a", &plain), rule("/b", &neighbour)], [&split, &neighbour]),
        ([rule("/b", &other), rule("/a", &plain)], [&other, &split]),
        ([rule("/new", &plain), rule("/a", &plain)], [&split, &split]),
        ([rule("/a", &elsewhere), rule("/b", &same_name)], [&elsewhere, &same_name]),
    ];
    for (rules, expected) in cases {
        let git = route(&json!(rules));
        let next = stored("gateway.networking.k8s.io/httproutes", ENGINE, &old, &git).unwrap();
        for (rule, expected) in read::list(&next, "/spec/rules").iter().zip(expected) {
            assert_eq!(&rule["backendRefs"], expected);
        }
        assert_eq!(read::label(&next, HELD_LABEL), Some("web"));
        assert_eq!(read::annotation(&next, HELD_LABEL), Some("web"));
        assert_eq!(read::annotation(&next, WEIGHT_ANNOTATION), Some("20"));
    }
    let mut glass = route(&json!([rule("/a", &plain)]));
    glass["metadata"]["annotations"] = json!({"tidegate.dev/break-glass": "why"});
    let next = stored("gateway.networking.k8s.io/httproutes", PERSON, &old, &glass).unwrap();
    assert_eq!(next["spec"]["rules"][0]["backendRefs"], plain);
}

#[test]
fn who_asks_is_who_writes_whatever_they_say() {
    let rollout = |request: Option<&str>, who: Option<&str>| {
        let mut annotations = serde_json::Map::new();
        for (key, value) in [(REQUEST_ANNOTATION, request), (REQUESTED_BY_ANNOTATION, who)] {
            annotations.extend(value.map(|value| (key.to_owned(), json!(value))));
        }
        json!({"metadata": {"annotations": annotations}})
    };
    let who = |old: &Value, object: &Value| {
        let stored = stored("tidegate.dev/rollouts", PERSON, old, object)?;
        read::annotation(&stored, REQUESTED_BY_ANNOTATION).map(str::to_owned)
    };
    let rest = rollout(None, None);
    let by_bob = rollout(Some("abort a1"), Some("bob"));
    assert_eq!(who(&rest, &rollout(Some("abort a1"), None)).as_deref(), Some("ann"));
    assert_eq!(who(&Value::Null, &rollout(Some("abort a1"), Some("bob"))).as_deref(), Some("ann"));
    assert_eq!(who(&by_bob, &rollout(Some("abort a2"), Some("bob"))).as_deref(), Some("ann"));
    // The request stays, and so does who asked.
    assert_eq!(who(&by_bob, &by_bob).as_deref(), Some("bob"));
    assert_eq!(who(&by_bob, &rollout(Some("abort a1"), Some("eve"))).as_deref(), Some("bob"));
    assert_eq!(who(&by_bob, &rollout(Some("abort a1"), None)).as_deref(), Some("bob"));
    // It goes, and so does who asked.
    assert_eq!(who(&by_bob, &rollout(None, Some("eve"))), None);
    assert_eq!(who(&rest, &rest), None);
}
