//! What one gate says: a Service that is asked over HTTP, or a Job that is looked at.
//!
//! A Service is asked by one of its pods' own addresses, as the API server knows them: so a Rollout
//! leads to pods of its own namespace and nowhere else, whatever a Service's name resolves to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::header::HOST;
use serde_json::{Value, json};
use tidegate_api::TRIAL_LABEL;
use tidegate_engine::observed::{GateSays, GateSeen};
use tidegate_engine::state::{GateCall, GitRevision};

use super::trouble::{clean, condition, is_ready};
use crate::kubernetes::{Cluster, Kind, Target, json, names, sets};
use crate::resolve::{GateQuery, HttpQuery};

/// The longest that one request may take, its answer included.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const MOST_BYTES: usize = 64 * 1024;
/// Pods that are tried in one attempt: one of them may be about to go.
const PODS: usize = 3;
/// The label by which a Job's pods are found.
const JOB_NAME_LABEL: &str = "batch.kubernetes.io/job-name";

/// What a gate says now. What goes wrong on the way is no answer, and is told.
pub async fn ask_gate(
    cluster: &Cluster,
    http: &reqwest::Client,
    target: &Target,
    query: &GateQuery,
    call: &GateCall,
) -> GateSeen {
    let asked = match query {
        GateQuery::Http(query) => ask_service(cluster, http, target, query, call).await,
        GateQuery::Job { .. } => look_at_job(cluster, target, call).await,
    };
    asked.unwrap_or_else(|why| seen(GateSays::NotYet, &why))
}

/// An answer, with a line that a stranger may have written.
fn seen(says: GateSays, line: &str) -> GateSeen {
    GateSeen { says, line: clean(line) }
}

async fn ask_service(
    cluster: &Cluster,
    http: &reqwest::Client,
    target: &Target,
    query: &HttpQuery,
    call: &GateCall,
) -> Result<GateSeen, String> {
    let addresses = addresses(cluster, &target.namespace, query).await?;
    let body = query.posts.then(|| body(target, call));
    let mut why = format!("no pod of Service {} is ready", query.service);
    for address in addresses.into_iter().take(PODS) {
        match ask(http, target, query, address, body.as_ref()).await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_timeout() => {
                return Err(format!("no answer within {} s", DEADLINE.as_secs()));
            }
            Err(error) => why = format!("cannot be reached: {}", innermost(&error)),
        }
    }
    Err(why)
}

/// Where the Service's pods listen that are ready.
async fn addresses(
    cluster: &Cluster,
    namespace: &str,
    query: &HttpQuery,
) -> Result<Vec<SocketAddr>, String> {
    let name = &query.service;
    let service =
        cluster.get(Kind::Service, namespace, name).await.map_err(|error| error.to_string())?;
    let service = service.ok_or_else(|| format!("there is no Service {name}"))?;
    let selector = service.pointer("/spec/selector").filter(|labels| **labels != json!({}));
    let selector = selector.and_then(|it| sets::selector_text(&json!({"matchLabels": it})));
    let selector =
        selector.ok_or_else(|| format!("Service {name} does not select pods by itself"))?;
    let port = json::list(&service, "/spec/ports")
        .iter()
        .find(|port| port["port"] == query.port && port["protocol"].as_str() != Some("UDP"))
        .ok_or_else(|| format!("Service {name} has no port {}", query.port))?;
    let pods = cluster.list(Kind::Pod, Some(namespace), &selector).await;
    let mut pods = pods.map_err(|error| error.to_string())?;
    pods.retain(is_ready);
    pods.sort_by_cached_key(|pod| json::name(pod).map(str::to_owned));
    Ok(pods.iter().filter_map(|pod| address(pod, port)).collect())
}

fn address(pod: &Value, port: &Value) -> Option<SocketAddr> {
    let ip: IpAddr = json::text(pod, "/status/podIP")?.parse().ok()?;
    let target = match &port["targetPort"] {
        Value::String(name) => {
            let containers = json::list(pod, "/spec/containers").iter();
            let mut ports = containers.flat_map(|container| json::list(container, "/ports"));
            ports.find(|port| port["name"] == name.as_str())?.get("containerPort")?.as_u64()?
        }
        Value::Number(number) => number.as_u64()?,
        _ => port["port"].as_u64()?,
    };
    Some(SocketAddr::new(ip, u16::try_from(target).ok()?))
}

/// What the one who is asked should know.
fn body(target: &Target, call: &GateCall) -> Value {
    json!({
        "namespace": target.namespace,
        "rollout": target.rollout,
        "trial": call.trial.as_str(),
        "revision": call.revision.as_str(),
        "git": call.git.as_ref().map(GitRevision::as_str),
        "gate": call.gate,
        "at": call.place.at().as_str(),
        "step": call.step,
        "weight": call.weight.percent(),
    })
}

async fn ask(
    http: &reqwest::Client,
    target: &Target,
    query: &HttpQuery,
    address: SocketAddr,
    body: Option<&Value>,
) -> Result<GateSeen, reqwest::Error> {
    let url = format!("http://{address}{}", query.path);
    let request = match body {
        Some(body) => http.post(url).json(body),
        None => http.get(url),
    };
    let host = format!("{}.{}.svc:{}", query.service, target.namespace, query.port);
    let mut response = request.header(HOST, host).timeout(DEADLINE).send().await?;
    let status = response.status().as_u16();
    let mut read = Vec::new();
    while read.len() < MOST_BYTES
        && let Some(chunk) = response.chunk().await?
    {
        read.extend_from_slice(&chunk);
    }
    Ok(answer(status, &read))
}

/// A plain yes, a plain no; all else is neither. 403 is what proxies and meshes answer for reasons of
/// their own.
fn answer(status: u16, body: &[u8]) -> GateSeen {
    let message = serde_json::from_slice::<Value>(body).ok();
    let message = message.as_ref().and_then(|body| body["message"].as_str());
    let (says, plain) = match status {
        200 | 204 => (GateSays::Open, String::new()),
        409 => (GateSays::Refused, String::new()),
        other => (GateSays::NotYet, format!("answered {other}")),
    };
    seen(says, message.unwrap_or(&plain))
}

/// The innermost reason; those around it repeat the address.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

async fn look_at_job(
    cluster: &Cluster,
    target: &Target,
    call: &GateCall,
) -> Result<GateSeen, String> {
    let name = names::gate_job_name(&target.workload, call);
    let job = cluster.get(Kind::Job, &target.namespace, &name).await;
    let Some(job) = job.map_err(|error| error.to_string())? else {
        return Ok(seen(GateSays::NotRun, ""));
    };
    let trial = names::label_value(call.trial.as_str());
    if json::label(&job, TRIAL_LABEL) != Some(trial.as_str()) {
        return Err(format!("Job {name} belongs to somebody else"));
    }
    let is_true = |kind| condition(&job, kind).filter(|found| found["status"] == "True");
    if is_true("Complete").is_some() {
        return Ok(seen(GateSays::Open, &format!("Job {name} is complete")));
    }
    let Some(failed) = is_true("Failed") else {
        return Ok(seen(GateSays::NotYet, &format!("Job {name} runs")));
    };
    let reason = failed["reason"].as_str().unwrap_or("Failed");
    let selector = format!("{JOB_NAME_LABEL}={name}");
    // What its pods said is good to know; that it failed is known without.
    let pods = cluster.list(Kind::Pod, Some(&target.namespace), &selector).await;
    let line = match last_words(&pods.unwrap_or_default()) {
        Some(words) => format!("Job {name}: {reason}: {words}"),
        None => format!("Job {name}: {reason}"),
    };
    Ok(seen(GateSays::Refused, &line))
}

/// What the newest pod's container ended with.
fn last_words(pods: &[Value]) -> Option<String> {
    let age = |pod: &&Value| {
        let created = json::text(pod, "/metadata/creationTimestamp");
        (created.map(str::to_owned), json::name(pod).map(str::to_owned))
    };
    let newest = pods.iter().max_by_key(age)?;
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let mut ended =
        statuses.into_iter().flat_map(|list| json::list(newest, list)).filter_map(|it| {
            let ended = it.pointer("/state/terminated")?;
            (json::number(ended, "/exitCode")? != 0).then_some(ended)
        });
    let ended = ended.next()?;
    let message = json::text(ended, "/message").filter(|text| !text.trim().is_empty());
    let code = || json::number(ended, "/exitCode").map(|code| format!("exit code {code}"));
    message.map(str::to_owned).or_else(code)
}

#[cfg(test)]
mod tests;
