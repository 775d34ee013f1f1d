//! Random plans, random worlds: the invariants hold at every turn, and after healing the rollout
//! comes to rest and stays there.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use tidegate_engine::decide;
use tidegate_engine::effect::{Effect, RevertOutcome};
use tidegate_engine::fleet::{Fleet, Member, Slot};
use tidegate_engine::judge::{Unclear, Verdict};
use tidegate_engine::observed::{Ask, GateSeen, Trouble, TroubleKind, What};
use tidegate_engine::plan::{
    GateKind, Mode, OnFailure, OnInconclusive, OnLowTraffic, Plan, PromoteBy, Step, Traffic, Weight,
};
use tidegate_engine::sim::Cluster;
use tidegate_engine::state::{Failed, Phase, Revision, State};

use crate::arbitrary::{self, GATES, cases};
use crate::command::fail;
use crate::invariants::{all_is_stable, never_open_to_the_unjudged};
use crate::world::{World, analysis, git, more, plan, weight};

/// What may happen to a world between two turns.
#[derive(Clone, Debug)]
enum Event {
    Commit(u8),
    Sync,
    Reapply,
    Run(i64),
    Settle,
    Verdict(u8, u8),
    Ask(usize),
    Forge(u8),
    Gateway(bool),
    Controller(bool),
    Scale(u32),
    Trouble(u8, usize),
    Healthy(u8),
    Write(u8),
    Unpause,
    Delete,
    Create(u8),
    Gate(bool),
    Known(bool),
    Deliberate(bool),
    Suspend(bool),
    Others(u8),
    Crash(usize),
    GateSays(usize, GateSeen),
}

fn event() -> impl Strategy<Value = Event> {
    use Event as E;
    prop_oneof![
        4 => (1_u8..5).prop_map(E::Commit),
        6 => Just(E::Sync),
        1 => Just(E::Reapply),
        8 => (1_i64..40).prop_map(E::Run),
        3 => (40_i64..1200).prop_map(E::Run),
        2 => Just(E::Settle),
        6 => (1_u8..5, 0_u8..6).prop_map(|(n, kind)| E::Verdict(n, kind)),
        3 => (0..What::ALL.len()).prop_map(E::Ask),
        2 => (0_u8..5).prop_map(E::Forge),
        2 => any::<bool>().prop_map(E::Gateway),
        1 => any::<bool>().prop_map(E::Controller),
        2 => prop_oneof![Just(0), Just(1), Just(4), Just(9)].prop_map(E::Scale),
        2 => (1_u8..5, 0..TroubleKind::ALL.len()).prop_map(|(n, kind)| E::Trouble(n, kind)),
        2 => (1_u8..5).prop_map(E::Healthy),
        1 => (1_u8..5).prop_map(E::Write),
        1 => Just(E::Unpause),
        1 => Just(E::Delete),
        1 => (1_u8..5).prop_map(E::Create),
        1 => any::<bool>().prop_map(E::Gate),
        1 => any::<bool>().prop_map(E::Known),
        1 => any::<bool>().prop_map(E::Deliberate),
        2 => any::<bool>().prop_map(E::Suspend),
        2 => (0_u8..6).prop_map(E::Others),
        3 => (0_usize..4).prop_map(E::Crash),
        4 => (0..GATES.len(), arbitrary::gate_seen()).prop_map(|(n, seen)| E::GateSays(n, seen)),
    ]
}

fn random_plan() -> impl Strategy<Value = Plan> {
    let steps = proptest::collection::vec((0_u8..8, 0_i64..60), 1..5);
    let gates = prop_oneof![1 => Just(Vec::new()), 1 => arbitrary::gates()];
    let choices = (0_u8..3, any::<[bool; 8]>(), steps, gates);
    choices.prop_map(|(traffic, choices, steps, gates)| {
        let [revert, pause, unproven, git_too, measured, observe, limited, surge] = choices;
        let traffic = [Traffic::Routes, Traffic::Pods, Traffic::Switch][usize::from(traffic)];
        let surge = surge && traffic != Traffic::Switch;
        let promotion = if surge { PromoteBy::Surge } else { PromoteBy::HandOver };
        Plan {
            mode: if observe && traffic == Traffic::Routes { Mode::Observe } else { Mode::Enforce },
            traffic,
            promotion,
            steps: random_steps(traffic, promotion, &steps),
            analysis: analysis(measured),
            on_failure: if revert { OnFailure::Revert } else { OnFailure::Hold },
            on_inconclusive: if pause { OnInconclusive::Pause } else { OnInconclusive::Abort },
            on_low_traffic: if unproven {
                OnLowTraffic::PromoteUnproven
            } else {
                OnLowTraffic::Pause
            },
            git: git_too.then(git),
            gates,
            class: Some("standard".to_owned()),
            max_trials: limited.then_some(1),
            ..plan()
        }
    })
}

/// Weights never fall, the last is 100 but by Surge; some steps are pauses.
fn random_steps(traffic: Traffic, promotion: PromoteBy, steps: &[(u8, i64)]) -> Vec<Step> {
    let mut weights: Vec<u8> = steps.iter().map(|(kind, _)| kind * 10 % 60).collect();
    weights.sort_unstable();
    let mut random: Vec<_> = steps
        .iter()
        .zip(weights)
        .map(|((kind, seconds), percent)| match (kind, traffic) {
            (7, _) => Step::Pause { resume_after: Some(TimeDelta::seconds(*seconds)) },
            (_, Traffic::Switch) => weight(0, *seconds),
            (_, Traffic::Routes | Traffic::Pods) => weight(percent, *seconds),
        })
        .collect();
    if promotion == PromoteBy::HandOver {
        random.push(weight(100, 10));
    }
    random
}

fn revision(n: u8) -> Revision {
    Revision::new(format!("v{n}"))
}

fn verdict(kind: u8) -> Verdict {
    let metric = "errors".to_owned();
    match kind {
        0 | 1 => Verdict::Pass,
        2 => fail("errors: 40/120 (33 %)"),
        3 => more(),
        4 => Verdict::Error { metric, message: "connection refused".to_owned() },
        _ => Verdict::Inconclusive { why: Unclear::PodSuspect, metric },
    }
}

fn forge(kind: u8) -> Result<(), RevertOutcome> {
    match kind {
        0 | 1 => Ok(()),
        2 => Err(RevertOutcome::Retry { message: "refused".to_owned() }),
        3 => Err(RevertOutcome::Conflict { paths: vec!["apps/web".to_owned()] }),
        _ => Err(RevertOutcome::PullRequest { url: "https://git.example/7".to_owned() }),
    }
}

fn happen(world: &mut World, event: &Event, count: usize) {
    let cluster = &mut world.cluster;
    match event {
        Event::Commit(n) => cluster.commit(revision(*n).as_str()),
        Event::Sync if cluster.exists => cluster.sync(),
        Event::Reapply if cluster.exists => cluster.reapply(),
        Event::Run(seconds) => world.run_for(TimeDelta::seconds(*seconds)),
        Event::Settle => drop(world.settle()),
        Event::Verdict(n, kind) => {
            world.verdicts.insert(revision(*n), verdict(*kind));
        }
        Event::Ask(what) => {
            let token = format!("{count}");
            let (what, revision) = (What::ALL[*what], Some(cluster.template.to_string()));
            cluster.ask = Some(Ask { token, who: "ann".to_owned(), what, revision });
        }
        Event::Forge(kind) => cluster.forge = forge(*kind),
        Event::Gateway(up) => cluster.gateway = *up,
        Event::Controller(up) => cluster.controller = *up,
        Event::Scale(desired) => cluster.scale(*desired),
        Event::Trouble(n, kind) => {
            let trouble = Trouble { kind: TroubleKind::ALL[*kind], message: "trouble".to_owned() };
            cluster.trouble.insert(revision(*n), trouble);
            cluster.start_up.remove(&revision(*n));
            cluster.lose(&revision(*n));
        }
        Event::Healthy(n) => heal(world, &revision(*n)),
        Event::Write(n) if cluster.exists => cluster.write_template(revision(*n), Some("ann")),
        Event::Unpause => cluster.paused = false,
        Event::Delete => cluster.delete(),
        Event::Create(n) if !cluster.exists => cluster.write_template(revision(*n), None),
        Event::Sync | Event::Reapply | Event::Write(_) | Event::Create(_) => {}
        Event::Gate(on) => cluster.gated = *on,
        Event::Known(known) => cluster.known = *known,
        Event::Deliberate(deliberate) => cluster.deliberate = *deliberate,
        Event::GateSays(gate, seen) => {
            cluster.gates.insert(GATES[*gate].to_owned(), seen.clone());
        }
        Event::Suspend(on) => {
            let by = on.then(|| "Namespace shop".to_owned());
            cluster.fleet.suspended = by.into_iter().collect();
        }
        Event::Others(kind) => cluster.fleet.others = others(*kind, cluster),
        Event::Crash(effects) => {
            let decision = world.look();
            world.state = decision.next;
            for effect in decision.effects.iter().take(*effects) {
                world.carry_out(effect);
            }
        }
    }
}

/// Nobody, one on trial, two that failed lately, or one that failed with what is applied here.
fn others(kind: u8, cluster: &Cluster) -> Vec<Member> {
    let commit = cluster.applied.clone();
    let failed = |commit| Some(Failed { at: cluster.now, commit, siblings: Vec::new() });
    let other = |name: &str, slot, commit, failed| {
        let class = Some("standard".to_owned());
        Member { rollout: name.to_owned(), class, slot, commit, failed }
    };
    match kind {
        0 | 1 => Vec::new(),
        2 => vec![other("shop/api", Slot::OnTrial, commit, None)],
        3 => vec![other("shop/api", Slot::Waits { since: cluster.now }, None, None)],
        4 => vec![
            other("shop/api", Slot::None, None, failed(None)),
            other("shop/cart", Slot::None, None, failed(None)),
        ],
        _ => vec![other("shop/api", Slot::None, None, failed(commit))],
    }
}

fn heal(world: &mut World, revision: &Revision) {
    let cluster = &mut world.cluster;
    cluster.trouble.remove(revision);
    cluster.start_up.insert(revision.clone(), TimeDelta::seconds(3));
    let ours = cluster.canary.iter_mut().filter(|(known, _)| known == revision);
    let own = cluster.sets.iter_mut().filter(|(known, _)| *known == revision);
    for set in ours.map(|(_, set)| set).chain(own.map(|(_, set)| set)) {
        set.ready = set.desired;
        set.ready_at = None;
    }
}

/// Everything works again, every release is good, nobody interferes.
pub(crate) fn heal_all(world: &mut World) {
    for n in 1..=9 {
        heal(world, &revision(n));
        world.verdicts.insert(revision(n), Verdict::Pass);
    }
    let cluster = &mut world.cluster;
    cluster.gateway = true;
    cluster.controller = true;
    cluster.gated = true;
    cluster.forge = Ok(());
    cluster.gates.clear();
    cluster.fleet = Fleet::default();
    if cluster.desired == 0 {
        cluster.scale(4);
    }
    cluster.advance(TimeDelta::zero());
}

fn comes_to_rest(mut world: World) {
    heal_all(&mut world);
    world.run_for(TimeDelta::minutes(40));
    world.and_then_nothing_happens();
    let phase = world.state.phase();
    // A named wait for people, or rest.
    let waits = matches!(phase, Phase::Paused | Phase::Reverting);
    assert!(waits || matches!(phase, Phase::Idle | Phase::Aborted), "stuck in {phase:?}");
    if phase != Phase::Paused && world.cluster.exists && world.plan.mode == Mode::Enforce {
        all_is_stable(&world.plan, &world.state, &world.cluster);
    }
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn every_world_keeps_the_invariants_and_comes_to_rest(
        plan in random_plan(),
        events in proptest::collection::vec(event(), 1..50),
    ) {
        let mut world = World::at_rest();
        let jobs = plan.gates.iter().filter(|gate| gate.kind == GateKind::Job);
        world.cluster.jobs = jobs.map(|gate| gate.name.clone()).collect();
        world.plan = plan;
        for (count, event) in events.iter().enumerate() {
            happen(&mut world, event, count);
            let _ = world.turn();
        }
        comes_to_rest(world);
    }
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn any_state_and_any_look_have_an_answer(
        plan in random_plan(),
        state in arbitrary::state(&arbitrary::any_time().boxed()),
        seen in arbitrary::observed(),
        now in arbitrary::any_time(),
        limit in prop_oneof![Just(TimeDelta::MAX), Just(TimeDelta::MIN), Just(TimeDelta::zero())],
    ) {
        let mut extreme = plan.clone();
        let limits = &mut extreme.limits;
        limits.settle = limit;
        limits.ready = limit;
        limits.shift = limit;
        limits.verdict = limit;
        limits.hand_over = limit;
        limits.drain = limit;
        limits.scale_down_delay = limit;
        for gate in &mut extreme.gates {
            gate.timeout = limit;
        }
        for plan in [&plan, &extreme] {
            let decision = decide(plan, &state, &seen, now);
            never_open_to_the_unjudged(&decision.next, &seen, &decision.effects);
            prop_assert_eq!(&decision, &decide(plan, &state, &seen, now));
            let mut less = seen.clone();
            less.fleet.others.retain(|other| other.matters_to(plan, &state, &seen));
            prop_assert_eq!(&decision, &decide(plan, &state, &less, now));
            missing_data_never_raises(plan, &state, &decision.next, &seen.verdict);
        }
    }

    #[test]
    fn a_state_survives_its_json(state in arbitrary::state(&arbitrary::real_time().boxed())) {
        let json = serde_json::to_string(&state).unwrap();
        let back: State = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(state, back);
    }
}

fn missing_data_never_raises(plan: &Plan, state: &State, next: &State, verdict: &Verdict) {
    let missing = matches!(verdict, Verdict::Error { .. } | Verdict::Inconclusive { .. });
    let (Some(before), Some(after)) = (&state.trial, &next.trial) else { return };
    let judged = before.stage.weight(plan) > Weight::ZERO && !plan.analysis.criteria.is_empty();
    let baking = matches!(before.stage, tidegate_engine::state::Stage::Baking { .. });
    if missing && judged && baking && state.answered == next.answered {
        assert!(after.stage.weight(plan) <= before.stage.weight(plan), "{after:?}");
        assert_ne!(next.phase(), Phase::Promoting);
    }
}

#[test]
fn a_status_from_before_a_field_existed_is_read() {
    let state: State = serde_json::from_str("{}").unwrap();
    assert_eq!(state, State::default());
}

#[test]
fn the_largest_status_stays_below_its_limit() {
    let mut world = World::at_rest();
    // Nothing is delivered, everything fails, and messages are long.
    for n in 0..40 {
        let name = format!("v{n}");
        let canary = Revision::new(name.clone());
        world.cluster.start_up.insert(canary.clone(), TimeDelta::seconds(1));
        world.verdicts.insert(canary, fail(&"errors are above the limit ".repeat(8)));
        world.cluster.commit(&name);
        world.cluster.sync();
        for _ in 0..120 {
            let decision = world.look();
            world.state = decision.next;
            for effect in &decision.effects {
                if !matches!(effect, Effect::Announce(_)) {
                    world.carry_out(effect);
                }
            }
            world.cluster.advance(TimeDelta::seconds(1));
        }
        let size = serde_json::to_string(&world.state).unwrap().len();
        assert!(size < 16_000, "{size} bytes");
    }
    assert_eq!(world.state.quarantine.len(), tidegate_engine::defaults::QUARANTINE_SIZE);
    assert_eq!(world.state.outbox.len(), tidegate_engine::defaults::OUTBOX_SIZE);
}

#[test]
fn time_may_be_anything() {
    let world = World::at_rest();
    for now in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        let seen = world.cluster.observe(&world.state, more());
        let decision = decide(&world.plan, &world.state, &seen, now);
        assert_eq!(decision.effects, vec![]);
    }
}
