//! The controller dies in the middle of any turn, after any number of effects, with its decision
//! written down or not: the end is the same, with one revert at most.

use chrono::TimeDelta;
use tidegate_engine::judge::Verdict;
use tidegate_engine::plan::Traffic;
use tidegate_engine::state::{Phase, Revision};

use crate::command::fail;
use crate::invariants::all_is_stable;
use crate::world::{World, steps};

/// A story without faults: when what happens, in seconds, and for how long it runs.
#[derive(Clone, Copy)]
pub(crate) struct Story {
    traffic: Traffic,
    bad: bool,
}

pub(crate) const STORIES: [Story; 6] = [
    Story { traffic: Traffic::Routes, bad: true },
    Story { traffic: Traffic::Routes, bad: false },
    Story { traffic: Traffic::Pods, bad: true },
    Story { traffic: Traffic::Pods, bad: false },
    Story { traffic: Traffic::Switch, bad: true },
    Story { traffic: Traffic::Switch, bad: false },
];

const LENGTH: i64 = 260;

impl Story {
    pub(crate) fn begin(self) -> World {
        let mut world = World::at_rest();
        world.plan.traffic = self.traffic;
        world.plan.steps = steps(self.traffic);
        world.cluster.commit("v2");
        world.cluster.sync();
        world
    }

    /// What happens at this second, whatever the controller does.
    pub(crate) fn happen(self, world: &mut World) {
        let second = (world.cluster.now - world.start).num_seconds();
        let (bad_at, good_at) = (50, 20);
        if self.bad && second >= bad_at {
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

    pub(crate) fn expect(self, end: &End) {
        if self.bad {
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
