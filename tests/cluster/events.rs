//! Every event in every stage: whatever people, engines and machines do while a good release is on
//! its way, it comes to rest, one set serves, and no rule of the observer is broken.
//!
//! | what happens | how it ends |
//! |---|---|
//! | the controller is killed | promoted |
//! | Git changes an annotation, the Service, the route, or the plan | promoted, with the change |
//! | a pod of the canary, its set, the Service or the route is deleted | at rest, on either version |
//! | somebody sets an image, or restarts the pods, past Git | at rest, on either version |
//! | Git brings a newer version | promoted, the newer one |
//! | the Rollout is deleted | a plain Deployment, on either version |

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tidegate_testbed::world::{World, eventually};

use crate::{
    releases::GOOD,
    runner::Story,
    shop::{DEPLOYMENT, ROLLOUT, SOON, Setting, Shop},
};

const SERVICE: &str = "apps/web/service.yaml";
const ROUTE: &str = "apps/web/route.yaml";
const NAME: &str = "metadata: {name: web, ";
/// What must be served after the last of it.
const AFTER: Duration = Duration::from_secs(3);

/// A stage of a trial, by its phase.
#[derive(Clone, Copy, Debug)]
enum At {
    Starting,
    Baking,
    Paused,
    Promoting,
}

const STAGES: [At; 4] = [At::Starting, At::Baking, At::Paused, At::Promoting];

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    ControllerIsKilled,
    DeploymentIsAnnotated,
    ServiceIsEdited,
    RouteIsEdited,
    PlanIsEdited,
    CanaryPodIsDeleted,
    CanarySetIsDeleted,
    ServiceIsDeleted,
    RouteIsDeleted,
    ImageIsSet,
    PodsAreRestarted,
    NewerVersionComes,
    RolloutIsDeleted,
}

const EVENTS: [(Event, &str); 13] = [
    (Event::ControllerIsKilled, "the_controller_is_killed"),
    (Event::DeploymentIsAnnotated, "the_deployment_is_annotated"),
    (Event::ServiceIsEdited, "the_service_is_edited"),
    (Event::RouteIsEdited, "the_route_is_edited"),
    (Event::PlanIsEdited, "the_plan_is_edited"),
    (Event::CanaryPodIsDeleted, "a_canary_pod_is_deleted"),
    (Event::CanarySetIsDeleted, "the_canary_set_is_deleted"),
    (Event::ServiceIsDeleted, "the_service_is_deleted"),
    (Event::RouteIsDeleted, "the_route_is_deleted"),
    (Event::ImageIsSet, "an_image_is_set"),
    (Event::PodsAreRestarted, "the_pods_are_restarted"),
    (Event::NewerVersionComes, "a_newer_version_comes"),
    (Event::RolloutIsDeleted, "the_rollout_is_deleted"),
];

/// `starting_the_controller_is_killed`, and so on.
pub(crate) fn stories() -> Vec<Story> {
    let all = STAGES.iter().flat_map(|at| EVENTS.iter().map(move |event| (*at, *event)));
    all.map(|(at, (event, words))| {
        let name = format!("{at:?}_{words}").to_lowercase();
        // As long as the process: the harness keeps names for ever.
        Story::matrix(name.leak(), move |world| happens(world, at, event))
    })
    .collect()
}

async fn happens(world: &'static World, at: At, event: Event) -> Result<()> {
    let mut shop = Shop::open_as(world, "event", Setting::edited(slow_and_unjudged)).await?;
    shop.wait_for_no_health().await?;
    let start = shop.load.mark();
    shop.release("v2", 0.0).await?;
    shop.wait_phase(&format!("{at:?}"), SOON * 2).await?;
    event.happen(&mut shop).await?;
    let version = rests(&shop, event.wanted()).await?;
    println!("{}: {at:?}, {event:?}: {version} serves", shop.namespace);
    event.came_through(&shop).await?;
    tokio::time::sleep(AFTER).await;
    let record = shop.load.snapshot();
    let from = if event.may_lose() { Instant::now().checked_sub(AFTER) } else { Some(start) };
    record.assert_none_failed(from.context("a clock")?, Instant::now())
}

/// Pods that take their time to get ready, so that a start can be met; a pause that ends by itself;
/// and a canary that is judged by its pods alone: what is tried here is no verdict.
fn slow_and_unjudged(path: &str, text: &str) -> String {
    match path {
        DEPLOYMENT => text.replace("env: [", "env: [{name: READY_DELAY_MS, value: '3000'}, "),
        ROLLOUT => text
            .replace("{weight: 50, bake: 5s}", "{pause: {duration: 6s}}")
            .replace("templates: [{name: web}]", "templates: []"),
        _ => text.to_owned(),
    }
}

impl Event {
    async fn happen(self, shop: &mut Shop) -> Result<()> {
        match self {
            Self::ControllerIsKilled => shop.kill_controller(),
            Self::DeploymentIsAnnotated => edit(shop, DEPLOYMENT, NAME, &annotated()).await,
            Self::ServiceIsEdited => {
                let port = "ports: [{name: admin, port: 81, targetPort: http}, ";
                edit(shop, SERVICE, "ports: [", port).await
            }
            Self::RouteIsEdited => {
                let added = "rules: [{matches: [{path: {type: PathPrefix, value: /other}}], \
                             backendRefs: [{name: web, port: 80}]}, ";
                edit(shop, ROUTE, "rules: [", added).await
            }
            Self::PlanIsEdited => {
                edit(shop, ROLLOUT, "{weight: 10, bake: 5s}", "{weight: 20, bake: 8s}").await
            }
            Self::CanaryPodIsDeleted => {
                let pods = shop.list("v1", "Pod").await?;
                let found = pods.iter().find(|pod| image(pod).ends_with(":v2"));
                let Some(pod) = found else { return Ok(()) };
                delete(shop, &["pod", pod["metadata"]["name"].as_str().unwrap_or_default()]).await
            }
            Self::CanarySetIsDeleted => {
                let name = eventually("v2 has a set", SOON, async || {
                    let sets = shop.list("apps/v1", "ReplicaSet").await?;
                    let is_v2 = |set: &&Value| image(&set["spec"]["template"]).ends_with(":v2");
                    let set = sets.iter().find(is_v2);
                    Ok(set.and_then(|set| set["metadata"]["name"].as_str().map(str::to_owned)))
                })
                .await?;
                delete(shop, &["replicaset", &name]).await
            }
            Self::ServiceIsDeleted => delete_and_apply(shop, "service").await,
            Self::RouteIsDeleted => delete_and_apply(shop, "httproute").await,
            Self::ImageIsSet => {
                let app = "web=registry.example.com/shop/app:v4";
                past_git(shop, &["set", "image", "deployment/web", app]).await
            }
            Self::PodsAreRestarted => {
                // `kubectl rollout restart` leaves a paused Deployment alone; Argo CD does not.
                let restarted =
                    json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"});
                let template = json!({"metadata": {"annotations": restarted}});
                let patch = json!({"spec": {"template": template}}).to_string();
                past_git(shop, &["patch", "deployment", "web", "-p", &patch]).await
            }
            Self::NewerVersionComes => shop.release("v3", 0.0).await.map(drop),
            Self::RolloutIsDeleted => {
                // Else its engine brings it again.
                shop.flux.suspend().await?;
                delete(shop, &["rollouts.tidegate.dev", "web"]).await
            }
        }
    }

    /// The version that serves in the end; `None`: any one.
    fn wanted(self) -> Option<&'static str> {
        match self {
            Self::ControllerIsKilled
            | Self::DeploymentIsAnnotated
            | Self::ServiceIsEdited
            | Self::RouteIsEdited
            | Self::PlanIsEdited => Some("v2"),
            Self::NewerVersionComes => Some("v3"),
            Self::CanaryPodIsDeleted
            | Self::CanarySetIsDeleted
            | Self::ServiceIsDeleted
            | Self::RouteIsDeleted
            | Self::ImageIsSet
            | Self::PodsAreRestarted
            | Self::RolloutIsDeleted => None,
        }
    }

    /// Whether it takes away what requests need.
    fn may_lose(self) -> bool {
        matches!(
            self,
            Self::CanaryPodIsDeleted
                | Self::CanarySetIsDeleted
                | Self::ServiceIsDeleted
                | Self::RouteIsDeleted
        )
    }

    /// What Git changed is there in the end.
    async fn came_through(self, shop: &Shop) -> Result<()> {
        let (api, kind, at, expected) = match self {
            Self::DeploymentIsAnnotated => {
                ("apps/v1", "Deployment", "/metadata/annotations/team", json!("blue"))
            }
            Self::ServiceIsEdited => ("v1", "Service", "/spec/ports/0/name", json!("admin")),
            Self::RouteIsEdited => {
                let at = "/spec/rules/0/matches/0/path/value";
                ("gateway.networking.k8s.io/v1", "HTTPRoute", at, json!("/other"))
            }
            Self::PlanIsEdited => {
                let at = "/spec/strategy/canary/steps/0/weight";
                ("tidegate.dev/v1alpha1", "Rollout", at, json!(20))
            }
            _ => return Ok(()),
        };
        eventually("the change came through", SOON, async || {
            let object = shop.get(api, kind, "web").await?.context("it is gone")?;
            let found = object.pointer(at);
            ensure!(found == Some(&expected), "{kind} {at}: {found:?}");
            Ok(Some(()))
        })
        .await
    }
}

fn annotated() -> String {
    format!("{NAME}annotations: {{team: blue}}, ")
}

/// A commit that changes these words of a file.
async fn edit(shop: &Shop, path: &str, words: &str, new: &str) -> Result<()> {
    let text = shop.repository.read(path).await?.context("no such file")?;
    ensure!(text.contains(words), "{path} has no {words}");
    // What was edited when it was written first is in there already.
    shop.repository
        .commit("Grace Hopper", "web: a change", &[(path, Some(&text.replacen(words, new, 1)))])
        .await?;
    shop.follower.look().await
}

/// By a person, while the engine looks away.
async fn past_git(shop: &Shop, arguments: &[&str]) -> Result<()> {
    shop.flux.suspend().await?;
    shop.kubectl(arguments).await.map(drop)
}

async fn delete(shop: &Shop, what: &[&str]) -> Result<()> {
    let all: Vec<_> = ["delete", "--wait=false"].iter().chain(what).copied().collect();
    shop.kubectl(&all).await.map(drop)
}

/// Gone, and brought again by the engine.
async fn delete_and_apply(shop: &Shop, kind: &str) -> Result<()> {
    delete(shop, &[kind, "web"]).await?;
    shop.follower.look().await
}

fn image(template: &Value) -> String {
    let image = &template["spec"]["containers"][0]["image"];
    image.as_str().unwrap_or_default().to_owned()
}

/// No trial, one set with all its pods ready, and one version that answers: it is told.
async fn rests(shop: &Shop, wanted: Option<&str>) -> Result<String> {
    eventually("it comes to rest", GOOD, async || {
        if let Some(rollout) = shop.get("tidegate.dev/v1alpha1", "Rollout", "web").await? {
            let (status, state) = (&rollout["status"], &rollout["status"]["state"]);
            let phase = status["phase"].as_str().unwrap_or("none");
            // What failed, and is held, waits at the gate: it is on record still.
            let is_over = phase == "Aborted" || phase == "Idle" && state["trial"].is_null();
            ensure!(is_over, "{phase}: {}", status["message"]);
        }
        let sets = shop.list("apps/v1", "ReplicaSet").await?;
        let alive: Vec<_> = sets.iter().filter(|set| set["spec"]["replicas"] != 0).collect();
        let [set] = alive[..] else { bail!("{} sets have pods", alive.len()) };
        ensure!(set["status"]["readyReplicas"] == set["spec"]["replicas"], "{}", set["status"]);
        let image = image(&set["spec"]["template"]);
        let version = image.rsplit(':').next().unwrap_or_default().to_owned();
        ensure!(wanted.is_none_or(|wanted| version == wanted), "{version} serves");
        let recent = shop.load.snapshot();
        let last = recent.last(|request| !request.failed()).context("nothing is served")?;
        ensure!(last.version.as_deref() == Some(version.as_str()), "{:?} answers", last.version);
        Ok(Some(version))
    })
    .await
}
