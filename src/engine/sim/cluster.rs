//! A toy cluster that obeys effects: one Deployment, its Services and routes, a branch, and an
//! engine that applies the branch. It keeps to the rules of the real ones that matter to the
//! machine: a gated Deployment does not roll out, a revert is a commit, a hand-over needs a full
//! canary or one of exactly `maxSurge`, a gateway may accept a route late, and a write that was
//! decided on another template is refused.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::branch::{Branch, Commit};
use crate::effect::{Effect, RevertOutcome};
use crate::fleet::Fleet;
use crate::judge::Verdict;
use crate::observed::{
    Around, Ask, Deployed, GateSays, GateSeen, Observed, Pinned, Pods, RouteView, TrafficView,
    Trouble, Workload,
};
use crate::state::{GitRevision, Place, Revision, Stage, State, TrialId};

/// The pods of one template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Pods asked for.
    pub desired: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// When the pods asked for last will be ready.
    pub ready_at: Option<DateTime<Utc>>,
}

impl Set {
    pub(super) fn full(desired: u32) -> Self {
        Self { desired, ready: desired, ready_at: None }
    }
}

/// A toy cluster. All fields are public: a test breaks whatever it wants to see broken.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch a test turns by name")]
pub struct Cluster {
    /// Virtual time.
    pub now: DateTime<Utc>,
    /// What Git says.
    pub branch: Branch,
    /// The revision the engine applied last.
    pub applied: Option<GitRevision>,
    /// The engine is still waiting for the health of what it applied.
    pub applying: bool,
    /// The Deployment exists.
    pub exists: bool,
    /// The Deployment's template.
    pub template: Revision,
    /// Who wrote the template past Git, if somebody did.
    pub writer: Option<String>,
    /// Somebody knows which revision is deployed.
    pub known: bool,
    /// A person committed a template that failed again.
    pub deliberate: bool,
    /// Pods the Deployment wants.
    pub desired: u32,
    /// The Deployment does not roll out.
    pub paused: bool,
    /// A changed template is paused in the same write.
    pub gated: bool,
    /// The revision the Deployment controller took as its newest.
    pub adopted: Option<Revision>,
    /// The Deployment's own pods, by template.
    pub sets: BTreeMap<Revision, Set>,
    /// Sets of its own that a rolling update has emptied, and that are still there.
    pub emptied: BTreeSet<Revision>,
    /// The set we made for the canary.
    pub canary: Option<(Revision, Set)>,
    /// The canary's set was handed to the Deployment and is not taken yet.
    pub handed: bool,
    /// How long pods of a template take to be ready; absent: they never are.
    pub start_up: BTreeMap<Revision, TimeDelta>,
    /// What is wrong with the pods of a template.
    pub trouble: BTreeMap<Revision, Trouble>,
    /// What the routes say.
    pub written: RouteView,
    /// What the gateway does.
    pub accepted: RouteView,
    /// The gateway accepts what it is told.
    pub gateway: bool,
    /// Whose pods the Services select.
    pub pinned: Pinned,
    /// Our hold is on.
    pub held: bool,
    /// A person has set the Services free: they select all pods, whatever they are asked for.
    pub freed: bool,
    /// The Deployment controller is there.
    pub controller: bool,
    /// The forge answers.
    pub forge: Result<(), RevertOutcome>,
    /// The answer to the last revert order.
    pub revert: Option<(TrialId, RevertOutcome)>,
    /// What a person wants.
    pub ask: Option<Ask>,
    /// Notices that were delivered, by id.
    pub delivered: Vec<u64>,
    /// What gates say, by name; those not named are open.
    pub gates: BTreeMap<String, GateSeen>,
    /// The gates that are Jobs: they say nothing before they were run.
    pub jobs: BTreeSet<String>,
    /// The Jobs that were run: trial, place and gate.
    pub run: BTreeSet<(TrialId, Place, String)>,
    /// The template is stable's but for a restart.
    pub restart: bool,
    /// What decides nothing.
    pub around: Around,
    /// Who suspends the Rollout, and the others.
    pub fleet: Fleet,
}

impl Cluster {
    /// A cluster at rest: `desired` ready pods of `template`, brought by the branch's only commit.
    pub fn new(now: DateTime<Utc>, template: &str, desired: u32) -> Self {
        let template = Revision::new(template);
        let branch = Branch::new(template.clone());
        Self {
            now,
            applied: branch.tip().map(|tip| tip.revision.clone()),
            branch,
            applying: false,
            exists: true,
            template: template.clone(),
            writer: None,
            known: true,
            deliberate: false,
            desired,
            paused: false,
            gated: true,
            adopted: Some(template.clone()),
            sets: BTreeMap::from([(template, Set::full(desired))]),
            emptied: BTreeSet::new(),
            canary: None,
            handed: false,
            start_up: BTreeMap::new(),
            trouble: BTreeMap::new(),
            written: RouteView::Home,
            accepted: RouteView::Home,
            gateway: true,
            pinned: Pinned::All,
            held: false,
            freed: false,
            controller: true,
            forge: Ok(()),
            revert: None,
            ask: None,
            delivered: Vec::new(),
            gates: BTreeMap::new(),
            jobs: BTreeSet::new(),
            run: BTreeSet::new(),
            restart: false,
            around: Around::default(),
            fleet: Fleet::default(),
        }
    }

    /// Somebody pushes a commit that renders `template`.
    pub fn commit(&mut self, template: &str) {
        self.branch.commit(template);
    }

    /// The GitOps engine applies the tip of the branch.
    pub fn sync(&mut self) {
        let Some(tip) = self.branch.tip().cloned() else { return };
        if self.applied.as_ref() == Some(&tip.revision) && self.writer.is_none() {
            return;
        }
        self.apply(tip);
    }

    /// The GitOps engine has not seen the tip yet and applies again what it knows.
    pub fn reapply(&mut self) {
        let applied = self.applied.as_ref().and_then(|applied| self.branch.find(applied)).cloned();
        if let Some(commit) = applied {
            self.apply(commit);
        }
    }

    fn apply(&mut self, commit: Commit) {
        self.applied = Some(commit.revision);
        self.write_template(commit.template, None);
    }

    /// Anybody writes the template; the gate closes in the same write. What is created is not
    /// gated.
    pub fn write_template(&mut self, template: Revision, writer: Option<&str>) {
        if self.template != template {
            self.template = template;
            self.paused = self.exists && (self.paused || self.gated);
        }
        self.exists = true;
        self.writer = writer.map(str::to_owned);
        self.control();
    }

    /// Somebody deletes the Deployment; its pods go with it, ours do not.
    pub fn delete(&mut self) {
        self.exists = false;
        self.paused = false;
        self.sets.clear();
        self.emptied.clear();
        self.adopted = None;
    }

    /// Time passes: pods become ready, the Deployment controller and the gateway do their work.
    pub fn advance(&mut self, by: TimeDelta) {
        self.now = self.now.checked_add_signed(by).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let ours = self.canary.iter_mut().map(|(_, set)| set);
        for set in ours.chain(self.sets.values_mut()) {
            if set.ready_at.is_some_and(|at| at <= self.now) {
                *set = Set::full(set.desired);
            }
        }
        self.control();
        self.roll();
        self.accept();
    }

    /// The gateway does what the routes say, unless it is down.
    fn accept(&mut self) {
        if self.gateway {
            self.accepted = self.written;
        }
    }

    /// Carries out one effect, as the real adapters would: the end it names, or nothing. A write
    /// to the Deployment that was decided on another template is refused.
    pub fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Settle { keep } => self.settle(keep),
            Effect::Hold => self.held = true,
            Effect::Pin { .. } if self.freed => {}
            Effect::Pin { revision } => self.pinned = Pinned::To(revision.clone()),
            Effect::Unpin => self.pinned = Pinned::All,
            Effect::Raise { revision, replicas } => self.raise(revision, *replicas),
            Effect::Route { weight } => self.write_route(RouteView::Split(*weight)),
            Effect::RouteHome => self.write_route(RouteView::Home),
            Effect::HandOver { revision, replicas } => self.hand_over(revision, *replicas),
            Effect::Retire { revision } => {
                if self.canary.take_if(|(known, _)| known == revision).is_some() {
                    self.handed = false;
                }
            }
            Effect::Restore { revision, over } => {
                if self.exists && self.template == *over {
                    self.template = revision.clone();
                    self.writer = None;
                    self.control();
                }
            }
            Effect::Unpause { revision } => {
                if self.template == *revision {
                    self.paused = false;
                    self.control();
                }
            }
            Effect::Revert(order) => {
                let outcome = match &self.forge {
                    Err(outcome) => outcome.clone(),
                    Ok(()) => self.branch.revert(order),
                };
                self.revert = Some((order.trial.clone(), outcome));
            }
            Effect::Release => {
                if self.pinned != Pinned::NoService {
                    self.pinned = Pinned::All;
                }
                self.write_route(RouteView::Home);
                self.held = false;
            }
            Effect::RunGate(call) => {
                let run = (call.trial.clone(), call.place, call.gate.clone());
                self.run.insert(run);
            }
            Effect::Announce(notice) => {
                if !self.delivered.contains(&notice.id) {
                    self.delivered.push(notice.id);
                }
            }
        }
    }

    fn write_route(&mut self, route: RouteView) {
        self.written = route;
        self.accept();
    }

    fn raise(&mut self, revision: &Revision, replicas: u32) {
        let delay = self.start_up.get(revision).copied();
        let at = delay.and_then(|delay| self.now.checked_add_signed(delay));
        let (known, set) = self.canary.get_or_insert_with(|| (revision.clone(), Set::default()));
        if known == revision && set.desired != replicas {
            set.desired = replicas;
            set.ready_at = at;
        }
    }

    /// What the adapters would see now.
    pub fn observe(&self, state: &State, verdict: Verdict) -> Observed {
        let canary = state.trial.as_ref().map(|trial| &trial.canary);
        let stable = state.stable.as_ref().map(|stable| &stable.revision);
        let trial = state.trial.as_ref().map(|trial| &trial.id);
        let ours = self
            .canary
            .as_ref()
            .filter(|(revision, _)| canary.is_none_or(|canary| canary == revision))
            .map(|(_, set)| set);
        // Who only watches has no set of its own: the Deployment's is what is on trial.
        let watches =
            state.trial.as_ref().is_some_and(|trial| matches!(trial.stage, Stage::Watching { .. }));
        let own = canary.and_then(|canary| self.sets.get(canary));
        let on_trial = if watches { own } else { ours };
        // What was promoted, or bypassed the gate, is stable's.
        let taken = own.filter(|_| !watches && canary != stable);
        Observed {
            is_blind: false,
            workload: self.exists.then(|| self.workload(stable)),
            stable: self.stable_pods(stable),
            canary: self.pods(canary, on_trial),
            taken: self.pods(canary, taken),
            traffic: TrafficView {
                route: (self.written == self.accepted).then_some(self.written),
                pinned: self.pinned.clone(),
                held: self.held,
                freed: self.freed,
            },
            verdict,
            ask: self.ask.clone(),
            revert: self
                .revert
                .as_ref()
                .filter(|(id, _)| Some(id) == trial)
                .map(|(_, outcome)| outcome.clone()),
            delivered: self.delivered.clone(),
            gates: self.asked_gates(state),
            around: self.around.clone(),
            fleet: self.fleet.clone(),
        }
    }

    /// What those say that are waited for.
    fn asked_gates(&self, state: &State) -> BTreeMap<String, GateSeen> {
        let Some(trial) = &state.trial else { return BTreeMap::new() };
        let Some(at) = trial.at_gates() else { return BTreeMap::new() };
        let waiting = at.asked.iter().filter(|asked| asked.answer.is_none());
        let says = |says| GateSeen { says, line: String::new() };
        waiting
            .map(|asked| {
                let run = (trial.id.clone(), at.place, asked.gate.clone());
                let is_run = !self.jobs.contains(&asked.gate) || self.run.contains(&run);
                let seen = match self.gates.get(&asked.gate) {
                    _ if !is_run => says(GateSays::NotRun),
                    Some(seen) => seen.clone(),
                    None => says(GateSays::Open),
                };
                (asked.gate.clone(), seen)
            })
            .collect()
    }

    fn workload(&self, stable: Option<&Revision>) -> Workload {
        Workload {
            template: self.template.clone(),
            desired: self.desired,
            surge: self.surge(),
            paused: self.paused,
            deployed: self.deployed(),
            settled: self.sets.keys().all(|set| Some(set) == stable),
            adopted: self.adopted.clone(),
            deliberate: self.deliberate,
            restart: self.restart,
        }
    }

    fn deployed(&self) -> Deployed {
        match (&self.writer, &self.applied) {
            (Some(writer), _) => Deployed::OutOfBand { writer: Some(writer.clone()) },
            (None, Some(revision)) if self.known => {
                Deployed::Git { revision: revision.clone(), applied: !self.applying }
            }
            (None, _) => Deployed::Unknown,
        }
    }

    fn stable_pods(&self, stable: Option<&Revision>) -> Pods {
        let pods = self.pods(stable, stable.and_then(|stable| self.sets.get(stable)));
        let is_empty = stable.is_some_and(|stable| self.emptied.contains(stable));
        Pods { exists: pods.exists || is_empty, ..pods }
    }

    fn pods(&self, revision: Option<&Revision>, set: Option<&Set>) -> Pods {
        let Some(set) = set else { return Pods::default() };
        Pods {
            exists: true,
            desired: set.desired,
            ready: set.ready,
            trouble: revision.and_then(|revision| self.trouble.get(revision)).cloned(),
        }
    }
}
