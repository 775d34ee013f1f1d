//! Any state and any look at the world, also such as no run would ever lead to.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use tidegate_engine::effect::{Notice, RevertOrder, RevertOutcome, Severity};
use tidegate_engine::fleet::{Fleet, Member, Slot};
use tidegate_engine::judge::{Failure, Lane, Unclear, Verdict};
use tidegate_engine::observed::{
    Around, Ask, Deployed, EngineWork, GateSays, GateSeen, Observed, Pinned, Pods, RouteView,
    TrafficView, Trouble, TroubleKind, What, Workload,
};
use tidegate_engine::plan::{Gate, GateAt, GateKind, OnTimeout, Weight};
use tidegate_engine::reason::Reason;
use tidegate_engine::state::{
    Answer, AskedGate, AtGates, Cause, Ended, Failed, GateAnswer, GitRevision, Origin, Outcome,
    PausedBy, Place, Promotion, Quarantined, Request, Revision, Skip, Stable, Stage, State, Trial,
    TrialId, Waiting,
};

/// So many cases. What fails becomes a story, not a file of seeds.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

type Time = BoxedStrategy<DateTime<Utc>>;

/// From the first to the last time there is.
pub(crate) fn any_time() -> impl Strategy<Value = DateTime<Utc>> {
    prop_oneof![
        1 => Just(DateTime::<Utc>::MIN_UTC),
        1 => Just(DateTime::<Utc>::MAX_UTC),
        4 => real_time(),
    ]
}

/// Within an hour of the same instant, to the nanosecond.
pub(crate) fn real_time() -> impl Strategy<Value = DateTime<Utc>> {
    (0_i64..3600, 0_u32..1_000_000_000)
        .prop_map(|(s, n)| DateTime::<Utc>::from_timestamp(1_800_000_000 + s, n).unwrap())
}

fn revision() -> impl Strategy<Value = Revision> {
    (1_u8..4).prop_map(|n| Revision::new(format!("v{n}")))
}

fn git_revision() -> impl Strategy<Value = GitRevision> {
    (0_u8..4).prop_map(|n| GitRevision::new(format!("c{n}")))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("text \u{1f30a} \"quoted\"".to_owned())]
}

fn trial_id() -> impl Strategy<Value = TrialId> {
    (0_u8..3).prop_map(|n| TrialId::new(format!("u1-{n}")))
}

fn step() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0_usize..5, 1 => Just(usize::MAX)]
}

fn cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        text().prop_map(|message| Cause::BadArtifact { message }),
        text().prop_map(|message| Cause::BrokenPods { message }),
        text().prop_map(|message| Cause::BadConfiguration { message }),
        text().prop_map(|message| Cause::Permission { message }),
        text().prop_map(|message| Cause::Environment { message }),
        text().prop_map(|message| Cause::Inconclusive { message }),
        text().prop_map(|message| Cause::GateRefused { message }),
        text().prop_map(|message| Cause::GateTimedOut { message }),
        (text(), any::<bool>()).prop_map(|(who, hold)| Cause::Person { who, hold }),
        Just(Cause::Superseded),
        Just(Cause::RevertedByHand),
        Just(Cause::ScaledToZero),
        Just(Cause::Bypassed),
        Just(Cause::WorkloadGone),
    ]
}

fn outcome() -> impl Strategy<Value = RevertOutcome> {
    prop_oneof![
        git_revision().prop_map(|commit| RevertOutcome::Pushed { commit }),
        git_revision().prop_map(|tip| RevertOutcome::AlreadyReverted { tip }),
        text().prop_map(|url| RevertOutcome::PullRequest { url }),
        vec(text(), 0..2).prop_map(|paths| RevertOutcome::Conflict { paths }),
        Just(RevertOutcome::CulpritUnknown),
        Just(RevertOutcome::NoBaseline),
        Just(RevertOutcome::NotOnBranch),
        text().prop_map(|message| RevertOutcome::Refused { message }),
        text().prop_map(|message| RevertOutcome::Retry { message }),
    ]
}

fn order(at: Time) -> impl Strategy<Value = RevertOrder> {
    let parts = (trial_id(), text(), vec(text(), 0..2), git_revision(), git_revision(), text(), at);
    parts.prop_map(|(trial, branch, paths, good, bad, why, at)| RevertOrder {
        trial,
        rollout: "shop/web".to_owned(),
        branch,
        paths,
        good,
        bad,
        why,
        at,
    })
}

fn stage(at: &Time) -> impl Strategy<Value = Stage> + use<> {
    let at = || at.clone();
    prop_oneof![
        at().prop_map(|since| Stage::Settling { since }),
        at().prop_map(|since| Stage::Starting { since }),
        (step(), at()).prop_map(|(step, since)| Stage::Shifting { step, since }),
        (step(), at()).prop_map(|(step, since)| Stage::Baking { step, since }),
        (step(), at(), paused_by()).prop_map(|(step, since, by)| Stage::Paused { step, since, by }),
        at().prop_map(|since| Stage::FastForward { since }),
        (part(), at()).prop_map(|(part, since)| Stage::Promoting { part, since }),
        (cause(), at()).prop_map(|(cause, since)| Stage::Aborting { cause, since }),
        (cause(), order(at()), at(), of(outcome())).prop_map(|(cause, order, since, waiting)| {
            Stage::Reverting { cause, order, since, waiting }
        }),
        (cause(), of(outcome()), at()).prop_map(|(cause, revert, since)| Stage::Restoring {
            cause,
            revert,
            since
        }),
        (cause(), of(outcome()), at()).prop_map(|(cause, revert, since)| Stage::Aborted {
            cause,
            revert,
            since
        }),
        at().prop_map(|since| Stage::Watching { since }),
    ]
}

fn paused_by() -> impl Strategy<Value = PausedBy> {
    prop_oneof![Just(PausedBy::Step), Just(PausedBy::Person), Just(PausedBy::Inconclusive)]
}

fn part() -> impl Strategy<Value = Promotion> {
    prop_oneof![
        Just(Promotion::Filling),
        Just(Promotion::Pinning),
        Just(Promotion::Waiting),
        Just(Promotion::HandingOver),
        Just(Promotion::Releasing),
        Just(Promotion::Spreading),
        Just(Promotion::Surging),
        Just(Promotion::Surged),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        (git_revision(), git_revision()).prop_map(|(good, bad)| Origin::Git { good, bad }),
        of(text()).prop_map(|writer| Origin::OutOfBand { writer }),
        Just(Origin::Unknown),
    ]
}

fn skip() -> impl Strategy<Value = Skip> {
    prop_oneof![Just(Skip::StableDown), Just(Skip::PromotedBefore), Just(Skip::Person)]
}

fn reason() -> impl Strategy<Value = Reason> {
    (0..Reason::ALL.len()).prop_map(|n| Reason::ALL[n])
}

/// The gates that a random plan can have.
pub(crate) const GATES: [&str; 4] = ["smoke", "load", "approval", "after"];

/// Some of them, asked in any way.
pub(crate) fn gates() -> impl Strategy<Value = Vec<Gate>> {
    let places = [GateAt::Start, GateAt::Step, GateAt::Promotion, GateAt::Promoted];
    let one = (of(any::<bool>()), 0_i64..90, 0_u8..3);
    vec(one, GATES.len()).prop_map(move |all| {
        let named = all.into_iter().zip(GATES).zip(places);
        let there = named.filter_map(|(((job, seconds, follows), name), at)| {
            Some(Gate {
                name: name.to_owned(),
                at,
                kind: if job? { GateKind::Job } else { GateKind::Http },
                timeout: TimeDelta::seconds(seconds),
                on_timeout: [OnTimeout::Pause, OnTimeout::Abort, OnTimeout::Proceed]
                    [usize::from(follows)],
            })
        });
        there.collect()
    })
}

fn at_gates(at: &Time) -> impl Strategy<Value = AtGates> + use<> {
    let place = prop_oneof![
        Just(Place::Start),
        step().prop_map(Place::Step),
        Just(Place::Promotion),
        Just(Place::Promoted),
    ];
    let answer = prop_oneof![
        Just(GateAnswer::Open),
        Just(GateAnswer::LeftOut),
        Just(GateAnswer::Held),
        Just(GateAnswer::ByPerson),
    ];
    let asked = (0..GATES.len(), at.clone(), of(answer)).prop_map(|(gate, since, answer)| {
        AskedGate { gate: GATES[gate].to_owned(), since, answer }
    });
    (place, vec(asked, 0..3)).prop_map(|(place, asked)| AtGates { place, asked })
}

/// What a gate may say.
pub(crate) fn gate_seen() -> impl Strategy<Value = GateSeen> {
    let says = prop_oneof![
        Just(GateSays::Open),
        Just(GateSays::Refused),
        Just(GateSays::NotYet),
        Just(GateSays::NotRun),
    ];
    (says, text()).prop_map(|(says, line)| GateSeen { says, line })
}

fn trial(at: &Time) -> impl Strategy<Value = Trial> + use<> {
    let times = (at.clone(), of(at.clone()), of(at.clone()), of(at.clone()));
    let flags = (of(skip()), any::<[bool; 3]>(), of(text()), of(at.clone()));
    let parts = (trial_id(), revision(), origin(), times, flags, vec(reason(), 0..3));
    (parts, stage(at), of(at_gates(at))).prop_map(|(parts, stage, gates)| {
        let (id, canary, origin, times, flags, told) = parts;
        let (started, ready, shared, home) = times;
        let (skip, [handed, surged, alone], class, stands) = flags;
        Trial {
            id,
            canary,
            origin,
            started,
            ready,
            shared,
            home,
            skip,
            handed,
            surged,
            gates,
            class,
            stands,
            alone,
            told,
            stage,
        }
    })
}

fn ended(at: Time) -> impl Strategy<Value = Ended> {
    let outcome = prop_oneof![
        Just(Outcome::Promoted),
        (cause(), of(outcome())).prop_map(|(cause, revert)| Outcome::Aborted { cause, revert }),
        (of(text()), of(order(at.clone())))
            .prop_map(|(would_abort, would_revert)| Outcome::Watched { would_abort, would_revert }),
    ];
    (trial_id(), revision(), origin(), at, outcome).prop_map(
        |(trial, canary, origin, at, outcome)| Ended { trial, canary, origin, at, outcome },
    )
}

fn notice(at: Time) -> impl Strategy<Value = Notice> {
    let severity =
        prop_oneof![Just(Severity::Info), Just(Severity::Warning), Just(Severity::Critical)];
    (any::<u64>(), at, severity, reason(), text()).prop_map(
        |(id, at, severity, reason, message)| Notice { id, at, severity, reason, message },
    )
}

/// Any state, consistent or not.
pub(crate) fn state(at: &Time) -> impl Strategy<Value = State> + use<> {
    let stable =
        (revision(), of(git_revision())).prop_map(|(revision, git)| Stable { revision, git });
    let failed = (revision(), of(git_revision()), at.clone())
        .prop_map(|(revision, git, at)| Quarantined { revision, git, at });
    let counters =
        (prop_oneof![any::<u64>(), Just(u64::MAX)], prop_oneof![any::<u64>(), Just(u64::MAX)]);
    let memory = (
        of(ended(at.clone())),
        vec(failed, 0..3),
        vec(revision(), 0..3),
        vec(notice(at.clone()), 0..3),
    );
    let answer = prop_oneof![
        Just(Answer::Waiting),
        reason().prop_map(Answer::Granted),
        reason().prop_map(Answer::Refused),
    ];
    let request = (ask(), answer).prop_map(|(ask, answer)| Request { ask, answer });
    let small = (of(git_revision()), of(revision()), of(text()), of(request));
    let waiting = (at.clone(), reason(), of(text())).prop_map(|(since, reason, class)| Waiting {
        since,
        reason,
        class,
    });
    let fleet = (of(waiting), of(failure(at.clone())));
    (of(stable), of(trial(at)), memory, small, counters, fleet).prop_map(
        |(
            stable,
            trial,
            (last, quarantine, promoted, outbox),
            (overwritten, warned, answered, request),
            (trials, notices),
            (waiting, failed),
        )| State {
            stable,
            trial,
            last,
            quarantine,
            promoted,
            overwritten,
            warned,
            outbox,
            waiting,
            failed,
            request,
            answered,
            trials,
            notices,
        },
    )
}

fn failure(at: Time) -> impl Strategy<Value = Failed> {
    (at, of(git_revision()), vec(text(), 0..2)).prop_map(|(at, commit, siblings)| Failed {
        at,
        commit,
        siblings,
    })
}

fn pods() -> impl Strategy<Value = Pods> {
    let number = || prop_oneof![4 => 0_u32..6, 1 => Just(u32::MAX)];
    let trouble = (0..TroubleKind::ALL.len(), text())
        .prop_map(|(kind, message)| Trouble { kind: TroubleKind::ALL[kind], message });
    (any::<bool>(), number(), number(), of(trouble))
        .prop_map(|(exists, desired, ready, trouble)| Pods { exists, desired, ready, trouble })
}

fn workload() -> impl Strategy<Value = Workload> {
    let deployed = prop_oneof![
        (git_revision(), any::<bool>())
            .prop_map(|(revision, applied)| Deployed::Git { revision, applied }),
        of(text()).prop_map(|writer| Deployed::OutOfBand { writer }),
        Just(Deployed::Unknown),
    ];
    let desired = prop_oneof![4 => 0_u32..6, 1 => Just(u32::MAX)];
    let pods = (desired, 0_u32..4);
    (revision(), pods, any::<[bool; 4]>(), deployed, of(revision())).prop_map(
        |(template, pods, [paused, settled, deliberate, restart], deployed, adopted)| Workload {
            template,
            desired: pods.0,
            surge: pods.1,
            paused,
            deployed,
            settled,
            adopted,
            deliberate,
            restart,
        },
    )
}

fn traffic() -> impl Strategy<Value = TrafficView> {
    let route = prop_oneof![
        Just(RouteView::Home),
        (0_u8..=100).prop_map(|w| RouteView::Split(Weight::new(w).unwrap())),
    ];
    let pinned = prop_oneof![
        Just(Pinned::All),
        Just(Pinned::Mixed),
        Just(Pinned::NoService),
        revision().prop_map(Pinned::To),
    ];
    (of(route), pinned, any::<[bool; 2]>()).prop_map(|(route, pinned, [held, freed])| TrafficView {
        route,
        pinned,
        held,
        freed,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let lane = prop_oneof![Just(Lane::Guard), Just(Lane::Evidence)];
    let eta = of(prop_oneof![Just(TimeDelta::MAX), Just(TimeDelta::MIN), Just(TimeDelta::zero())]);
    let why = prop_oneof![Just(Unclear::EnvironmentUnhealthy), Just(Unclear::PodSuspect)];
    prop_oneof![
        Just(Verdict::Pass),
        (lane, text(), text()).prop_map(|(lane, metric, message)| Verdict::Fail(Failure {
            lane,
            metric,
            message
        })),
        (eta, text()).prop_map(|(eta, metric)| Verdict::NeedMoreData { eta, metric }),
        (why, text()).prop_map(|(why, metric)| Verdict::Inconclusive { why, metric }),
        (text(), text()).prop_map(|(metric, message)| Verdict::Error { metric, message }),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let revision = prop_oneof![revision().prop_map(|revision| revision.to_string()), text()];
    (0..What::ALL.len(), text(), text(), of(revision)).prop_map(|(what, token, who, revision)| {
        Ask { token, who, what: What::ALL[what], revision }
    })
}

fn around() -> impl Strategy<Value = Around> {
    let work = (text(), git_revision(), of(any_time()), text()).prop_map(
        |(engine, revision, since, remedy)| EngineWork { engine, revision, since, remedy },
    );
    (of(work), vec(text(), 0..2)).prop_map(|(engine, gone)| Around { engine, gone })
}

/// Any others, and any who suspends.
fn fleet() -> impl Strategy<Value = Fleet> {
    let slot = prop_oneof![
        Just(Slot::None),
        Just(Slot::OnTrial),
        any_time().prop_map(|since| Slot::Waits { since }),
    ];
    let names = || (0_u8..4).prop_map(|n| format!("shop/{n}"));
    let class = of(Just("standard".to_owned()));
    let other = (names(), class, slot, of(git_revision()), of(failure(any_time().boxed())));
    let other = other.prop_map(|(rollout, class, slot, commit, failed)| Member {
        rollout,
        class,
        slot,
        commit,
        failed,
    });
    let suspended = prop_oneof![3 => Just(Vec::new()), 1 => vec(text(), 1..3)];
    (suspended, vec(other, 0..5)).prop_map(|(suspended, others)| Fleet { suspended, others })
}

/// Any look at the world, consistent or not.
pub(crate) fn observed() -> impl Strategy<Value = Observed> {
    let gates = btree_map((0..GATES.len()).prop_map(|n| GATES[n].to_owned()), gate_seen(), 0..4);
    let answers = (of(ask()), of(outcome()), vec(any::<u64>(), 0..3), gates);
    let sets = (pods(), pods(), pods());
    let parts = (of(workload()), sets, traffic(), verdict(), answers, around(), fleet());
    parts.prop_map(|(workload, sets, traffic, verdict, answers, around, fleet)| {
        let (ask, revert, delivered, gates) = answers;
        Observed {
            is_blind: sets.1.desired % 2 == 1,
            workload,
            stable: sets.0,
            canary: sets.1,
            taken: sets.2,
            traffic,
            verdict,
            ask,
            revert,
            delivered,
            gates,
            around,
            fleet,
        }
    })
}
