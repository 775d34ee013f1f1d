//! Two controllers believe to be the leader: their turns interleave at every seam, a record
//! succeeds only on the state it was decided on, a write only on the object it was decided on.

use chrono::TimeDelta;
use proptest::prelude::*;
use tidegate_engine::Decision;
use tidegate_engine::effect::Effect;
use tidegate_engine::sim::Cluster;

use crate::arbitrary::cases;
use crate::crash::STORIES;
use crate::world::World;

/// How far one leader is in its turn.
#[derive(Default)]
enum Leader {
    /// About to look.
    #[default]
    Idle,
    /// Has decided on the state of this version.
    Decided { version: u64, decision: Box<Decision>, saw: [String; 3] },
    /// Has recorded; these effects are still to be carried out.
    Acting { effects: Vec<Effect>, saw: [String; 3] },
}

/// What each kind of write is decided on: the resource versions of the real objects.
fn versions(cluster: &Cluster) -> [String; 3] {
    [
        format!("{:?} {:?} {}", cluster.pinned, cluster.written, cluster.held),
        format!(
            "{} {} {:?} {}",
            cluster.template, cluster.paused, cluster.adopted, cluster.desired
        ),
        format!("{:?}", cluster.canary.as_ref().map(|(revision, set)| (revision, set.desired))),
    ]
}

fn is_current(effect: &Effect, saw: &[String; 3], now: &[String; 3]) -> bool {
    match effect {
        Effect::Hold
        | Effect::Pin { .. }
        | Effect::Unpin
        | Effect::Route { .. }
        | Effect::RouteHome
        | Effect::Release => saw[0] == now[0],
        Effect::HandOver { .. } => saw == now,
        Effect::Restore { .. } | Effect::Unpause { .. } | Effect::Settle { .. } => saw[1] == now[1],
        Effect::Raise { .. } | Effect::Retire { .. } => saw[2] == now[2],
        Effect::Revert(_) | Effect::RunGate(_) | Effect::Announce(_) => true,
    }
}

fn step(leader: &mut Leader, world: &mut World, version: &mut u64) {
    *leader = match std::mem::take(leader) {
        Leader::Idle => {
            let saw = versions(&world.cluster);
            Leader::Decided { version: *version, decision: Box::new(world.look()), saw }
        }
        Leader::Decided { version: decided_on, decision, saw } if decided_on == *version => {
            *version += 1;
            world.state = decision.next;
            Leader::Acting { effects: decision.effects, saw }
        }
        Leader::Decided { .. } => Leader::Idle,
        Leader::Acting { mut effects, mut saw } => {
            if effects.is_empty() {
                return;
            }
            let effect = effects.remove(0);
            if !is_current(&effect, &saw, &versions(&world.cluster)) {
                return; // a conflict: looks again
            }
            world.cluster.carry_out(&effect);
            saw = versions(&world.cluster);
            Leader::Acting { effects, saw }
        }
    };
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn two_leaders_come_to_the_same_end(
        story in 0..STORIES.len(),
        schedule in proptest::collection::vec((0_u8..5, 0_u8..8), 100..1500),
    ) {
        let story = STORIES[story];
        let mut world = story.begin();
        let (mut one, mut other, mut version) = (Leader::Idle, Leader::Idle, 0);
        for (who, tick) in schedule {
            story.happen(&mut world);
            let leader = if who < 3 { &mut one } else { &mut other };
            step(leader, &mut world, &mut version);
            if tick == 0 {
                world.cluster.advance(TimeDelta::seconds(1));
            }
        }
        drop((one, other));
        story.expect(&story.finish(world));
    }
}
