//! Many Rollouts at rest: they cost nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_testbed::{
    fault::{FaultProxy, Upstream},
    world::{Daemon, World, apply, eventually},
};

use crate::{
    runner::Story,
    shop::{self, SOON},
};

/// Rollouts, each with a Deployment of one pod.
const MANY: usize = 30;
/// How long nothing must happen.
const REST: Duration = Duration::from_secs(30);

pub(crate) fn stories() -> Vec<Story> {
    vec![Story::matrix("many_rollouts_at_rest_write_nothing", many_rollouts_at_rest_write_nothing)]
}

/// They are seen for the first time; from then on nothing is written, though each is
/// looked at.
async fn many_rollouts_at_rest_write_nothing(world: &'static World) -> Result<()> {
    shop::installed(world).await?;
    let namespace = world.namespace("many").await?;
    for number in 0..MANY {
        apply(&world.kube(), &manifests(number), Some(&namespace)).await?;
    }
    eventually("all pods are ready", SOON * 2, async || {
        let found = list(world, &namespace, "deployments").await?;
        let ready = found.iter().filter(|found| found["status"]["readyReplicas"] == 1).count();
        ensure!(ready == MANY, "{ready} of {MANY}");
        Ok(Some(()))
    })
    .await?;
    let admin = world.admin();
    let upstream = Upstream::kubernetes(&admin.server, admin.ca_pem.as_bytes());
    let api = FaultProxy::start(upstream).await?;
    let kubeconfig = shop::kubeconfig(world, &namespace, Some(&api.url())).await?;
    let controller = shop::controller(world, &namespace, Some(&namespace), &kubeconfig, None)?;
    eventually("all are at rest", SOON * 2, async || {
        let found = list(world, &namespace, "rollouts.tidegate.dev").await?;
        let idle = found.iter().filter(|found| found["status"]["phase"] == "Idle").count();
        ensure!(idle == MANY, "{idle} of {MANY}");
        Ok(Some(()))
    })
    .await?;
    let first = api.writes().len();
    // The last of them is told of its own writes.
    tokio::time::sleep(Duration::from_secs(5)).await;
    api.start_over();
    tokio::time::sleep(REST).await;
    let (asked, written) = (api.log().len(), api.writes().len());
    println!(
        "{namespace}: {first} writes for {MANY} Rollouts, then {written} writes and {asked} \
         requests in {} s, {} MB",
        REST.as_secs(),
        memory(&controller)? / 1024
    );
    ensure!(written == 0, "{}", api.trace());
    Ok(())
}

fn manifests(number: usize) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web-{number}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: web-{number}}}}}
  template:
    metadata: {{labels: {{app: web-{number}}}}}
    spec:
      containers: [{{name: web, image: 'registry.example.com/shop/app:v1'}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web-{number}}}
spec: {{selector: {{app: web-{number}}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: tidegate.dev/v1alpha1
kind: Rollout
metadata: {{name: web-{number}}}
spec: {{workloadRef: {{name: web-{number}}}}}
"
    )
}

pub(crate) async fn list(world: &World, namespace: &str, kind: &str) -> Result<Vec<Value>> {
    let get = ["--namespace", namespace, "get", kind, "--output", "json"];
    let mut found: Value = serde_json::from_str(&shop::kubectl(world, &get).await?)?;
    Ok(serde_json::from_value(found["items"].take())?)
}

/// Resident memory, in KiB.
fn memory(process: &Daemon) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    Ok(number.parse()?)
}
