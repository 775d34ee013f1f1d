//! The Kubernetes target: each request it makes, and how it reads answers.

use std::time::Duration;

use serde_json::json;
use tidegate::sync::target::{Applied, TargetError};
use tidegate::sync::{FIELD_MANAGER, KubeTarget, ObjectRef, Target};

use super::fake_api::FakeApi;
use super::support::reference;

fn namespace() -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
}

#[tokio::test]
async fn every_request_is_the_expected_one() {
    let api = FakeApi::default();
    let target = api.target();
    let _ = target.apply(&namespace(), None, FIELD_MANAGER, true).await.unwrap();
    api.take_requests();
    let at = target.locate(&reference("Deployment", "web"), "ignored").await.unwrap();
    assert_eq!(target.get(&at).await, Ok(None));
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": {"newer": {"than": "us"}}});
    let created = target.apply(&object, None, FIELD_MANAGER, true).await.unwrap();
    assert_eq!((created.applied, &created.object["spec"]), (Applied::Created, &object["spec"]));
    let live = target.get(&at).await.unwrap().unwrap();
    let again = target.apply(&object, Some(&live), FIELD_MANAGER, true).await.unwrap();
    assert_eq!(again.applied, Applied::Unchanged);
    let uid = live["metadata"]["uid"].as_str();
    assert!(target.delete(&at, Some("another")).await.is_err());
    assert_eq!(target.delete(&at, uid).await, Ok(true));
    assert_eq!(target.delete(&at, uid).await, Ok(false));
    let path = "/apis/apps/v1/namespaces/shop/deployments/web";
    let get = format!("GET {path}");
    let apply =
        format!("PATCH {path}?&force=true&fieldManager=tidegate-sync application/apply-patch+yaml");
    let delete = format!("DELETE {path}? application/json");
    let expected = ["GET /apis/apps/v1", &get, &apply, &get, &apply, &delete, &delete, &delete];
    assert_eq!(api.take_requests(), expected, "and then nothing is asked");
}

#[tokio::test]
async fn the_namespace_is_given_only_where_the_kind_has_one() {
    let target = FakeApi::default().target();
    let mut at = reference("ConfigMap", "a");
    at.namespace = None;
    assert_eq!(target.locate(&at, "blue").await.unwrap().namespace.as_deref(), Some("blue"));
    let mut at = reference("Namespace", "a");
    at.namespace = Some("wrong".to_owned());
    assert_eq!(target.locate(&at, "blue").await.unwrap().namespace, None);
}

#[tokio::test]
async fn a_kind_whose_definition_is_gone_is_unknown_again() {
    let api = FakeApi::default();
    let target = api.target();
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster",
            "names": {"plural": "things", "kind": "Thing"}}});
    let _ = target.apply(&definition, None, FIELD_MANAGER, true).await.unwrap();
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing",
        "metadata": {"name": "t"}});
    let _ = target.apply(&thing, None, FIELD_MANAGER, true).await.unwrap();
    let at = ObjectRef::of(&thing).unwrap();
    assert!(target.get(&at).await.unwrap().is_some());
    let definition = ObjectRef::of(&definition).unwrap();
    assert_eq!(target.delete(&definition, None).await, Ok(true));
    assert!(matches!(target.get(&at).await, Err(TargetError::UnknownKind { .. })));
}

#[tokio::test]
async fn an_unknown_kind_and_a_conflict_are_told_apart() {
    let api = FakeApi::default();
    let target = api.target();
    let _ = target.apply(&namespace(), None, FIELD_MANAGER, true).await.unwrap();
    let mut at = reference("Deployment", "web");
    at.kind = "Unheard".to_owned();
    assert!(matches!(target.locate(&at, "x").await, Err(TargetError::UnknownKind { .. })));
    at.group = "example.com".to_owned();
    assert!(matches!(target.locate(&at, "x").await, Err(TargetError::UnknownKind { .. })));
    let map = |value: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "shop"}, "data": {"k": value}})
    };
    let _ = target.apply(&map("1"), None, "other", false).await.unwrap();
    let owned = target.apply(&map("2"), None, FIELD_MANAGER, false).await;
    assert!(matches!(owned, Err(TargetError::Owned { .. })), "{owned:?}");
    let mut old = map("2");
    old["metadata"]["resourceVersion"] = json!("999");
    let late = target.apply(&old, None, FIELD_MANAGER, true).await;
    assert!(matches!(late, Err(TargetError::Conflict { .. })), "{late:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for() {
    let silent = axum::Router::new().fallback(|| async {
        std::future::pending::<()>().await;
    });
    let client = kube::Client::new(silent, "default");
    let limit = Duration::from_millis(50);
    let target = Target::Kube(KubeTarget::new(client).with_deadline(limit));
    let at = reference("ConfigMap", "a");
    let object = Box::new(at.clone());
    assert_eq!(target.get(&at).await, Err(TargetError::Deadline { object, limit }));
}
