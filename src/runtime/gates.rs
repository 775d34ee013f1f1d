//! Gates are asked beside the turns: who is slow to answer must not keep a turn, which may have
//! traffic to bring home.
//!
//! What one said last is kept for the turns that follow, for the trial and the place that it was
//! asked at and no other. It is lost with the process, and then asked for again: what counts is in
//! the Rollout's status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_engine::defaults;
use tidegate_engine::observed::{GateSays, GateSeen};
use tidegate_engine::state::{GateCall, Place, TrialId};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::Key;
use super::error::{Part, chain};
use super::reconcile::Followed;
use super::turns::Turns;
use crate::act;
use crate::kubernetes::{Cluster, Target};
use crate::observe::{self, GATE_DEADLINE};
use crate::resolve::GateQuery;

/// One gate at one place of one trial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asking {
    key: Key,
    trial: TrialId,
    place: Place,
    gate: String,
}

impl Asking {
    fn of(key: &Key, call: &GateCall) -> Self {
        let (trial, gate) = (call.trial.clone(), call.gate.clone());
        Self { key: key.clone(), trial, place: call.place, gate }
    }
}

/// What one said, and when it is asked again.
#[derive(Debug)]
struct Known {
    seen: GateSeen,
    running: bool,
    due: Instant,
    /// When its Job was to be started last.
    tried: Option<Instant>,
}

type Memory = Arc<Mutex<BTreeMap<Asking, Known>>>;

/// Asks gates, each once at a time.
#[derive(Debug)]
pub(super) struct Gates {
    cluster: Cluster,
    /// `None`: there can be no HTTP client on this machine.
    http: Option<reqwest::Client>,
    memory: Memory,
}

impl Gates {
    pub(super) fn new(cluster: &Cluster) -> Self {
        crate::git::init_tls();
        let http = reqwest::Client::builder()
            .timeout(GATE_DEADLINE)
            // Whoever is asked answers itself: nothing leads anywhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build();
        if let Err(error) = &http {
            tracing::error!(%error, "no HTTP client: gates cannot be asked");
        }
        Self { cluster: cluster.clone(), http: http.ok(), memory: Memory::default() }
    }

    /// The Rollout is gone.
    pub(super) fn forget(&self, key: &Key) {
        lock(&self.memory).retain(|asking, _| asking.key != *key);
    }

    /// What the gates said last; those that were not asked for a while are asked again. `touch` is
    /// told when one says something else than before.
    pub(super) fn look(
        &self,
        key: &Key,
        target: &Target,
        queries: &BTreeMap<String, GateQuery>,
        calls: &[GateCall],
        touch: &UnboundedSender<Key>,
    ) -> BTreeMap<String, GateSeen> {
        let now = Instant::now();
        let mut memory = lock(&self.memory);
        let current: Vec<_> = calls.iter().map(|call| Asking::of(key, call)).collect();
        memory.retain(|asking, _| asking.key != *key || current.contains(asking));
        let mut said = BTreeMap::new();
        for (asking, call) in current.into_iter().zip(calls) {
            let Some(query) = queries.get(&call.gate) else { continue };
            let known = memory.entry(asking.clone()).or_insert_with(|| unknown(now));
            said.insert(call.gate.clone(), known.seen.clone());
            if known.running || known.due > now {
                continue;
            }
            let Some(http) = self.http.clone() else { continue };
            known.running = true;
            let (cluster, memory, touch) =
                (self.cluster.clone(), self.memory.clone(), touch.clone());
            let (target, query, call) = (target.clone(), query.clone(), call.clone());
            tokio::spawn(async move {
                let seen = observe::ask_gate(&cluster, &http, &target, &query, &call).await;
                if keep(&memory, &asking, seen, again(&query)) {
                    // Nobody listens any more: the process ends.
                    let _ = touch.send(asking.key);
                }
            });
        }
        said
    }

    /// Whether a Job may be started now: what failed a moment ago is not tried at every turn.
    fn may_start(&self, key: &Key, query: &GateQuery, call: &GateCall) -> bool {
        let (now, mut memory) = (Instant::now(), lock(&self.memory));
        let known = memory.entry(Asking::of(key, call)).or_insert_with(|| unknown(now));
        let is_due = known.tried.is_none_or(|tried| now.duration_since(tried) >= again(query));
        if is_due {
            known.tried = Some(now);
        }
        is_due
    }

    /// What came of starting a Job, until it is looked at.
    fn note(&self, key: &Key, query: &GateQuery, call: &GateCall, seen: GateSeen) {
        if let Some(known) = lock(&self.memory).get_mut(&Asking::of(key, call)) {
            known.seen = seen;
            known.due = Instant::now() + again(query);
        }
    }
}

/// Before the first answer.
const fn unknown(now: Instant) -> Known {
    let seen = GateSeen { says: GateSays::NotYet, line: String::new() };
    Known { seen, running: false, due: now, tried: None }
}

/// Keeps an answer, if it is still waited for; whether it is another one than before.
fn keep(memory: &Memory, asking: &Asking, seen: GateSeen, again: Duration) -> bool {
    let mut memory = lock(memory);
    let Some(known) = memory.get_mut(asking) else { return false };
    known.running = false;
    known.due = Instant::now() + again;
    // Why there is no Job is known from the attempt.
    let is_still_missing = [&known.seen, &seen].iter().all(|it| it.says == GateSays::NotRun);
    if is_still_missing || known.seen == seen {
        return false;
    }
    known.seen = seen;
    true
}

/// The API server is asked as often as in any look; whoever else a gate is, less often.
fn again(query: &GateQuery) -> Duration {
    let every = match query {
        GateQuery::Http(_) => defaults::GATE_INTERVAL,
        GateQuery::Job { .. } => defaults::LOOK_INTERVAL,
    };
    every.to_std().unwrap_or_default()
}

fn lock(memory: &Memory) -> std::sync::MutexGuard<'_, BTreeMap<Asking, Known>> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turns {
    /// Starts the Job of a gate. Nothing rests on it but what the gate says: that it could not be
    /// started is what it says then.
    pub(super) async fn run_gate(&self, key: &Key, followed: &Followed, call: &GateCall) {
        let query = followed.resolved.gates.get(&call.gate);
        let Some(query @ GateQuery::Job { cron_job }) = query else { return };
        if !self.gates.may_start(key, query, call) {
            return;
        }
        let cluster = self.cluster.urgent();
        let started = act::run_gate(&cluster, &followed.target, cron_job, call).await;
        let seen = match started {
            Ok(()) => GateSeen { says: GateSays::NotYet, line: "its Job was started".to_owned() },
            Err(source) => {
                let line = chain(&source);
                self.metrics.error(Part::Act.as_str(), source.label());
                tracing::warn!(rollout = %key, gate = call.gate, error = line, "no Job of a gate");
                GateSeen { says: GateSays::NotRun, line }
            }
        };
        self.gates.note(key, query, call, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_engine::plan::Weight;
    use tidegate_engine::state::Revision;

    fn call(place: Place) -> GateCall {
        GateCall {
            gate: "smoke".to_owned(),
            place,
            trial: TrialId::new("t1"),
            revision: Revision::new("a1"),
            git: None,
            weight: Weight::ZERO,
            step: 0,
        }
    }

    fn open() -> GateSeen {
        GateSeen { says: GateSays::Open, line: String::new() }
    }

    #[test]
    fn an_answer_is_for_the_place_that_it_was_asked_at() {
        let (memory, key) = (Memory::default(), crate::runtime::key("shop", "web"));
        let at = |place| Asking::of(&key, &call(place));
        let soon = Duration::from_secs(5);
        assert!(!keep(&memory, &at(Place::Step(0)), open(), soon), "nobody waits for it");
        lock(&memory).insert(at(Place::Step(1)), unknown(Instant::now()));
        assert!(!keep(&memory, &at(Place::Step(0)), open(), soon));
        assert_eq!(lock(&memory)[&at(Place::Step(1))].seen.says, GateSays::NotYet);
        assert!(keep(&memory, &at(Place::Step(1)), open(), soon));
        assert!(!keep(&memory, &at(Place::Step(1)), open(), soon), "it is known");
        assert_eq!(lock(&memory).len(), 1);
    }

    #[tokio::test]
    async fn why_there_is_no_job_is_told_until_there_is_one() {
        crate::git::init_tls();
        let server = axum::Router::new();
        let gates = Gates::new(&Cluster::new(kube::Client::new(server, "default")));
        let (key, call) = (crate::runtime::key("shop", "web"), call(Place::Start));
        let query = GateQuery::Job { cron_job: "smoke".to_owned() };
        assert!(gates.may_start(&key, &query, &call));
        assert!(!gates.may_start(&key, &query, &call), "not at every turn");
        let says = |says, line: &str| GateSeen { says, line: line.to_owned() };
        gates.note(&key, &query, &call, says(GateSays::NotRun, "there is no CronJob"));
        let (asking, soon) = (Asking::of(&key, &call), again(&query));
        let line = || lock(&gates.memory)[&asking].seen.line.clone();
        assert!(!keep(&gates.memory, &asking, says(GateSays::NotRun, ""), soon));
        assert_eq!(line(), "there is no CronJob");
        assert!(keep(&gates.memory, &asking, says(GateSays::NotYet, "it runs"), soon));
        assert_eq!(line(), "it runs");
    }
}
