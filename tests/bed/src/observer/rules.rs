//! What must hold at every revision.
//!
//! | rule | what it says |
//! |---|---|
//! | `WeightsSum` | the two weights of a split make 100 |
//! | `ShareWithoutPods` | a canary's weight rises only where a pod of it is ready |
//! | `WeightAboveStep` | a canary's weight is at most that of the step on record |
//! | `RisesWhileLeaving` | a trial on its way home gives the canary neither weight nor pods |
//! | `ShareAtRest` | a trial leaves no share, and no pin to what was not promoted |
//! | `NobodyServes` | a Service that had pods that serve never loses them all |
//! | `TooFewServe` | those that serve are as many as the Deployment promises |
//! | `StableLetGo` | stable's pods stay until a hand-over is on record |
//! | `OneTrial` | a trial begins with no share left from the one before |
//! | `OneWorkload` | two Rollouts never act on one workload |
//! | `TooManyPods` | where a Rollout promotes by Surge there are never more than in a rolling update |
//! | `NotOneSet` | blue-green: the Service selects one set, and not the preview before its turn |
//! | `Flapping` | a trial turns a Service or a route only so many times |
//! | `WrittenTwice` | nothing is written that was there already |
//! | `FieldTaken` | only fields that a trial needs are the controller's |

use std::collections::BTreeMap;

use serde_json::Value;

use super::scene::{HASH, Release, Scene, hash_of_service, selector};
use super::{Event, Kind, fields};

/// Stages in which a trial is on its way home, or has arrived.
const LEAVING: [&str; 4] = ["Aborting", "Reverting", "Restoring", "Aborted"];
/// How often one trial may turn one Service or route: each step there, home again, the pins of a
/// promotion.
const TURNS: u32 = 12;

type Broken = Vec<(&'static str, String)>;

/// What a rule has to remember of earlier revisions.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The set that a trial found serving.
    stable: BTreeMap<String, String>,
    /// How often a trial turned an object.
    turns: BTreeMap<(String, String), u32>,
    /// Services that had pods that serve.
    served: BTreeMap<String, u64>,
}

/// The rules that this event broke.
pub(super) fn broken(
    scene: &Scene,
    memory: &mut Memory,
    event: &Event,
    before: Option<&Value>,
) -> Broken {
    let mut broken = Vec::new();
    for release in scene.releases() {
        match event.kind {
            Kind::HttpRoute => route(&release, memory, event, before, &mut broken),
            Kind::Rollout => record(scene, &release, event, before, &mut broken),
            Kind::ReplicaSet => set(&release, memory, event, before, &mut broken),
            Kind::Service => service(&release, memory, event, before, &mut broken),
            Kind::Pod | Kind::Deployment => {}
        }
        serving(scene, &release, memory, event, &mut broken);
    }
    writes(event, before, &mut broken);
    broken
}

fn weight(release: &Release, route: Option<&Value>) -> u64 {
    let shares = route.map(|route| release.shares(route)).unwrap_or_default();
    shares.iter().map(|(_, weight, _)| *weight).max().unwrap_or(0)
}

fn route(
    release: &Release,
    memory: &mut Memory,
    event: &Event,
    before: Option<&Value>,
    broken: &mut Broken,
) {
    let Some(route) = &event.object else { return };
    for (_, weight, sum) in release.shares(route) {
        if sum != 100 {
            broken.push(("WeightsSum", format!("{}: {weight} of {sum}", event.name)));
        }
    }
    let (was, is) = (weight(release, before), weight(release, Some(route)));
    if was != is {
        turned(release, memory, event, broken);
    }
    if is <= was {
        return;
    }
    let stage = release.stage().map_or("rest", |(name, _)| name);
    if release.is(&LEAVING) {
        broken.push(("RisesWhileLeaving", format!("{}: {was} to {is} in {stage}", event.name)));
    } else if release.allowed().is_some_and(|allowed| is > allowed) {
        broken.push(("WeightAboveStep", format!("{}: {was} to {is} in {stage}", event.name)));
    }
    if release.canary_pods() == 0 {
        broken.push(("ShareWithoutPods", format!("{}: {is} to no ready pod", event.name)));
    }
}

/// Counts what one trial does to one object.
fn turned(release: &Release, memory: &mut Memory, event: &Event, broken: &mut Broken) {
    let Some(trial) = release.trial_id() else { return };
    let key = (trial.to_owned(), format!("{:?} {}", event.kind, event.name));
    let turns = memory.turns.entry(key).or_insert(0);
    *turns += 1;
    if *turns > TURNS {
        let text = format!("{:?} {} more than {TURNS} times", event.kind, event.name);
        broken.push(("Flapping", text));
    }
}

fn record(
    scene: &Scene,
    release: &Release,
    event: &Event,
    before: Option<&Value>,
    broken: &mut Broken,
) {
    if event.name != release.name() {
        return;
    }
    let trial = |rollout: &Value| {
        rollout.pointer("/status/state/trial/id").and_then(Value::as_str).map(str::to_owned)
    };
    let was = before.and_then(trial);
    let is = release.trial_id().map(str::to_owned);
    if was.is_some() && was != is {
        let share = release.share();
        let rule = if is.is_some() { "OneTrial" } else { "ShareAtRest" };
        if share > 0 {
            broken.push((rule, format!("{}: {share} at the end of {was:?}", event.name)));
        }
        // Stable's pin is taken away after the end; the canary's stays only with who was promoted.
        let canary = before.and_then(|rollout| rollout.pointer("/status/state/trial/canary"));
        let canary = canary.and_then(Value::as_str);
        let promoted = release.rollout.pointer("/status/state/last/outcome");
        if promoted.is_none_or(|outcome| outcome != "Promoted") {
            for (name, service) in release.services() {
                if canary.is_some() && hash_of_service(service) == canary {
                    broken.push((rule, format!("Service {name} is pinned to the canary")));
                }
            }
        }
    }
    let others = scene.releases().filter(|other| other.workload == release.workload);
    let acting: Vec<_> = others.filter(Release::acts).map(|other| other.name()).collect();
    if acting.len() > 1 {
        broken.push(("OneWorkload", format!("{}: {}", release.workload, acting.join(", "))));
    }
}

fn replicas(set: &Value) -> u64 {
    set.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)
}

fn label(set: &Value) -> Option<&str> {
    set.pointer("/metadata/labels")?.get(HASH)?.as_str()
}

fn set(
    release: &Release,
    memory: &Memory,
    event: &Event,
    before: Option<&Value>,
    broken: &mut Broken,
) {
    let Some(hash) = event.object.as_ref().or(before).and_then(label) else { return };
    let was = before.map_or(0, replicas);
    let is = event.object.as_ref().map_or(0, replicas);
    let stage = release.stage().map_or("rest", |(name, _)| name);
    // What the Deployment has taken it rolls out until it is asked back.
    let is_ours = !release.surged();
    if is > was && is_ours && release.is(&LEAVING) && release.canary() == Some(hash) {
        broken.push(("RisesWhileLeaving", format!("{}: {was} to {is} in {stage}", event.name)));
    }
    let stable = release.trial_id().and_then(|trial| memory.stable.get(trial));
    let is_stable = stable.is_some_and(|stable| stable == hash);
    let may_go = release.desired() == 0 || !release.acts() || is_handed(release) || release.freed();
    if is_stable && was > 0 && is == 0 && !may_go {
        broken.push(("StableLetGo", format!("{}: {was} to 0 in {stage}", event.name)));
    }
    if let Some(most) = release.most_pods()
        && release.acts()
        && is > was
        && release.pods_asked_for() > most
    {
        let text = format!("{}: {} of at most {most}", event.name, release.pods_asked_for());
        broken.push(("TooManyPods", text));
    }
}

/// The hand-over is on record.
fn is_handed(release: &Release) -> bool {
    let part = release.stage().and_then(|(_, stage)| stage["part"].as_str());
    let handed = ["HandingOver", "Releasing", "Surging", "Surged"];
    release.is(&["Promoting"]) && part.is_some_and(|part| handed.contains(&part))
}

fn service(
    release: &Release,
    memory: &mut Memory,
    event: &Event,
    before: Option<&Value>,
    broken: &mut Broken,
) {
    let Some(service) = &event.object else { return };
    if !release.services().iter().any(|(name, _)| *name == event.name) {
        return;
    }
    let (was, is) = (before.and_then(hash_of_service), hash_of_service(service));
    if was != is && before.is_some() {
        turned(release, memory, event, broken);
    }
    let Some(trial) = release.trial_id() else { return };
    if let Some(hash) = is {
        memory.stable.entry(trial.to_owned()).or_insert_with(|| hash.to_owned());
    }
    if !release.is_blue_green() {
        return;
    }
    let stage = release.stage().map_or("rest", |(name, _)| name);
    let in_flight = release.is(&["Shifting", "Baking", "Paused"]);
    if in_flight && is.is_none() {
        broken.push(("NotOneSet", format!("{} selects all sets in {stage}", event.name)));
    }
    let switched = is.is_some() && is == release.canary() && was != is;
    if switched && release.allowed().is_some_and(|allowed| allowed < 100) {
        broken.push(("NotOneSet", format!("{} selects the preview in {stage}", event.name)));
    }
}

fn serving(
    scene: &Scene,
    release: &Release,
    memory: &mut Memory,
    event: &Event,
    broken: &mut Broken,
) {
    if !matches!(event.kind, Kind::Pod | Kind::Service | Kind::Deployment) {
        return;
    }
    for (name, service) in release.services() {
        let serving = scene.serving(&selector(service)) as u64;
        let most = memory.served.entry(name.to_owned()).or_insert(0);
        // Who is woken up begins anew.
        *most = if release.desired() == 0 { 0 } else { (*most).max(serving) };
        // What was never reached, or is not wanted any more, is not missing.
        let wanted = release.desired().min(*most);
        let share = if release.acts() { release.share() } else { 0 };
        let needed = (wanted * (100 - share.min(100))).div_ceil(100);
        if wanted > 0 && serving == 0 {
            broken.push(("NobodyServes", format!("Service {name}, of {wanted} pods")));
        } else if serving + release.may_miss() < needed {
            let text = format!("Service {name}: {serving} of {needed} pods");
            broken.push(("TooFewServe", text));
        }
    }
}

fn writes(event: &Event, before: Option<&Value>, broken: &mut Broken) {
    if !matches!(event.kind, Kind::Deployment | Kind::Service | Kind::HttpRoute) {
        return;
    }
    let Some(object) = &event.object else { return };
    // What is made for a canary is the controller's as a whole.
    let made = event.name.ends_with("-canary") || event.name.ends_with("-preview");
    if !made {
        for field in fields::taken(event.kind, object) {
            broken.push(("FieldTaken", format!("{:?} {}: {field}", event.kind, event.name)));
        }
    }
    let Some(before) = before else { return };
    let again = fields::written(object) != fields::written(before);
    if again
        && fields::written(object).is_some()
        && fields::content(object) == fields::content(before)
    {
        broken.push(("WrittenTwice", format!("{:?} {}", event.kind, event.name)));
    }
}
