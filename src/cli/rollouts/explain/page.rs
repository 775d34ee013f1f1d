//! The page: the trial, each metric as people look at it, how it went. Pure.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use tidegate_api::{
    ArmCounts, Between, EvidenceStatus, MarginStatus, MetricStatus, Needs, Standing, StepRecord,
    TrialOutcome,
};
use tidegate_engine::judge::words::{count, duration, of_requests, percent, points, times};
use tidegate_engine::judge::{Counts, Evidence, Margin};
use tidegate_engine::reason::Reason;

use super::super::history::took;
use super::super::table::table;
use super::super::tree::bar;
use super::facts::Facts;
use super::plot::Plot;

/// Notes that are shown, the latest ones.
const NOTES: usize = 12;
/// Digits of a commit.
const SHORT: usize = 10;

/// All of it, with a line break at the end.
pub(super) fn page(facts: &Facts, queries: bool, now: DateTime<Utc>) -> String {
    let mut page = head(facts, now);
    for metric in &facts.metrics {
        page.push('\n');
        page.push_str(&block(metric));
    }
    if !facts.steps.is_empty() {
        let _ = write!(page, "\nat the end of each step\n{}", indented(&steps(&facts.steps)));
    }
    if !facts.notes.is_empty() {
        let _ = write!(page, "\nhow it went\n{}", indented(&notes(facts)));
    }
    if queries {
        page.push_str("\nqueries, to be asked as range queries\n");
        for query in &facts.queries {
            let (metric, step) = (&query.metric, query.step_seconds);
            let _ = writeln!(page, "  {metric}, each {step} s from {} to {}", query.from, query.to);
            let _ = writeln!(page, "    {}", query.query);
        }
    } else if !facts.queries.is_empty() {
        page.push_str("\n--queries shows what was asked, and for which instants\n");
    }
    page
}

fn head(facts: &Facts, now: DateTime<Utc>) -> String {
    let revision = |hash: &str, commit: Option<&String>| match commit {
        Some(commit) => format!("{hash} ({})", commit.chars().take(SHORT).collect::<String>()),
        None => hash.to_owned(),
    };
    let canary = revision(&facts.canary, facts.bad.as_ref());
    let stable = revision(&facts.stable, facts.good.as_ref());
    let mut text = format!("{}/{}: canary {canary}", facts.namespace, facts.rollout);
    let _ = writeln!(text, " against stable {stable}");
    let _ = writeln!(text, "trial {}, {}", facts.trial, standing(facts, now));
    if !facts.message.is_empty() {
        let verdict = facts.verdict.map(|verdict| format!("{verdict:?}: ")).unwrap_or_default();
        let _ = writeln!(text, "{verdict}{}", facts.message);
    }
    if let Some(cause) = &facts.cause {
        let known = Reason::ALL.iter().find(|known| known.as_str() == cause.reason);
        let meaning = known.map(|known| known.meaning().trim()).unwrap_or_default();
        let _ = writeln!(text, "because of {}: {meaning}", cause.reason);
        let _ = writeln!(text, "  {}", cause.message);
    }
    if let Some(revert) = &facts.revert {
        let _ = writeln!(text, "revert: {revert}");
    }
    text
}

/// Where it is, or how it ended.
fn standing(facts: &Facts, now: DateTime<Utc>) -> String {
    let (started, ended) = (&facts.started, facts.ended.as_deref());
    if let Some(outcome) = facts.outcome {
        let outcome = match outcome {
            TrialOutcome::Promoted => "promoted",
            TrialOutcome::Aborted => "aborted",
            TrialOutcome::Watched => "watched",
        };
        let ended = ended.unwrap_or_default();
        return format!("{outcome} after {}: {started} to {ended}", took(started, ended));
    }
    let so_far = took(started, &now.to_rfc3339_opts(SecondsFormat::Secs, true));
    let phase = facts.phase.map_or_else(|| "running".to_owned(), |phase| format!("{phase:?}"));
    let step = facts.step.as_ref().map(|step| format!(", step {step}")).unwrap_or_default();
    let weight = facts.weight.map(|weight| format!(", weight {weight}%")).unwrap_or_default();
    format!("{phase}{step}{weight}, {so_far} since {started}")
}

/// One metric.
fn block(metric: &MetricStatus) -> String {
    let Some(standing) = metric.standing else { return format!("{}\n", metric.message) };
    let mut text = format!("{}: {}\n", metric.name, verdict(standing, metric));
    let (Some(canary), Some(stable)) = (metric.canary, metric.stable) else {
        let _ = writeln!(text, "  {}", metric.message);
        return text;
    };
    if standing == Standing::Error {
        let _ = writeln!(text, "  {}", metric.message);
    }
    match metric.guarded {
        // The guard lane was faster than any window.
        Some(guarded) if canary.requests == 0 => {
            let _ = writeln!(text, "  no window with both arms yet; in the guard lane");
            text.push_str(&indented(&arms(guarded.canary, guarded.stable)));
        }
        Some(_) | None => {
            text.push_str(&indented(&arms(canary, stable)));
            text.push_str(&indented(&comparison(metric, counts(stable))));
        }
    }
    text.push_str(&indented(&bars(metric)));
    if let Some(needs) = &metric.needs {
        text.push_str(&indented(&forecast(needs)));
    }
    if let Some(share) = metric.share_off {
        let share = percent(share);
        let _ = writeln!(text, "  ShareOff: the canary got {share} of the requests at this weight");
    }
    text
}

fn verdict(standing: Standing, metric: &MetricStatus) -> String {
    let proven = metric.proven.and_then(margin);
    match (standing, proven) {
        (Standing::Pass, Some(proven)) => format!("Pass, proven no worse than {proven}"),
        (Standing::Pass, None) => "Pass".to_owned(),
        (Standing::Fail, _) => "Fail, the canary does harm".to_owned(),
        (Standing::NeedMoreData, _) => "NeedMoreData, not enough either way yet".to_owned(),
        (Standing::EnvironmentUnhealthy, _) => {
            "EnvironmentUnhealthy, stable breaks the hard limit too".to_owned()
        }
        (Standing::Error, _) => "Error, the data could not be had".to_owned(),
    }
}

fn arms(canary: ArmCounts, stable: ArmCounts) -> String {
    let row = |name: &str, arm: ArmCounts| {
        let rate = counts(arm).rate().map_or_else(|| "no requests".to_owned(), percent);
        vec![name.to_owned(), count(arm.requests), count(arm.bad), rate]
    };
    table(&["ARM", "REQUESTS", "BAD", "RATE"], &[row("canary", canary), row("stable", stable)])
}

/// The ratio and its interval, drawn; where stable never erred, the difference.
fn comparison(metric: &MetricStatus, stable: Counts) -> String {
    let mut text = String::new();
    let rate = stable.rate().filter(|rate| *rate > 0.0);
    if let (Some(ratio), Some(interval), Some(rate)) = (metric.ratio, metric.interval, rate) {
        let (low, high) = (times(interval.low), interval.high.map(times));
        let _ = writeln!(text, "ratio {}, {}", times(ratio), sure(&low, high.as_deref()));
        let as_ratio = |margin: MarginStatus| margin.relative + margin.absolute / rate;
        let (fails, passes) = (metric.fails_above.map(as_ratio), metric.passes_below.map(as_ratio));
        for line in (Plot { ratio, interval, fails, passes }).lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    if let Some(Between { low, high }) = metric.difference {
        let high = high.map(points);
        let _ = writeln!(text, "difference of the rates: {}", sure(&points(low), high.as_deref()));
    }
    text
}

/// `95 % sure` is what an always-valid interval is at every look.
fn sure(low: &str, high: Option<&str>) -> String {
    match high {
        Some(high) => format!("95 % sure from {low} to {high}, however often one looks"),
        None if low == "0" => "which says nothing yet".to_owned(),
        None => format!("95 % sure {low} at least, however often one looks"),
    }
}

/// How far each verdict is.
fn bars(metric: &MetricStatus) -> String {
    let says = |what: &str, margin_of: Option<MarginStatus>| {
        margin_of.and_then(margin).map(|margin| format!("{what} {margin}")).unwrap_or_default()
    };
    let fails = says("F: worse than", metric.fails_above);
    let passes = says("P: proven no worse than", metric.passes_below);
    let guarded =
        metric.guarded.map(|arms| format!("; canary {}", of_requests(counts(arms.canary))));
    let limit = metric
        .hard_limit
        .map(|limit| format!("hard limit {}{}", percent(limit), guarded.unwrap_or_default()));
    let mut text = String::new();
    for (name, evidence, says) in [
        ("Fail", metric.regression, fails),
        ("Pass", metric.safety, passes),
        ("Guard", metric.guard, limit.unwrap_or_default()),
    ] {
        let Some(EvidenceStatus { found, limit }) = evidence else { continue };
        let evidence = Evidence { log_e: found, limit };
        let (bar, numbers) = (bar(cells(evidence.progress())), evidence.to_string());
        let _ = writeln!(text, "{name:<5} {bar} {numbers:<18} {says}");
    }
    text
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
fn cells(progress: f64) -> u32 {
    (progress * 100.0).floor() as u32
}

fn forecast(needs: &Needs) -> String {
    let about = |seconds: u64| {
        let time = i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds);
        duration(time.unwrap_or(TimeDelta::MAX))
    };
    let mut text = format!("a Pass takes about {} more canary requests", count(needs.requests));
    text.push_str(" if it is healthy");
    if let Some(seconds) = needs.seconds {
        let _ = write!(text, ": {}", about(seconds));
    }
    if let Some(rate) = needs.per_second {
        let _ = write!(text, " at {} req/s", times(rate));
    }
    for at in &needs.at_weights {
        let _ = write!(text, "; at weight {} about {}", at.weight, about(at.seconds));
    }
    text.push('\n');
    text
}

fn steps(all: &[StepRecord]) -> String {
    let arm = |arm: Option<ArmCounts>| arm.map(|arm| of_requests(counts(arm))).unwrap_or_default();
    let rows: Vec<_> = all
        .iter()
        .flat_map(|step| {
            step.metrics.iter().map(move |metric| {
                let standing = metric.standing.map(|standing| format!("{standing:?}"));
                vec![
                    step.step.clone(),
                    format!("{}%", step.weight),
                    step.at.clone(),
                    metric.name.clone(),
                    standing.unwrap_or_default(),
                    arm(metric.canary),
                    arm(metric.stable),
                ]
            })
        })
        .collect();
    table(&["STEP", "WEIGHT", "UNTIL", "METRIC", "VERDICT", "CANARY", "STABLE"], &rows)
}

fn notes(facts: &Facts) -> String {
    let latest = facts.notes.iter().skip(facts.notes.len().saturating_sub(NOTES));
    let rows: Vec<_> = latest
        .map(|note| {
            let who = note.who.as_ref().map(|who| format!(" ({who})")).unwrap_or_default();
            vec![note.at.clone(), format!("{}{who}", note.reason), note.message.clone()]
        })
        .collect();
    table(&["AT", "WHY", "WHAT"], &rows)
}

const fn counts(arm: ArmCounts) -> Counts {
    Counts { total: arm.requests, bad: arm.bad }
}

fn margin(status: MarginStatus) -> Option<Margin> {
    Margin::new(status.relative, status.absolute).ok()
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{}", format!("  {line}").trim_end());
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record() -> Value {
        json!({
            "metadata": {"namespace": "shop", "name": "web-7d1c-4"},
            "spec": {"rollout": "web", "stable": "5b9f6c7d88", "canary": "a6d4cf9b6d",
                "good": "3f2a91c0de11", "bad": "9f2c1e04ab37", "started": "2026-03-02T10:00:00Z"},
            "status": {
                "reason": "NeedMoreData",
                "steps": [{"step": "1/4", "weight": 5, "at": "2026-03-02T10:21:04Z",
                    "verdict": "Pass", "metrics": [{"name": "errors", "standing": "Pass",
                        "canary": {"requests": 640, "bad": 1},
                        "stable": {"requests": 12_160, "bad": 21}}]}],
                "notes": [
                    {"at": "2026-03-02T10:00:00Z", "reason": "TrialStarted",
                        "message": "a6d4cf9b6d is on trial against 5b9f6c7d88"},
                    {"at": "2026-03-02T10:21:04Z", "reason": "StepPassed",
                        "message": "weight 25% is next"},
                ],
                "queries": [{"metric": "errors", "stepSeconds": 15,
                    "query": "max by (pod) (sum by (pod) (http_requests_total{pod=~\"web-.*\"}))",
                    "from": "2026-03-02T10:00:30Z", "to": "2026-03-02T10:47:30Z"}],
            },
        })
    }

    fn errors() -> Value {
        json!({
            "name": "errors", "message": "in one line", "standing": "NeedMoreData",
            "canary": {"requests": 1830, "bad": 7}, "stable": {"requests": 36_410, "bad": 61},
            "ratio": 2.283, "interval": {"low": 0.512, "high": 6.71},
            "regression": {"found": -1.2, "limit": 7.889},
            "safety": {"found": 0.993, "limit": 2.996},
            "guard": {"found": -0.9, "limit": 8.987},
            "hardLimit": 0.05, "guarded": {"canary": {"requests": 1841, "bad": 7},
                "stable": {"requests": 36_500, "bad": 61}},
            "failsAbove": {"relative": 1.5, "absolute": 0.0002},
            "passesBelow": {"relative": 1.5, "absolute": 0.005},
            "needs": {"requests": 1900, "perSecond": 0.61, "seconds": 3110,
                "atWeights": [{"weight": 50, "seconds": 1560}]},
        })
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn running() -> String {
        let live = json!({"status": {
            "trial": "web-7d1c-4", "phase": "Baking", "step": "2/4", "weight": 25,
            "verdict": "NeedMoreData", "message": "errors needs more data, about 51 min",
            "metrics": [errors()],
        }});
        page(&Facts::of(&live, &record()), false, at("2026-03-02T10:48:12Z"))
    }

    fn over() -> String {
        let mut record = record();
        let mut metric = errors();
        metric["standing"] = json!("Fail");
        metric["shareOff"] = json!(0.012);
        metric["canary"] = json!({"requests": 380, "bad": 8});
        metric["stable"] = json!({"requests": 3645, "bad": 0});
        metric["interval"] = json!({"low": 6.1});
        metric["difference"] = json!({"low": 0.0046, "high": 0.051});
        for gone in ["ratio", "needs"] {
            metric.as_object_mut().unwrap().remove(gone);
        }
        metric["regression"] = json!({"found": 8.651, "limit": 7.889});
        let status = &mut record["status"];
        status["metrics"] = json!([
            metric,
            {"name": "gateway-errors", "message": "in one line", "standing": "Fail",
                "canary": {"requests": 0, "bad": 0}, "stable": {"requests": 0, "bad": 0},
                "guard": {"found": 9.45, "limit": 8.987}, "hardLimit": 0.05,
                "guarded": {"canary": {"requests": 68, "bad": 23},
                    "stable": {"requests": 601, "bad": 0}}},
            {"name": "queue", "message": "queue: 3, wanted < 10", "standing": "Pass", "value": 3.0},
            {"name": "memory", "message": "metric source default does not answer in time",
                "standing": "Error"},
        ]);
        status["outcome"] = json!("Aborted");
        status["cause"] = json!({"reason": "AnalysisFailed",
            "message": "errors: canary 8/380 (2.1 %) vs stable 0/3,645 (0 %)"});
        status["ended"] = json!("2026-03-02T10:31:20Z");
        status["reason"] = json!("Reverted");
        status["message"] = json!("the template is stable's again; the canary left");
        status["revert"] = json!("commit c0ffee1234");
        let failed = json!({"at": "2026-03-02T10:30:41Z", "reason": "AnalysisFailed", "who": "ann",
            "message": "errors: canary 8/380 (2.1 %) vs stable 0/3,645 (0 %)"});
        status["notes"].as_array_mut().unwrap().push(failed);
        page(&Facts::of(&Value::Null, &record), true, at("2026-03-02T12:00:00Z"))
    }

    /// `UPDATE=1` writes them.
    fn is_golden(name: &str, page: &str) {
        let golden = format!("{}/src/cli/rollouts/explain/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&golden, page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&golden).unwrap(), page, "{page}");
    }

    #[test]
    fn a_trial_that_runs_says_how_far_it_is() {
        is_golden("running.txt", &running());
    }

    #[test]
    fn a_trial_that_is_over_says_why() {
        is_golden("over.txt", &over());
    }

    #[test]
    fn the_page_of_the_commands_has_it() {
        let doc = format!("{}/docs/cli.md", env!("CARGO_MANIFEST_DIR"));
        let doc = std::fs::read_to_string(doc).unwrap();
        assert!(doc.contains(&running()), "{}", running());
    }

    #[test]
    fn nothing_but_a_name_is_a_page_too() {
        let record = json!({"metadata": {"namespace": "shop", "name": "t"}, "spec": {
            "rollout": "web", "stable": "a", "canary": "b", "started": "2026-03-02T10:00:00Z"}});
        let page = page(&Facts::of(&Value::Null, &record), true, at("2026-03-02T10:00:05Z"));
        let wanted = "shop/web: canary b against stable a\n\
                      trial t, running, 5s since 2026-03-02T10:00:00Z\n\
                      \nqueries, to be asked as range queries\n";
        assert_eq!(page, wanted);
    }
}
