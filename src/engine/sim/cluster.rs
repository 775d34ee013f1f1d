//! A toy cluster that obeys effects: one Deployment, its Services and routes, a branch, and an
//! engine that applies the branch. It keeps to the rules of the real ones that matter to the
//! machine: a gated Deployment does not roll out, a revert is a commit, a hand-over needs a full
//! canary.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::effect::{Effect, RevertOrder, RevertOutcome};
use crate::judge::Verdict;
use crate::observed::{
    Ask, Deployed, Observed, Pinned, Pods, RouteView, TrafficView, Trouble, Workload,
};
use crate::plan::{Traffic, Weight};
use crate::state::{GitRevision, Revision, State, TrialId};

/// One commit of the branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub revision: GitRevision,
    /// The template it renders.
    pub template: Revision,
    /// The trial whose revert it is.
    pub trial: Option<TrialId>,
}

/// The pods of one template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Pods asked for.
    pub desired: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// The Deployment owns it; a canary's set is ours until the hand-over.
    pub owned: bool,
    /// When the pods asked for last will be ready.
    pub ready_at: Option<DateTime<Utc>>,
}

/// A toy cluster. All fields are public: a test breaks whatever it wants to see broken.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch a test turns by name")]
pub struct Cluster {
    /// Virtual time.
    pub now: DateTime<Utc>,
    /// The branch, oldest first.
    pub branch: Vec<Commit>,
    /// The revision the engine applied last.
    pub applied: Option<GitRevision>,
    /// The Deployment's template.
    pub template: Revision,
    /// Who wrote the template past Git, if somebody did.
    pub writer: Option<String>,
    /// Pods the Deployment wants.
    pub desired: u32,
    /// The Deployment does not roll out.
    pub paused: bool,
    /// A changed template is paused in the same write.
    pub gated: bool,
    /// The revision the Deployment controller took as its newest.
    pub adopted: Option<Revision>,
    /// Pods by template.
    pub sets: BTreeMap<Revision, Set>,
    /// How long pods of a template take to be ready; absent: they never are.
    pub start_up: BTreeMap<Revision, TimeDelta>,
    /// What is wrong with the pods of a template.
    pub trouble: BTreeMap<Revision, Trouble>,
    /// What the routes say; `None` while the gateway does not accept.
    pub route: Option<RouteView>,
    /// The gateway accepts what it is told.
    pub gateway: bool,
    /// Whose pods the Services select.
    pub pinned: Pinned,
    /// Our hold is on.
    pub held: bool,
    /// The Deployment controller is there to take pods over.
    pub controller: bool,
    /// The forge answers.
    pub forge: Result<(), RevertOutcome>,
    /// The answer to the last revert order.
    pub revert: Option<(TrialId, RevertOutcome)>,
    /// What a person wants.
    pub ask: Option<Ask>,
    /// Notices that were delivered, by id.
    pub delivered: Vec<u64>,
}

impl Cluster {
    /// A cluster at rest: `desired` ready pods of `template`, brought by the branch's only commit.
    pub fn new(now: DateTime<Utc>, template: &str, desired: u32) -> Self {
        let template = Revision::new(template);
        let revision = GitRevision::new("c0");
        let set = Set { desired, ready: desired, owned: true, ready_at: None };
        Self {
            now,
            branch: vec![Commit {
                revision: revision.clone(),
                template: template.clone(),
                trial: None,
            }],
            applied: Some(revision),
            template: template.clone(),
            writer: None,
            desired,
            paused: false,
            gated: true,
            adopted: Some(template.clone()),
            sets: BTreeMap::from([(template, set)]),
            start_up: BTreeMap::new(),
            trouble: BTreeMap::new(),
            route: Some(RouteView::Home),
            gateway: true,
            pinned: Pinned::All,
            held: false,
            controller: true,
            forge: Ok(()),
            revert: None,
            ask: None,
            delivered: Vec::new(),
        }
    }

    /// Somebody pushes a commit that renders `template`.
    pub fn commit(&mut self, template: &str) {
        let revision = GitRevision::new(format!("c{}", self.branch.len()));
        self.branch.push(Commit { revision, template: Revision::new(template), trial: None });
    }

    /// The GitOps engine applies the tip of the branch.
    pub fn sync(&mut self) {
        let Some(tip) = self.branch.last().cloned() else { return };
        if self.applied.as_ref() == Some(&tip.revision) {
            return;
        }
        self.applied = Some(tip.revision);
        self.write_template(tip.template, None);
    }

    /// Anybody writes the template; the gate closes in the same write.
    pub fn write_template(&mut self, template: Revision, writer: Option<&str>) {
        if self.template != template {
            self.template = template;
            self.paused = self.paused || self.gated;
        }
        self.writer = writer.map(str::to_owned);
        self.roll_out();
    }

    /// Time passes: pods become ready.
    pub fn advance(&mut self, by: TimeDelta) {
        self.now += by;
        for set in self.sets.values_mut() {
            if set.ready_at.is_some_and(|at| at <= self.now) {
                set.ready = set.desired;
                set.ready_at = None;
            }
        }
    }

    /// The Deployment controller: an unpaused Deployment runs its template and nothing else.
    fn roll_out(&mut self) {
        if self.paused {
            return;
        }
        let template = self.template.clone();
        self.sets.retain(|revision, set| *revision == template || !set.owned);
        let desired = self.desired;
        let set = self.sets.entry(template.clone()).or_default();
        set.desired = desired;
        set.ready = desired;
        set.owned = true;
        set.ready_at = None;
        self.adopted = Some(template);
    }

    /// Carries out one effect, as the real adapters would: the end it names, or nothing.
    pub fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Settle { keep } => self.sets.retain(|revision, _| revision == keep),
            Effect::Hold => self.held = true,
            Effect::Pin { revision } => self.pinned = Pinned::To(revision.clone()),
            Effect::Unpin => self.pinned = Pinned::All,
            Effect::Raise { revision, replicas } => self.raise(revision, *replicas),
            Effect::Route { weight } => {
                self.route = self.gateway.then_some(RouteView::Split(*weight));
            }
            Effect::RouteHome => self.route = self.gateway.then_some(RouteView::Home),
            Effect::HandOver { revision } => self.hand_over(revision),
            Effect::Retire { revision } => {
                self.sets.remove(revision);
            }
            Effect::Restore { revision } => {
                self.template = revision.clone();
                self.writer = None;
            }
            Effect::Unpause => {
                self.paused = false;
                self.roll_out();
            }
            Effect::Revert(order) => self.revert(order),
            Effect::Release => {
                self.held = false;
                self.pinned = Pinned::All;
                self.route = Some(RouteView::Home);
                self.paused = false;
                self.roll_out();
            }
            Effect::Announce(notice) => {
                if !self.delivered.contains(&notice.id) {
                    self.delivered.push(notice.id);
                }
            }
        }
    }

    fn raise(&mut self, revision: &Revision, replicas: u32) {
        let start_up = self.start_up.get(revision).copied();
        let at = start_up.map(|delay| self.now + delay);
        let set = self.sets.entry(revision.clone()).or_default();
        if set.desired != replicas {
            set.desired = replicas;
            set.ready_at = at;
        }
    }

    fn hand_over(&mut self, revision: &Revision) {
        let full = self
            .sets
            .get(revision)
            .is_some_and(|set| set.ready >= self.desired && set.desired == self.desired);
        if self.controller && full && self.template == *revision {
            self.adopted = Some(revision.clone());
            self.sets.retain(|known, _| known == revision);
            if let Some(set) = self.sets.get_mut(revision) {
                set.owned = true;
            }
        }
    }

    fn revert(&mut self, order: &RevertOrder) {
        let outcome = match &self.forge {
            Err(outcome) => outcome.clone(),
            Ok(()) => self.push_revert(order),
        };
        self.revert = Some((order.trial.clone(), outcome));
    }

    fn push_revert(&mut self, order: &RevertOrder) -> RevertOutcome {
        let template_at = |revision: &GitRevision| {
            self.branch.iter().find(|commit| commit.revision == *revision).cloned()
        };
        if let Some(ours) =
            self.branch.iter().find(|commit| commit.trial.as_ref() == Some(&order.trial))
        {
            return RevertOutcome::Pushed { commit: ours.revision.clone() };
        }
        let (Some(good), Some(bad)) = (template_at(&order.good), template_at(&order.bad)) else {
            return RevertOutcome::NotOnBranch;
        };
        let Some(tip) = self.branch.last() else { return RevertOutcome::NotOnBranch };
        if tip.template == good.template {
            return RevertOutcome::AlreadyReverted { tip: tip.revision.clone() };
        }
        if tip.template != bad.template {
            return RevertOutcome::Conflict { paths: order.paths.clone() };
        }
        let revision = GitRevision::new(format!("c{}", self.branch.len()));
        self.branch.push(Commit {
            revision: revision.clone(),
            template: good.template,
            trial: Some(order.trial.clone()),
        });
        RevertOutcome::Pushed { commit: revision }
    }

    /// What the adapters would see now.
    pub fn observe(&self, state: &State, verdict: Verdict) -> Observed {
        let canary = state.trial.as_ref().map(|trial| &trial.canary);
        let stable = state.stable.as_ref().map(|stable| &stable.revision);
        let trial = state.trial.as_ref().map(|trial| &trial.id);
        Observed {
            workload: Some(Workload {
                template: self.template.clone(),
                desired: self.desired,
                paused: self.paused,
                deployed: self.deployed(),
                settled: self.sets.keys().all(|set| Some(set) == stable || Some(set) == canary),
                adopted: self.adopted.clone(),
                deliberate: false,
            }),
            stable: self.pods(stable),
            canary: self.pods(canary.filter(|canary| Some(*canary) != stable)),
            traffic: TrafficView {
                route: self.route,
                pinned: self.pinned.clone(),
                held: self.held,
            },
            verdict,
            ask: self.ask.clone(),
            revert: self
                .revert
                .as_ref()
                .filter(|(id, _)| Some(id) == trial)
                .map(|(_, outcome)| outcome.clone()),
            delivered: self.delivered.clone(),
        }
    }

    fn deployed(&self) -> Deployed {
        match (&self.writer, &self.applied) {
            (Some(writer), _) => Deployed::OutOfBand { writer: Some(writer.clone()) },
            (None, Some(revision)) => Deployed::Git { revision: revision.clone(), applied: true },
            (None, None) => Deployed::Unknown,
        }
    }

    fn pods(&self, revision: Option<&Revision>) -> Pods {
        let Some(revision) = revision else { return Pods::default() };
        let Some(set) = self.sets.get(revision) else { return Pods::default() };
        Pods {
            exists: true,
            desired: set.desired,
            ready: set.ready,
            trouble: self.trouble.get(revision).cloned(),
        }
    }

    /// The share of requests that reaches a revision, 0 to 1, as a client would see it.
    pub fn share(&self, revision: &Revision, traffic: Traffic) -> f64 {
        let ready = |revision: &Revision| self.sets.get(revision).map_or(0, |set| set.ready);
        let of_service = match &self.pinned {
            Pinned::To(pinned) => f64::from(u8::from(pinned == revision)),
            Pinned::All | Pinned::Mixed => {
                let all: u32 = self.sets.values().map(|set| set.ready).sum();
                if all == 0 { 0.0 } else { f64::from(ready(revision)) / f64::from(all) }
            }
        };
        match self.route {
            Some(RouteView::Split(weight)) if traffic == Traffic::Routes => {
                let w = f64::from(weight.percent()) / 100.0;
                // The canary's own Service selects the trial's set: never stable's.
                let canary = !self.is_stable(revision);
                (1.0 - w) * of_service + if canary { w } else { 0.0 }
            }
            _ => of_service,
        }
    }

    fn is_stable(&self, revision: &Revision) -> bool {
        self.adopted.as_ref() == Some(revision)
    }

    /// The canary's weight as the routes say it.
    pub fn weight(&self) -> Weight {
        match self.route {
            Some(RouteView::Split(weight)) => weight,
            Some(RouteView::Home) | None => Weight::ZERO,
        }
    }
}
