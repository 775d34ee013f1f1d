//! Prometheus and Alertmanager.

use std::path::Path;

use anyhow::Result;

use super::{
    control_plane::{Identities, write},
    ports,
    server::{Launch, Ready, Server},
};
use crate::components::{Components, Program};

/// Pods are found by the usual annotations; the labels are those a monitoring stack attaches.
///
/// Two seconds instead of the usual 15 to 60: stories last seconds.
fn prometheus_settings(kubeconfig: &Path) -> String {
    let kubeconfig = kubeconfig.display();
    let alertmanager = ports::ALERTMANAGER;
    let envoy = ports::ENVOY_STATS;
    format!(
        r#"
global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 2s, scrape_native_histograms: true}}
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]}}]}}
scrape_configs:
- job_name: pods
  kubernetes_sd_configs: [{{role: pod, kubeconfig_file: "{kubeconfig}"}}]
  always_scrape_classic_histograms: true
  relabel_configs:
  - {{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], regex: "true", action: keep}}
  - {{source_labels: [__meta_kubernetes_pod_phase], regex: "Succeeded|Failed", action: drop}}
  - source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port]
    regex: "(.+);(.+)"
    target_label: __address__
    replacement: "$1:$2"
  - {{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path], regex: "(.+)", target_label: __metrics_path__}}
  - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
  - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
  - {{source_labels: [__meta_kubernetes_pod_label_pod_template_hash], target_label: pod_template_hash}}
  - {{source_labels: [__meta_kubernetes_pod_label_app], target_label: app}}
- job_name: envoy
  metrics_path: /stats/prometheus
  static_configs: [{{targets: ["127.0.0.1:{envoy}"]}}]
"#
    )
}

/// Starts Prometheus, which finds pods as soon as the API server answers.
pub(super) fn prometheus(
    components: &Components,
    identities: &Identities,
    configs: &Path,
    data: &Path,
    logs: &Path,
) -> Result<Server> {
    let settings =
        write(&configs.join("prometheus.yaml"), &prometheus_settings(&identities.admin_file))?;
    let launch = Launch::new("prometheus", components.program(Program::Prometheus))
        .path("--config.file=", &settings)
        .path("--storage.tsdb.path=", &data.join("prometheus"))
        .arg(format!("--web.listen-address=127.0.0.1:{}", ports::PROMETHEUS))
        .args(&["--web.enable-lifecycle", "--web.enable-admin-api", "--log.level=warn"]);
    let ready = format!("http://127.0.0.1:{}/-/ready", ports::PROMETHEUS);
    Server::launch(launch, logs, Ready::Http(ready))
}

/// The waiting times are Alertmanager's defaults in the order of magnitude: a product that passes
/// here does not depend on quick answers.
fn alertmanager_settings() -> String {
    let receiver = ports::RECEIVER;
    format!(
        r#"
route:
  receiver: people
  group_by: [alertname, namespace, rollout]
  group_wait: 30s
  group_interval: 30s
  repeat_interval: 4h
receivers:
- name: people
  webhook_configs: [{{url: "http://127.0.0.1:{receiver}/", send_resolved: true}}]
"#
    )
}

/// Starts Alertmanager.
pub(super) fn alertmanager(
    components: &Components,
    configs: &Path,
    data: &Path,
    logs: &Path,
) -> Result<Server> {
    let settings = write(&configs.join("alertmanager.yaml"), &alertmanager_settings())?;
    let launch = Launch::new("alertmanager", components.program(Program::Alertmanager))
        .path("--config.file=", &settings)
        .path("--storage.path=", &data.join("alertmanager"))
        .arg(format!("--web.listen-address=127.0.0.1:{}", ports::ALERTMANAGER))
        .args(&["--cluster.listen-address=", "--log.level=warn"]);
    let ready = format!("http://127.0.0.1:{}/-/ready", ports::ALERTMANAGER);
    Server::launch(launch, logs, Ready::Http(ready))
}
