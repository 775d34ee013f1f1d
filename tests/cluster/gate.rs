//! The gate and the holds, told to both ways that a cluster may have them: by the API server's own
//! policies, and by our webhook where it has none.

mod digest;
mod requests;
mod stand;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tidegate::gate::{self, WEBHOOK};
use tidegate::kubernetes::{Cluster, Kind, ObjectName, json as read};
use tidegate_api::GateKind;
use tidegate_testbed::world::{World, eventually};
use tokio::sync::watch;

use stand::{Stand, Who, install, refused, remove};

const SOON: Duration = Duration::from_secs(30);
/// An API server that has just started needs up to half a minute until it reads the Rollouts by which
/// the hold of the scale goes.
const PARAMETERS: Duration = Duration::from_mins(2);
const ONE: ([u8; 4], u16) = ([127, 0, 0, 1], 9443);
const OTHER: ([u8; 4], u16) = ([127, 0, 0, 1], 9543);

pub(crate) async fn the_policies_hold(world: &'static World) -> Result<()> {
    install(world, &["controller/namespace", "controller/rbac"]).await?;
    install(world, &stand::POLICIES).await?;
    let controller = Cluster::new(stand::controller(world).await?);
    ensure!(gate::choose(&controller).await? == Some(GateKind::Policy));
    tell_all(world).await
}

pub(crate) async fn the_webhook_holds(world: &'static World) -> Result<()> {
    install(world, &["controller/namespace", "controller/rbac", "hold-scale/hold-scale"]).await?;
    install(world, &["webhook/rbac", "webhook/secret"]).await?;
    install(world, &["requests/request", "requests/roles"]).await?;
    world.serve_policy_api(false).await?;
    stand::remove_explanation(world).await?;
    remove(world, Kind::MutatingWebhookConfiguration, WEBHOOK).await?;
    let controller = Cluster::new(stand::controller(world).await?);
    ensure!(gate::choose(&controller).await?.is_none(), "there is no gate yet");
    stand::install_webhooks(world, SocketAddr::from(ONE)).await?;
    ensure!(gate::choose(&controller).await? == Some(GateKind::Webhook));
    let told = with_webhook(world, controller).await;
    for kind in [Kind::MutatingWebhookConfiguration, Kind::ValidatingWebhookConfiguration] {
        remove(world, kind, WEBHOOK).await?;
    }
    world.serve_policy_api(true).await?;
    install(world, &stand::POLICIES).await?;
    told
}

/// Two replicas share one certificate; either answers.
async fn with_webhook(world: &'static World, controller: Cluster) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let serve = |listen| {
        let (controller, stopped) = (controller.clone(), stopped.clone());
        tokio::spawn(
            async move { gate::serve_webhook(&controller, stand::HOME, listen, stopped).await },
        )
    };
    let replicas = [ONE, OTHER].map(|at| serve(SocketAddr::from(at)));
    let told = async {
        tell_all(world).await?;
        stand::install_webhooks(world, SocketAddr::from(OTHER)).await?;
        templates(world).await.context("the other replica, by the same certificate")?;
        nobody_answers(world, &stop).await
    }
    .await;
    stop.send_replace(true);
    for replica in replicas {
        replica.await?.context("a replica")?;
    }
    told
}

/// What must still be possible when both replicas are gone.
async fn nobody_answers(world: &World, stop: &watch::Sender<bool>) -> Result<()> {
    let stand = Stand::new(world, "gate-silence").await?;
    stand.deployment("v1").await?;
    stand.new_template(Who::Engine, "v2").await?;
    stop.send_replace(true);
    eventually("writes are refused", SOON, async || {
        refused(stand.pause(Who::Engine, false).await, "failed calling webhook").map(Some)
    })
    .await?;
    stand.pause(Who::Controller, false).await.context("the controller resumes")?;
    let glass = json!({"metadata": {"annotations": {"tidegate.dev/break-glass": "no answer"}}});
    stand.patch(Who::Person, Kind::Deployment, "web", &glass).await.context("break-glass")?;
    let other = json!({"metadata": {"labels": {"team": "a"}}});
    stand.service("free", None).await?;
    stand.patch(Who::Engine, Kind::Service, "free", &other).await.context("what is not ours")?;
    Ok(())
}

async fn tell_all(world: &World) -> Result<()> {
    // Each hold comes into force by itself. Where one is not, its object is spoilt: try new ones.
    eventually("the gate and the holds are in force", SOON, async || {
        replaced(world).await.map(Some)
    })
    .await?;
    templates(world).await.context("templates")?;
    resumed(world).await.context("resumed")?;
    glass(world).await.context("break-glass")?;
    services(world).await.context("Services")?;
    routes(world).await.context("routes")?;
    scale(world).await.context("scale")?;
    requests::told(world).await.context("requests")?;
    digest::images_by_digest(world).await.context("a webhook behind the gate")
}

async fn templates(world: &World) -> Result<()> {
    for who in [Who::Engine, Who::Person] {
        let stand = Stand::new(world, "gate-template").await?;
        stand.deployment("v1").await?;
        let written = stand.new_template(who, "v2").await?;
        ensure!(read::is_paused(&written), "{who:?}: {}", written["spec"]);
        stand.pause(Who::Controller, false).await?;
        let same = stand.new_template(who, "v2").await?;
        ensure!(!read::is_paused(&same), "{who:?}: nothing new");
        // Replicas are nobody's business.
        let more = json!({"spec": {"replicas": 2}});
        let written = stand.patch(who, Kind::Deployment, "web", &more).await?;
        ensure!(!read::is_paused(&written) && read::replicas(&written) == 2);
    }
    Ok(())
}

/// Three replaces in a row, none of which has the label.
async fn replaced(world: &World) -> Result<()> {
    let stand = Stand::new(world, "gate-replace").await?;
    stand.deployment("v1").await?;
    stand.service("web", Some("1")).await?;
    stand.route().await?;
    for version in ["v2", "v3", "v4"] {
        let written =
            stand.replace(Kind::Deployment, stand.of_git(Kind::Deployment, version)).await?;
        ensure!(read::is_paused(&written), "{version}");
        ensure!(read::label(&written, "tidegate.dev/rollout") == Some("web"), "{version}");
        let written = stand.replace(Kind::Service, stand.of_git(Kind::Service, version)).await?;
        ensure!(written["spec"]["selector"]["pod-template-hash"] == "1", "{version}");
        ensure!(read::label(&written, "tidegate.dev/held") == Some("web"), "{version}");
        let written =
            stand.replace(Kind::HttpRoute, stand.of_git(Kind::HttpRoute, version)).await?;
        ensure!(stand::weights(&written, 0) == [80, 20], "{version}: {}", written["spec"]);
        ensure!(read::label(&written, "tidegate.dev/held") == Some("web"), "{version}");
        ensure!(read::annotation(&written, "tidegate.dev/held") == Some("web"), "{version}");
        ensure!(read::annotation(&written, "tidegate.dev/weight") == Some("20"), "{version}");
    }
    Ok(())
}

async fn resumed(world: &World) -> Result<()> {
    let stand = Stand::new(world, "gate-resume").await?;
    stand.deployment("v1").await?;
    stand.new_template(Who::Engine, "v2").await?;
    let written = stand.pause(Who::Engine, false).await.context("an engine is held in silence")?;
    ensure!(read::is_paused(&written));
    refused(stand.pause(Who::Person, false).await, "promote or abort")?;
    let written = stand.pause(Who::Controller, false).await?;
    ensure!(!read::is_paused(&written));
    Ok(())
}

async fn glass(world: &World) -> Result<()> {
    let stand = Stand::new(world, "gate-glass").await?;
    stand.deployment("v1").await?;
    stand.service("web", Some("1")).await?;
    stand.route().await?;
    stand.new_template(Who::Engine, "v2").await?;
    let why = json!({"tidegate.dev/break-glass": "3 a.m."});
    let write = json!({
        "metadata": {"annotations": why}, "spec": {"selector": {"pod-template-hash": null}},
    });
    let written = stand.patch(Who::Person, Kind::Service, "web", &write).await?;
    ensure!(written["spec"]["selector"] == json!({"app": "web"}), "{}", written["spec"]);
    let mut route = stand.of_git(Kind::HttpRoute, "v1");
    route["metadata"]["annotations"] = why.clone();
    let written = stand.replace(Kind::HttpRoute, route).await?;
    ensure!(stand::weights(&written, 0) == [1], "{}", written["spec"]);
    let write = json!({"metadata": {"annotations": why}, "spec": {"paused": false}});
    let written = stand.patch(Who::Person, Kind::Deployment, "web", &write).await?;
    ensure!(!read::is_paused(&written));
    // Until the annotation goes.
    let write = json!({"metadata": {"annotations": {"tidegate.dev/break-glass": null}}});
    stand.patch(Who::Person, Kind::Deployment, "web", &write).await?;
    ensure!(read::is_paused(&stand.new_template(Who::Person, "v3").await?));
    Ok(())
}

async fn services(world: &World) -> Result<()> {
    let stand = Stand::new(world, "hold-service").await?;
    stand.service("web", Some("1")).await?;
    stand.service("free", None).await?;
    let selector = json!({"spec": {"selector": {"app": "other", "pod-template-hash": null}}});
    for who in [Who::Engine, Who::Person] {
        let written = stand.patch(who, Kind::Service, "web", &selector).await?;
        let expected = json!({"app": "web", "pod-template-hash": "1"});
        ensure!(written["spec"]["selector"] == expected, "{who:?}: {}", written["spec"]);
        let free = stand.patch(who, Kind::Service, "free", &selector).await?;
        ensure!(free["spec"]["selector"] == json!({"app": "other"}), "{who:?}");
    }
    let ports = json!({"spec": {"ports": [{"name": "http", "port": 81}]}});
    let written = stand.patch(Who::Engine, Kind::Service, "web", &ports).await?;
    ensure!(written["spec"]["ports"][0]["port"] == 81, "the rest may change");
    let pinned = json!({"spec": {"selector": {"pod-template-hash": "2"}}});
    let written = stand.patch(Who::Controller, Kind::Service, "web", &pinned).await?;
    ensure!(written["spec"]["selector"]["pod-template-hash"] == "2");
    Ok(())
}

async fn routes(world: &World) -> Result<()> {
    let stand = Stand::new(world, "hold-route").await?;
    stand.route().await?;
    let mut git = stand.of_git(Kind::HttpRoute, "v1");
    let new = json!({
        "matches": [{"path": {"type": "PathPrefix", "value": "/new"}}],
        "backendRefs": [{"name": "third", "port": 80, "weight": 7}],
    });
    let rules = git["spec"]["rules"].as_array_mut().context("rules")?;
    rules[1]["backendRefs"][0]["weight"] = json!(9);
    rules.insert(0, new);
    let written = stand.apply(Who::Engine, Kind::HttpRoute, &git).await?;
    ensure!(stand::weights(&written, 0) == [7], "a neighbour's new rule passes");
    ensure!(stand::weights(&written, 1) == [80, 20], "ours is kept: {}", written["spec"]);
    ensure!(stand::weights(&written, 2) == [9], "a neighbour's change passes");
    let again = stand.apply(Who::Engine, Kind::HttpRoute, &git).await?;
    let version = read::resource_version(&written);
    ensure!(version == read::resource_version(&again), "and then nothing more happens");
    Ok(())
}

const HANDED_OVER: &str = "hands this Deployment's tested pods over";

async fn scale(world: &World) -> Result<()> {
    let stand = Stand::new(world, "hold-scale").await?;
    stand.deployment("v1").await?;
    let spec = json!({"workloadRef": {"name": "web"}});
    let rollout = json!({"metadata": {"name": "web"}, "spec": spec});
    stand.apply(Who::Person, Kind::Rollout, &rollout).await?;
    stand.scale(Who::Engine, 2).await?;
    let at = ObjectName::namespaced(Kind::Rollout, &stand.namespace, "web");
    let part = |part: &str| {
        let since = "2026-01-01T00:00:00Z";
        let stage = json!({"Promoting": {"part": part, "since": since}});
        json!({"status": {"state": {"trial": {"stage": stage}}}})
    };
    let admin = Cluster::new(world.kube());
    admin.patch_status(&at, &part("HandingOver"), None).await?;
    eventually("the scale is held", PARAMETERS, async || {
        // Each time another number, so that there is something to refuse.
        let number = 2 + u32::from(stand.replicas().await? == 2);
        refused(stand.scale(Who::Engine, number).await, HANDED_OVER).map(Some)
    })
    .await?;
    refused(stand.scale(Who::Person, 4).await, HANDED_OVER)?;
    let other = json!({"metadata": {"labels": {"team": "a"}}});
    stand.patch(Who::Engine, Kind::Deployment, "web", &other).await.context("the rest may")?;
    admin.patch_status(&at, &part("Waiting"), None).await?;
    eventually("the scale is free", SOON, async || stand.scale(Who::Engine, 5).await.map(Some))
        .await
}
