//! The controller dies in the middle of any turn, after any number of effects, with its decision
//! written down or not: the end is the same, with one revert at most.

use chrono::TimeDelta;
use tidegate_engine::judge::Verdict;
use tidegate_engine::plan::{PromoteBy, Traffic};
use tidegate_engine::state::{Phase, Revision};

use crate::command::fail;
use crate::invariants::all_is_stable;
use crate::world::{World, steps, surge_steps};

/// A story without faults: when what happens, in seconds, and for how long it runs.
#[derive(Clone, Copy)]
pub(crate) struct Story {
    traffic: Traffic,
    promotion: PromoteBy,
    /// The second from which on it does harm.
    bad: Option<i64>,
}

impl Story {
    const fn new(traffic: Traffic, bad: Option<i64>) -> Self {
        Self { traffic, promotion: PromoteBy::HandOver, bad }
    }

    const fn surge(traffic: Traffic, bad: Option<i64>) -> Self {
        Self { traffic, promotion: PromoteBy::Surge, bad }
    }
}

pub(crate) const STORIES: [Story; 12] = [
    Story::new(Traffic::Routes, Some(50)),
    Story::new(Traffic::Routes, None),
    Story::new(Traffic::Pods, Some(50)),
    Story::new(Traffic::Pods, None),
    Story::new(Traffic::Switch, Some(50)),
    Story::new(Traffic::Switch, None),
    // In a step, in the rolling update, and when that is complete.
    Story::surge(Traffic::Routes, Some(50)),
    Story::surge(Traffic::Routes, Some(ROLLS)),
    Story::surge(Traffic::Routes, Some(ROLLED)),
    Story::surge(Traffic::Routes, None),
    Story::surge(Traffic::Pods, Some(ROLLS)),
    Story::surge(Traffic::Pods, None),
];

/// A second at which the Deployment rolls out, and one at which it has.
const ROLLS: i64 = 80;
const ROLLED: i64 = 105;
const LENGTH: i64 = 260;

impl Story {
    pub(crate) fn begin(self) -> World {
        let mut world = World::at_rest();
        world.plan.traffic = self.traffic;
        world.plan.promotion = self.promotion;
        world.plan.steps = match self.promotion {
            PromoteBy::HandOver => steps(self.traffic),
            PromoteBy::Surge => surge_steps(),
        };
        world.cluster.commit("v2");
        world.cluster.sync();
        world
    }

    /// What happens at this second, whatever the controller does.
    pub(crate) fn happen(self, world: &mut World) {
        let second = (world.cluster.now - world.start).num_seconds();
        let good_at = 20;
        if self.bad.is_some_and(|bad_at| second >= bad_at) {
            world.verdicts.insert(Revision::new("v2"), fail("errors: 40/120 (33 %)"));
        } else if second >= good_at {
            world.verdicts.insert(Revision::new("v2"), Verdict::Pass);
        }
    }

    /// To the end: what there is then must be the same however one came there.
    pub(crate) fn finish(self, mut world: World) -> End {
        while world.cluster.now < world.start + TimeDelta::seconds(LENGTH) {
            self.happen(&mut world);
            let _ = world.turn();
            everybody_is_served(&world);
            self.there_is_room(&world);
            world.cluster.advance(TimeDelta::seconds(1));
        }
        world.and_then_nothing_happens();
        all_is_stable(&world.plan, &world.state, &world.cluster);
        let branch = world.cluster.branch.commits();
        End {
            phase: world.state.phase(),
            serves: world.state.stable.as_ref().unwrap().revision.clone(),
            branch: branch.iter().map(|commit| commit.template.to_string()).collect(),
            reverts: branch.iter().filter(|commit| commit.trial.is_some()).count(),
        }
    }

    /// By Surge: never more pods than in a rolling update, never fewer that serve.
    fn there_is_room(self, world: &World) {
        if self.promotion != PromoteBy::Surge {
            return;
        }
        let cluster = &world.cluster;
        let ours = cluster.canary.as_ref().map(|(_, set)| set);
        let all: u32 = cluster.sets.values().chain(ours).map(|set| set.desired).sum();
        let serving: u32 = cluster.sets.values().map(|set| set.ready).sum();
        let most = cluster.desired + cluster.surge();
        assert!(all <= most, "{all} pods in {:?}", world.state.trial);
        assert!(serving >= cluster.desired, "{serving} serve in {:?}", world.state.trial);
    }

    pub(crate) fn expect(self, end: &End) {
        if self.bad.is_some() {
            assert_eq!((end.phase, end.serves.as_str()), (Phase::Aborted, "v1"));
            assert_eq!((end.branch.join(" ").as_str(), end.reverts), ("v1 v2 v1", 1));
        } else {
            assert_eq!((end.phase, end.serves.as_str()), (Phase::Idle, "v2"));
            assert_eq!((end.branch.join(" ").as_str(), end.reverts), ("v1 v2", 0));
        }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) phase: Phase,
    pub(crate) serves: Revision,
    pub(crate) branch: Vec<String>,
    pub(crate) reverts: usize,
}

/// No request goes to nobody.
pub(crate) fn everybody_is_served(world: &World) {
    let shares = world.cluster.shares(world.plan.traffic);
    let all: f64 = shares.values().sum();
    assert!((all - 1.0).abs() < 1e-9, "{shares:?} in {:?}", world.state.trial);
}

#[test]
fn a_crash_anywhere_changes_nothing() {
    let mut crashes = 0;
    for story in STORIES {
        let mut world = story.begin();
        story.expect(&story.finish(world.clone()));
        while world.cluster.now < world.start + TimeDelta::seconds(LENGTH) {
            story.happen(&mut world);
            let before = world.clone();
            let decision = world.turn();
            let acts = decision.effects.len();
            if acts > 0 || decision.next.phase() != before.state.phase() {
                for done in 0..=acts {
                    for recorded in [true, false] {
                        let mut crashed = before.clone();
                        for effect in decision.effects.iter().take(done) {
                            crashed.cluster.carry_out(effect);
                            everybody_is_served(&crashed);
                        }
                        if recorded {
                            crashed.state = decision.next.clone();
                        }
                        story.expect(&story.finish(crashed));
                        crashes += 1;
                    }
                }
            }
            world.cluster.advance(TimeDelta::seconds(1));
        }
    }
    assert!(crashes > 250, "only {crashes} crashes were tried");
}
