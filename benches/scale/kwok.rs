//! Nodes whose pods are no processes.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use tidegate_testbed::{
    components::Program,
    world::{Daemon, World, apply},
};

/// How nodes and pods become ready, and go.
const STAGES: &str = include_str!("stages.yaml");
const NODES: usize = 4;

/// Starts kwok and its nodes. What is not made for them stays away: they have a taint.
pub(crate) async fn start(world: &World) -> Result<Daemon> {
    let stages = world.folder().join("stages.yaml");
    fs::write(&stages, STAGES).context("write the stages")?;
    let mut command = Command::new(world.program(Program::Kwok));
    command
        .arg("--kubeconfig")
        .arg(world.kubeconfig())
        .arg("--config")
        .arg(&stages)
        .args(["--manage-all-nodes=false"])
        .args(["--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"])
        .args(["--cidr=10.128.0.0/9", "--node-ip=10.0.0.1"]);
    let kwok = Daemon::start("kwok", world.logs(), command)?;
    for number in 1..=NODES {
        apply(&world.kube(), &node(number), None).await?;
    }
    Ok(kwok)
}

fn node(number: usize) -> String {
    format!(
        "
apiVersion: v1
kind: Node
metadata:
  name: kwok-{number}
  annotations: {{kwok.x-k8s.io/node: fake}}
  labels: {{type: kwok}}
spec:
  taints: [{{key: kwok.x-k8s.io/node, value: fake, effect: NoSchedule}}]
"
    )
}
