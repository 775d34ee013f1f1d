//! Drives the machine over the toy cluster in virtual time, and holds every turn to the
//! invariants.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::effect::Effect;
use tidegate_engine::judge::{Analysis, Criterion, Kind, Ratio, Verdict};
use tidegate_engine::plan::{
    GitPlan, GitWrite, Limits, Mode, OnFailure, OnInconclusive, OnLowTraffic, OnRestart, Plan,
    PromoteBy, Step, Traffic, Weight,
};
use tidegate_engine::sim::Cluster;
use tidegate_engine::state::{Revision, State};
use tidegate_engine::windows::Windows;
use tidegate_engine::{Decision, decide};

use crate::invariants::{Watch, check_world};

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) state: State,
    pub(crate) cluster: Cluster,
    /// What the judge says of each canary; `NeedMoreData` of those not named.
    pub(crate) verdicts: BTreeMap<Revision, Verdict>,
    pub(crate) watch: Watch,
    pub(crate) start: DateTime<Utc>,
}

/// The only place that knows what an `Analysis` is made of.
pub(crate) fn analysis(measured: bool) -> Analysis {
    let criterion =
        Criterion { name: "errors".to_owned(), weight: None, kind: Kind::Ratio(Ratio::ERRORS) };
    let criteria = if measured { vec![criterion] } else { Vec::new() };
    Analysis { criteria, ..Analysis::default() }
}

pub(crate) fn weight(percent: u8, seconds: i64) -> Step {
    Step::Weight { weight: Weight::new(percent).unwrap(), bake: TimeDelta::seconds(seconds) }
}

pub(crate) fn steps(traffic: Traffic) -> Vec<Step> {
    match traffic {
        Traffic::Routes | Traffic::Pods => vec![weight(10, 30), weight(50, 30), weight(100, 30)],
        Traffic::Switch => vec![weight(0, 30), weight(100, 30)],
    }
}

/// The same where the Deployment rolls the rest out.
pub(crate) fn surge_steps() -> Vec<Step> {
    vec![weight(10, 30), weight(25, 30)]
}

pub(crate) fn plan() -> Plan {
    Plan {
        rollout: "shop/web".to_owned(),
        uid: "u1".to_owned(),
        mode: Mode::Enforce,
        class: None,
        max_trials: None,
        traffic: Traffic::Routes,
        promotion: PromoteBy::HandOver,
        steps: steps(Traffic::Routes),
        analysis: analysis(true),
        on_failure: OnFailure::Revert,
        on_inconclusive: OnInconclusive::Pause,
        on_low_traffic: OnLowTraffic::Pause,
        on_restart: OnRestart::Pass,
        windows: Windows::default(),
        gates: Vec::new(),
        limits: Limits::default(),
        git: Some(git()),
    }
}

pub(crate) fn git() -> GitPlan {
    GitPlan {
        repository: "fleet".to_owned(),
        branch: "main".to_owned(),
        paths: vec!["apps/web".to_owned()],
        write: GitWrite::Push,
    }
}

pub(crate) fn start() -> DateTime<Utc> {
    DateTime::<Utc>::from_timestamp(1_800_000_000, 0).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        let mut cluster = Cluster::new(start(), "v1", 4);
        for revision in 1..=9 {
            let revision = Revision::new(format!("v{revision}"));
            cluster.start_up.insert(revision, TimeDelta::seconds(3));
        }
        Self {
            plan: plan(),
            state: State::default(),
            cluster,
            verdicts: BTreeMap::new(),
            watch: Watch::default(),
            start: start(),
        }
    }

    /// A world that has seen its baseline and is at rest.
    pub(crate) fn at_rest() -> Self {
        let mut world = Self::new();
        let _ = world.turn();
        world
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let canary = self.state.trial.as_ref().map(|trial| &trial.canary);
        canary.and_then(|canary| self.verdicts.get(canary)).cloned().unwrap_or_else(more)
    }

    /// Looks and decides, and holds the decision to the invariants.
    pub(crate) fn look(&mut self) -> Decision {
        let seen = self.cluster.observe(&self.state, self.verdict());
        let decision = decide(&self.plan, &self.state, &seen, self.cluster.now);
        self.watch.check(&self.plan, &self.state, &seen, &decision, self.cluster.now);
        decision
    }

    /// One turn of the controller: look, decide, write down, act.
    pub(crate) fn turn(&mut self) -> Decision {
        let decision = self.look();
        self.state = decision.next.clone();
        for effect in &decision.effects {
            self.carry_out(effect);
        }
        decision
    }

    pub(crate) fn carry_out(&mut self, effect: &Effect) {
        self.cluster.carry_out(effect);
        check_world(&self.plan, &self.state, &self.cluster);
    }

    pub(crate) fn run_for(&mut self, time: TimeDelta) {
        let end = self.cluster.now + time;
        while self.cluster.now < end {
            let _ = self.turn();
            self.cluster.advance(TimeDelta::seconds(1));
        }
    }

    /// One full turn after another without time passing, until nothing changes any more.
    pub(crate) fn settle(&mut self) -> Decision {
        for _ in 0..30 {
            let (state, cluster) = (self.state.clone(), format!("{:?}", self.cluster));
            let decision = self.turn();
            if self.state == state && format!("{:?}", self.cluster) == cluster {
                return decision;
            }
        }
        panic!("no fixed point: {:?}", self.state);
    }

    pub(crate) fn and_then_nothing_happens(&mut self) {
        let _ = self.settle();
        for _ in 0..60 {
            let before = self.state.clone();
            let decision = self.turn();
            assert_eq!(decision.effects, vec![], "{}", decision.message);
            assert_eq!(before, self.state);
            self.cluster.advance(TimeDelta::minutes(1));
        }
    }
}

pub(crate) fn more() -> Verdict {
    Verdict::NeedMoreData { eta: None, metric: "errors".to_owned() }
}

pub(crate) fn show(effect: &Effect) -> String {
    match effect {
        Effect::Settle { keep } => format!("Settle({keep})"),
        Effect::Hold => "Hold".to_owned(),
        Effect::Pin { revision } => format!("Pin({revision})"),
        Effect::Unpin => "Unpin".to_owned(),
        Effect::Raise { revision, replicas } => format!("Raise({revision} {replicas})"),
        Effect::Route { weight } => format!("Route({weight})"),
        Effect::RouteHome => "RouteHome".to_owned(),
        Effect::HandOver { revision, .. } => format!("HandOver({revision})"),
        Effect::Retire { revision } => format!("Retire({revision})"),
        Effect::Restore { revision, over } => format!("Restore({revision} over {over})"),
        Effect::Unpause { revision } => format!("Unpause({revision})"),
        Effect::Revert(order) => format!("Revert({}..{})", order.good, order.bad),
        Effect::Release => "Release".to_owned(),
        Effect::RunGate(call) => format!("RunGate({} at {:?})", call.gate, call.place),
        Effect::Announce(notice) => {
            format!("Announce({:?} {})", notice.severity, notice.reason)
        }
    }
}
