//! Effects against a real API server and a real Deployment controller.

mod stage;

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tidegate::act::ActError;
use tidegate::kubernetes::{Kind, json, sets};
use tidegate_engine::effect::Effect;
use tidegate_engine::plan::Weight;
use tidegate_engine::state::Revision;
use tidegate_testbed::world::World;

use stage::{Stage, eventually};

const NUMBER: &str = "deployment.kubernetes.io/revision";

fn route(percent: u8) -> Effect {
    Effect::Route { weight: Weight::new(percent).unwrap_or(Weight::ZERO) }
}

fn pin(revision: &Revision) -> Effect {
    Effect::Pin { revision: revision.clone() }
}

fn start(stable: &Revision, canary: &Revision) -> Vec<Effect> {
    vec![
        Effect::Settle { keep: stable.clone() },
        Effect::Hold,
        pin(stable),
        Effect::Raise { revision: canary.clone(), replicas: 3 },
    ]
}

async fn retired(stage: &Stage, canary: &Revision) -> Result<()> {
    eventually("the canary is gone", async || {
        stage.all(&[Effect::Retire { revision: canary.clone() }]).await?;
        let set = stage.find(Kind::ReplicaSet, &stage.set_name(canary)).await?;
        Ok(set.is_none().then_some(()))
    })
    .await
}

/// The Deployment controller says that this set is its newest, and counts all its pods.
async fn taken(stage: &Stage, name: &str) -> Result<()> {
    eventually("the Deployment controller takes the set", async || {
        let deployment = stage.get(Kind::Deployment, "web").await?;
        let set = stage.get(Kind::ReplicaSet, name).await?;
        let number = json::annotation(&deployment, NUMBER);
        let is_taken = number.is_some() && json::annotation(&set, NUMBER) == number;
        let updated = json::count(&deployment, "/status/updatedReplicas");
        Ok((is_taken && updated == Some(3)).then_some(()))
    })
    .await
}

/// A promotion, start to end: the pods that were tested are the pods that serve.
pub(crate) async fn tested_pods_become_the_deployment_s_own(world: &World) -> Result<()> {
    let stage = Stage::new(world, "act-promote").await?;
    let stable = stage.set_up("v1").await?;
    let before = stage.as_in_git().await?;
    let canary = stage.deploy_gated("v2").await?;
    let name = stage.set_name(&canary);
    stage.all(&start(&stable, &canary)).await?;
    let tested = stage.pods_of(&canary, 3).await?;
    stage.all(&[route(5), route(100)]).await?;
    let split = stage.get(Kind::HttpRoute, "admin").await?;
    let weights: Vec<_> = json::list(&split, "/spec/rules/1/backendRefs")
        .iter()
        .map(|backend| (backend["name"].clone(), backend["weight"].clone()))
        .collect();
    let expected =
        [(json!("web"), json!(0)), (json!("web-canary"), json!(90)), (json!("other"), json!(10))];
    ensure!(weights == expected, "{weights:?}");
    stage.all(&[pin(&canary), Effect::RouteHome]).await?;
    let service = stage.get(Kind::Service, "metrics").await?;
    ensure!(service["spec"]["selector"]["pod-template-hash"] == canary.as_str());

    stage.all(&[Effect::HandOver { revision: canary.clone(), replicas: 3 }]).await?;
    taken(&stage, &name).await?;
    let end = [Effect::Release, Effect::Unpause { revision: canary.clone() }];
    stage.all(&end).await?;
    eventually("stable's set goes", async || {
        let sets = stage.cluster.list(Kind::ReplicaSet, Some(&stage.target.namespace), "").await?;
        let old = sets.iter().find(|set| sets::revision(set).as_ref() == Some(&stable));
        Ok(old.is_none_or(|set| set["status"]["replicas"] == 0).then_some(()))
    })
    .await?;
    ensure!(stage.pods_of(&canary, 3).await? == tested, "a tested pod was replaced");
    ensure!(stage.find(Kind::Service, "web-canary").await?.is_none());
    ensure!(stage.find(Kind::ControllerRevision, &name).await?.is_none());

    let after = stage.as_in_git().await?;
    ensure!(before[..4] == after[..4], "not as in Git: {after:#?}");
    stage.check_fields().await?;
    let versions = stage.versions().await?;
    stage.all(&end).await?;
    stage.all(&[Effect::Unpin, Effect::RouteHome]).await?;
    stage.all(&[Effect::Retire { revision: canary.clone() }]).await?;
    ensure!(stage.versions().await? == versions, "something more happened");
    ensure!(stage.pods_of(&canary, 3).await? == tested, "a tested pod was replaced");
    Ok(())
}

/// An abort, start to end: everything is as in Git, and what Git says next is applied as if we had
/// never been there.
pub(crate) async fn an_aborted_trial_leaves_no_trace(world: &World) -> Result<()> {
    let stage = Stage::new(world, "act-abort").await?;
    let stable = stage.set_up("v1").await?;
    let before = stage.as_in_git().await?;
    let serving = stage.pods_of(&stable, 3).await?;
    let canary = stage.deploy_gated("v2").await?;
    let name = stage.set_name(&canary);
    stage.all(&start(&stable, &canary)).await?;
    stage.pods_of(&canary, 3).await?;
    let over = canary.clone();
    stage.all(&[route(20), route(0)]).await?;
    stage.all(&[Effect::Restore { revision: stable.clone(), over }]).await?;
    stage.all(&[Effect::Unpause { revision: canary.clone() }]).await?;
    let deployment = stage.get(Kind::Deployment, "web").await?;
    ensure!(json::is_paused(&deployment), "unpaused for a revision that is not there");
    stage.all(&[Effect::Unpause { revision: stable.clone() }]).await?;
    retired(&stage, &canary).await?;
    stage.all(&[Effect::Release]).await?;
    ensure!(stage.find(Kind::Service, "web-canary").await?.is_none());
    ensure!(stage.find(Kind::ControllerRevision, &name).await?.is_none());
    let after = stage.as_in_git().await?;
    ensure!(before[..4] == after[..4], "not as in Git: {after:#?}");
    ensure!(after[4][3]["template"] == before[4][3]["template"], "not stable's template");
    stage.check_fields().await?;
    ensure!(stage.pods_of(&stable, 3).await? == serving, "a serving pod was replaced");
    let versions = stage.versions().await?;
    stage.all(&[Effect::Release, Effect::Retire { revision: canary }]).await?;
    ensure!(stage.versions().await? == versions, "something more happened");

    // v1 has a variable that v2 and v3 lack: we wrote it back, and it must not be ours for ever.
    stage.deploy("v1").await?;
    let deployment = stage.deploy("v3").await?;
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    ensure!(container.get("env").is_none(), "nobody's variable stays: {container}");
    stage.disclaim().await?;
    let deployment = stage.get(Kind::Deployment, "web").await?;
    ensure!(json::label(&deployment, "tidegate.dev/rollout").is_none());
    ensure!(!deployment["metadata"]["managedFields"].to_string().contains("tidegate"));
    Ok(())
}

/// The Deployment controller would take an old set with an equal template for the canary.
pub(crate) async fn an_older_equal_set_is_gone_before_the_trial(world: &World) -> Result<()> {
    let stage = Stage::new(world, "act-settle").await?;
    let stable = stage.bring("v1").await?;
    stage.deploy("v2").await?;
    let canary = stage.revision().await?;
    stage.pods_of(&canary, 3).await?;
    stage.deploy("v1").await?;
    stage.pods_of(&stable, 3).await?;
    stage.claim().await?;
    ensure!(stage.deploy_gated("v2").await? == canary);
    let namespace = Some(stage.target.namespace.as_str());
    let old = async || -> Result<bool> {
        let sets = stage.cluster.list(Kind::ReplicaSet, namespace, "").await?;
        Ok(sets.iter().any(|set| sets::revision(set).as_ref() == Some(&canary)))
    };
    ensure!(old().await?, "the older set is there");
    eventually("the older set is gone", async || {
        stage.all(&[Effect::Settle { keep: stable.clone() }]).await?;
        Ok((!old().await?).then_some(()))
    })
    .await?;
    stage.all(&start(&stable, &canary)).await?;
    stage.pods_of(&canary, 3).await?;
    stage.all(&[pin(&canary), Effect::HandOver { revision: canary.clone(), replicas: 3 }]).await?;
    let name = stage.set_name(&canary);
    taken(&stage, &name).await
}

/// Whoever deletes the Rollout, and however: the canary goes by our hand only.
pub(crate) async fn deleting_the_rollout_leaves_the_canary_alone(world: &World) -> Result<()> {
    let stage = Stage::new(world, "act-delete").await?;
    let stable = stage.set_up("v1").await?;
    let canary = stage.deploy_gated("v2").await?;
    stage.all(&start(&stable, &canary)).await?;
    let (tested, serving) = (stage.pods_of(&canary, 3).await?, stage.pods_of(&stable, 3).await?);
    stage.define_rollouts().await?;
    let cascades = [DeleteParams::background(), DeleteParams::foreground(), DeleteParams::orphan()];
    for cascade in cascades {
        let rollout = serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "web", "finalizers": ["tidegate.dev/release"]},
            "spec": {"workloadRef": {"name": "web"}},
        }))?;
        let api = stage.api(Kind::Rollout);
        api.create(&PostParams::default(), &rollout).await?;
        api.delete("web", &cascade).await?;
        // The garbage collector took half a second when the Rollout was the owner.
        tokio::time::sleep(Duration::from_secs(2)).await;
        ensure!(stage.pods_of(&canary, 3).await? == tested, "{cascade:?} took canary pods");
        ensure!(stage.pods_of(&stable, 3).await? == serving, "{cascade:?} took stable pods");
        ensure!(stage.find(Kind::Service, "web-canary").await?.is_some());
        let free = json!({"metadata": {"finalizers": null}});
        stage.patch(Kind::Rollout, "web", "test", &free).await?;
        eventually("the Rollout is gone", async || {
            Ok(stage.find(Kind::Rollout, "web").await?.is_none().then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// What somebody else has or has freed is not touched, and said by name.
pub(crate) async fn what_is_not_ours_is_left_alone(world: &World) -> Result<()> {
    let stage = Stage::new(world, "act-others").await?;
    let stable = stage.set_up("v1").await?;
    let canary = stage.deploy_gated("v2").await?;
    let theirs = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web-canary"},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
    }))?;
    let services = stage.api(Kind::Service);
    services.create(&PostParams::default(), &theirs).await?;
    let raise = Effect::Raise { revision: canary.clone(), replicas: 3 };
    let refused = stage.act(&raise).await;
    ensure!(matches!(refused, Err(ActError::NotOurs { .. })), "{refused:?}");
    ensure!(stage.find(Kind::ReplicaSet, &stage.set_name(&canary)).await?.is_none());
    services.delete("web-canary", &DeleteParams::default()).await?;

    let why = json!({"metadata": {"annotations": {"tidegate.dev/break-glass": "outage"}}});
    stage.patch(Kind::Service, "web", "kubectl-annotate", &why).await?;
    stage.all(&start(&stable, &canary)).await?;
    let (freed, held) =
        (stage.get(Kind::Service, "web").await?, stage.get(Kind::Service, "metrics").await?);
    ensure!(freed["spec"]["selector"] == json!({"app": "web"}), "freed, and pinned all the same");
    ensure!(json::label(&freed, "tidegate.dev/held").is_none());
    ensure!(json::label(&held, "tidegate.dev/held") == Some("web"));

    // Not all are ready, and one Deployment wants more than it did.
    let hand_over = Effect::HandOver { revision: canary.clone(), replicas: 3 };
    let early = stage.act(&hand_over).await;
    ensure!(matches!(early, Err(ActError::NotYet { .. })), "{early:?}");
    stage.pods_of(&canary, 3).await?;
    let more = json!({"spec": {"replicas": 5}});
    stage.patch(Kind::Deployment, "web", "autoscaler", &more).await?;
    let disturbed = stage.act(&hand_over).await;
    ensure!(matches!(disturbed, Err(ActError::NotYet { .. })), "{disturbed:?}");
    let set = stage.get(Kind::ReplicaSet, &stage.set_name(&canary)).await?;
    ensure!(sets::is_canary(&set, "web", &canary), "the set is ours still");
    Ok(())
}

/// No gateway takes a route with a backend that is not there: who waits until it does waits for ever.
pub(crate) async fn a_service_that_is_gone_is_named_by_no_route(world: &World) -> Result<()> {
    let stage = Stage::new(world, "act-gone").await?;
    let stable = stage.set_up("v1").await?;
    let canary = stage.deploy_gated("v2").await?;
    stage.all(&start(&stable, &canary)).await?;
    let backends = async || -> Result<usize> {
        let route = stage.get(Kind::HttpRoute, "web").await?;
        Ok(json::list(&route, "/spec/rules/0/backendRefs").len())
    };
    stage.all(&[route(20)]).await?;
    ensure!(backends().await? == 2, "stable and the canary");
    stage.api(Kind::Service).delete("web-canary", &DeleteParams::default()).await?;
    stage.act(&route(0)).await?;
    ensure!(backends().await? == 1, "the canary is named still");
    let refused = stage.act(&route(20)).await;
    ensure!(matches!(refused, Err(ActError::Missing { .. })), "{refused:?}");
    ensure!(backends().await? == 1, "the canary is named again");
    // With all that it takes it can be named again.
    stage.all(&[Effect::Raise { revision: canary, replicas: 3 }, route(20)]).await?;
    ensure!(backends().await? == 2, "it is not named");
    Ok(())
}

/// A workload that nobody sends requests to: the same without Services and routes.
pub(crate) async fn a_worker_is_promoted_without_services(world: &World) -> Result<()> {
    let mut stage = Stage::new(world, "act-worker").await?;
    let stable = stage.set_up("v1").await?;
    stage.target.services.clear();
    stage.target.routes.clear();
    let canary = stage.deploy_gated("v2").await?;
    stage.all(&start(&stable, &canary)).await?;
    let tested = stage.pods_of(&canary, 3).await?;
    ensure!(stage.find(Kind::Service, "web-canary").await?.is_none(), "a Service for nobody");
    stage.all(&[Effect::HandOver { revision: canary.clone(), replicas: 3 }]).await?;
    let name = stage.set_name(&canary);
    taken(&stage, &name).await?;
    stage.all(&[Effect::Unpause { revision: canary.clone() }]).await?;
    ensure!(stage.find(Kind::ControllerRevision, &name).await?.is_none());
    ensure!(stage.pods_of(&canary, 3).await? == tested, "a tested pod was replaced");
    Ok(())
}

/// Something between us and the store writes into templates of sets, and of sets only: what would
/// be tested is not what the Deployment would run, so not one pod of it comes up.
pub(crate) async fn a_template_changed_on_its_way_in_is_refused(world: &World) -> Result<()> {
    let stage = Stage::new(world, "act-mutated").await?;
    let stable = stage.set_up("v1").await?;
    let canary = stage.deploy_gated("v2").await?;
    let policy = stage.mutate_sets().await?;
    let refused = eventually("the policy is at work", async || {
        let raise = Effect::Raise { revision: canary.clone(), replicas: 3 };
        match stage.act(&raise).await {
            // Until it is, the set is made as it should be: it goes again.
            Ok(()) => {
                retired(&stage, &canary).await?;
                Ok(None)
            }
            Err(ActError::NotYet { .. }) => Ok(None),
            Err(error) => Ok(Some(error)),
        }
    })
    .await?;
    stage.stop_mutating(&policy).await?;
    ensure!(matches!(refused, ActError::TemplateMutated { .. }), "{refused:?}");
    let name = stage.set_name(&canary);
    eventually("the set is gone", async || {
        Ok(stage.find(Kind::ReplicaSet, &name).await?.is_none().then_some(()))
    })
    .await?;
    stage.pods_of(&stable, 3).await?;
    Ok(())
}
