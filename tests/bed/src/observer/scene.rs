//! A namespace at one revision, and what can be read from it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Event, Kind};

/// The label by which sets and their pods are told apart.
pub(super) const HASH: &str = "pod-template-hash";
/// The annotation by which a person frees an object.
const GLASS: &str = "tidegate.dev/break-glass";
/// The weights of a Rollout that says nothing of them.
const DEFAULT_WEIGHTS: [u64; 4] = [5, 25, 50, 100];

/// All objects, as they were at one revision.
#[derive(Debug, Default)]
pub(super) struct Scene {
    objects: BTreeMap<(Kind, String), Value>,
}

impl Scene {
    /// What an object was before this event.
    pub(super) fn put(&mut self, event: &Event) -> Option<Value> {
        let key = (event.kind, event.name.clone());
        match &event.object {
            Some(object) => self.objects.insert(key, object.clone()),
            None => self.objects.remove(&key),
        }
    }

    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, name.to_owned()))
    }

    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = (&str, &Value)> {
        self.objects
            .iter()
            .filter(move |((of, _), _)| *of == kind)
            .map(|((_, name), object)| (name.as_str(), object))
    }

    /// The Rollouts that act, each with its workload.
    pub(super) fn releases(&self) -> impl Iterator<Item = Release<'_>> {
        self.all(Kind::Rollout).filter_map(|(_, rollout)| {
            let workload = rollout.pointer("/spec/workloadRef/name")?.as_str()?;
            let deployment = self.get(Kind::Deployment, workload)?;
            Some(Release { scene: self, rollout, workload, deployment })
        })
    }

    /// Pods that this selector chooses and that take requests: ready, and not on their way out.
    pub(super) fn serving(&self, selector: &Map<String, Value>) -> usize {
        let serves = |pod: &Value| {
            pod.pointer("/metadata/deletionTimestamp").is_none()
                && chooses(selector, &pod["metadata"]["labels"])
                && is_ready(pod)
        };
        self.all(Kind::Pod).filter(|(_, pod)| serves(pod)).count()
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    conditions.is_some_and(|all| all.iter().any(ready))
}

fn chooses(selector: &Map<String, Value>, labels: &Value) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A Service's selector; empty where it has none.
pub(super) fn selector(service: &Value) -> Map<String, Value> {
    service.pointer("/spec/selector").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The set that a Service is pinned to.
pub(super) fn hash_of_service(service: &Value) -> Option<&str> {
    service.pointer("/spec/selector")?.get(HASH)?.as_str()
}

/// A Rollout, its workload, and what belongs to it.
#[derive(Clone, Copy)]
pub(super) struct Release<'a> {
    scene: &'a Scene,
    pub(super) rollout: &'a Value,
    pub(super) workload: &'a str,
    pub(super) deployment: &'a Value,
}

impl<'a> Release<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.rollout.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    fn trial(&self) -> Option<&'a Value> {
        self.rollout.pointer("/status/state/trial").filter(|trial| !trial.is_null())
    }

    pub(super) fn trial_id(&self) -> Option<&'a str> {
        self.trial()?["id"].as_str()
    }

    pub(super) fn canary(&self) -> Option<&'a str> {
        self.trial()?["canary"].as_str()
    }

    /// Its stage's name and what the stage says; `None` at rest.
    pub(super) fn stage(&self) -> Option<(&'a str, &'a Value)> {
        let stage = &self.trial()?["stage"];
        let (name, value) = stage.as_object()?.iter().next()?;
        Some((name, value))
    }

    pub(super) fn is(&self, stages: &[&str]) -> bool {
        self.stage().is_some_and(|(name, _)| stages.contains(&name))
    }

    /// The trial moves things, and has not let them go yet.
    pub(super) fn acts(&self) -> bool {
        self.trial().is_some() && !self.is(&["Watching", "Settling", "Aborted"])
    }

    /// A person has set the Deployment free: it rolls out by itself.
    pub(super) fn freed(&self) -> bool {
        let annotations = self.deployment.pointer("/metadata/annotations");
        annotations.is_some_and(|all| !all[GLASS].is_null())
    }

    /// The Deployment was asked to take the tested pods early, and to roll the rest out.
    pub(super) fn surged(&self) -> bool {
        self.trial().is_some_and(|trial| trial["surged"] == true)
    }

    /// Where it promotes by Surge: as many pods as there may be. `None`: there is room for more.
    pub(super) fn most_pods(&self) -> Option<u64> {
        (self.rollout.pointer("/spec/promotion")? == "Surge").then_some(())?;
        let said = self.deployment.pointer("/spec/strategy/rollingUpdate/maxSurge")?;
        let surge = match said {
            Value::String(percent) => {
                let percent = percent.trim_end_matches('%').parse::<u64>().ok()?;
                (self.desired() * percent).div_ceil(100)
            }
            count => count.as_u64()?,
        };
        Some(self.desired() + surge)
    }

    /// The pods that all sets of the workload ask for.
    pub(super) fn pods_asked_for(&self) -> u64 {
        let selector = self.deployment.pointer("/spec/selector/matchLabels");
        let selector = selector.and_then(Value::as_object).cloned().unwrap_or_default();
        let sets = self.scene.all(Kind::ReplicaSet);
        let own = sets.filter(|(_, set)| chooses(&selector, &set["metadata"]["labels"]));
        own.map(|(_, set)| set.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)).sum()
    }

    pub(super) fn is_blue_green(&self) -> bool {
        self.rollout.pointer("/spec/strategy/blueGreen").is_some()
    }

    /// The highest weight that what is recorded allows; `None` where a class says it.
    pub(super) fn allowed(&self) -> Option<u64> {
        let Some((name, stage)) = self.stage() else { return Some(0) };
        match name {
            "Shifting" | "Baking" | "Paused" => {
                let step = usize::try_from(stage["step"].as_u64()?).ok()?;
                self.weight_at(step)
            }
            "FastForward" | "Promoting" => Some(100),
            _ => Some(0),
        }
    }

    fn weight_at(&self, step: usize) -> Option<u64> {
        if let Some(blue_green) = self.rollout.pointer("/spec/strategy/blueGreen") {
            // The preview, a pause where one is asked for, the switch.
            let before = 1 + usize::from(blue_green.get("pause").is_some());
            return Some(if step < before { 0 } else { 100 });
        }
        if self.rollout.pointer("/spec/class").is_some() {
            return None;
        }
        let steps = self.rollout.pointer("/spec/strategy/canary/steps").and_then(Value::as_array);
        let Some(steps) = steps else {
            return Some(DEFAULT_WEIGHTS.get(step).copied().unwrap_or(100));
        };
        // A weight of 100 is implied at the end.
        if step >= steps.len() {
            return Some(100);
        }
        let mut until = steps.iter().take(step + 1).rev();
        Some(until.find_map(|step| step["weight"].as_u64()).unwrap_or(0))
    }

    /// The Services that its pods serve, without those that are made for a canary.
    pub(super) fn services(&self) -> Vec<(&'a str, &'a Value)> {
        let labels = self.deployment.pointer("/spec/template/metadata/labels");
        let labels = labels.cloned().unwrap_or_default();
        let own = |service: &Value| {
            let mut selector = selector(service);
            selector.remove(HASH);
            chooses(&selector, &labels)
        };
        let scene = self.scene;
        let services = scene.all(Kind::Service).filter(|(_, service)| own(service));
        services.filter(|(name, _)| !self.is_canary_service(name)).collect()
    }

    pub(super) fn is_canary_service(&self, name: &str) -> bool {
        let named = self.rollout.pointer("/spec/canaryService").and_then(Value::as_str);
        let preview = self.rollout.pointer("/spec/strategy/blueGreen/previewService");
        named == Some(name)
            || preview.and_then(Value::as_str) == Some(name)
            || name.ends_with("-canary")
            || name.ends_with("-preview")
    }

    /// The weights of every rule that splits between one of the Services and the canary's: name of
    /// the canary's Service, its weight, the sum of both.
    pub(super) fn shares(&self, route: &Value) -> Vec<(String, u64, u64)> {
        let rules = route.pointer("/spec/rules").and_then(Value::as_array);
        let own = self.services();
        let mut shares = Vec::new();
        for rule in rules.into_iter().flatten() {
            let backends = rule["backendRefs"].as_array().map(Vec::as_slice).unwrap_or_default();
            let weight = |one: &Value| one["weight"].as_u64().unwrap_or(1);
            let name = |one: &Value| one["name"].as_str().unwrap_or_default().to_owned();
            let canary = backends.iter().find(|one| self.is_canary_service(&name(one)));
            let stable =
                backends.iter().find(|one| own.iter().any(|(of, _)| *of == name(one).as_str()));
            if let (Some(canary), Some(stable)) = (canary, stable) {
                shares.push((name(canary), weight(canary), weight(canary) + weight(stable)));
            }
        }
        shares
    }

    /// The highest share of the canary in any route.
    pub(super) fn share(&self) -> u64 {
        let routes = self.scene.all(Kind::HttpRoute);
        routes.flat_map(|(_, route)| self.shares(route)).map(|(_, w, _)| w).max().unwrap_or(0)
    }

    /// Pods of the canary that could serve.
    pub(super) fn canary_pods(&self) -> usize {
        let hash = self.canary().map(|hash| (HASH.to_owned(), hash.into()));
        self.scene.serving(&hash.into_iter().collect())
    }

    pub(super) fn desired(&self) -> u64 {
        self.deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)
    }

    /// Pods that may be missing in a rolling update: the Deployment's own promise.
    pub(super) fn may_miss(&self) -> u64 {
        let said = self.deployment.pointer("/spec/strategy/rollingUpdate/maxUnavailable");
        match said {
            Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
            Some(Value::String(percent)) => {
                let percent = percent.trim_end_matches('%').parse::<u64>().unwrap_or(0);
                self.desired() * percent / 100
            }
            _ => self.desired() / 4,
        }
    }
}
