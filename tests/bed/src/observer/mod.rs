//! An independent witness: it watches a namespace, keeps every revision it is shown, and says
//! which of them broke what a progressive delivery controller must never break.
//!
//! It shares no code with the controller: what it knows of it are its objects, as anybody can read
//! them. Watches of different kinds are not in step with each other, so nothing is judged as it
//! arrives: [`Observer::violations`] puts all revisions into the order in which the API server
//! stored them, and walks through them.

mod fields;
mod rules;
mod scene;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::{self, Event as Seen, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::task::JoinSet;

use scene::Scene;

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Ours: what the controller says it is doing.
    Rollout,
    /// The workload.
    Deployment,
    /// Stable's and the canary's sets.
    ReplicaSet,
    /// What can serve.
    Pod,
    /// What is selected to serve.
    Service,
    /// Shares of the traffic.
    HttpRoute,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Rollout,
        Self::Deployment,
        Self::ReplicaSet,
        Self::Pod,
        Self::Service,
        Self::HttpRoute,
    ];

    fn resource(self) -> ApiResource {
        let (group, version, kind) = match self {
            Self::Rollout => ("tidegate.dev", "v1alpha1", "Rollout"),
            Self::Deployment => ("apps", "v1", "Deployment"),
            Self::ReplicaSet => ("apps", "v1", "ReplicaSet"),
            Self::Pod => ("", "v1", "Pod"),
            Self::Service => ("", "v1", "Service"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
    }
}

/// One revision of one object.
#[derive(Clone, Debug)]
pub struct Event {
    /// The API server's, of the whole store: it orders objects of all kinds.
    pub revision: u64,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// `None`: it is gone.
    pub object: Option<Value>,
}

/// A revision at which something was as it must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The API server's revision.
    pub revision: u64,
    /// The rule, as a word.
    pub rule: &'static str,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at revision {}: {}", self.rule, self.revision, self.found)
    }
}

thread_local! {
    /// A story is told on a thread of its own, and what it has watched is judged there.
    static WATCHED: RefCell<Vec<Observer>> = const { RefCell::new(Vec::new()) };
}

/// Watches a namespace until this thread's [`witnessed`] is called.
pub fn watch(kube: &Client, namespace: &str) {
    let observer = Observer::start(kube, namespace);
    WATCHED.with_borrow_mut(|watched| watched.push(observer));
}

/// What this thread has watched: how many revisions there were. An error names those at which
/// something was as it must never be.
pub fn witnessed() -> Result<usize> {
    let watched = WATCHED.take();
    let broken = watched.iter().flat_map(Observer::violations);
    let broken: Vec<_> = broken.map(|violation| violation.to_string()).collect();
    ensure!(broken.is_empty(), "the observer saw:\n{}", broken.join("\n"));
    Ok(watched.iter().map(Observer::revisions).sum())
}

/// Watches one namespace until it is dropped.
pub struct Observer {
    events: Arc<Mutex<Vec<Event>>>,
    /// Ends with the observer.
    _watches: JoinSet<()>,
}

impl Observer {
    /// Begins to watch. Revisions from before it are not seen.
    pub fn start(kube: &Client, namespace: &str) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let mut watches = JoinSet::new();
        for kind in Kind::ALL {
            let api = Api::namespaced_with(kube.clone(), namespace, &kind.resource());
            watches.spawn(follow(api, kind, Arc::clone(&events)));
        }
        Self { events, _watches: watches }
    }

    /// How many revisions were seen.
    pub fn revisions(&self) -> usize {
        lock(&self.events).len()
    }

    /// What was wrong at any revision seen so far. Each rule says the same of the same object once.
    pub fn violations(&self) -> Vec<Violation> {
        let events = lock(&self.events).clone();
        violations(events)
    }
}

fn lock(events: &Mutex<Vec<Event>>) -> MutexGuard<'_, Vec<Event>> {
    events.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what a watch shows, through whatever becomes of the API server.
async fn follow(api: Api<DynamicObject>, kind: Kind, events: Arc<Mutex<Vec<Event>>>) {
    let watch = watcher(api, watcher::Config::default());
    let mut seen = watch.map_err(drop).boxed();
    while let Some(event) = seen.next().await {
        let (object, gone) = match event {
            Ok(Seen::Apply(object) | Seen::InitApply(object)) => (object, false),
            Ok(Seen::Delete(object)) => (object, true),
            Ok(Seen::Init | Seen::InitDone) => continue,
            // The watcher begins again with a list, at once.
            Err(()) => {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                continue;
            }
        };
        if let Ok(event) = event_of(kind, &object, gone) {
            lock(&events).push(event);
        }
    }
}

fn event_of(kind: Kind, object: &DynamicObject, gone: bool) -> Result<Event> {
    let revision = object.resource_version().context("an object without a version")?;
    let revision = revision.parse().context("a version that is no number")?;
    let value = serde_json::to_value(object).context("an object to JSON")?;
    Ok(Event { revision, kind, name: object.name_any(), object: (!gone).then_some(value) })
}

/// Walks through a history in the order of its revisions.
pub fn violations(mut events: Vec<Event>) -> Vec<Violation> {
    events.sort_by_key(|event| event.revision);
    // A watch that begins anew shows what it has shown before.
    events.dedup_by(|next, before| {
        (next.revision, next.kind, &next.name, next.object.is_some())
            == (before.revision, before.kind, &before.name, before.object.is_some())
    });
    let mut scene = Scene::default();
    let mut memory = rules::Memory::default();
    let mut found: Vec<Violation> = Vec::new();
    for event in events {
        let before = scene.put(&event);
        for (rule, text) in rules::broken(&scene, &mut memory, &event, before.as_ref()) {
            let said = |one: &Violation| one.rule == rule && one.found == text;
            if !found.iter().any(said) {
                found.push(Violation { revision: event.revision, rule, found: text });
            }
        }
    }
    found
}
