//! `tidegate history`: the trials of a Rollout, and who asked for what.

use std::io::Write;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::connect::{ClusterArgs, CommandError, Connection};
use super::status::trials;
use super::table::table;
use crate::kubernetes::json as read;

const HEAD: [&str; 7] = ["STARTED", "TOOK", "OUTCOME", "REVISION", "COMMIT", "ASKED BY", "MESSAGE"];

/// Of which Rollout.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct HistoryArgs {
    /// The Rollout
    name: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Shows them, oldest first.
pub(super) async fn run(
    args: &HistoryArgs,
    out: &mut (dyn Write + Send),
) -> Result<ExitCode, CommandError> {
    let connection = Connection::open(&args.cluster).await?;
    connection.rollout(&args.name).await?;
    let rows: Vec<_> = trials(&connection, &args.name).await?.iter().map(row).collect();
    write!(out, "{}", table(&HEAD, &rows))?;
    Ok(ExitCode::SUCCESS)
}

fn row(trial: &Value) -> Vec<String> {
    let text = |pointer: &str| read::text(trial, pointer).unwrap_or_default().to_owned();
    let outcome = read::text(trial, "/status/outcome").unwrap_or("running");
    let commit: String = text("/spec/bad").chars().take(10).collect();
    vec![
        text("/spec/started"),
        took(&text("/spec/started"), &text("/status/ended")),
        outcome.to_owned(),
        text("/spec/canary"),
        commit,
        asked_by(trial),
        text("/status/message"),
    ]
}

/// `4m12s`; empty while it runs.
pub(super) fn took(started: &str, ended: &str) -> String {
    let at = |text: &str| text.parse::<DateTime<Utc>>().ok();
    let (Some(started), Some(ended)) = (at(started), at(ended)) else { return String::new() };
    let seconds = (ended - started).num_seconds().max(0);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest:02}s"),
        _ => format!("{hours}h{minutes:02}m"),
    }
}

/// Everybody whose request was answered, once.
fn asked_by(trial: &Value) -> String {
    let mut all: Vec<&str> = Vec::new();
    for who in read::list(trial, "/status/notes").iter().filter_map(|note| note["who"].as_str()) {
        if !all.contains(&who) {
            all.push(who);
        }
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_tells_how_it_ended_and_who_asked() {
        let trial = json!({
            "spec": {"started": "2026-01-01T00:00:00Z", "canary": "a1", "bad": "3f2a91c0de11"},
            "status": {"ended": "2026-01-01T00:04:05Z", "outcome": "Aborted", "message": "no",
                "notes": [{"who": "ann"}, {"reason": "Baking"}, {"who": "bob"}, {"who": "ann"}]},
        });
        let wanted =
            ["2026-01-01T00:00:00Z", "4m05s", "Aborted", "a1", "3f2a91c0de", "ann, bob", "no"];
        assert_eq!(row(&trial), wanted);
        let running = row(&json!({"spec": {"started": "2026-01-01T00:00:00Z", "canary": "a1"}}));
        assert_eq!(running[1..4], ["", "running", "a1"]);
        assert_eq!(took("2026-01-01T00:00:00Z", "2026-01-01T02:03:04Z"), "2h03m");
    }
}
