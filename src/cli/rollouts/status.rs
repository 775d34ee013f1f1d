//! `tidegate status`: where a Rollout stands, and with `--wait` how its trial ended, for scripts.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tidegate_api::ROLLOUT_LABEL;
use tokio::time::{Instant, sleep};

use super::connect::{ClusterArgs, CommandError, Connection};
use super::{LATE, REFUSED, WRONG};
use crate::cli::sync::parse_interval;
use crate::kubernetes::{Kind, json as read, names};

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);

/// What to show.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct StatusArgs {
    /// The Rollout
    name: String,
    /// Wait for the end; exit code 0: at rest and healthy, 1: aborted, 2: cannot go on, 3: too late
    #[arg(long)]
    wait: bool,
    /// Wait for what becomes of this commit, seven digits at least [default: whatever is on trial]
    #[arg(long, value_name = "COMMIT", value_parser = commit)]
    revision: Option<String>,
    /// Wait so long, such as 90s or 1h
    #[arg(long, default_value = "30m", value_parser = parse_interval)]
    timeout: Duration,
    #[command(flatten)]
    cluster: ClusterArgs,
}

fn commit(text: &str) -> Result<String, String> {
    let is_hex = text.chars().all(|digit| digit.is_ascii_hexdigit());
    let is_commit = (7..=64).contains(&text.len()) && is_hex;
    let complaint = || format!("found {text:?}, expected seven or more digits of a commit");
    is_commit.then(|| text.to_ascii_lowercase()).ok_or_else(complaint)
}

/// Where a Rollout stands, as far as a script cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// At rest, and what serves is healthy.
    Healthy,
    /// The trial was aborted.
    Aborted,
    /// It cannot be followed.
    Stalled,
    /// Not over yet.
    UnderWay,
}

/// Shows it, once or at every change until the end.
pub(super) async fn run(
    args: &StatusArgs,
    out: &mut (dyn Write + Send),
) -> Result<ExitCode, CommandError> {
    let connection = Connection::open(&args.cluster).await?;
    let until = Instant::now() + args.timeout;
    let mut told = String::new();
    loop {
        let live = connection.rollout(&args.name).await?;
        let now = line(&live);
        if now != told {
            writeln!(out, "{now}")?;
            told = now;
        }
        if !args.wait {
            return Ok(ExitCode::SUCCESS);
        }
        let trials = match &args.revision {
            Some(_) => trials(&connection, &args.name).await?,
            None => Vec::new(),
        };
        match standing(&live, &trials, args.revision.as_deref()) {
            Standing::Healthy => return Ok(ExitCode::SUCCESS),
            Standing::Aborted => return Ok(ExitCode::from(REFUSED)),
            Standing::Stalled => return Ok(ExitCode::from(WRONG)),
            Standing::UnderWay if Instant::now() >= until => {
                writeln!(out, "{}: not over in time", args.name)?;
                return Ok(ExitCode::from(LATE));
            }
            Standing::UnderWay => sleep(LOOK).await,
        }
    }
}

/// The records of a Rollout's trials, oldest first.
pub(super) async fn trials(
    connection: &Connection,
    rollout: &str,
) -> Result<Vec<Value>, CommandError> {
    let selector = format!("{ROLLOUT_LABEL}={}", names::label_value(rollout));
    let namespace = Some(connection.namespace.as_str());
    let mut all = connection.cluster.list(Kind::Trial, namespace, &selector).await?;
    all.retain(|trial| read::text(trial, "/spec/rollout") == Some(rollout));
    all.sort_by_key(|trial| read::text(trial, "/spec/started").unwrap_or_default().to_owned());
    Ok(all)
}

/// One line for people.
pub(super) fn line(live: &Value) -> String {
    let text = |pointer: &str| read::text(live, pointer).unwrap_or_default().to_owned();
    let weight = read::count(live, "/status/weight").map(|weight| format!("{weight}%"));
    let words = [
        text("/status/phase"),
        text("/status/step"),
        weight.unwrap_or_default(),
        text("/status/verdict"),
    ];
    let words: Vec<_> = words.iter().filter(|word| !word.is_empty()).map(String::as_str).collect();
    let name = read::name(live).unwrap_or_default();
    format!("{name}: {}: {}", words.join(" "), text("/status/message"))
}

/// What a commit came to, if one is named: its own trial says it, and without one that it is what
/// runs. Otherwise what the Rollout says now.
fn standing(live: &Value, trials: &[Value], commit: Option<&str>) -> Standing {
    let Some(commit) = commit else { return now(live) };
    let is_it = |git: Option<&str>| git.is_some_and(|git| git.starts_with(commit));
    let its = trials.iter().rfind(|trial| is_it(read::text(trial, "/spec/bad")));
    match its.map(|trial| read::text(trial, "/status/outcome")) {
        Some(Some("Aborted")) => Standing::Aborted,
        Some(Some("Promoted" | "Watched")) => Standing::Healthy,
        Some(_) => Standing::UnderWay,
        None if is_it(read::text(live, "/status/stable/git")) => now(live),
        None => match now(live) {
            Standing::Stalled => Standing::Stalled,
            Standing::Healthy | Standing::Aborted | Standing::UnderWay => Standing::UnderWay,
        },
    }
}

fn now(live: &Value) -> Standing {
    let is = |kind: &str, status: &str| {
        let mut conditions = read::list(live, "/status/conditions").iter();
        conditions.any(|found| found["type"] == kind && found["status"] == status)
    };
    let generation = read::number(live, "/metadata/generation");
    let is_seen = read::number(live, "/status/observedGeneration") >= generation;
    match read::text(live, "/status/phase") {
        Some("Aborted") => Standing::Aborted,
        Some("Idle") | None if is("Stalled", "True") => Standing::Stalled,
        Some("Idle") if is_seen && is("Ready", "True") => Standing::Healthy,
        _ => Standing::UnderWay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout(phase: &str, ready: &str, stalled: &str) -> Value {
        json!({"metadata": {"name": "web", "generation": 2}, "status": {
            "phase": phase, "observedGeneration": 2, "message": "so it is", "weight": 50,
            "step": "2/3", "verdict": "Pass", "stable": {"git": "aaaaaaaaaa"},
            "conditions": [{"type": "Ready", "status": ready}, {"type": "Stalled", "status": stalled}],
        }})
    }

    fn trial(bad: &str, outcome: Option<&str>) -> Value {
        json!({"spec": {"bad": bad}, "status": {"outcome": outcome}})
    }

    #[test]
    fn without_a_commit_the_rollout_says_it() {
        let standing = |phase, ready, stalled| now(&rollout(phase, ready, stalled));
        assert_eq!(standing("Idle", "True", "False"), Standing::Healthy);
        assert_eq!(standing("Idle", "False", "False"), Standing::UnderWay);
        assert_eq!(standing("Idle", "True", "True"), Standing::Stalled);
        assert_eq!(standing("Baking", "True", "True"), Standing::UnderWay);
        assert_eq!(standing("Aborted", "True", "True"), Standing::Aborted);
        assert_eq!(now(&json!({})), Standing::UnderWay, "nobody has looked yet");
        let mut newer = rollout("Idle", "True", "False");
        newer["metadata"]["generation"] = json!(3);
        assert_eq!(now(&newer), Standing::UnderWay);
    }

    #[test]
    fn a_commit_is_told_by_its_own_trial() {
        let idle = rollout("Idle", "True", "False");
        let all = [trial("bbbbbbbbbb", Some("Aborted")), trial("cccccccccc", Some("Promoted"))];
        assert_eq!(standing(&idle, &all, Some("bbbbbbb")), Standing::Aborted);
        assert_eq!(standing(&idle, &all, Some("ccccccc")), Standing::Healthy);
        assert_eq!(standing(&idle, &all, Some("aaaaaaa")), Standing::Healthy, "it runs");
        assert_eq!(standing(&idle, &all, Some("ddddddd")), Standing::UnderWay, "not seen yet");
        let again = [trial("bbbbbbbbbb", Some("Aborted")), trial("bbbbbbbbbb", None)];
        assert_eq!(standing(&idle, &again, Some("bbbbbbb")), Standing::UnderWay, "a retry");
    }

    #[test]
    fn a_line_leaves_out_what_there_is_not() {
        let mut live = rollout("Baking", "True", "False");
        assert_eq!(line(&live), "web: Baking 2/3 50% Pass: so it is");
        live["status"] = json!({"phase": "Idle", "message": "at rest"});
        assert_eq!(line(&live), "web: Idle: at rest");
    }

    #[test]
    fn commits_are_named_by_seven_digits_at_least() {
        assert_eq!(commit("3F2A91C").unwrap(), "3f2a91c");
        assert!(commit("3f2a91").is_err());
        assert!(commit("web-v2-final").is_err());
    }
}
