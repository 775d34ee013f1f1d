//! `tidegate explain`: one trial on a page: both arms, how sure their ratio is, how far each verdict
//! is, and why it ended as it did.

mod facts;
mod page;
mod plot;

use std::io::Write;
use std::process::ExitCode;

use chrono::Utc;
use serde_json::Value;

use self::facts::Facts;
use super::connect::{ClusterArgs, CommandError, Connection};
use super::status::trials;
use crate::kubernetes::{Kind, json as read};

/// Which trial, and how.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The Rollout
    name: String,
    /// The trial, as `kubectl get trials` names it [default: the one that runs, else the last]
    #[arg(long, value_name = "TRIAL")]
    trial: Option<String>,
    /// Show the queries too, and the instants they were evaluated at
    #[arg(long)]
    queries: bool,
    /// The same facts for machines, all of them
    #[arg(long, short, value_enum)]
    output: Option<Output>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A form for machines.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    Json,
}

/// Shows it.
pub(super) async fn run(
    args: &ExplainArgs,
    out: &mut (dyn Write + Send),
) -> Result<ExitCode, CommandError> {
    let connection = Connection::open(&args.cluster).await?;
    let live = connection.rollout(&args.name).await?;
    let records = trials(&connection, &args.name).await?;
    let Some(record) = meant(&live, &records, args.trial.as_deref()) else {
        return Err(match &args.trial {
            Some(name) => CommandError::Missing {
                kind: Kind::Trial.as_str(),
                namespace: connection.namespace.clone(),
                name: name.clone(),
            },
            None => CommandError::Wrong(format!("{} has had no trial yet", args.name)),
        });
    };
    let facts = Facts::of(&live, record);
    match args.output {
        Some(Output::Json) => {
            let json = serde_json::to_string_pretty(&facts).map_err(std::io::Error::from)?;
            writeln!(out, "{json}")?;
        }
        None => write!(out, "{}", page::page(&facts, args.queries, Utc::now()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The record of the trial that is named, else of the one that runs, else of the last.
fn meant<'a>(live: &Value, records: &'a [Value], named: Option<&str>) -> Option<&'a Value> {
    let of = |name: &str| records.iter().find(|record| read::name(record) == Some(name));
    match named {
        Some(name) => of(name),
        None => read::text(live, "/status/trial").and_then(of).or_else(|| records.last()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_trial_that_runs_is_meant_and_without_one_the_last() {
        let record = |name: &str| json!({"metadata": {"name": name}});
        let records = [record("one"), record("two"), record("three")];
        let name = |live: &Value, named: Option<&str>| {
            meant(live, &records, named).and_then(read::name).map(str::to_owned)
        };
        let running = json!({"status": {"trial": "two"}});
        assert_eq!(name(&running, None).as_deref(), Some("two"));
        assert_eq!(name(&json!({}), None).as_deref(), Some("three"));
        assert_eq!(name(&running, Some("one")).as_deref(), Some("one"));
        assert_eq!(name(&running, Some("four")), None);
        assert!(meant(&running, &[], None).is_none());
    }
}
