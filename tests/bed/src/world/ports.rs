//! The addresses inside the namespaces. They can be fixed: every run has a network of its own.

/// The API server, https.
pub const API_SERVER: u16 = 6443;
/// etcd, for clients.
pub const ETCD: u16 = 2379;
/// etcd, for its peers, of which there is none.
pub const ETCD_PEER: u16 = 2380;
/// The controller manager's health and metrics, https.
pub const CONTROLLER_MANAGER: u16 = 10257;
/// The scheduler's health and metrics, https.
pub const SCHEDULER: u16 = 10259;
/// The gateway: Envoy's listener for HTTP.
pub const GATEWAY: u16 = 8080;
/// Envoy's statistics and readiness.
pub const ENVOY_STATS: u16 = 8002;
/// Contour's configuration service for Envoy.
pub const CONTOUR_XDS: u16 = 8001;
/// Contour's metrics.
pub const CONTOUR_METRICS: u16 = 8000;
/// Contour's health.
pub const CONTOUR_HEALTH: u16 = 8010;
/// Prometheus.
pub const PROMETHEUS: u16 = 9090;
/// Alertmanager.
pub const ALERTMANAGER: u16 = 9093;
/// What Alertmanager sends notifications to.
pub const RECEIVER: u16 = 9095;
