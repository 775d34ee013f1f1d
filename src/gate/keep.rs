//! Keeps the certificate, and what the API server trusts, right.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::choose::WEBHOOK;
use super::error::GateError;
use super::identity::{Identity, SECRET};
use crate::kubernetes::{Cluster, Kind, ObjectName, json as read, patch};

/// What one look came to.
#[derive(Debug)]
pub(super) enum Kept {
    /// The API server is not told to ask us.
    NotAsked,
    /// It is, and trusts the authorities of this certificate.
    Trusted(Identity),
    /// It has been told just now to trust them, and may need a moment.
    Told(Identity),
}

/// Looks once: makes a certificate where it is time, and has it trusted.
pub(super) async fn keep(
    cluster: &Cluster,
    home: &str,
    now: DateTime<Utc>,
) -> Result<Kept, GateError> {
    let (mutating, validating) = tokio::try_join!(
        cluster.get(Kind::MutatingWebhookConfiguration, "", WEBHOOK),
        cluster.get(Kind::ValidatingWebhookConfiguration, "", WEBHOOK),
    )?;
    let configurations = [
        (Kind::MutatingWebhookConfiguration, mutating),
        (Kind::ValidatingWebhookConfiguration, validating),
    ];
    let names: BTreeSet<_> =
        configurations.iter().filter_map(|(_, found)| found.as_ref()).flat_map(hosts).collect();
    if names.is_empty() {
        return Ok(Kept::NotAsked);
    }
    let identity = identity(cluster, home, &names, now).await?;
    let mut is_told = false;
    for (kind, found) in configurations {
        let Some(found) = found else { continue };
        let operations = trusting(&found, &identity.authorities);
        if operations.is_empty() {
            continue;
        }
        let object = ObjectName { kind, namespace: None, name: WEBHOOK.to_owned() };
        let version = read::resource_version(&found).unwrap_or_default();
        cluster.patch_json(&object, operations, version).await?;
        tracing::info!(%object, "the webhook's authority is written");
        is_told = true;
    }
    Ok(if is_told { Kept::Told(identity) } else { Kept::Trusted(identity) })
}

/// The certificate that all replicas share; a new one where it is time.
async fn identity(
    cluster: &Cluster,
    home: &str,
    names: &BTreeSet<String>,
    now: DateTime<Utc>,
) -> Result<Identity, GateError> {
    let Some(secret) = cluster.get(Kind::Secret, home, SECRET).await? else {
        return Err(GateError::NoSecret { name: SECRET, namespace: home.to_owned() });
    };
    let found = Identity::read(&secret);
    if let Some(good) = found.as_ref().filter(|found| found.is_good(names, now)) {
        return Ok(good.clone());
    }
    let made = Identity::make(names, found.as_ref(), now)?;
    let object = ObjectName::namespaced(Kind::Secret, home, SECRET);
    let version = read::resource_version(&secret).unwrap_or_default();
    // Another replica may have been faster: a conflict, and the next look finds its certificate.
    cluster.patch_json(&object, vec![patch::add("/data", made.data())], version).await?;
    tracing::info!(?names, "the webhook has a new certificate");
    Ok(made)
}

/// By which names the API server asks.
fn hosts(configuration: &Value) -> Vec<String> {
    let hooks = read::list(configuration, "/webhooks").iter();
    hooks
        .filter_map(|hook| {
            let client = hook.get("clientConfig")?;
            if let Some(url) = read::text(client, "/url") {
                return host(url).map(str::to_owned);
            }
            let name = read::text(client, "/service/name")?;
            let namespace = read::text(client, "/service/namespace")?;
            Some(format!("{name}.{namespace}.svc"))
        })
        .collect()
}

/// The host of a URL without user or password, which the API server does not take.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next();
    }
    authority.split(':').next().filter(|host| !host.is_empty())
}

/// Operations that make each webhook trust these authorities.
fn trusting(configuration: &Value, authorities: &str) -> Vec<Value> {
    let bundle = json!(ByteString(authorities.as_bytes().to_vec()));
    let hooks = read::list(configuration, "/webhooks").iter().enumerate();
    hooks
        .filter(|(_, hook)| hook.pointer("/clientConfig/caBundle") != Some(&bundle))
        .map(|(at, _)| patch::add(&format!("/webhooks/{at}/clientConfig/caBundle"), bundle.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_for_the_names_by_which_we_are_asked() {
        let configuration = json!({"webhooks": [
            {"clientConfig": {"service": {"name": "hook", "namespace": "home", "path": "/a"}}},
            {"clientConfig": {"url": "https://127.0.0.1:9443/mutate"}},
            {"clientConfig": {"url": "https://[::1]:9443/mutate"}},
            {"clientConfig": {"url": "https://hook.example/mutate"}},
            {"clientConfig": {}},
        ]});
        assert_eq!(hosts(&configuration), ["hook.home.svc", "127.0.0.1", "::1", "hook.example"]);
        assert!(hosts(&json!({})).is_empty());
    }

    #[test]
    fn every_webhook_is_told_once() {
        let mut configuration = json!({"webhooks": [{"clientConfig": {}}, {"clientConfig": {}}]});
        let operations = trusting(&configuration, "pem");
        assert_eq!(operations.len(), 2);
        // "pem"
        assert_eq!(operations[1], patch::add("/webhooks/1/clientConfig/caBundle", "cGVt"));
        for at in 0..2 {
            configuration["webhooks"][at]["clientConfig"]["caBundle"] = json!("cGVt");
        }
        assert!(trusting(&configuration, "pem").is_empty(), "and then nothing more happens");
    }
}
