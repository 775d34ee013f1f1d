//! What a simulation looks like on a terminal.

use std::fmt::Write;

use chrono::TimeDelta;
use tidegate_engine::effect::Effect;
use tidegate_engine::sim::{Line, Run, Scenario, Truth, Turned};
use tidegate_engine::state::Outcome;

use super::statistics::{Share, Statistics, quantile};

/// How wide the bars of a distribution are.
const BAR: usize = 40;
/// How many bars.
const BARS: u32 = 12;

/// One run as a story.
pub fn story(scenario: &Scenario, seed: u64, run: &Run) -> String {
    let mut text = format!("{} ({} req/s, seed {seed})\n\n", scenario.title, scenario.rate);
    let mut told = "";
    for line in &run.timeline {
        one_line(&mut text, line, told);
        if let Turned::Verdict { text, .. } = &line.turned {
            told = text.first().map_or("", String::as_str);
        }
    }
    steps(&mut text, run);
    text.push('\n');
    for trial in &run.trials {
        let _ = write!(text, "{} {}", trial.canary, outcome(&trial.outcome));
        if let Some(after) = trial.after_commit {
            let _ = write!(text, "\n  decided {} after the commit", span(after));
        }
        if let Some(after) = trial.after_traffic {
            let _ = write!(text, ", {} after its first traffic", span(after));
        }
        text.push('\n');
    }
    if run.trials.is_empty() {
        let _ = writeln!(text, "no trial ended; it is {:?}", run.phase);
    }
    let serves = run.serves.as_ref().map_or("nothing", |revision| revision.as_str());
    let _ = writeln!(text, "{serves} serves; requests that failed on a canary: {}", run.harmed);
    text
}

/// `told`: what the last verdict said, which is not said again.
fn one_line(text: &mut String, line: &Line, told: &str) {
    let at = clock(line.at);
    match &line.turned {
        Turned::Event(what) => {
            let _ = writeln!(text, "{at:>10}  * {what}");
        }
        Turned::Decision { phase, message, effects, .. } => {
            let phase = format!("{phase:?}");
            let message = if message == told { "by this verdict" } else { message };
            let effects: Vec<_> = effects.iter().filter_map(effect).collect();
            let _ = write!(text, "{at:>10}  {phase:<11} {message}");
            if !effects.is_empty() {
                let _ = write!(text, "\n{:25}-> {}", "", effects.join(", "));
            }
            text.push('\n');
        }
        Turned::Verdict { verdict, text: lines } => {
            let _ = writeln!(text, "{at:>10}  verdict {verdict}");
            for line in lines {
                let _ = writeln!(text, "{:25}{line}", "");
            }
        }
    }
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
        Effect::HandOver { revision, .. } => format!("hand over {revision}"),
        Effect::Retire { revision } => format!("retire {revision}"),
        Effect::Restore { revision, .. } => format!("restore {revision}"),
        Effect::Unpause { .. } => "unpause".to_owned(),
        Effect::Revert(order) => format!("revert {}", order.bad.short()),
        Effect::Release => "release".to_owned(),
        Effect::RunGate(call) => format!("run gate {}", call.gate),
        Effect::Announce(_) => return None,
    })
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Promoted => "promoted".to_owned(),
        Outcome::Aborted { cause, .. } => format!("aborted ({})", cause.reason()),
        Outcome::Watched { would_abort: Some(why), .. } => {
            format!("would have been aborted: {why}")
        }
        Outcome::Watched { would_abort: None, .. } => "watched; nothing against it".to_owned(),
    }
}

/// How long each step took.
fn steps(text: &mut String, run: &Run) {
    if run.steps.is_empty() {
        return;
    }
    text.push_str("\n  step    weight read back    until it passed\n");
    for step in &run.steps {
        let weight = format!("{} {}", step.canary, step.weight);
        let took = step.took.map_or_else(|| "did not pass".to_owned(), span);
        let _ = writeln!(text, "  {weight:<12}{:>12}    {took}", clock(step.read_back));
    }
}

/// `1:02:03` or `02:03.5`.
fn clock(at: TimeDelta) -> String {
    let (hours, minutes) = (at.num_hours(), at.num_minutes() % 60);
    let (seconds, tenths) = (at.num_seconds() % 60, at.num_milliseconds() % 1000 / 100);
    format!("{hours}:{minutes:02}:{seconds:02}.{tenths}")
}

/// Many runs as shares and plots.
pub fn statistics(scenario: &Scenario, sum: &Statistics) -> String {
    let mut text = format!("{} ({} req/s), {} runs\n", scenario.title, scenario.rate, sum.runs);
    let _ = writeln!(text, "by its laws the release is {}\n", truth(sum.truth));
    let of = sum.runs;
    for (name, count) in
        [("promoted", sum.promoted), ("aborted", sum.aborted), ("undecided", sum.undecided)]
    {
        share(&mut text, name, &Share::new(count, of));
    }
    text.push('\n');
    for (name, rate) in
        [("false rollbacks", sum.false_rollbacks), ("wrong promotions", sum.wrong_promotions)]
    {
        if let Some(rate) = rate {
            share(&mut text, name, &rate);
        }
    }
    let harmed = [0.5, 0.9, 1.0].map(|q| quantile(&sum.harmed, q).unwrap_or(0));
    let _ = writeln!(
        text,
        "\nrequests that failed on the canary: median {}, p90 {}, most {}",
        harmed[0], harmed[1], harmed[2]
    );
    let title = "time to detect, from the first traffic to the abort";
    distribution(&mut text, title, &sum.seconds_to_detect);
    let title = "time to promotion, from the commit to the end of the last step";
    distribution(&mut text, title, &sum.seconds_to_promotion);
    text
}

fn truth(truth: Truth) -> &'static str {
    match truth {
        Truth::NoWorse => "no worse than stable",
        Truth::Worse => "worse than a Fail margin",
        Truth::Between => "a little worse, or worse only now and then",
    }
}

fn share(text: &mut String, name: &str, share: &Share) {
    let percent = 100.0 * share.count as f64 / share.of.max(1) as f64;
    let _ = writeln!(
        text,
        "  {name:<17}{:>7}  {percent:>6.2} %   95 % interval {:.2} % to {:.2} %",
        share.count,
        share.low * 100.0,
        share.high * 100.0
    );
}

fn distribution(text: &mut String, title: &str, sorted: &[f64]) {
    let (Some(low), Some(high)) = (sorted.first(), sorted.last()) else { return };
    let of = |q: f64| quantile(sorted, q).unwrap_or(0.0);
    let _ = writeln!(
        text,
        "\n{title}\nmedian {}, p90 {}, longest {}",
        short(of(0.5)),
        short(of(0.9)),
        short(*high)
    );
    if high - low < 1e-9 {
        return;
    }
    let width = (high - low) / f64::from(BARS);
    let mut counts = vec![0_usize; BARS as usize];
    for value in sorted {
        let from = |bar: u32| low + width * f64::from(bar);
        let bar = (1..BARS).take_while(|bar| *value >= from(*bar)).count();
        if let Some(count) = counts.get_mut(bar) {
            *count += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    for (bar, count) in (0..BARS).zip(&counts) {
        let filled = "█".repeat((count * BAR).div_ceil(most));
        let from = short(low + width * f64::from(bar));
        let _ = writeln!(text, "  {from:>10} │{filled:<BAR$} {count}");
    }
}

fn span(time: TimeDelta) -> String {
    short(time.num_milliseconds() as f64 / 1000.0)
}

/// `12.5 s` or `7.5 min`.
fn short(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.1} s") } else { format!("{:.1} min", seconds / 60.0) }
}
