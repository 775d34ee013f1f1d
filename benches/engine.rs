//! What one decision and one judgement cost: `cargo bench --bench engine -- [--json]`. Plain
//! loops; the median of many batches.
#![expect(clippy::print_stdout, reason = "a benchmark prints its numbers")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::judge::{
    Analysis, Context, CountSeries, Counts, Criterion, GuardSample, Kind, Ratio, Running, Samples,
    Series, Verdict, Window, judge,
};
use tidegate_engine::plan::{
    GitPlan, GitWrite, Limits, Mode, OnFailure, OnInconclusive, OnLowTraffic, OnRestart, Plan,
    PromoteBy, Step, Traffic, Weight,
};
use tidegate_engine::sim::Cluster;
use tidegate_engine::state::State;
use tidegate_engine::windows::Windows;
use tidegate_engine::{decide, questions};

const BATCHES: usize = 31;
/// Windows of an hour.
const WINDOWS: i32 = 240;
const DECIDE_LIMIT: f64 = 5000.0;
const JUDGE_LIMIT: f64 = 20_000.0;
/// A look of the controller may take as long.
const DETAILS_LIMIT: f64 = 2_000_000.0;

fn main() {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let print = |name: &str, nanoseconds: f64, limit: f64| {
        if as_json {
            let line = serde_json::json!({
                "bench": "engine", "name": name, "medianNanoseconds": nanoseconds,
                "limitNanoseconds": limit,
            });
            println!("{line}");
        } else {
            println!("{name}: {nanoseconds:.0} ns (limit {limit:.0} ns)");
        }
    };
    print("decide, plan of 10 steps", decision(), DECIDE_LIMIT);
    let (fold, look, details) = judgement();
    print("judge, a metric and a window", fold, JUDGE_LIMIT);
    print("judge, a metric and a look", look, JUDGE_LIMIT);
    print("judge, what is shown of a metric's hour", details, DETAILS_LIMIT);
}

/// The median over batches, in nanoseconds for each of `count` things done.
fn median(count: usize, mut batch: impl FnMut()) -> f64 {
    let mut times: Vec<_> = (0..BATCHES)
        .map(|_| {
            let start = Instant::now();
            batch();
            start.elapsed().as_secs_f64() * 1e9 / count as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(BATCHES / 2).copied().unwrap_or(f64::NAN)
}

fn analysis() -> Analysis {
    let kind = Kind::Ratio(Ratio::ERRORS);
    let criterion = Criterion { name: "errors".to_owned(), weight: None, kind };
    Analysis { criteria: vec![criterion], ..Analysis::default() }
}

fn plan() -> Plan {
    let step = |tenth: u8| Step::Weight {
        weight: Weight::new(tenth * 10).unwrap_or(Weight::FULL),
        bake: TimeDelta::minutes(1),
    };
    Plan {
        rollout: "shop/web".to_owned(),
        uid: "u1".to_owned(),
        mode: Mode::Enforce,
        class: None,
        max_trials: None,
        traffic: Traffic::Routes,
        promotion: PromoteBy::HandOver,
        steps: (1..=10).map(step).collect(),
        analysis: analysis(),
        on_failure: OnFailure::Revert,
        on_inconclusive: OnInconclusive::Pause,
        on_low_traffic: OnLowTraffic::Pause,
        on_restart: OnRestart::Pass,
        windows: Windows::default(),
        gates: Vec::new(),
        limits: Limits::default(),
        git: Some(GitPlan {
            repository: "fleet".to_owned(),
            branch: "main".to_owned(),
            paths: vec!["apps/web".to_owned()],
            write: GitWrite::Push,
        }),
    }
}

/// A trial that is baking: the decision of nearly every turn.
fn decision() -> f64 {
    const TIMES: usize = 2000;
    let plan = plan();
    let mut cluster = Cluster::new(DateTime::<Utc>::UNIX_EPOCH, "v1", 4);
    let mut state = State::default();
    let verdict = || Verdict::NeedMoreData { eta: None, metric: "errors".to_owned() };
    for second in 0..60 {
        if second == 10 {
            let ready = TimeDelta::seconds(3);
            cluster.start_up.insert(tidegate_engine::state::Revision::new("v2"), ready);
            cluster.commit("v2");
            cluster.sync();
        }
        let decision = decide(&plan, &state, &cluster.observe(&state, verdict()), cluster.now);
        state = decision.next;
        for effect in &decision.effects {
            cluster.carry_out(effect);
        }
        cluster.advance(TimeDelta::seconds(1));
    }
    let seen = cluster.observe(&state, verdict());
    median(TIMES, || {
        for _ in 0..TIMES {
            let (plan, state) = (black_box(&plan), black_box(&state));
            black_box(questions(plan, state, cluster.now));
            let _ = black_box(decide(plan, state, black_box(&seen), cluster.now));
        }
    })
}

/// For a metric: a window of the judge that folds all, a look at what was folded already, and what is
/// only shown.
fn judgement() -> (f64, f64, f64) {
    const LOOKS: usize = 200;
    let analysis = analysis();
    let since = DateTime::<Utc>::UNIX_EPOCH;
    let plan_time = TimeDelta::hours(2);
    let windows: Vec<_> = (1..=WINDOWS)
        .map(|index| {
            let pod = Counts { total: 300, bad: u64::from(index % 3 == 0) };
            Window {
                end: since + TimeDelta::seconds(15) * index,
                canary: Some(pod),
                stable: Some(Counts { total: 900, bad: pod.bad * 3 }),
                stable_pods: vec![pod; 3],
            }
        })
        .collect();
    let now = since + TimeDelta::seconds(15) * WINDOWS;
    let canary = Some(Counts { total: 72_000, bad: 80 });
    let guard = vec![GuardSample { at: now, canary, stable: canary }];
    let context = Context { now, share: 0.25, plan_time };
    let mut running = Running::new(&analysis, &[], since, plan_time);
    for window in &windows {
        running.window(0, window);
    }
    let series = Series::Counts(CountSeries { windows, guard, history: None });
    let samples = Samples { since, series: BTreeMap::from([("errors".to_owned(), series)]) };
    let whole = median(WINDOWS.unsigned_abs() as usize, || {
        let _ = black_box(judge(black_box(&analysis), black_box(&samples), &context));
    });
    let look = median(LOOKS, || {
        for _ in 0..LOOKS {
            let _ = black_box(running.judge(black_box(&context)));
        }
    });
    let judged = judge(&analysis, &samples, &context);
    let details = median(1, || {
        let judged = black_box(&judged).clone();
        let _ = black_box(judged.detailed(&analysis, black_box(&samples), &[50], None));
    });
    (whole, look, details)
}
