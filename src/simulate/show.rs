//! What a simulation looks like on a terminal.

use std::fmt::Write;

use chrono::TimeDelta;
use tidegate_engine::effect::Effect;
use tidegate_engine::sim::{Line, Run, Scenario};
use tidegate_engine::state::Outcome;

use super::statistics::{Statistics, quantile};

/// How wide the bars of a distribution are.
const BAR: usize = 40;
/// How many bars.
const BARS: u32 = 12;

/// One run as a story.
pub fn timeline(scenario: &Scenario, run: &Run) -> String {
    let mut text = format!("{} ({} req/s)\n\n", scenario.title, scenario.rate);
    for line in &run.timeline {
        let _ = writeln!(text, "{}", one_line(line));
    }
    text.push('\n');
    for trial in &run.trials {
        let after = trial.decided_after.map_or_else(String::new, |after| {
            format!(", decided {} after the commit", clock(after))
        });
        let _ = writeln!(text, "{}: {}{after}", trial.canary, outcome(&trial.outcome));
    }
    if run.trials.is_empty() {
        let _ = writeln!(text, "no trial ended; the rollout is {:?}", run.phase);
    }
    let serves = run.serves.as_ref().map_or("nothing", |revision| revision.as_str());
    let _ = writeln!(text, "{serves} serves; {} answers of the new version failed", run.harmed);
    text
}

fn one_line(line: &Line) -> String {
    let effects: Vec<_> = line.effects.iter().filter_map(effect).collect();
    let effects =
        if effects.is_empty() { String::new() } else { format!("  [{}]", effects.join(", ")) };
    let phase = format!("{:?}", line.phase);
    format!("{:>9}  {phase:<11}  {}{effects}", clock(line.at), line.message)
}

/// What an effect asks for, in a word; notices are told by the line itself.
fn effect(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Settle { .. } => "settle".to_owned(),
        Effect::Hold => "hold".to_owned(),
        Effect::Pin { revision } => format!("pin {revision}"),
        Effect::Unpin => "unpin".to_owned(),
        Effect::Raise { revision, replicas } => format!("{replicas} x {revision}"),
        Effect::Route { weight } => format!("weight {weight}"),
        Effect::RouteHome => "route home".to_owned(),
        Effect::HandOver { revision } => format!("hand over {revision}"),
        Effect::Retire { revision } => format!("retire {revision}"),
        Effect::Restore { revision } => format!("restore {revision}"),
        Effect::Unpause => "unpause".to_owned(),
        Effect::Revert(order) => format!("revert {}", order.bad.short()),
        Effect::Release => "release".to_owned(),
        Effect::Announce(_) => return None,
    })
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Promoted => "promoted".to_owned(),
        Outcome::Aborted { cause, .. } => format!("aborted ({}): {}", cause.reason(), cause.message()),
        Outcome::Watched { would_abort: Some(why) } => format!("would have been aborted: {why}"),
        Outcome::Watched { would_abort: None } => "watched; nothing against it".to_owned(),
    }
}

/// `1:02:03` or `02:03.5`.
fn clock(at: TimeDelta) -> String {
    let (hours, minutes) = (at.num_hours(), at.num_minutes() % 60);
    let (seconds, tenths) = (at.num_seconds() % 60, at.num_milliseconds() % 1000 / 100);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}.{tenths}")
    }
}

/// Many runs as shares and a plot.
pub fn statistics(scenario: &Scenario, sum: &Statistics) -> String {
    let share = |count: usize| 100.0 * count as f64 / sum.runs.max(1) as f64;
    let mut text = format!("{} ({} req/s), {} runs\n\n", scenario.title, scenario.rate, sum.runs);
    for (name, count) in
        [("promoted", sum.promoted), ("aborted", sum.aborted), ("undecided", sum.undecided)]
    {
        let _ = writeln!(text, "  {name:<10} {count:>6}  {:>6.2} %", share(count));
    }
    let harmed = [0.5, 0.9, 1.0].map(|q| quantile(&sum.harmed, q).unwrap_or(0));
    let _ = writeln!(
        text,
        "\nfailed answers of the new version: median {}, p90 {}, worst {}",
        harmed[0], harmed[1], harmed[2]
    );
    distribution(&mut text, "time from the commit to the abort", &sum.seconds_to_abort);
    distribution(&mut text, "time from the commit to the promotion", &sum.seconds_to_promotion);
    text
}

fn distribution(text: &mut String, title: &str, sorted: &[f64]) {
    let (Some(low), Some(high)) = (sorted.first(), sorted.last()) else { return };
    let of = |q: f64| quantile(sorted, q).unwrap_or(0.0);
    let _ = writeln!(
        text,
        "\n{title}: median {}, p90 {}, worst {}",
        span(of(0.5)),
        span(of(0.9)),
        span(*high)
    );
    let width = ((high - low) / f64::from(BARS)).max(1e-9);
    let counts: Vec<usize> = (0..BARS)
        .map(|bar| {
            let from = low + width * f64::from(bar);
            let to = if bar + 1 == BARS { f64::INFINITY } else { from + width };
            sorted.iter().filter(|value| **value >= from && **value < to).count()
        })
        .collect();
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    for (bar, count) in (0..BARS).zip(&counts) {
        let filled = "█".repeat((count * BAR).div_ceil(most));
        let _ = writeln!(
            text,
            "  {:>8} │{filled:<BAR$} {count}",
            span(low + width * f64::from(bar))
        );
    }
}

/// `12.5 s` or `7.5 min`.
fn span(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.1} s") } else { format!("{:.1} min", seconds / 60.0) }
}
