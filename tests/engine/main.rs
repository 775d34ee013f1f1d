//! The machine, told as stories and held to its invariants.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod world;

use chrono::TimeDelta;
use tidegate_engine::judge::{Failure, Lane, Verdict};
use tidegate_engine::state::Phase;
use world::World;

fn fail() -> Verdict {
    Verdict::Fail(Failure {
        lane: Lane::Guard,
        metric: "errors".to_owned(),
        message: "errors: canary 40/120 (33 %) above the limit of 5 %".to_owned(),
    })
}

#[test]
fn a_bad_release_is_reverted_and_a_good_one_promoted() {
    let mut world = World::new();
    world.run_for(TimeDelta::seconds(10));
    world.cluster.commit("v2");
    world.cluster.sync();
    world.run_for(TimeDelta::seconds(20));
    world.verdict = fail();
    world.run_for(TimeDelta::seconds(120));
    assert_eq!(world.cluster.branch.len(), 3);
    // The engine has not synced the revert: its revision is still the bad one, the template ours.
    assert_eq!(world.state.stable.as_ref().unwrap().git.as_ref().unwrap().as_str(), "c0");
    assert_eq!(world.state.phase(), Phase::Aborted);
    world.cluster.sync();
    world.verdict = Verdict::Pass;
    world.cluster.commit("v3");
    world.cluster.sync();
    world.run_for(TimeDelta::seconds(900));
    assert_eq!(world.state.phase(), Phase::Idle);
    assert_eq!(world.state.stable.as_ref().unwrap().revision.as_str(), "v3");
    world.and_then_nothing_happens();
}
