//! Stories about the engines alone: a real forge, a real Flux, no product.
//!
//! They hold down what the product's own stories build upon.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tidegate_testbed::{
    gitops::{FluxOptions, FluxStatus, Repository},
    world::World,
};

/// Flux applies within a second of being asked; beside a build it needs more.
const SOON: Duration = Duration::from_mins(1);

/// A commit is applied, the next one too, and what is gone from Git is gone from the cluster.
pub(crate) async fn a_commit_is_applied_and_pruned(world: &World) -> Result<()> {
    let namespace = world.namespace("gitops").await?;
    let repository = world.forge().repository(&namespace).await?;
    let first = repository
        .commit(
            "Ada Lovelace",
            "Add greeting and farewell",
            &[
                ("shop/greeting.yaml", Some(&config_map(&namespace, "greeting", "hello"))),
                ("shop/farewell.yaml", Some(&config_map(&namespace, "farewell", "bye"))),
            ],
        )
        .await?;
    let shop = world
        .flux()
        .follow(&namespace, "shop", &repository, "./shop", FluxOptions::default())
        .await?;
    shop.wait_ready(&first, SOON).await?;
    let maps: Api<ConfigMap> = Api::namespaced(world.kube(), &namespace);
    ensure!(text_of(&maps.get("greeting").await?) == Some("hello"));

    let greeting = maps.get("greeting").await?;
    let managers = greeting.metadata.managed_fields.unwrap_or_default();
    let managers: Vec<_> = managers.iter().filter_map(|m| m.manager.as_deref()).collect();
    ensure!(managers == ["kustomize-controller"], "applied by {managers:?}");

    let second = repository
        .commit(
            "Grace Hopper",
            "Say it louder\n\nNobody says farewell.",
            &[
                ("shop/greeting.yaml", Some(&config_map(&namespace, "greeting", "HELLO"))),
                ("shop/farewell.yaml", None),
            ],
        )
        .await?;
    shop.reconcile().await?;
    let status = shop.wait_ready(&second, SOON).await?;
    ensure!(status.attempted.as_deref() == Some(second.as_str()), "{status:?}");
    ensure!(text_of(&maps.get("greeting").await?) == Some("HELLO"));
    ensure!(maps.get_opt("farewell").await?.is_none(), "the deleted object is still there");

    let log = repository.log().await?;
    let authors: Vec<_> = log.iter().map(|commit| commit.author.as_str()).collect();
    ensure!(authors[..2] == ["Grace Hopper", "Ada Lovelace"], "{authors:?}");
    ensure!(log[0].parents == [first], "{:?}", log[0]);
    nothing_more_is_written(&maps).await
}

/// Under `wait: true` a Deployment that is not ready in time fails its revision: it counts as
/// attempted, while the good one still counts as applied. Takes the 30 s that are Flux's minimum.
pub(crate) async fn a_wait_reports_what_is_not_ready_in_time(world: &World) -> Result<()> {
    let stuck = "progressDeadlineSeconds: 600";
    let message = a_stuck_deployment_fails_its_revision(world, stuck).await?;
    ensure!(message.contains("timeout waiting for"), "{message}");
    Ok(())
}

/// A Deployment that says itself that it does not progress fails its revision early.
pub(crate) async fn a_wait_reports_what_has_given_up(world: &World) -> Result<()> {
    let stuck = "progressDeadlineSeconds: 2";
    let message = a_stuck_deployment_fails_its_revision(world, stuck).await?;
    ensure!(message.contains("failed early"), "{message}");
    Ok(())
}

async fn a_stuck_deployment_fails_its_revision(world: &World, deadline: &str) -> Result<String> {
    let namespace = world.namespace("gitops").await?;
    let repository = world.forge().repository(&namespace).await?;
    let good = commit_map(&repository, &namespace, "shop", "hello").await?;
    let options = FluxOptions { timeout: Some(Duration::from_secs(30)), ..FluxOptions::waiting() };
    let shop = world.flux().follow(&namespace, "shop", &repository, "./shop", options).await?;
    shop.wait_ready(&good, SOON).await?;

    let stuck = deployment_that_is_never_ready(&namespace, deadline);
    let bad = repository
        .commit("Ada Lovelace", "Add a shop", &[("shop/deployment.yaml", Some(&stuck))])
        .await?;
    shop.reconcile().await?;
    let status = shop.wait_failed(&bad, SOON).await?;
    ensure!(status.reason == "HealthCheckFailed", "{status:?}");
    ensure!(status.message.contains("Deployment"), "{status:?}");
    ensure!(status.applied.as_deref() == Some(good.as_str()), "{status:?}");
    Ok(status.message)
}

/// A Kustomization that depends on another is applied after that one has become ready.
pub(crate) async fn a_dependent_waits_for_what_it_depends_on(world: &World) -> Result<()> {
    let namespace = world.namespace("gitops").await?;
    let repository = world.forge().repository(&namespace).await?;
    let stuck = deployment_that_is_never_ready(&namespace, "progressDeadlineSeconds: 2");
    let up = config_map(&namespace, "apps", "up");
    let message = "Add a base that does not come up, and what needs it";
    let files =
        [("base/deployment.yaml", Some(stuck.as_str())), ("apps/map.yaml", Some(up.as_str()))];
    let broken = repository.commit("Ada Lovelace", message, &files).await?;
    let options = FluxOptions::waiting();
    let base = world.flux().follow(&namespace, "base", &repository, "./base", options).await?;
    let options = FluxOptions {
        source: Some("base".to_owned()),
        depends_on: vec!["base".to_owned()],
        ..FluxOptions::default()
    };
    let apps = world.flux().follow(&namespace, "apps", &repository, "./apps", options).await?;
    base.wait_failed(&broken, SOON).await?;
    let waits = |status: &FluxStatus| status.reason == "DependencyNotReady";
    let status = apps.wait("apps waits", SOON, waits).await?;
    ensure!(status.applied.is_none(), "{status:?}");
    let maps: Api<ConfigMap> = Api::namespaced(world.kube(), &namespace);
    ensure!(maps.get_opt("apps").await?.is_none(), "the dependent did not wait");

    let up = config_map(&namespace, "base", "up");
    let files = [("base/deployment.yaml", None), ("base/map.yaml", Some(up.as_str()))];
    let fixed = repository.commit("Ada Lovelace", "Take the Deployment out", &files).await?;
    base.reconcile().await?;
    base.wait_ready(&fixed, SOON).await?;
    apps.wait_ready(&fixed, SOON).await?;
    maps.get("apps").await?;
    Ok(())
}

/// The product's pushes are refused by a protected branch and by a hook, each with its reason; a
/// forced push moves the branch, and Flux follows.
pub(crate) async fn the_forge_refuses_and_is_forced(world: &World) -> Result<()> {
    let namespace = world.namespace("gitops").await?;
    let repository = world.forge().repository(&namespace).await?;
    let first = commit_map(&repository, &namespace, "shop", "one").await?;
    let shop = world
        .flux()
        .follow(&namespace, "shop", &repository, "./shop", FluxOptions::default())
        .await?;
    shop.wait_ready(&first, SOON).await?;
    let second = commit_map(&repository, &namespace, "shop", "two").await?;
    shop.reconcile().await?;
    shop.wait_ready(&second, SOON).await?;

    repository.protect().await?;
    let refusal = push_as_product(&repository)?;
    ensure!(refusal.contains("protected branch"), "{refusal}");
    repository.unprotect().await?;
    repository.refuse_pushes(Some("we're closed"))?;
    let refusal = push_as_product(&repository)?;
    ensure!(refusal.contains("we're closed"), "{refusal}");
    repository.refuse_pushes(None)?;
    ensure!(repository.head().await? == second, "a refused push has changed the branch");

    repository.force_push(&first).await?;
    ensure!(repository.head().await? == first);
    shop.reconcile().await?;
    shop.wait_ready(&first, SOON).await?;
    let maps: Api<ConfigMap> = Api::namespaced(world.kube(), &namespace);
    ensure!(text_of(&maps.get("shop").await?) == Some("one"));
    Ok(())
}

/// While Flux is suspended nothing is applied; a killed controller goes on where it was.
pub(crate) async fn flux_pauses_and_survives_a_kill(world: &World) -> Result<()> {
    let namespace = world.namespace("gitops").await?;
    let repository = world.forge().repository(&namespace).await?;
    let first = commit_map(&repository, &namespace, "shop", "one").await?;
    let shop = world
        .flux()
        .follow(&namespace, "shop", &repository, "./shop", FluxOptions::default())
        .await?;
    shop.wait_ready(&first, SOON).await?;
    shop.suspend().await?;
    let second = commit_map(&repository, &namespace, "shop", "two").await?;
    shop.reconcile().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(shop.revision().await?.as_deref() == Some(first.as_str()), "it did not pause");

    world.flux().kustomize().kill();
    world.flux().source().kill();
    shop.resume().await?;
    world.flux().source().start().await?;
    world.flux().kustomize().start().await?;
    shop.wait_ready(&second, SOON).await?;
    Ok(())
}

async fn commit_map(
    repository: &Repository,
    namespace: &str,
    name: &str,
    text: &str,
) -> Result<String> {
    let map = config_map(namespace, name, text);
    let message = format!("Let {name} say {text}");
    repository.commit("Ada Lovelace", &message, &[("shop/map.yaml", Some(&map))]).await
}

/// What Git says when the product's user pushes an empty commit; an error when it succeeds.
fn push_as_product(repository: &Repository) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let credentials = repository.credentials();
    let login = format!("http://{}:{}@", credentials.user, credentials.token);
    let url = repository.url().replacen("http://", &login, 1);
    let git = |arguments: &[&str]| {
        std::process::Command::new("git")
            .args(["-c", "user.name=tidegate", "-c", "user.email=tidegate@example.com"])
            .args(arguments)
            .current_dir(folder.path())
            .env("NO_PROXY", "*")
            .output()
    };
    let clone = git(&["clone", "--quiet", &url, "."])?;
    ensure!(clone.status.success(), "the clone failed");
    git(&["commit", "--quiet", "--allow-empty", "--message", "From the product"])?;
    let push = git(&["push", "--quiet", "origin", "HEAD:main"])?;
    ensure!(!push.status.success(), "the push was not refused");
    Ok(String::from_utf8_lossy(&push.stderr).replace(&credentials.token, "***"))
}

/// And then nothing more happens: three seconds see no new write.
async fn nothing_more_is_written(maps: &Api<ConfigMap>) -> Result<()> {
    let before = maps.get("greeting").await?.metadata.resource_version;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = maps.get("greeting").await?.metadata.resource_version;
    ensure!(after == before, "it was written again");
    Ok(())
}

fn text_of(map: &ConfigMap) -> Option<&str> {
    map.data.as_ref()?.get("text").map(String::as_str)
}

fn config_map(namespace: &str, name: &str, text: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         data:\n  text: {text:?}\n"
    )
}

/// No node matches its selector.
fn deployment_that_is_never_ready(namespace: &str, deadline: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: stuck, namespace: {namespace}}}
spec:
  replicas: 1
  {deadline}
  selector: {{matchLabels: {{app: stuck}}}}
  template:
    metadata: {{labels: {{app: stuck}}}}
    spec:
      nodeSelector: {{there.is/no-such-node: "true"}}
      containers: [{{name: app, image: "app:v1"}}]
"#
    )
}
