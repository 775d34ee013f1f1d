//! Gates: what the engine needs to know of each, and how it is asked.

use tidegate_api as api;
use tidegate_engine::defaults;
use tidegate_engine::plan::{Gate, GateAt, GateKind, OnTimeout, PromoteBy};

use super::invalid::{Fault, FieldPath};
use super::steps::span;

/// How a gate is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateQuery {
    /// A Service of the Rollout's namespace.
    Http(HttpQuery),
    /// A Job from the template of a `CronJob`.
    Job {
        /// The `CronJob`.
        cron_job: String,
    },
}

/// A Service that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpQuery {
    /// The Service.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Path and query, from the slash on.
    pub path: String,
    /// The trial is told of in a body.
    pub posts: bool,
}

/// Gates as they were written, parsed.
pub(crate) fn gates(
    gates: &[api::Gate],
    at: &FieldPath,
) -> Result<Vec<(Gate, GateQuery)>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut found = Vec::new();
    for (index, gate) in gates.iter().enumerate() {
        let at = at.index(index);
        let timeout_at = at.field("timeout");
        let timeout = span(gate.timeout.as_ref(), defaults::GATE_TIMEOUT, &timeout_at, &mut faults);
        match (query(gate), timeout) {
            (Some(query), Some(timeout)) => {
                let gate = Gate {
                    name: gate.name.to_string(),
                    at: place(gate.at),
                    kind: match query {
                        GateQuery::Http(_) => GateKind::Http,
                        GateQuery::Job { .. } => GateKind::Job,
                    },
                    timeout,
                    on_timeout: on_timeout(gate.on_timeout.unwrap_or_default()),
                };
                found.push((gate, query));
            }
            (None, _) => {
                let both = if gate.http.is_some() { "both" } else { "neither" };
                let found = format!("{both} of http and job");
                faults.push(Fault::new(&at, found, "exactly one of them"));
            }
            (Some(_), None) => {}
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// A gate that would never be asked.
pub(crate) fn too_late(gates: &[api::Gate], promotion: PromoteBy, at: &FieldPath) -> Vec<Fault> {
    if promotion != PromoteBy::Surge {
        return Vec::new();
    }
    let late = gates.iter().enumerate().filter(|(_, gate)| gate.at == api::GateAt::Promoted);
    late.map(|(index, _)| {
        let expected = "Start, Step or Promotion: by Surge the way back is not one write then";
        Fault::new(&at.index(index).field("at"), "Promoted", expected)
    })
    .collect()
}

fn query(gate: &api::Gate) -> Option<GateQuery> {
    match (&gate.http, &gate.job) {
        (Some(http), None) => Some(GateQuery::Http(HttpQuery {
            service: http.service.to_string(),
            port: http.port,
            path: http.path.as_ref().map_or_else(|| "/".to_owned(), ToString::to_string),
            posts: http.method == Some(api::HttpMethod::Post),
        })),
        (None, Some(job)) => Some(GateQuery::Job { cron_job: job.cron_job.to_string() }),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

const fn place(at: api::GateAt) -> GateAt {
    match at {
        api::GateAt::Start => GateAt::Start,
        api::GateAt::Step => GateAt::Step,
        api::GateAt::Promotion => GateAt::Promotion,
        api::GateAt::Promoted => GateAt::Promoted,
    }
}

const fn on_timeout(on_timeout: api::OnTimeout) -> OnTimeout {
    match on_timeout {
        api::OnTimeout::Pause => OnTimeout::Pause,
        api::OnTimeout::Abort => OnTimeout::Abort,
        api::OnTimeout::Proceed => OnTimeout::Proceed,
    }
}
