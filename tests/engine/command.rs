//! The lines of a story that do something.

use chrono::TimeDelta;
use tidegate_engine::effect::RevertOutcome;
use tidegate_engine::fleet::{Member, Slot};
use tidegate_engine::judge::{Failure, Lane, Unclear, Verdict};
use tidegate_engine::observed::{
    Ask, EngineWork, GateSays, GateSeen, Pinned, Trouble, TroubleKind, What,
};
use tidegate_engine::plan::{
    Gate, GateAt, GateKind, GitWrite, Mode, OnFailure, OnInconclusive, OnLowTraffic, OnRestart,
    OnTimeout, PromoteBy, Step, Traffic,
};
use tidegate_engine::state::{Failed, GitRevision, Revision};
use tidegate_engine::windows::{Window, Windows};

use crate::stories::duration;
use crate::world::{World, analysis, steps, surge_steps};

/// Does what a line says; `false` if nobody knows what it means.
pub(crate) fn obey(world: &mut World, line: &str) -> bool {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "commit" => world.cluster.commit(rest),
        "sync" => world.cluster.sync(),
        "reapply" => world.cluster.reapply(),
        "applying" => world.cluster.applying = rest == "on",
        "known" => world.cluster.known = rest == "on",
        "restart" => world.cluster.restart = rest == "on",
        "gone" => {
            world.cluster.around.gone =
                if rest == "nothing" { Vec::new() } else { vec![rest.to_owned()] };
        }
        "busy" => busy(world, rest),
        "suspend" => {
            let by = if rest == "off" { Vec::new() } else { vec![rest.to_owned()] };
            world.cluster.fleet.suspended = by;
        }
        "other" => other(world, rest),
        "deliberate" => world.cluster.deliberate = rest == "on",
        "write" => {
            let (template, who) = rest.split_once(" by ").unwrap();
            world.cluster.write_template(Revision::new(template), Some(who));
        }
        "delete" => world.cluster.delete(),
        "create" => world.cluster.write_template(Revision::new(rest), None),
        "replicas" => world.cluster.scale(rest.parse().unwrap()),
        "gate" => world.cluster.gated = rest == "on",
        "says" => says(world, rest),
        "unpause" => {
            world.cluster.paused = false;
            world.cluster.advance(TimeDelta::zero());
        }
        "gateway" => {
            world.cluster.gateway = rest == "up";
            world.cluster.advance(TimeDelta::zero());
        }
        "controller" => world.cluster.controller = rest == "up",
        "free-service" => {
            world.cluster.pinned = Pinned::All;
            world.cluster.freed = true;
        }
        "no-service" => world.cluster.pinned = Pinned::NoService,
        "verdict" => verdict(world, rest),
        "trouble" => trouble(world, rest),
        "healthy" => healthy(world, rest),
        "down" => down(world, rest),
        "forge" => world.cluster.forge = forge(rest),
        "ask" => ask(world, rest),
        "plan" => return plan(world, rest),
        _ => return false,
    }
    true
}

pub(crate) fn fail(message: &str) -> Verdict {
    Verdict::Fail(Failure {
        lane: Lane::Guard,
        metric: "errors".to_owned(),
        message: message.to_owned(),
    })
}

/// `busy with c1`, `busy off`.
fn busy(world: &mut World, text: &str) {
    world.cluster.around.engine = text.strip_prefix("with ").map(|revision| EngineWork {
        engine: "Application argocd/web".to_owned(),
        revision: GitRevision::new(revision),
        since: Some(world.cluster.now),
        remedy: "argocd app terminate-op web".to_owned(),
    });
}

/// `shop/api on-trial c1`, `shop/api waits`, `shop/api failed c1`, `shop/api gone`: another Rollout
/// of the same class.
fn other(world: &mut World, text: &str) {
    let mut words = text.split(' ');
    let (rollout, what) = (words.next().unwrap(), words.next().unwrap());
    let (commit, at) = (words.next().map(GitRevision::new), world.cluster.now);
    let others = &mut world.cluster.fleet.others;
    others.retain(|other| other.rollout != rollout);
    let (slot, commit, failed) = match what {
        "on-trial" => (Slot::OnTrial, commit, None),
        "waits" => (Slot::Waits { since: at }, None, None),
        "failed" => (Slot::None, None, Some(Failed { at, commit, siblings: Vec::new() })),
        "gone" => return,
        _ => panic!("other {text}"),
    };
    let class = Some("standard".to_owned());
    others.push(Member { rollout: rollout.to_owned(), class, slot, commit, failed });
}

/// `08:05 to 10:00`, every day.
fn window(text: &str) -> Windows {
    let minute = |time: &str| {
        let (hour, minute) = time.split_once(':').unwrap();
        hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap()
    };
    let (from, to) = text.split_once(" to ").unwrap();
    Windows::new(vec![Window { days: Vec::new(), from: minute(from), to: minute(to) }])
}

/// `smoke open`, `smoke refused 3 of 20 checks failed`.
fn says(world: &mut World, text: &str) {
    let mut words = text.splitn(3, ' ');
    let name = words.next().unwrap().to_owned();
    let says = match words.next().unwrap() {
        "open" => GateSays::Open,
        "refused" => GateSays::Refused,
        "not-yet" => GateSays::NotYet,
        other => panic!("says {other}"),
    };
    let line = words.next().unwrap_or_default().to_owned();
    world.cluster.gates.insert(name, GateSeen { says, line });
}

/// `smoke at Start`, `load at Step job timeout 5min on-timeout Abort`.
fn gate(world: &mut World, text: &str) {
    let mut words = text.split(' ');
    let name = words.next().unwrap().to_owned();
    let mut gate = Gate {
        name: name.clone(),
        at: GateAt::Start,
        kind: GateKind::Http,
        timeout: tidegate_engine::defaults::GATE_TIMEOUT,
        on_timeout: OnTimeout::Pause,
    };
    while let Some(word) = words.next() {
        match word {
            "at" => {
                let places = [GateAt::Start, GateAt::Step, GateAt::Promotion, GateAt::Promoted];
                let place = words.next().unwrap();
                gate.at = places.into_iter().find(|at| at.as_str() == place).unwrap();
            }
            "job" => {
                gate.kind = GateKind::Job;
                world.cluster.jobs.insert(name.clone());
            }
            "timeout" => gate.timeout = duration(words.next().unwrap()),
            "on-timeout" => {
                let follows = [OnTimeout::Pause, OnTimeout::Abort, OnTimeout::Proceed];
                let word = words.next().unwrap();
                gate.on_timeout = follows.into_iter().find(|it| format!("{it:?}") == word).unwrap();
            }
            other => panic!("gate {other}"),
        }
    }
    world.plan.gates.push(gate);
}

fn verdict(world: &mut World, text: &str) {
    let mut words = text.splitn(3, ' ');
    let canary = Revision::new(words.next().unwrap());
    let kind = words.next().unwrap();
    let message = words.next().unwrap_or("errors");
    let metric = "errors".to_owned();
    let verdict = match kind {
        "pass" => Verdict::Pass,
        "fail" => fail(message),
        "more" => Verdict::NeedMoreData { eta: Some(TimeDelta::minutes(20)), metric },
        "error" => Verdict::Error { metric, message: message.to_owned() },
        "unclear" => Verdict::Inconclusive { why: Unclear::EnvironmentUnhealthy, metric },
        "one-pod" => Verdict::Inconclusive { why: Unclear::PodSuspect, metric },
        _ => panic!("verdict {kind}"),
    };
    world.verdicts.insert(canary, verdict);
}

fn trouble(world: &mut World, text: &str) {
    let mut words = text.splitn(3, ' ');
    let revision = Revision::new(words.next().unwrap());
    let kind = words.next().unwrap();
    let kind = *TroubleKind::ALL.iter().find(|known| format!("{known:?}") == kind).unwrap();
    let message = words.next().unwrap_or("trouble").to_owned();
    down(world, revision.as_str());
    world.cluster.trouble.insert(revision, Trouble { kind, message });
}

/// Pods of this revision are not ready, and do not get ready.
fn down(world: &mut World, revision: &str) {
    let revision = Revision::new(revision);
    world.cluster.start_up.remove(&revision);
    let ours = world.cluster.canary.as_mut().filter(|(known, _)| *known == revision);
    let sets = world.cluster.sets.get_mut(&revision);
    for set in sets.into_iter().chain(ours.map(|(_, set)| set)) {
        set.ready = 0;
        set.ready_at = None;
    }
}

fn healthy(world: &mut World, revision: &str) {
    let revision = Revision::new(revision);
    world.cluster.trouble.remove(&revision);
    world.cluster.start_up.insert(revision.clone(), TimeDelta::seconds(3));
    let ours = world.cluster.canary.as_mut().filter(|(known, _)| *known == revision);
    let sets = world.cluster.sets.get_mut(&revision);
    for set in sets.into_iter().chain(ours.map(|(_, set)| set)) {
        set.ready = set.desired;
        set.ready_at = None;
    }
}

fn forge(text: &str) -> Result<(), RevertOutcome> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Err(match word {
        "up" => return Ok(()),
        "down" => RevertOutcome::Retry { message: "connection refused".to_owned() },
        "conflict" => RevertOutcome::Conflict { paths: vec!["apps/web/web.yaml".to_owned()] },
        "refused" => RevertOutcome::Refused { message: "protected branch".to_owned() },
        "no-baseline" => RevertOutcome::NoBaseline,
        "not-on-branch" => RevertOutcome::NotOnBranch,
        "unexplained" => RevertOutcome::CulpritUnknown,
        "pull-request" => RevertOutcome::PullRequest { url: rest.to_owned() },
        _ => panic!("forge {text}"),
    })
}

fn ask(world: &mut World, text: &str) {
    let (what, who) = text.split_once(' ').unwrap();
    let what = match what {
        "pause" => What::Pause,
        "resume" => What::Resume,
        "promote" => What::Promote,
        "promote-full" => What::PromoteFull,
        "abort" => What::Abort { hold: false },
        "abort-hold" => What::Abort { hold: true },
        "retry" => What::Retry,
        _ => panic!("ask {what}"),
    };
    let at = world.cluster.now.to_rfc3339();
    let (who, revision) = match who.split_once(" for ") {
        Some((who, revision)) => (who, (revision != "none").then(|| revision.to_owned())),
        None => (who, Some(world.cluster.template.to_string())),
    };
    let token = format!("{what:?}-{at}");
    world.cluster.ask = Some(Ask { token, who: who.to_owned(), what, revision });
}

fn plan(world: &mut World, text: &str) -> bool {
    let plan = &mut world.plan;
    if let Some(times) = text.strip_prefix("window ") {
        plan.windows = window(times);
        return true;
    }
    if let Some(text) = text.strip_prefix("gate ") {
        gate(world, text);
        return true;
    }
    if let Some(most) = text.strip_prefix("max-trials ") {
        plan.class = Some("standard".to_owned());
        plan.max_trials = Some(most.parse().unwrap());
        return true;
    }
    match text {
        "promotion surge" => {
            plan.promotion = PromoteBy::Surge;
            plan.steps = surge_steps();
        }
        "traffic pods" => plan.traffic = Traffic::Pods,
        "traffic switch" => plan.traffic = Traffic::Switch,
        "on-inconclusive abort" => plan.on_inconclusive = OnInconclusive::Abort,
        "on-low-traffic promote-unproven" => {
            plan.on_low_traffic = OnLowTraffic::PromoteUnproven;
        }
        "on-failure hold" => plan.on_failure = OnFailure::Hold,
        "mode observe" => plan.mode = Mode::Observe,
        "mode enforce" => plan.mode = Mode::Enforce,
        "on-restart trial" => plan.on_restart = OnRestart::Trial,
        "no-git" => plan.git = None,
        "no-metrics" => plan.analysis = analysis(false),
        "write pull-request" => {
            if let Some(git) = &mut plan.git {
                git.write = GitWrite::PullRequest;
            }
        }
        "pause-step" => plan.steps.insert(1, Step::Pause { resume_after: None }),
        "pause-step 10min" => {
            let resume_after = Some(TimeDelta::minutes(10));
            plan.steps.insert(1, Step::Pause { resume_after });
        }
        _ => return false,
    }
    if text.starts_with("traffic") && plan.promotion == PromoteBy::HandOver {
        plan.steps = steps(plan.traffic);
    }
    true
}
