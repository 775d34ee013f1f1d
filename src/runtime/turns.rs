//! What all turns share, and what this process remembers between them. Nothing in here is needed
//! to be right: after a restart it is all read, asked or derived again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tidegate_api::{FINALIZER, GateKind};
use tidegate_engine::effect::Effect;
use tidegate_engine::fleet;
use tidegate_engine::judge::{Judgement, Verdict};
use tidegate_engine::observed::{Around, Observed};
use tidegate_engine::state::{State, TrialId};
use tidegate_engine::{Decision, Questions};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::Instant;

use super::around::Lack;
use super::error::{Part, TurnError, Why};
use super::fleet::Fleet;
use super::gates::Gates;
use super::lease::Leading;
use super::metrics::Metrics;
use super::notify::{Alertmanagers, Notifier, Standing, Subject};
use super::pace::{self, Mood, Pace};
use super::queue::Next;
use super::reconcile::{Followed, has_finalizer, is_urgent};
use super::references::References;
use super::revert::Reverts;
use super::secrets::Secrets;
use super::suspended::Unsuspended;
use super::trials::{JudgedStep, Recorded, Trials};
use super::trouble::{Refusal, Trouble};
use super::{Key, request, status};
use crate::kubernetes::{Cluster, Kind, ObjectName, Target, json as read};
use crate::measure::{Asked, Measurer};
use crate::observe::Seen;
use crate::resolve::Resolved;

/// A Rollout that cannot be followed is looked at again after this, if nothing tells earlier.
const STALLED: Duration = Duration::from_secs(30);

/// What the turns need.
pub struct Parts {
    /// The API server.
    pub cluster: Cluster,
    /// Whether this process may write.
    pub leading: Leading,
    /// Carries revert orders out.
    pub reverts: Reverts,
    /// Where alerts go.
    pub alertmanagers: Arc<Alertmanagers>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Credentials of metric sources.
    pub secrets: Secrets,
    /// This process, for Events.
    pub identity: String,
    /// Name of the cluster, for alerts; empty: none.
    pub cluster_name: String,
    /// What keeps new templates from rolling out here, as far as it is known.
    pub gate: watch::Receiver<Option<GateKind>>,
    /// Keys to look at soon.
    pub touch: UnboundedSender<Key>,
    /// The namespaces that are looked after; empty: all.
    pub namespaces: Vec<String>,
    /// The controller's own.
    pub home: String,
}

/// Takes turns: one at a time for each Rollout.
pub struct Turns {
    pub(super) cluster: Cluster,
    pub(super) leading: Leading,
    pub(super) references: References,
    pub(super) reverts: Reverts,
    pub(super) gates: Gates,
    pub(super) notifier: Notifier,
    pub(super) alertmanagers: Arc<Alertmanagers>,
    pub(super) trials: Trials,
    pub(super) metrics: Arc<Metrics>,
    pub(super) secrets: Secrets,
    pub(super) measurer: Measurer,
    pub(super) gate: watch::Receiver<Option<GateKind>>,
    pub(super) touch: UnboundedSender<Key>,
    pub(super) fleet: Fleet,
    pub(super) unsuspended: Unsuspended,
    /// The controller's own namespace.
    pub(super) home: String,
    cluster_name: String,
    memory: Mutex<BTreeMap<Key, Memory>>,
}

/// What is remembered of one Rollout.
#[derive(Debug, Default)]
struct Memory {
    /// The last one that could be followed.
    followed: Option<(Resolved, Target)>,
    /// When the status was last written, and what.
    pace: Pace,
    /// What was not done last.
    trouble: Option<Trouble>,
    /// The effect that was refused last.
    refusal: Option<Refusal>,
    /// What a person has freed.
    freed: Vec<String>,
    /// Traffic is on its way home.
    urgent: bool,
    /// What stable's pods lack, as it was found last.
    lack: Option<Lack>,
}

/// What the samples said.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) verdict: Verdict,
    /// `None`: nothing was to be judged.
    pub(super) judgement: Option<Judgement>,
    /// The queries in full, for the record.
    pub(super) queries: Vec<Asked>,
    /// When there may be more to judge. `None`: nothing was to be judged.
    pub(super) again: Option<Duration>,
    /// The canary's pods are not read yet, and that is worth waiting for.
    pub(super) is_blind: bool,
}

impl Turns {
    /// With nothing remembered.
    pub fn new(parts: Parts) -> Self {
        Self {
            references: References::new(&parts.cluster),
            notifier: Notifier::new(&parts.cluster, parts.identity),
            trials: Trials::new(&parts.cluster),
            gates: Gates::new(&parts.cluster),
            cluster: parts.cluster,
            leading: parts.leading,
            reverts: parts.reverts,
            alertmanagers: parts.alertmanagers,
            metrics: parts.metrics,
            secrets: parts.secrets,
            measurer: Measurer::new(),
            gate: parts.gate,
            fleet: Fleet::new(parts.namespaces, parts.touch.clone()),
            unsuspended: Unsuspended::default(),
            home: parts.home,
            touch: parts.touch,
            cluster_name: parts.cluster_name,
            memory: Mutex::default(),
        }
    }

    /// Whoever lost the lease writes nothing more.
    pub(super) fn may_write(&self, part: Part) -> Result<(), TurnError> {
        if self.leading.may_write() {
            Ok(())
        } else {
            Err(TurnError { part, why: Why::NotLeading })
        }
    }

    /// The Rollout as it is now.
    pub(super) async fn live(&self, key: &Key) -> Result<Option<Value>, TurnError> {
        let live = self.cluster.get(Kind::Rollout, &key.namespace, &key.name).await;
        live.map_err(Part::Resolve.cluster())
    }

    /// The Rollout is gone, and all that is remembered of it.
    pub(super) fn forget(&self, key: &Key) -> Next {
        self.notifier.forget(key);
        self.alertmanagers.forget(key);
        self.trials.forget(key);
        self.metrics.forget(key);
        self.measurer.forget(&key.to_string());
        self.gates.forget(key);
        self.fleet.forget(key);
        self.memory().remove(key);
        Next::Gone
    }

    /// Says why the Rollout cannot be followed, and touches nothing else.
    pub(super) async fn stall(
        &self,
        key: &Key,
        live: &Value,
        reason: &str,
        message: &str,
    ) -> Result<Next, TurnError> {
        self.fleet.stand_back(key);
        self.may_write(Part::Record)?;
        let generation = read::number(live, "/metadata/generation");
        let new = status::stalled(&live["status"], generation, reason, message, Utc::now());
        self.write_status(key, live, &new, Mood::default()).await?;
        Ok(Next::After { wait: STALLED, urgent: false })
    }

    /// Facts, answers and notices in one.
    pub(super) fn observed(
        &self,
        key: &Key,
        live: &Value,
        state: &State,
        asked: &Questions,
        seen: Seen,
        measured: &Measured,
    ) -> Observed {
        let (before, trouble) = self.with(key, |memory| {
            let before = std::mem::replace(&mut memory.freed, seen.freed.clone());
            (before, memory.trouble.as_ref().and_then(Trouble::of_pods))
        });
        for object in seen.freed.iter().filter(|object| !before.contains(object)) {
            tracing::warn!(rollout = %key, object, "left alone: break-glass");
        }
        let mut canary = seen.canary;
        canary.trouble = canary.trouble.or(trouble);
        Observed {
            is_blind: measured.is_blind,
            workload: seen.workload,
            stable: seen.stable,
            canary,
            taken: seen.taken,
            traffic: seen.traffic,
            verdict: measured.verdict.clone(),
            ask: request::freed(state, &seen.freed).or_else(|| request::ask(live)),
            revert: asked.revert.as_ref().and_then(|order| self.reverts.answer(&order.trial)),
            delivered: self.notifier.delivered(key, state),
            gates: BTreeMap::new(),
            around: Around::default(),
            fleet: fleet::Fleet::default(),
        }
    }

    /// Writes what differs, as soon as it matters. Answers the Rollout as it stands then.
    pub(super) async fn write_status(
        &self,
        key: &Key,
        live: &Value,
        new: &Value,
        mood: Mood,
    ) -> Result<Value, TurnError> {
        let old = live.get("status").cloned().unwrap_or_else(|| json!({}));
        let Some(difference) = status::difference(&old, new) else { return Ok(live.clone()) };
        let (now, change) = (Instant::now(), pace::change(&old, new));
        if !self.with(key, |memory| memory.pace.is_due(change, mood, now)) {
            return Ok(live.clone());
        }
        let object = ObjectName::namespaced(Kind::Rollout, &key.namespace, &key.name);
        let patch = json!({"status": difference});
        let version = read::resource_version(live);
        let written = self.cluster.patch_status(&object, &patch, version).await;
        let written = written.map_err(Part::Record.cluster())?;
        self.with(key, |memory| memory.pace.wrote(change, mood, now));
        Ok(written)
    }

    /// Puts our finalizer on, or takes it off.
    pub(super) async fn put_finalizer(
        &self,
        key: &Key,
        live: &Value,
        on: bool,
    ) -> Result<Value, TurnError> {
        if has_finalizer(live) == on {
            return Ok(live.clone());
        }
        let mut all = read::list(live, "/metadata/finalizers").to_vec();
        all.retain(|name| name != FINALIZER);
        if on {
            all.push(json!(FINALIZER));
        }
        let object = ObjectName::namespaced(Kind::Rollout, &key.namespace, &key.name);
        let patch = json!({"metadata": {"finalizers": all}});
        let version = read::resource_version(live);
        let written = self.cluster.patch_merge(&object, &patch, version).await;
        written.map_err(Part::Record.cluster())
    }

    /// Tells people and the record; nothing that goes wrong here stops a turn.
    #[expect(clippy::too_many_arguments, reason = "all that a record is made of")]
    pub(super) async fn tell(
        &self,
        key: &Key,
        live: &Value,
        followed: &Followed,
        before: &State,
        decision: &Decision,
        measured: &Measured,
        now: DateTime<Utc>,
    ) {
        let next = &decision.next;
        self.with(key, |memory| memory.urgent = is_urgent(next));
        let subject = Subject {
            cluster: self.cluster_name.clone(),
            namespace: key.namespace.clone(),
            rollout: key.name.clone(),
            labels: followed.resolved.alert_labels.clone(),
        };
        self.alertmanagers.tell(key, subject, next, Standing::of(&live["status"]), now);
        if next.failed.is_some() || before.failed.is_some() {
            self.alertmanagers.tell_hold(&self.cluster_name, self.fleet.hold(now).as_ref());
        }
        if let Some(ended) = next.last.as_ref().filter(|_| next.trial.is_none()) {
            self.reverts.forget(&ended.trial);
        }
        let is_new = next.answered != before.answered;
        let recorded = Recorded {
            state: next,
            reason: decision.reason,
            message: &decision.message,
            request: next.request.as_ref().filter(|_| is_new),
            judgement: measured.judgement.as_ref(),
            step: JudgedStep::of(&followed.resolved.plan, before),
            queries: &measured.queries,
            now,
        };
        if let Err(error) = self.trials.record(key, live, &recorded).await {
            self.metrics.error(Part::Tell.as_str(), error.label());
            tracing::warn!(rollout = %key, %error, "the trial's record is not written");
        }
    }

    /// A trial's name, for what is labelled with it.
    pub(super) fn trial_of(next: &State) -> Option<&TrialId> {
        next.trial.as_ref().map(|trial| &trial.id)
    }

    pub(super) fn remember(&self, key: &Key, followed: &Followed) {
        let pair = (followed.resolved.clone(), followed.target.clone());
        self.with(key, |memory| memory.followed = Some(pair));
    }

    pub(super) fn remembered(&self, key: &Key) -> Option<(Resolved, Target)> {
        self.with(key, |memory| memory.followed.clone())
    }

    /// What is not as it should be: what is left alone, and what failed.
    pub(super) fn trouble(&self, key: &Key) -> Option<Trouble> {
        let (freed, trouble) =
            self.with(key, |memory| (Trouble::left_alone(&memory.freed), memory.trouble.clone()));
        match (freed, trouble) {
            (Some(freed), Some(trouble)) => Some(freed.and(&trouble)),
            (freed, trouble) => freed.or(trouble),
        }
    }

    pub(super) fn set_trouble(&self, key: &Key, error: Option<&TurnError>) {
        let trouble = error.and_then(Trouble::of);
        self.with(key, |memory| memory.trouble = trouble);
    }

    /// What was not as it should be, while it is of no use to try the effect again.
    pub(super) fn refused(&self, key: &Key, effect: &Effect) -> Option<Box<ObjectName>> {
        let now = Instant::now();
        self.with(key, |memory| {
            let refusal = memory.refusal.as_ref().filter(|refusal| refusal.holds(effect, now));
            refusal.map(|refusal| refusal.object.clone())
        })
    }

    /// It is known from here on, and said to the log once.
    pub(super) fn refuse(&self, key: &Key, effect: &Effect, object: &ObjectName) {
        let refusal = Refusal::new(effect, object, Instant::now());
        let before = self.with(key, |memory| memory.refusal.replace(refusal));
        if before.is_none_or(|before| !before.is_of(effect)) {
            tracing::warn!(rollout = %key, ?effect, %object, "templates are changed on their way in");
        }
    }

    pub(super) fn is_urgent(&self, key: &Key) -> bool {
        self.memory().get(key).is_some_and(|memory| memory.urgent)
    }

    pub(super) fn lack(&self, key: &Key) -> Option<Lack> {
        self.with(key, |memory| memory.lack.clone())
    }

    pub(super) fn set_lack(&self, key: &Key, lack: Lack) {
        self.with(key, |memory| memory.lack = Some(lack));
    }

    fn with<T>(&self, key: &Key, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(self.memory().entry(key.clone()).or_default())
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
