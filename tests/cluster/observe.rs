//! What is seen of a real cluster, and when to look again.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use chrono::Utc;
use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use tidegate::kubernetes::{Cluster, Kind, names};
use tidegate::observe::{self, Key};
use tidegate::resolve::{References, resolve};
use tidegate_engine::Questions;
use tidegate_engine::observed::{Deployed, Pinned, RouteView, TroubleKind};
use tidegate_engine::state::{Origin, Revision, Stable, Stage, State, Trial, TrialId};
use tidegate_testbed::world::{World, apply, eventually};

const SOON: Duration = Duration::from_secs(30);
/// After this time without news nothing more happens.
const QUIET: Duration = Duration::from_secs(2);

type Keys = Pin<Box<dyn Stream<Item = Key> + Send>>;

async fn put(world: &World, namespace: &str, object: Value) -> Result<()> {
    apply(&world.kube(), &object.to_string(), Some(namespace)).await.map(drop)
}

/// The Rollout `web`, once the server knows the kind.
async fn rollout(world: &World, namespace: &str) -> Result<()> {
    for crd in tidegate_api::crds() {
        apply(&world.kube(), &serde_json::to_string(&crd)?, None).await?;
    }
    let rollout = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {"workloadRef": {"name": "web"}},
    });
    eventually("the server knows Rollouts", SOON, async || {
        put(world, namespace, rollout.clone()).await.map(Some)
    })
    .await
}

/// A Deployment whose pods nobody runs.
fn deployment(image: &str, paused: bool) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 1, "paused": paused,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "nodeSelector": {"nowhere": "to-be-found"},
                    "containers": [{"name": "web", "image": image}],
                },
            },
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    })
}

/// The object that owns a canary's set, and the set.
async fn canary(world: &World, namespace: &str, replicas: u32) -> Result<()> {
    let cluster = Cluster::new(world.kube());
    let revision = Revision::new("a123456789");
    let name = names::set_name("web", &revision);
    let labels = json!({"tidegate.dev/rollout": "web"});
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "revision": 1, "data": {},
    });
    let owner = cluster.create(Kind::ControllerRevision, &owner).await?;
    let hash = json!({"app": "web", "pod-template-hash": revision.as_str()});
    let mut template = deployment("web:2", true)["spec"]["template"].take();
    template["metadata"]["labels"] = hash.clone();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name, "namespace": namespace, "labels": hash,
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ControllerRevision", "name": name,
                "uid": owner["metadata"]["uid"], "controller": true,
            }],
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": hash}, "template": template},
    });
    cluster.create(Kind::ReplicaSet, &set).await.map(drop).context("create the canary's set")
}

/// Waits for a key, then until there is no more news.
async fn told(keys: &mut Keys, namespace: &str, of: &str) -> Result<()> {
    let first = tokio::time::timeout(SOON, keys.next()).await;
    let Ok(Some(key)) = first else { bail!("nothing was told of {of}") };
    ensure!(key == Key { namespace: namespace.to_owned(), name: "web".to_owned() }, "{key}");
    while let Ok(next) = tokio::time::timeout(QUIET, keys.next()).await {
        ensure!(next == Some(key.clone()), "{next:?} after {of}");
    }
    Ok(())
}

pub(crate) async fn every_change_of_a_rollouts_objects_is_told(
    world: &'static World,
) -> Result<()> {
    let namespace = world.namespace("watch").await?;
    rollout(world, &namespace).await?;
    let mut keys: Keys = Box::pin(observe::triggers(
        world.kube(),
        std::slice::from_ref(&namespace),
        "tidegate-system",
    ));
    told(&mut keys, &namespace, "a Rollout that is there").await?;
    put(world, &namespace, deployment("web:1", false)).await?;
    told(&mut keys, &namespace, "its Deployment").await?;
    put(world, &namespace, service()).await?;
    told(&mut keys, &namespace, "a Service that may select its pods").await?;
    canary(world, &namespace, 1).await?;
    told(&mut keys, &namespace, "a canary's set and its pod").await?;
    let quiet = tokio::time::timeout(QUIET, keys.next()).await;
    ensure!(quiet.is_err(), "something was told of nothing");
    Ok(())
}

pub(crate) async fn watches_outlive_the_api_server(world: &'static World) -> Result<()> {
    let namespace = world.namespace("watch").await?;
    rollout(world, &namespace).await?;
    let mut keys: Keys = Box::pin(observe::triggers(
        world.kube(),
        std::slice::from_ref(&namespace),
        "tidegate-system",
    ));
    told(&mut keys, &namespace, "a Rollout that is there").await?;
    let server = world.api_server();
    server.kill();
    server.start().await?;
    put(world, &namespace, deployment("web:1", false)).await?;
    // Nothing was left to be told: whatever comes now comes from a watch that began again.
    told(&mut keys, &namespace, "a Deployment after the server came back").await
}

pub(crate) async fn one_look_reads_what_the_controllers_wrote(world: &'static World) -> Result<()> {
    let namespace = world.namespace("look").await?;
    rollout(world, &namespace).await?;
    put(world, &namespace, service()).await?;
    put(world, &namespace, deployment("web:1", false)).await?;
    let cluster = Cluster::new(world.kube());
    let found = cluster.get(Kind::Rollout, &namespace, "web").await?.context("a Rollout")?;
    let rollout: tidegate_api::Rollout = serde_json::from_value(found)?;
    let resolved = resolve(&rollout, &References::default())
        .map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let target = observe::find_target(&cluster, &rollout, &resolved).await?;
    ensure!(target.services == ["web"], "{target:?}");
    let mut state = State::default();
    let first = eventually("the first template is taken", SOON, async || {
        let asked = Questions { canary: None, samples: None, revert: None, gates: Vec::new() };
        let seen = observe::look(&cluster, &target, &asked, &state, Utc::now()).await?;
        Ok(seen.workload.and_then(|workload| workload.adopted))
    })
    .await?;
    state.stable = Some(Stable { revision: first.clone(), git: None });
    put(world, &namespace, deployment("web:2", true)).await?;
    canary(world, &namespace, 2).await?;
    let revision = Revision::new("a123456789");
    state.trial = Some(Trial {
        id: TrialId::new("t"),
        canary: revision.clone(),
        origin: Origin::Unknown,
        started: Utc::now(),
        ready: None,
        shared: None,
        home: None,
        skip: None,
        handed: false,
        gates: None,
        class: None,
        stands: None,
        alone: false,
        surged: false,
        told: Vec::new(),
        stage: Stage::Starting { since: Utc::now() },
    });
    let asked =
        Questions { canary: Some(revision), samples: None, revert: None, gates: Vec::new() };
    // Two controllers answer, each in its own time: the scheduler for the canary's pods, the
    // Deployment's for what was just written to it.
    let seen = eventually("both controllers have looked", SOON, async || {
        let seen = observe::look(&cluster, &target, &asked, &state, Utc::now()).await?;
        let is_told = seen.canary_pods.len() == 2 && seen.canary.trouble.is_some();
        let is_settled = seen.workload.as_ref().is_some_and(|workload| workload.settled);
        Ok((is_told && is_settled).then_some(seen))
    })
    .await?;
    let workload = seen.workload.context("a Deployment")?;
    ensure!(workload.paused, "{workload:?}");
    ensure!(workload.template != first && workload.adopted == Some(first), "{workload:?}");
    ensure!(workload.deployed == Deployed::Unknown, "{workload:?}");
    ensure!(seen.canary.exists && seen.canary.desired == 2 && seen.canary.ready == 0);
    let trouble = seen.canary.trouble.context("a trouble")?;
    ensure!(trouble.kind == TroubleKind::Unschedulable, "{trouble:?}");
    ensure!(seen.traffic.pinned == Pinned::All && !seen.traffic.held, "{:?}", seen.traffic);
    ensure!(seen.traffic.route != Some(RouteView::Home), "there is no route");
    Ok(())
}
