//! `tidegate get`: Rollouts as a table, or with `-w` as trees that follow them.

use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::connect::{ClusterArgs, CommandError, Connection};
use super::table::table;
use super::tree::tree;
use crate::kubernetes::{Kind, json as read};

/// Between two pictures.
const LOOK: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

const HEAD: [&str; 9] =
    ["NAMESPACE", "NAME", "PHASE", "STEP", "WEIGHT", "VERDICT", "SYNCED", "REVISION", "MESSAGE"];

/// Which Rollouts.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct GetArgs {
    /// The Rollout [default: all of the namespace]
    name: Option<String>,
    /// Those of all namespaces
    #[arg(long, short = 'A', conflicts_with = "name")]
    all_namespaces: bool,
    /// Follow them, as trees with their pods and evidence, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Shows them, once or again and again.
pub(super) async fn run(
    args: &GetArgs,
    out: &mut (dyn Write + Send),
) -> Result<ExitCode, CommandError> {
    let connection = Connection::open(&args.cluster).await?;
    if !args.watch {
        let rows: Vec<_> = found(args, &connection).await?.iter().map(row).collect();
        write!(out, "{}", table(&HEAD, &rows))?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_terminal = std::io::stdout().is_terminal();
    let mut shown = String::new();
    loop {
        let picture = picture(args, &connection).await?;
        if picture != shown {
            let clear = if is_terminal { CLEAR } else { "" };
            write!(out, "{clear}{picture}")?;
            out.flush()?;
            shown = picture;
        }
        sleep(LOOK).await;
    }
}

async fn found(args: &GetArgs, connection: &Connection) -> Result<Vec<Value>, CommandError> {
    if let Some(name) = &args.name {
        return Ok(vec![connection.rollout(name).await?]);
    }
    let namespace = (!args.all_namespaces).then_some(connection.namespace.as_str());
    let mut all = connection.cluster.list(Kind::Rollout, namespace, "").await?;
    all.sort_by_key(|live| {
        let namespace = read::text(live, "/metadata/namespace").unwrap_or_default().to_owned();
        (namespace, read::name(live).unwrap_or_default().to_owned())
    });
    Ok(all)
}

async fn picture(args: &GetArgs, connection: &Connection) -> Result<String, CommandError> {
    let mut text = String::new();
    for live in found(args, connection).await? {
        let namespace = read::text(&live, "/metadata/namespace").unwrap_or_default();
        let list = |kind| connection.cluster.list(kind, Some(namespace), "");
        let (sets, pods) = tokio::try_join!(list(Kind::ReplicaSet), list(Kind::Pod))?;
        text.push_str(&tree(&live, &sets, &pods));
    }
    Ok(text)
}

fn row(live: &Value) -> Vec<String> {
    let text = |pointer: &str| read::text(live, pointer).unwrap_or_default().to_owned();
    let weight = read::count(live, "/status/weight").map(|weight| format!("{weight}%"));
    let mut conditions = read::list(live, "/status/conditions").iter();
    let synced = conditions.find(|found| found["type"] == "Synced");
    vec![
        text("/metadata/namespace"),
        text("/metadata/name"),
        text("/status/phase"),
        text("/status/step"),
        weight.unwrap_or_default(),
        text("/status/verdict"),
        synced.and_then(|found| found["status"].as_str()).unwrap_or_default().to_owned(),
        text("/status/revision"),
        text("/status/message"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_has_the_columns_of_kubectl() {
        let live = json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "status": {"phase": "Baking", "step": "2/3", "weight": 50, "verdict": "Pass",
                "revision": "3f2a91c0de", "message": "so it is",
                "conditions": [{"type": "Synced", "status": "False"}]},
        });
        let wanted =
            ["shop", "web", "Baking", "2/3", "50%", "Pass", "False", "3f2a91c0de", "so it is"];
        assert_eq!(row(&live), wanted);
        assert_eq!(row(&json!({"metadata": {"name": "web"}}))[2], "");
    }
}
