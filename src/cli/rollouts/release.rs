//! `tidegate release`: breaks the glass, with the rights of whoever calls and without the
//! controller. Services first, then routes, then the Deployment, so that nothing points at pods
//! that go; the canary last. Each object is freed in the write that repairs it.

mod writes;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tidegate_api::{BREAK_GLASS_ANNOTATION, HELD_LABEL, ROLLOUT_LABEL};
use tokio::time::{Instant, sleep};

use super::connect::{ClusterArgs, CommandError, Connection};
use crate::kubernetes::{Kind, Pair, Propagation, is_accepted, json as read, names};

/// A gateway that has not taken a route after this is not waited for.
const SILENT: Duration = Duration::from_secs(3);
/// How often is looked whether it has.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// From what a gateway's controller says to all of its proxies.
const SPREAD: Duration = Duration::from_secs(1);

/// What to free.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct ReleaseArgs {
    /// The Rollout
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// All Rollouts of the namespace
    #[arg(long)]
    all: bool,
    /// Why, for whoever finds the annotation
    #[arg(long, default_value = "tidegate release", value_name = "TEXT")]
    why: String,
    /// Let the new template roll out, unjudged, instead of writing stable's back
    #[arg(long)]
    keep_template: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Frees one Rollout's objects, or those of all.
pub(super) async fn run(
    args: &ReleaseArgs,
    out: &mut (dyn Write + Send),
) -> Result<ExitCode, CommandError> {
    let connection = Connection::open(&args.cluster).await?;
    let rollouts = if let Some(name) = &args.name {
        vec![connection.rollout(name).await?]
    } else {
        let namespace = Some(connection.namespace.as_str());
        connection.cluster.list(Kind::Rollout, namespace, "").await?
    };
    for rollout in &rollouts {
        Release { connection: &connection, rollout, args }.all(out).await?;
    }
    writeln!(
        out,
        "what Git has comes again with the next sync, and nobody judges it. To take them back: \
         remove the annotation {BREAK_GLASS_ANNOTATION}"
    )?;
    Ok(ExitCode::SUCCESS)
}

struct Release<'a> {
    connection: &'a Connection,
    rollout: &'a Value,
    args: &'a ReleaseArgs,
}

impl Release<'_> {
    async fn all(&self, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
        let label = names::label_value(read::name(self.rollout).unwrap_or_default());
        let held = format!("{HELD_LABEL}={label}");
        let services = self.list(Kind::Service, &held).await?;
        for service in &services {
            let freed = |live: &Value| writes::service(live, &self.args.why);
            self.write(Kind::Service, service, freed, out).await?;
        }
        let canary = read::text(self.rollout, "/spec/canaryService");
        let pairs = writes::pairs(&self.connection.namespace, &services, canary);
        for route in self.list(Kind::HttpRoute, &held).await? {
            self.route(&route, &pairs, out).await?;
        }
        let ours = format!("{ROLLOUT_LABEL}={label}");
        let sets = self.list(Kind::ReplicaSet, "").await?;
        for deployment in self.list(Kind::Deployment, &ours).await? {
            let freed = |live: &Value| {
                let keep = self.args.keep_template;
                let stable = if keep { None } else { writes::stable(live, &sets) };
                writes::deployment(live, stable, &self.args.why)
            };
            self.write(Kind::Deployment, &deployment, freed, out).await?;
        }
        // What owns the canary's pods and its Service: they leave with it.
        for owner in self.list(Kind::ControllerRevision, &ours).await? {
            let (name, uid) = (read::name(&owner).unwrap_or_default(), read::uid(&owner));
            let object = crate::kubernetes::ObjectName::namespaced(
                Kind::ControllerRevision,
                &self.connection.namespace,
                name,
            );
            let uid = uid.unwrap_or_default();
            let propagation = Propagation::Background;
            self.connection.cluster.delete(&object, uid, None, propagation).await?;
            writeln!(out, "the canary {name} leaves")?;
        }
        Ok(())
    }

    /// First no share for the canary; when the gateways have taken that, not even its name.
    async fn route(
        &self,
        route: &Value,
        pairs: &[writes::OwnedPair],
        out: &mut (dyn Write + Send),
    ) -> Result<(), CommandError> {
        let pairs: Vec<Pair<'_>> = pairs.iter().map(writes::OwnedPair::pair).collect();
        let idle = |live: &Value| writes::idle(live, &pairs, &self.args.why);
        let mut live = self.connection.write(Kind::HttpRoute, route, idle).await?;
        let until = Instant::now() + SILENT;
        let name = read::name(route).unwrap_or_default();
        while !is_accepted(&live) && Instant::now() < until {
            sleep(ASKED_EVERY).await;
            let namespace = &self.connection.namespace;
            let found = self.connection.cluster.get(Kind::HttpRoute, namespace, name).await?;
            let Some(found) = found else { return Ok(()) };
            live = found;
        }
        sleep(SPREAD).await;
        let home = |live: &Value| writes::home(live, &pairs);
        self.write(Kind::HttpRoute, &live, home, out).await
    }

    async fn write(
        &self,
        kind: Kind,
        live: &Value,
        decide: impl Fn(&Value) -> Vec<Value>,
        out: &mut (dyn Write + Send),
    ) -> Result<(), CommandError> {
        self.connection.write(kind, live, decide).await?;
        writeln!(out, "{} {} is free", kind.as_str(), read::name(live).unwrap_or_default())?;
        Ok(())
    }

    async fn list(&self, kind: Kind, selector: &str) -> Result<Vec<Value>, CommandError> {
        let namespace = Some(self.connection.namespace.as_str());
        Ok(self.connection.cluster.list(kind, namespace, selector).await?)
    }
}
