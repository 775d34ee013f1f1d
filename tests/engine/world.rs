//! Drives the machine over the toy cluster in virtual time.

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::effect::Effect;
use tidegate_engine::judge::{Analysis, Verdict};
use tidegate_engine::plan::{
    GitPlan, GitWrite, Limits, Mode, OnFailure, OnInconclusive, OnLowTraffic, Plan, Step, Traffic,
    Weight,
};
use tidegate_engine::sim::Cluster;
use tidegate_engine::state::{Revision, State};
use tidegate_engine::{Decision, decide};

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) state: State,
    pub(crate) cluster: Cluster,
    pub(crate) verdict: Verdict,
    /// One line for every change of stage, reason or effect.
    pub(crate) story: Vec<String>,
    start: DateTime<Utc>,
}

pub(crate) fn plan() -> Plan {
    let weight = |percent, seconds| Step::Weight {
        weight: Weight::new(percent).unwrap(),
        bake: TimeDelta::seconds(seconds),
    };
    Plan {
        rollout: "shop/web".to_owned(),
        uid: "u1".to_owned(),
        mode: Mode::Enforce,
        traffic: Traffic::Routes,
        steps: vec![weight(10, 30), weight(50, 30), weight(100, 30)],
        analysis: Analysis { criteria: Vec::new(), ..Analysis::default() },
        on_failure: OnFailure::Revert,
        on_inconclusive: OnInconclusive::Pause,
        on_low_traffic: OnLowTraffic::Pause,
        limits: Limits::default(),
        git: Some(GitPlan {
            repository: "fleet".to_owned(),
            branch: "main".to_owned(),
            paths: vec!["apps/web".to_owned()],
            write: GitWrite::Push,
        }),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let start = DateTime::<Utc>::from_timestamp(1_800_000_000, 0).unwrap();
        let mut cluster = Cluster::new(start, "v1", 4);
        for revision in ["v1", "v2", "v3", "v4"] {
            cluster.start_up.insert(Revision::new(revision), TimeDelta::seconds(3));
        }
        Self {
            plan: plan(),
            state: State::default(),
            cluster,
            verdict: Verdict::NeedMoreData { eta: None, metric: "errors".to_owned() },
            story: Vec::new(),
            start,
        }
    }

    /// One turn of the controller: look, decide, write down, act.
    pub(crate) fn turn(&mut self) -> Decision {
        let seen = self.cluster.observe(&self.state, self.verdict.clone());
        let decision = decide(&self.plan, &self.state, &seen, self.cluster.now);
        let changed = decision.next.phase() != self.state.phase();
        if changed || !decision.effects.is_empty() {
            let at = (self.cluster.now - self.start).num_seconds();
            let effects: Vec<_> = decision.effects.iter().map(show).collect();
            self.story.push(format!(
                "{at:>4}s {:?} {} [{}] {}",
                decision.next.phase(),
                decision.reason,
                effects.join(" "),
                decision.message
            ));
        }
        self.state = decision.next.clone();
        for effect in &decision.effects {
            self.cluster.carry_out(effect);
        }
        decision
    }

    pub(crate) fn run_for(&mut self, time: TimeDelta) {
        let end = self.cluster.now + time;
        while self.cluster.now < end {
            let _ = self.turn();
            self.cluster.advance(TimeDelta::seconds(1));
        }
    }

    pub(crate) fn and_then_nothing_happens(&mut self) {
        for _ in 0..60 {
            let before = self.state.clone();
            let decision = self.turn();
            assert_eq!(decision.effects, vec![], "{}", decision.message);
            assert_eq!(before, self.state);
            self.cluster.advance(TimeDelta::minutes(1));
        }
    }
}

pub(crate) fn show(effect: &Effect) -> String {
    match effect {
        Effect::Settle { .. } => "Settle".to_owned(),
        Effect::Hold => "Hold".to_owned(),
        Effect::Pin { revision } => format!("Pin({revision})"),
        Effect::Unpin => "Unpin".to_owned(),
        Effect::Raise { revision, replicas } => format!("Raise({revision} {replicas})"),
        Effect::Route { weight } => format!("Route({weight})"),
        Effect::RouteHome => "RouteHome".to_owned(),
        Effect::HandOver { revision } => format!("HandOver({revision})"),
        Effect::Retire { revision } => format!("Retire({revision})"),
        Effect::Restore { revision } => format!("Restore({revision})"),
        Effect::Unpause => "Unpause".to_owned(),
        Effect::Revert(order) => format!("Revert({}..{})", order.good, order.bad),
        Effect::Release => "Release".to_owned(),
        Effect::Announce(notice) => format!("Announce({})", notice.reason),
    }
}
