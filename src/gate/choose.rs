//! Which gate a cluster has.

use tidegate_api::GateKind;

use crate::kubernetes::{Cluster, ClusterError, Kind};

/// The name of both webhook configurations, and of the policy of the gate itself.
pub const WEBHOOK: &str = "gate.tidegate.dev";
/// The policies that hold together: one of them missing is none.
const POLICIES: [&str; 3] = [WEBHOOK, "hold-service.tidegate.dev", "hold-route.tidegate.dev"];

/// What holds new templates on this cluster: our policies where the API server has that API and
/// all of them are in force, else our webhook where its configuration is there. `None`: nothing
/// does, and nothing may be promised.
pub async fn choose(cluster: &Cluster) -> Result<Option<GateKind>, ClusterError> {
    if has_policies(cluster).await? {
        return Ok(Some(GateKind::Policy));
    }
    let webhook = cluster.get(Kind::MutatingWebhookConfiguration, "", WEBHOOK).await?;
    Ok(webhook.map(|_| GateKind::Webhook))
}

async fn has_policies(cluster: &Cluster) -> Result<bool, ClusterError> {
    for kind in [Kind::MutatingAdmissionPolicy, Kind::MutatingAdmissionPolicyBinding] {
        for name in POLICIES {
            if cluster.get(kind, "", name).await?.is_none() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
