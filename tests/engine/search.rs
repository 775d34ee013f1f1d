//! Exhaustive within bounds: one release and any three events at any moments of it, for each kind of
//! traffic. Every state keeps the invariants, every stage is reached, and from every state the
//! machine comes to rest by itself or to a wait that has a name.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::effect::RevertOutcome;
use tidegate_engine::observed::{Ask, GateSays, GateSeen, Trouble, TroubleKind, What};
use tidegate_engine::plan::{Gate, GateAt, GateKind, Limits, OnTimeout, PromoteBy, Traffic};
use tidegate_engine::state::{Phase, Revision, Stage};

use crate::command::fail;
use crate::invariants::all_is_stable;
use crate::properties::heal_all;
use crate::world::{World, more, weight};

/// Older than any limit of the small plan: time beyond it changes nothing.
const OLD: i64 = 7;

#[derive(Clone, Copy, Debug)]
enum Event {
    Commit(&'static str),
    Fail,
    More,
    Ask(What),
    Scale(u32),
    Gateway(bool),
    Controller,
    Forge,
    Unpause,
    Delete,
    Create,
    Trouble(TroubleKind),
    /// All gates.
    Gates(GateSays),
}

const EVENTS: [Event; 22] = [
    Event::Commit("v1"),
    Event::Commit("v2"),
    Event::Commit("v3"),
    Event::Fail,
    Event::More,
    Event::Ask(What::Pause),
    Event::Ask(What::Resume),
    Event::Ask(What::Promote),
    Event::Ask(What::PromoteFull),
    Event::Ask(What::Abort { hold: false }),
    Event::Ask(What::Abort { hold: true }),
    Event::Ask(What::Retry),
    Event::Scale(0),
    Event::Scale(4),
    Event::Gateway(false),
    Event::Gateway(true),
    Event::Controller,
    Event::Forge,
    Event::Unpause,
    Event::Delete,
    Event::Create,
    Event::Trouble(TroubleKind::CrashLoop),
];

/// What is tried where there are gates.
const GATED: [Event; 13] = [
    Event::Gates(GateSays::Open),
    Event::Gates(GateSays::Refused),
    Event::Gates(GateSays::NotYet),
    Event::Fail,
    Event::More,
    Event::Ask(What::Pause),
    Event::Ask(What::Resume),
    Event::Ask(What::Promote),
    Event::Ask(What::PromoteFull),
    Event::Ask(What::Abort { hold: false }),
    Event::Commit("v3"),
    Event::Scale(8),
    Event::Trouble(TroubleKind::Node),
];

/// A gate at each place, each with another end to its patience.
fn gated() -> World {
    let mut world = small(Traffic::Routes, PromoteBy::HandOver);
    let gate = |name: &str, at, kind, on_timeout| Gate {
        name: name.to_owned(),
        at,
        kind,
        timeout: TimeDelta::seconds(2),
        on_timeout,
    };
    world.plan.gates = vec![
        gate("smoke", GateAt::Start, GateKind::Job, OnTimeout::Pause),
        gate("load", GateAt::Step, GateKind::Http, OnTimeout::Proceed),
        gate("approval", GateAt::Promotion, GateKind::Http, OnTimeout::Abort),
        gate("after", GateAt::Promoted, GateKind::Job, OnTimeout::Pause),
    ];
    world.cluster.jobs = BTreeSet::from(["smoke".to_owned(), "after".to_owned()]);
    world
}

fn small(traffic: Traffic, promotion: PromoteBy) -> World {
    let mut world = World::at_rest();
    let second = TimeDelta::seconds(1);
    world.plan.traffic = traffic;
    world.plan.promotion = promotion;
    world.plan.steps = match (traffic, promotion) {
        (_, PromoteBy::Surge) => vec![weight(25, 0)],
        (Traffic::Switch, _) => vec![weight(0, 0), weight(100, 0)],
        (Traffic::Routes | Traffic::Pods, _) => vec![weight(50, 0), weight(100, 0)],
    };
    world.plan.limits = Limits {
        settle: second * 2,
        ready: second * 3,
        shift: second * 2,
        verdict: second * 3,
        hand_over: second * 2,
        drain: second,
        scale_down_delay: second,
    };
    for start_up in world.cluster.start_up.values_mut() {
        *start_up = second;
    }
    for revision in ["v1", "v2", "v3"] {
        world.verdicts.insert(Revision::new(revision), tidegate_engine::judge::Verdict::Pass);
    }
    world
}

fn happen(world: &mut World, event: Event) {
    let cluster = &mut world.cluster;
    match event {
        Event::Commit(template) if cluster.exists => {
            cluster.commit(template);
            cluster.sync();
        }
        Event::Fail | Event::More => {
            for verdict in world.verdicts.values_mut() {
                *verdict = if matches!(event, Event::Fail) { fail("errors") } else { more() };
            }
        }
        Event::Ask(what) => {
            let token = format!("{what:?} {}", cluster.now);
            let revision = Some(cluster.template.to_string());
            cluster.ask = Some(Ask { token, who: "ann".to_owned(), what, revision });
        }
        Event::Scale(desired) => cluster.scale(desired),
        Event::Gateway(up) => cluster.gateway = up,
        Event::Controller => cluster.controller = !cluster.controller,
        Event::Forge => {
            let down = RevertOutcome::Retry { message: "down".to_owned() };
            cluster.forge = if cluster.forge.is_ok() { Err(down) } else { Ok(()) };
        }
        Event::Gates(says) => {
            let seen = GateSeen { says, line: String::new() };
            let all = world.plan.gates.iter().map(|gate| (gate.name.clone(), seen.clone()));
            cluster.gates = all.collect();
        }
        Event::Unpause => cluster.paused = false,
        Event::Delete => cluster.delete(),
        Event::Create if !cluster.exists => cluster.write_template(Revision::new("v2"), None),
        Event::Commit(_) | Event::Create => {}
        Event::Trouble(kind) => {
            let canary = Revision::new("v2");
            cluster.start_up.remove(&canary);
            cluster.lose(&canary);
            cluster.trouble.insert(canary, Trouble { kind, message: "trouble".to_owned() });
        }
    }
}

/// One second: a turn, then the world goes on.
fn tick(world: &mut World) {
    let _ = world.turn();
    world.cluster.advance(TimeDelta::seconds(1));
}

/// The same for two worlds that behave the same from here on: times become ages, names that only
/// have to be unique are left out.
fn key(world: &World, events_left: u8) -> u64 {
    let now = world.cluster.now;
    let age = |at: DateTime<Utc>| (now - at).num_seconds().clamp(-OLD, OLD);
    let mut hasher = DefaultHasher::new();
    let state = &world.state;
    let kind = format!("{:?} {:?}", world.plan.traffic, world.plan.promotion);
    (events_left, kind, world.plan.gates.len()).hash(&mut hasher);
    if let Some(trial) = &state.trial {
        let stage = match &trial.stage {
            Stage::Reverting { cause, order, waiting, .. } => {
                format!("{cause:?} {} {} {waiting:?}", order.good, order.bad)
            }
            stage => format!("{stage:?}").replace(&format!("{:?}", stage.since()), ""),
        };
        let at = trial.gates.iter().flat_map(|at| at.asked.iter().map(move |one| (at.place, one)));
        for (place, asked) in at {
            let run = (trial.id.clone(), place, asked.gate.clone());
            let is_run = world.cluster.run.contains(&run);
            (place, &asked.gate, age(asked.since), is_run).hash(&mut hasher);
            format!("{:?}", asked.answer).hash(&mut hasher);
        }
        let told: BTreeSet<_> = trial.told.iter().collect();
        let rest = (&trial.canary, trial.ready.is_some(), (trial.handed, trial.surged), told);
        stage.hash(&mut hasher);
        (age(trial.stage.since()), trial.home.map(age)).hash(&mut hasher);
        format!("{rest:?} {:?} {:?} {:?}", trial.origin, trial.skip, state.phase())
            .hash(&mut hasher);
    }
    let quarantine: Vec<_> = state.quarantine.iter().map(|failed| &failed.revision).collect();
    let last = state.last.as_ref().map(|last| format!("{:?}", last.outcome));
    format!("{:?} {last:?} {quarantine:?} {:?}", state.stable, state.promoted).hash(&mut hasher);
    format!("{:?} {:?}", state.warned, state.overwritten).hash(&mut hasher);
    let cluster = &world.cluster;
    let ask = cluster.ask.as_ref().filter(|ask| state.answered.as_ref() != Some(&ask.token));
    ask.map(|ask| format!("{:?}", ask.what)).hash(&mut hasher);
    let branch: Vec<_> =
        cluster.branch.commits().iter().map(|c| (&c.template, c.trial.is_some())).collect();
    let ours = cluster.canary.as_ref().map(|(revision, set)| {
        (revision, set.desired, set.ready, set.ready_at.map(age), cluster.handed)
    });
    let own = cluster.sets.iter();
    let sets: Vec<_> = own
        .map(|(revision, set)| (revision, set.desired, set.ready, set.ready_at.map(age)))
        .collect();
    let answer = cluster
        .revert
        .as_ref()
        .filter(|(id, _)| state.trial.as_ref().is_some_and(|trial| trial.id == *id));
    format!("{branch:?} {ours:?} {sets:?} {:?}", answer.map(|(_, outcome)| outcome))
        .hash(&mut hasher);
    cluster.emptied.hash(&mut hasher);
    let flags = [cluster.exists, cluster.paused, cluster.gateway, cluster.held, cluster.controller];
    flags.hash(&mut hasher);
    (cluster.desired, cluster.forge.is_ok(), cluster.trouble.len()).hash(&mut hasher);
    format!("{:?}", cluster.gates).hash(&mut hasher);
    format!(
        "{} {:?} {:?} {:?} {:?} {:?} {:?}",
        cluster.template,
        cluster.applied,
        cluster.adopted,
        cluster.written,
        cluster.accepted,
        cluster.pinned,
        world.verdict(),
    )
    .hash(&mut hasher);
    hasher.finish()
}

/// How the search came here.
#[derive(Clone, Debug, Default)]
struct Trail(Vec<(TimeDelta, Event)>);

/// Says the trail if it ends badly.
struct Told<'a>(&'a Trail);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {:?}", self.0);
        }
    }
}

#[derive(Default)]
struct Search {
    /// What follows a state when nothing happens but time.
    calm: BTreeMap<u64, u64>,
    reached: BTreeSet<String>,
    rests: usize,
}

impl Search {
    fn run(&mut self, mut first: World, events: u8, what: &[Event]) {
        first.cluster.commit("v2");
        first.cluster.sync();
        let mut seen = BTreeSet::from([key(&first, events)]);
        let mut queue = VecDeque::from([(first, events, Trail::default())]);
        while let Some((world, left, trail)) = queue.pop_front() {
            let from = key(&world, left);
            let mut calm = world.clone();
            tick(&mut calm);
            let to = key(&calm, left);
            self.calm.insert(from, to);
            self.reached.extend(calm.watch.reached.iter().cloned());
            if to == from {
                self.rests += 1;
                it_is_rest(world.clone(), &trail);
            } else if seen.insert(to) {
                queue.push_back((calm, left, trail.clone()));
            }
            if left == 0 {
                continue;
            }
            for event in what.iter().copied() {
                let mut other = world.clone();
                happen(&mut other, event);
                if seen.insert(key(&other, left - 1)) {
                    let mut trail = trail.clone();
                    trail.0.push((world.cluster.now - world.start, event));
                    queue.push_back((other, left - 1, trail));
                }
            }
        }
    }

    /// By time alone every state comes to one that time does not change.
    fn none_goes_in_circles(&self) {
        let mut known = BTreeSet::new();
        for start in self.calm.keys() {
            let mut path = BTreeSet::new();
            let mut at = *start;
            while !known.contains(&at) {
                assert!(path.insert(at), "goes in circles");
                let next = self.calm[&at];
                if next == at {
                    break;
                }
                at = next;
            }
            known.extend(path);
        }
    }
}

/// Time changes nothing here: it is rest, a wait with a name, or rest once all is healed.
fn it_is_rest(mut world: World, trail: &Trail) {
    let _told = Told(trail);
    let named = matches!(world.state.phase(), Phase::Idle | Phase::Aborted | Phase::Paused);
    let broken = {
        let cluster = &world.cluster;
        !cluster.gateway || !cluster.controller || cluster.forge.is_err() || !cluster.exists
    };
    // With stable down and the fix down too, people were told and the next commit leads on.
    let both_down = world.state.phase() == Phase::FastForward;
    assert!(named || broken || both_down, "stuck in {:?}", world.state.trial);
    heal_all(&mut world);
    world.run_for(TimeDelta::seconds(60));
    let _ = world.settle();
    let phase = world.state.phase();
    assert!(matches!(phase, Phase::Idle | Phase::Aborted | Phase::Paused), "stuck in {phase:?}");
    if phase != Phase::Paused && world.cluster.exists {
        all_is_stable(&world.plan, &world.state, &world.cluster);
    }
}

#[test]
fn every_state_within_bounds_leads_to_rest() {
    let mut search = Search::default();
    // By Surge a rolling update has many more moments: two events at any of them.
    let kinds = [
        (Traffic::Routes, PromoteBy::HandOver, 3),
        (Traffic::Pods, PromoteBy::HandOver, 3),
        (Traffic::Switch, PromoteBy::HandOver, 3),
        (Traffic::Routes, PromoteBy::Surge, 2),
        (Traffic::Pods, PromoteBy::Surge, 2),
    ];
    for (traffic, promotion, events) in kinds {
        search.run(small(traffic, promotion), events, &EVENTS);
        let (states, rests) = (search.calm.len(), search.rests);
        eprintln!("{traffic:?} {promotion:?}: {states} states, {rests} at rest");
    }
    search.run(gated(), 2, &GATED);
    eprintln!("with gates: {} states, {} at rest", search.calm.len(), search.rests);
    search.none_goes_in_circles();
    let missing: Vec<_> = Phase::ALL
        .iter()
        .map(|phase| format!("{phase:?}"))
        .filter(|phase| !search.reached.contains(phase) && phase != "Watching")
        .collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
    assert!(search.calm.len() > 50_000, "only {} states", search.calm.len());
}
