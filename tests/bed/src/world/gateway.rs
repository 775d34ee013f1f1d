//! Contour and Envoy: a Gateway `contour` in the namespace `projectcontour`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};

use super::{
    apply::{apply, apply_definitions},
    control_plane::{Identities, write},
    ports,
    server::{Launch, Ready, Server},
    wait::eventually,
};
use crate::components::{Components, Folder, Program};

/// The class, the Gateway, and the Service that Contour takes the address from.
const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: projectcontour}
---
apiVersion: v1
kind: Service
metadata: {name: envoy, namespace: projectcontour}
spec: {type: ClusterIP, selector: {app: none}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: contour}
spec: {controllerName: projectcontour.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: contour, namespace: projectcontour}
spec:
  gatewayClassName: contour
  listeners:
  - name: http
    protocol: HTTP
    port: 80
    allowedRoutes: {namespaces: {from: All}}
";

const CONTOUR_SETTINGS: &str =
    "gateway: {gatewayRef: {name: contour, namespace: projectcontour}}\n";

/// Defines the kinds of the Gateway API and Contour's own.
pub(super) async fn define(components: &Components, kube: &Client) -> Result<()> {
    let folders = [Folder::GatewayCrds, Folder::ContourCrds].map(|f| components.folder(f));
    let [gateway, contour] = folders.each_ref().map(|folder| apply_definitions(kube, folder));
    futures::try_join!(gateway, contour).context("define the kinds of the gateway").map(drop)
}

/// Creates the Gateway; its kind must be defined.
pub(super) async fn create(kube: &Client) -> Result<()> {
    apply(kube, OBJECTS, None).await.context("create the Gateway")
}

/// Starts Contour; the kinds it watches must be defined.
pub(super) fn contour(
    components: &Components,
    identities: &Identities,
    configs: &Path,
    logs: &Path,
) -> Result<Server> {
    let settings = write(&configs.join("contour.yaml"), CONTOUR_SETTINGS)?;
    let launch = Launch::new("contour", components.program(Program::Contour))
        .arg("serve")
        .path("--kubeconfig=", &identities.admin_file)
        .path("--config-path=", &settings)
        .args(&["--xds-address=127.0.0.1", "--insecure", "--disable-leader-election"])
        .arg(format!("--xds-port={}", ports::CONTOUR_XDS))
        .args(&["--envoy-service-name=envoy", "--envoy-service-namespace=projectcontour"])
        .args(&["--stats-address=127.0.0.1", "--envoy-service-http-address=127.0.0.1"])
        .arg(format!("--stats-port={}", ports::ENVOY_STATS))
        .arg(format!("--envoy-service-http-port={}", ports::GATEWAY))
        .args(&["--http-address=127.0.0.1", "--health-address=127.0.0.1"])
        .arg(format!("--http-port={}", ports::CONTOUR_METRICS))
        .arg(format!("--health-port={}", ports::CONTOUR_HEALTH))
        // Without an address the Gateway would never be called programmed.
        .arg("--ingress-status-address=127.0.0.1");
    let health = format!("http://127.0.0.1:{}/healthz", ports::CONTOUR_HEALTH);
    Server::launch(launch, logs, Ready::Http(health))
}

/// Starts Envoy.
pub(super) async fn envoy(
    components: &Components,
    configs: &Path,
    data: &Path,
    logs: &Path,
) -> Result<Server> {
    let bootstrap = bootstrap(components, configs, data).await?;
    let launch = Launch::new("envoy", components.program(Program::Envoy))
        .arg("-c")
        .arg(&bootstrap)
        .args(&["--service-cluster", "projectcontour", "--service-node", "testbed"])
        .args(&["--log-level", "warning", "--concurrency", "1"])
        // Two Envoys of one user would share memory by this number otherwise.
        .arg("--disable-hot-restart");
    let ready = format!("http://127.0.0.1:{}/ready", ports::ENVOY_STATS);
    Server::launch(launch, logs, Ready::Http(ready))
}

/// Lets Contour write Envoy's first configuration.
async fn bootstrap(components: &Components, configs: &Path, data: &Path) -> Result<PathBuf> {
    let path = configs.join("envoy.json");
    let launch = Launch::new("contour", components.program(Program::Contour))
        .arg("bootstrap")
        .arg(&path)
        .args(&["--xds-address=127.0.0.1", "--envoy-cafile="])
        .arg(format!("--xds-port={}", ports::CONTOUR_XDS))
        .path("--admin-address=", &data.join("envoy.sock"));
    let output = tokio::process::Command::from(launch.command())
        .output()
        .await
        .context("run contour bootstrap")?;
    if !output.status.success() {
        bail!("contour bootstrap: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(path)
}

/// Waits until Contour says that the Gateway is in Envoy.
pub(super) async fn programmed(kube: &Client) -> Result<()> {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
    let resource = ApiResource::from_gvk(&kind);
    let gateways: Api<DynamicObject> =
        Api::namespaced_with(kube.clone(), "projectcontour", &resource);
    eventually("the Gateway is programmed", Duration::from_mins(1), async || {
        let gateway = gateways.get("contour").await?;
        let conditions = gateway.data["status"]["conditions"].as_array();
        let is = |condition: &serde_json::Value| {
            condition["type"] == "Programmed" && condition["status"] == "True"
        };
        if conditions.is_some_and(|conditions| conditions.iter().any(is)) {
            return Ok(Some(()));
        }
        bail!("its status is {}", gateway.data["status"]);
    })
    .await
}
