//! Which Rollouts to look at again. What comes from a watch is never decided on: it says "look",
//! and the look reads what is there then. A missed event costs time, never truth.
//!
//! Only metadata is watched, and nothing of it is kept but names: a few hundred bytes a Rollout.
//! Pods and sets are watched while a canary runs, by its hash alone; at rest the status of the
//! Deployment says as much.

mod index;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures::channel::oneshot;
use futures::stream::{SelectAll, Stream, StreamExt, select_all, unfold};
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client, Resource};
use tidegate_api::ROLLOUT_LABEL;

use crate::kubernetes::{Kind, POD_TEMPLATE_HASH};
use index::{Index, Object};

/// Objects of one page of a list.
const PAGE: u32 = 500;
/// How long one watch lasts, in seconds. A connection that died in silence is noticed when it should
/// have ended, so this is also the longest that a change stays unseen.
const WATCHED: u32 = 50;

/// What owns a canary's set is gone before the set is, and the last pod of it is news too.
const LINGER: Duration = Duration::from_mins(1);

/// What is watched all the time.
const ALWAYS: &[Kind] = &[
    Kind::Rollout,
    Kind::Deployment,
    Kind::Service,
    Kind::HttpRoute,
    Kind::ControllerRevision,
    Kind::Namespace,
    Kind::Kustomization,
    Kind::Application,
    Kind::RolloutClass,
    Kind::AnalysisTemplate,
    Kind::ClusterAnalysisTemplate,
    Kind::ConfigRepository,
    Kind::MetricSource,
];

/// A Rollout by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The Rollouts to look at, as things change, for ever: broken watches are begun again, and tell of
/// everything that is there then. A key may come more often than needed. Without namespaces all are
/// watched. `home`: the controller's own namespace, whose suspension is everybody's.
pub fn triggers(
    client: Client,
    namespaces: &[String],
    home: &str,
) -> impl Stream<Item = Key> + Send + use<> {
    let mut changes = SelectAll::new();
    for kind in ALWAYS {
        // An engine's own object may be anywhere.
        let is_engine = matches!(kind, Kind::Kustomization | Kind::Application);
        if kind.is_namespaced() && !is_engine && !namespaces.is_empty() {
            changes.extend(namespaces.iter().map(|at| all(&client, *kind, Some(at))));
        } else {
            changes.push(all(&client, *kind, None));
        }
    }
    let triggers = Triggers {
        client,
        changes,
        index: Index::at_home(home),
        canaries: BTreeMap::new(),
        due: VecDeque::new(),
    };
    unfold(triggers, |mut triggers| async {
        loop {
            if let Some(key) = triggers.due.pop_front() {
                return Some((key, triggers));
            }
            let change = triggers.changes.next().await?;
            triggers.take(change);
        }
    })
}

/// What a watch says.
#[derive(Debug)]
enum Change {
    /// An object of a kind that is always watched is there, or is gone.
    Of { kind: Kind, object: Object, gone: bool },
    /// A watch begins again: it will tell everything that there is.
    Begun { kind: Kind, namespace: Option<String> },
    /// It has told everything.
    Told { kind: Kind, namespace: Option<String> },
    /// Something of this Rollout's canary.
    Canary(Key),
}

type Changes = Pin<Box<dyn Stream<Item = Change> + Send>>;

struct Triggers {
    client: Client,
    changes: SelectAll<Changes>,
    index: Index,
    /// Watches of running canaries, by namespace and name of what owns the canary's set.
    canaries: BTreeMap<(String, String), Canary>,
    due: VecDeque<Key>,
}

struct Canary {
    /// Dropped, it ends the watch soon after.
    _watch: oneshot::Sender<()>,
    /// The watch of the owners has told of it since it began.
    is_told: bool,
}

impl Triggers {
    fn take(&mut self, change: Change) {
        match change {
            Change::Canary(key) => self.due.push_back(key),
            Change::Of { kind: Kind::ControllerRevision, object, gone } => {
                self.canary(&object, gone);
            }
            Change::Of { kind, object, gone } => {
                self.due.extend(self.index.touched(kind, &object, gone));
            }
            Change::Begun { kind: Kind::ControllerRevision, namespace } => {
                for ((at, _), canary) in &mut self.canaries {
                    canary.is_told &= namespace.as_ref().is_some_and(|namespace| namespace != at);
                }
            }
            Change::Told { kind: Kind::ControllerRevision, namespace } => {
                self.canaries.retain(|(at, _), canary| {
                    canary.is_told || namespace.as_ref().is_some_and(|namespace| namespace != at)
                });
            }
            Change::Begun { .. } => {}
            Change::Told { kind, namespace } => {
                self.due.extend(self.index.told(kind, namespace.as_deref()));
            }
        }
    }

    /// Sets and pods are watched while what owns them is there.
    fn canary(&mut self, owner: &Object, gone: bool) {
        let Some(key) = self.index.labelled(owner) else { return };
        self.due.push_back(key.clone());
        let name = (owner.namespace.clone(), owner.name.clone());
        if gone {
            self.canaries.remove(&name);
            return;
        }
        if let Some(canary) = self.canaries.get_mut(&name) {
            canary.is_told = true;
            return;
        }
        // It is named as its set is: after the workload and the revision.
        let Some((_, revision)) = owner.name.rsplit_once('-') else { return };
        let selector = format!("{POD_TEMPLATE_HASH}={revision}");
        let both = [Kind::ReplicaSet, Kind::Pod]
            .map(|kind| selected(&self.client, kind, &owner.namespace, &selector, &key));
        let (watch, dropped) = oneshot::channel::<()>();
        let end = async {
            let _ = dropped.await;
            tokio::time::sleep(LINGER).await;
        };
        self.changes.push(Box::pin(select_all(both).take_until(Box::pin(end))));
        self.canaries.insert(name, Canary { _watch: watch, is_told: true });
    }
}

/// Everything of a kind: metadata alone, but for Rollouts, which name their workload in the spec.
fn all(client: &Client, kind: Kind, namespace: Option<&String>) -> Changes {
    let resource = kind.resource();
    let config = match kind {
        Kind::ControllerRevision => config().labels(ROLLOUT_LABEL),
        _ => config(),
    };
    let namespace = namespace.cloned();
    if kind == Kind::Rollout {
        let api: Api<DynamicObject> = match &namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        return changes(kind, namespace, watcher(api, config), |object| {
            let workload = object.data.pointer("/spec/workloadRef/name");
            Object::of(&object.metadata, workload.and_then(serde_json::Value::as_str))
        });
    }
    let api: Api<PartialObjectMeta> = match &namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    changes(kind, namespace, watcher(api, config), |object| Object::of(&object.metadata, None))
}

fn changes<K, S>(
    kind: Kind,
    namespace: Option<String>,
    events: S,
    read: fn(&K) -> Object,
) -> Changes
where
    K: Resource + Send + 'static,
    S: Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
{
    let change = move |event: Event<K>| match event {
        Event::Apply(object) | Event::InitApply(object) => {
            Change::Of { kind, object: read(&object), gone: false }
        }
        Event::Delete(object) => Change::Of { kind, object: read(&object), gone: true },
        Event::Init => Change::Begun { kind, namespace: namespace.clone() },
        Event::InitDone => Change::Told { kind, namespace: namespace.clone() },
    };
    Box::pin(steady(kind, events).map(change))
}

/// Something that a selector selects, for one Rollout.
fn selected(client: &Client, kind: Kind, namespace: &str, selector: &str, key: &Key) -> Changes {
    let api: Api<PartialObjectMeta> =
        Api::namespaced_with(client.clone(), namespace, &kind.resource());
    let key = key.clone();
    let events = steady(kind, watcher(api, config().labels(selector)));
    Box::pin(events.map(move |_| Change::Canary(key.clone())))
}

/// The events alone; errors are waited out.
fn steady<K, S>(kind: Kind, events: S) -> impl Stream<Item = Event<K>> + Send + 'static
where
    K: Send + 'static,
    S: Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
{
    let mut was_unknown = false;
    events.default_backoff().filter_map(move |event| {
        let is_unknown = event.as_ref().is_err_and(is_unknown);
        // It is asked for again and again: an engine may be installed at any time.
        let is_news = is_unknown && !was_unknown;
        // A watch says that it begins before it knows whether it can.
        was_unknown = is_unknown || was_unknown && matches!(event, Ok(Event::Init));
        let event = match event {
            Ok(event) => Some(event),
            Err(error) => {
                if is_news {
                    tracing::debug!(%kind, "the server does not know the kind");
                } else if !is_unknown {
                    tracing::warn!(%kind, %error, "a watch broke and begins again");
                }
                None
            }
        };
        futures::future::ready(event)
    })
}

/// Engines and gateways that are not there have no kinds either.
fn is_unknown(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404
    )
}

fn config() -> Config {
    Config::default().page_size(PAGE).timeout(WATCHED)
}
