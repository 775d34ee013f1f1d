//! One sync after another: what is written, deleted, kept, held, reported.

use serde_json::json;
use tidegate::sync::report::ObjectResult;
use tidegate::sync::target::Applied;
use tidegate::sync::{LocalCluster, SyncError, Target, sync_once};

use super::fake_api::FakeApi;
use super::support::{checkout, config_map, deployment, inventory_of, reference, settings, sync};

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";

fn local() -> (LocalCluster, Target) {
    let cluster = LocalCluster::new();
    (cluster.clone(), Target::Local(cluster))
}

fn inventory(cluster: &LocalCluster) -> serde_json::Value {
    cluster.get(&reference("ConfigMap", "tidegate-sync-shop")).unwrap()
}

#[tokio::test]
async fn a_second_sync_of_one_revision_writes_nothing() {
    let (cluster, target) = local();
    let web = deployment("app:1");
    let one = checkout("r1", &[("a.yaml", NAMESPACE), ("b.yaml", &web)]);
    let report = sync(&target, &one).await;
    assert_eq!((report.count(Applied::Created), report.is_complete()), (2, true));
    assert_eq!(inventory(&cluster)["data"]["revision"], "r1");
    let version = cluster.version();
    let report = sync(&target, &one).await;
    assert_eq!((report.unchanged(), report.drift.len()), (2, 0));
    assert_eq!(cluster.version(), version, "and then nothing is written");
}

#[tokio::test]
async fn what_leaves_the_repository_is_deleted_in_reverse_order() {
    let (cluster, target) = local();
    let (map, web) = (config_map("a", "1"), deployment("app:1"));
    let _ = sync(
        &target,
        &checkout("r1", &[("a.yaml", &map), ("b.yaml", &web), ("c.yaml", NAMESPACE)]),
    )
    .await;
    let other = config_map("b", "1");
    let report = sync(&target, &checkout("r2", &[("b.yaml", &other)])).await;
    assert_eq!(report.pruned, [reference("Deployment", "web"), reference("ConfigMap", "a")]);
    assert_eq!(inventory_of(Some(&inventory(&cluster))), ["shop_b__ConfigMap"]);
    assert!(cluster.get(&reference("Namespace", "shop")).is_some(), "the inventory's namespace");
    assert!(cluster.get(&reference("Deployment", "web")).is_none());
    let version = cluster.version();
    let report = sync(&target, &checkout("r2", &[("b.yaml", &other)])).await;
    assert_eq!((report.pruned.len(), cluster.version()), (0, version), "and then nothing");
}

#[tokio::test]
async fn an_object_that_asks_to_be_kept_is_kept_and_forgotten() {
    let (cluster, target) = local();
    let kept = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: \
                {tidegate.dev/prune: disabled}}\n";
    let other = config_map("b", "1");
    let _ = sync(&target, &checkout("r1", &[("a.yaml", kept), ("b.yaml", &other)])).await;
    let report = sync(&target, &checkout("r2", &[("b.yaml", &other)])).await;
    assert_eq!((report.kept.len(), report.pruned.len()), (1, 0));
    assert!(cluster.get(&reference("ConfigMap", "a")).is_some());
    assert_eq!(inventory_of(Some(&inventory(&cluster))), ["shop_b__ConfigMap"]);
}

#[tokio::test]
async fn a_render_that_fails_or_is_empty_changes_nothing() {
    let (cluster, target) = local();
    let map = config_map("a", "1");
    let _ = sync(&target, &checkout("r1", &[("a.yaml", &map)])).await;
    let version = cluster.version();
    let changed = config_map("a", "2");
    let broken = checkout("r2", &[("a.yaml", &changed), ("b.yaml", "a: [")]);
    let error = sync_once(&broken, &target, &settings()).await.unwrap_err();
    assert!(matches!(error, SyncError::Render(_)));
    let empty = checkout("r3", &[("README.md", "x")]);
    let error = sync_once(&empty, &target, &settings()).await.unwrap_err();
    assert!(matches!(error, SyncError::Empty { .. }));
    assert_eq!(cluster.version(), version);
    let mut meant = settings();
    meant.allow_empty = true;
    let report = sync_once(&empty, &target, &meant).await.unwrap();
    assert_eq!(report.pruned, [reference("ConfigMap", "a")]);
}

#[tokio::test]
async fn a_link_that_may_hide_manifests_stops_the_sync() {
    let (cluster, target) = local();
    let map = config_map("a", "1");
    let mut one = checkout("r1", &[("apps/a.yaml", &map), ("k/kustomization.yaml", "")]);
    let mut apps = settings();
    apps.path = "apps".to_owned();
    one.skipped = vec!["apps/LICENSE.txt".to_owned(), ".x".to_owned(), "other/b".to_owned()];
    let _ = sync_once(&one, &target, &apps).await.unwrap();
    let version = cluster.version();
    for name in ["apps/b.yaml", "apps/deep/linked", "apps"] {
        one.skipped = vec![name.to_owned()];
        let error = sync_once(&one, &target, &apps).await.unwrap_err();
        let SyncError::Render(cause) = error else { panic!("{error}") };
        assert!(cause.to_string().starts_with(name), "{cause}");
    }
    assert_eq!(cluster.version(), version);
}

#[tokio::test]
async fn drift_is_reported_field_by_field_and_corrected() {
    let (cluster, target) = local();
    let web = deployment("app:1");
    let one = checkout("r1", &[("b.yaml", &web)]);
    let _ = sync(&target, &one).await;
    let at = reference("Deployment", "web");
    let patch = json!({"spec": {"replicas": 7, "minReadySeconds": 3}});
    let _ = cluster.patch(&at, "kubectl-edit", &patch, None).unwrap();
    let report = sync(&target, &one).await;
    let lines: Vec<_> = report.drift.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["Deployment shop/web: spec.replicas: desired 2, live 7"]);
    let live = cluster.get(&at).unwrap();
    assert_eq!(live["spec"]["replicas"], 2);
    assert_eq!(live["spec"]["minReadySeconds"], 3, "a field that is not ours stays");
    assert!(sync(&target, &one).await.drift.is_empty());
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let (cluster, target) = local();
    let (a, b) = (config_map("a", "1"), config_map("b", "1"));
    let _ = sync(&target, &checkout("r1", &[("a.yaml", &a), ("b.yaml", &b)])).await;
    let version = cluster.version();
    let (changed, new) = (config_map("a", "2"), config_map("c", "1"));
    let mut look = settings();
    look.dry_run = true;
    let next = checkout("r2", &[("a.yaml", &changed), ("c.yaml", &new)]);
    let report = sync_once(&next, &target, &look).await.unwrap();
    assert_eq!((report.count(Applied::Created), report.count(Applied::Changed)), (1, 1));
    assert_eq!((report.drift.len(), report.pruned.len()), (1, 1));
    assert!(report.to_string().contains("nothing is written"));
    assert_eq!(cluster.version(), version);
}

#[tokio::test]
async fn a_held_service_is_reported_and_stays_as_it_is() {
    let (cluster, target) = local();
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: \
                   {app: web}, ports: [{port: 80}]}\n";
    let one = checkout("r1", &[("a.yaml", service)]);
    let _ = sync(&target, &one).await;
    let at = reference("Service", "web");
    let pin = json!({"metadata": {"labels": {"tidegate.dev/held": "web"}},
        "spec": {"selector": {"app": "web", "pod-template-hash": "x"}}});
    let _ = cluster.patch(&at, "tidegate", &pin, None).unwrap();
    let _ = sync(&target, &one).await;
    let version = cluster.version();
    let report = sync(&target, &one).await;
    let held = report.objects[0].held.clone().unwrap();
    assert_eq!((held.by.as_str(), held.fields), ("web", vec!["spec.selector".to_owned()]));
    assert_eq!(cluster.get(&at).unwrap()["spec"]["selector"]["pod-template-hash"], "x");
    assert_eq!(cluster.version(), version, "and no write is made again and again");
}

#[tokio::test]
async fn a_new_template_arrives_paused() {
    let (cluster, target) = local();
    let (one, two) = (deployment("app:1"), deployment("app:2"));
    let _ = sync(&target, &checkout("r1", &[("a.yaml", &one)])).await;
    let report = sync(&target, &checkout("r2", &[("a.yaml", &two)])).await;
    assert_eq!(report.previous.as_deref(), Some("r1"));
    let live = cluster.get(&reference("Deployment", "web")).unwrap();
    assert_eq!(live["spec"]["paused"], true);
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "app:2");
}

#[tokio::test]
async fn one_refused_object_stops_no_other_and_nothing_is_deleted() {
    let api = FakeApi::default();
    let target = api.target();
    let (a, b) = (config_map("a", "1"), config_map("b", "1"));
    let _ = sync(&target, &checkout("r1", &[("n.yaml", NAMESPACE), ("a.yaml", &a)])).await;
    api.refuse("bad");
    let bad = config_map("bad", "1");
    let unknown = "apiVersion: example.com/v1\nkind: Unheard\nmetadata: {name: u}\n";
    let next = checkout(
        "r2",
        &[("n.yaml", NAMESPACE), ("b.yaml", &b), ("bad.yaml", &bad), ("u.yaml", unknown)],
    );
    let report = sync(&target, &next).await;
    let failed: Vec<_> = report
        .objects
        .iter()
        .filter(|o| matches!(o.result, ObjectResult::Failed(_)))
        .map(|o| o.file.as_str())
        .collect();
    assert_eq!(failed, ["u.yaml", "bad.yaml"]);
    assert!(!report.is_complete() && report.pruned.is_empty());
    assert!(api.cluster.get(&reference("ConfigMap", "b")).is_some());
    assert!(api.cluster.get(&reference("ConfigMap", "a")).is_some(), "not deleted");
    let data = inventory(&api.cluster)["data"].clone();
    assert_eq!((&data["revision"], &data["attemptedRevision"]), (&json!("r1"), &json!("r2")));
    api.accept_all();
    let fixed = checkout("r3", &[("n.yaml", NAMESPACE), ("b.yaml", &b)]);
    let report = sync(&target, &fixed).await;
    assert_eq!((report.is_complete(), report.pruned.len()), (true, 1));
    assert_eq!(inventory(&api.cluster)["data"]["revision"], "r3");
}

#[tokio::test]
async fn a_kind_and_an_object_of_it_come_in_one_sync() {
    let api = FakeApi::default();
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
        metadata: {name: things.example.com}\nspec: {group: example.com, scope: Namespaced, \
        names: {plural: things, kind: Thing}}\n";
    let thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n";
    let files = [("n.yaml", NAMESPACE), ("a.yaml", thing), ("b.yaml", definition)];
    let report = sync(&api.target(), &checkout("r1", &files)).await;
    assert_eq!((report.is_complete(), report.count(Applied::Created)), (true, 3), "{report}");
}

#[tokio::test]
async fn one_object_with_and_without_its_namespace_is_refused() {
    let (cluster, target) = local();
    let plain = config_map("a", "1");
    let full = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n";
    let twice = checkout("r1", &[("a.yaml", &plain), ("b.yaml", full)]);
    let error = sync_once(&twice, &target, &settings()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "ConfigMap shop/a is in a.yaml and in b.yaml, with and without its namespace"
    );
    let own = config_map("tidegate-sync-shop", "1");
    let error = sync_once(&checkout("r1", &[("a.yaml", &own)]), &target, &settings()).await;
    assert!(matches!(error, Err(SyncError::OwnInventory { .. })));
    assert!(cluster.all().is_empty());
}

#[tokio::test]
async fn a_damaged_inventory_stops_the_sync() {
    let (cluster, target) = local();
    let map = config_map("a", "1");
    let one = checkout("r1", &[("a.yaml", &map)]);
    let _ = sync(&target, &one).await;
    let at = reference("ConfigMap", "tidegate-sync-shop");
    let _ = cluster.patch(&at, "someone", &json!({"data": {"objects": "x"}}), None).unwrap();
    let version = cluster.version();
    let error = sync_once(&one, &target, &settings()).await.unwrap_err();
    assert!(matches!(error, SyncError::Inventory(_)));
    assert_eq!(cluster.version(), version);
}

#[tokio::test]
async fn a_report_is_json_without_values_of_secrets() {
    let (cluster, target) = local();
    let secret = |value: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{p: {value}}}\n")
    };
    let (one, two) = (secret("aHVudGVyMg=="), secret("c2VjcmV0"));
    let _ = sync(&target, &checkout("r1", &[("s.yaml", &one)])).await;
    let report = sync(&target, &checkout("r2", &[("s.yaml", &two)])).await;
    let shown = format!("{report} {report:?} {} {cluster:?}", json!(report));
    assert_eq!(report.drift.len(), 1);
    assert!(!shown.contains("aHVudGVyMg") && !shown.contains("c2VjcmV0"), "{shown}");
}
