//! One story a file, found by directory, echoed and golden in one: lines that begin with `|` are
//! what the machine answered, `UPDATE=1` writes them anew. Every story ends with `rest`: after it
//! nothing more happens.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use chrono::TimeDelta;
use tidegate_engine::effect::Effect;
use tidegate_engine::plan::Mode;
use tidegate_engine::reason::Reason;
use tidegate_engine::state::{Answer, Phase, Request, State};
use tidegate_engine::{Decision, questions};

use crate::command::obey;
use crate::invariants::all_is_stable;
use crate::world::{World, show};

pub(crate) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/engine/scenarios")
}

/// All stories: name and text, in the order of their names.
pub(crate) fn all() -> Vec<(String, String)> {
    let mut stories: Vec<_> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    stories.sort();
    stories
}

#[test]
fn every_story_goes_as_it_is_told() {
    let mut wrong = Vec::new();
    let stories = all();
    assert!(stories.len() >= 40, "only {} stories were found", stories.len());
    for (name, golden) in stories {
        let named = Named(&name);
        let told = tell(&name, &golden);
        drop(named);
        if told == golden {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(directory().join(&name), &told).unwrap();
        } else {
            let line = told.lines().zip(golden.lines()).position(|(told, golden)| told != golden);
            wrong.push(format!("{name}, line {}:\n{told}", line.map_or(0, |line| line + 1)));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE=1 writes them anew", wrong.join("\n"));
}

/// Says which story it was that could not go on.
struct Named<'a>(&'a str);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the story {}", self.0);
        }
    }
}

/// Tells a story again: its own lines, with the answers the machine gives today.
fn tell(name: &str, story: &str) -> String {
    let mut teller = Teller::default();
    let mut world = World::new();
    let mut last = "";
    for line in story.lines().filter(|line| !line.starts_with('|')) {
        let _ = writeln!(teller.told, "{line}");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        last = line;
        if let Some(time) = line.strip_prefix("run ") {
            teller.run(&mut world, duration(time));
        } else if line == "rest" {
            teller.rest(&mut world);
        } else if line == "crash" {
            teller.crash(&mut world);
        } else {
            assert!(obey(&mut world, line), "{name}: what is {line:?}?");
        }
    }
    assert_eq!(last, "rest", "{name} does not end at rest");
    teller.told
}

/// `20s`, `5min`, `2h`.
pub(crate) fn duration(text: &str) -> TimeDelta {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap();
    let (number, unit) = text.split_at(digits);
    let number = number.parse().unwrap();
    match unit {
        "s" => TimeDelta::seconds(number),
        "min" => TimeDelta::minutes(number),
        "h" => TimeDelta::hours(number),
        _ => panic!("duration {text}"),
    }
}

#[derive(Default)]
struct Teller {
    told: String,
    before: Option<(Phase, Reason, String)>,
    refused: Option<Request>,
}

impl Teller {
    fn run(&mut self, world: &mut World, time: TimeDelta) {
        let end = world.cluster.now + time;
        while world.cluster.now < end {
            let decision = world.turn();
            self.note(world, &decision, "");
            world.cluster.advance(TimeDelta::seconds(1));
        }
    }

    /// The controller dies after it wrote its decision down and carried out half of it.
    fn crash(&mut self, world: &mut World) {
        let decision = world.look();
        self.note(world, &decision, "  (and half of it is done)");
        world.state = decision.next.clone();
        for effect in decision.effects.iter().take(decision.effects.len() / 2) {
            world.carry_out(effect);
        }
    }

    fn note(&mut self, world: &World, decision: &Decision, more: &str) {
        if let Some(request) = &decision.next.request
            && let Answer::Refused(reason) = request.answer
            && self.refused.as_ref() != Some(request)
        {
            let _ =
                writeln!(self.told, "|        refused: {}: {reason}", request.ask.what.as_str());
            self.refused = Some(request.clone());
        }
        let effects: Vec<_> = decision.effects.iter().map(show).collect();
        let effects = effects.join(" ");
        let now = (decision.next.phase(), decision.reason, effects.clone());
        let was = self.before.replace(now.clone());
        let same = was.as_ref().is_some_and(|was| (was.0, was.1) == (now.0, now.1));
        if same && (effects.is_empty() || was.is_some_and(|was| was.2 == effects)) {
            return;
        }
        let at = (world.cluster.now - world.start).num_seconds();
        let head = format!("{at:>5}s {:?}", decision.next.phase());
        let _ = write!(self.told, "| {head:<18} {}: {}", decision.reason, decision.message);
        if !effects.is_empty() {
            let _ = write!(self.told, "\n|        -> {effects}{more}");
        }
        self.told.push('\n');
    }

    /// An hour without anything, and where everything stands.
    fn rest(&mut self, world: &mut World) {
        world.and_then_nothing_happens();
        if !matches!(world.state.phase(), Phase::Paused) {
            all_is_stable(&world.plan, &world.state, &world.cluster);
        }
        let cluster = &world.cluster;
        let branch: Vec<_> = cluster
            .branch
            .commits()
            .iter()
            .map(|commit| {
                let by = if commit.trial.is_some() { " by us" } else { "" };
                format!("{} {}{by}", commit.revision, commit.template)
            })
            .collect();
        let pods: Vec<_> = cluster
            .sets
            .iter()
            .chain(cluster.canary.iter().map(|(revision, set)| (revision, set)))
            .map(|(revision, set)| format!("{revision} {}/{}", set.ready, set.desired))
            .collect();
        let shares: Vec<_> = cluster
            .shares(world.plan.traffic)
            .iter()
            .map(|(revision, share)| format!("{revision} {:.0}%", share * 100.0))
            .collect();
        let _ = writeln!(
            self.told,
            "| at rest: {:?}, stable {}; template {}{}{}; pods {}; traffic {}",
            world.state.phase(),
            stable(&world.state),
            if cluster.exists { cluster.template.as_str() } else { "gone" },
            if cluster.paused { ", paused" } else { "" },
            if cluster.held { ", held" } else { "" },
            if pods.is_empty() { "none".to_owned() } else { pods.join(", ") },
            if shares.is_empty() { "nowhere".to_owned() } else { shares.join(", ") },
        );
        let _ = writeln!(self.told, "| branch: {}", branch.join(", "));
        self.before = None;
    }
}

fn stable(state: &State) -> String {
    state.stable.as_ref().map_or_else(
        || "none".to_owned(),
        |stable| {
            let git = stable.git.as_ref().map_or("unknown", |git| git.as_str());
            format!("{} ({git})", stable.revision)
        },
    )
}

#[test]
fn evidence_has_one_beginning() {
    for mode in [Mode::Enforce, Mode::Observe] {
        let mut world = World::at_rest();
        world.plan.mode = mode;
        world.cluster.gated = mode == Mode::Enforce;
        world.cluster.commit("v2");
        world.cluster.sync();
        let mut beginnings = BTreeSet::new();
        for _ in 0..60 {
            world.run_for(TimeDelta::seconds(1));
            let asked = questions(&world.plan, &world.state, world.cluster.now);
            let is_up = world.state.trial.as_ref().is_some_and(|trial| trial.ready.is_some());
            beginnings.extend(asked.samples.filter(|_| is_up).map(|wanted| wanted.since));
        }
        assert_eq!(beginnings.len(), 1, "{mode:?}: {beginnings:?}");
    }
}

#[test]
fn announcements_are_told_once() {
    let mut world = World::at_rest();
    world.cluster.commit("v2");
    world.cluster.sync();
    world.verdicts.insert(
        tidegate_engine::state::Revision::new("v2"),
        crate::command::fail("errors: 40/120 (33 %)"),
    );
    let mut told = 0;
    for _ in 0..300 {
        let decision = world.turn();
        told += decision.effects.iter().filter(|e| matches!(e, Effect::Announce(_))).count();
        world.cluster.advance(TimeDelta::seconds(1));
    }
    assert_eq!(told, 2, "the abort and the revert");
    world.and_then_nothing_happens();
}

#[test]
fn a_canary_that_is_not_measured_yet_gets_no_traffic_and_is_not_waited_for_forever() {
    let mut world = World::at_rest();
    world.cluster.commit("v2");
    world.cluster.sync();
    while world.state.phase() != Phase::Shifting {
        let before = world.clone();
        world.run_for(TimeDelta::seconds(1));
        if world.state.phase() == Phase::Shifting {
            // The same instant, but the metric source does not read the canary's pods.
            let mut seen = before.cluster.observe(&before.state, before.verdict());
            seen.is_blind = true;
            let (plan, state) = (&before.plan, &before.state);
            let waiting = tidegate_engine::decide(plan, state, &seen, before.cluster.now);
            assert_eq!(waiting.next.phase(), Phase::Starting);
            assert!(waiting.message.contains("metric source"), "{}", waiting.message);
            let late = before.cluster.now + plan.limits.ready;
            let gone_on = tidegate_engine::decide(plan, state, &seen, late);
            assert_eq!(gone_on.next.phase(), Phase::Shifting);
        }
    }
}

#[test]
fn a_rolling_update_whose_newest_write_was_not_looked_at_goes_on() {
    let mut world = World::at_rest();
    assert!(obey(&mut world, "plan promotion surge"));
    assert!(obey(&mut world, "verdict v2 pass"));
    world.cluster.commit("v2");
    world.cluster.sync();
    let mut looks = 0;
    while world.state.stable.as_ref().is_some_and(|stable| stable.revision.as_str() == "v1") {
        let mut seen = world.cluster.observe(&world.state, world.verdict());
        let is_rolling = world.cluster.sets.len() > 1 && !world.cluster.paused;
        if let Some(work) = seen.workload.as_mut().filter(|_| is_rolling) {
            work.adopted = None;
            let now = world.cluster.now;
            let decision = tidegate_engine::decide(&world.plan, &world.state, &seen, now);
            assert_eq!(decision.next.phase(), Phase::Promoting, "{}", decision.message);
            assert_eq!(decision.effects, vec![]);
            looks += 1;
        }
        world.run_for(TimeDelta::seconds(1));
    }
    assert!(looks > 5, "only {looks} looks in the rolling update");
}
