//! Service accounts for the engines: each acts under its own name, as in production.

use std::path::{Path, PathBuf};

use anyhow::Context;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    config::{AuthInfo, Kubeconfig},
};
use serde_json::json;

/// No run lasts longer than a day.
const TOKEN_LIFE_SECONDS: i64 = 24 * 60 * 60;

/// The engines' own field manager must not be confused with the bed's.
const FIELD_MANAGER: &str = "tidegate-testbed";

/// Makes sure that a namespace exists.
pub(super) async fn namespace(kube: &Client, name: &str) -> anyhow::Result<()> {
    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(kube.clone());
    let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    api.patch(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(&body))
        .await
        .map(drop)
        .with_context(|| format!("creating the namespace {name}"))
}

/// Creates the service account `namespace/name` with all rights, and writes a kubeconfig for it.
///
/// The address and the certificate of the API server are those of the kubeconfig `admin`.
pub(super) async fn administrator(
    kube: &Client,
    namespace: &str,
    name: &str,
    admin: &Path,
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    let apply = PatchParams::apply(FIELD_MANAGER);
    let metadata = json!({ "name": name, "namespace": namespace });
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata });
    let accounts: Api<ServiceAccount> = Api::namespaced(kube.clone(), namespace);
    accounts
        .patch(name, &apply, &Patch::Apply(&account))
        .await
        .with_context(|| format!("creating the service account {namespace}/{name}"))?;

    let rights: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> = Api::all(kube.clone());
    let binding = format!("{namespace}-{name}");
    let body = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": binding },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "cluster-admin",
        },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
    });
    rights
        .patch(&binding, &apply, &Patch::Apply(&body))
        .await
        .with_context(|| format!("giving rights to {namespace}/{name}"))?;

    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(TOKEN_LIFE_SECONDS),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .with_context(|| format!("a token for {namespace}/{name}"))?;
    let token = token.status.context("the token request has no answer")?.token;
    let path = folder.join(format!("{name}.kubeconfig"));
    write_kubeconfig(admin, &token, &path)?;
    Ok(path)
}

/// The kubeconfig `admin`, with another user's token.
fn write_kubeconfig(admin: &Path, token: &str, path: &Path) -> anyhow::Result<()> {
    let mut config = Kubeconfig::read_from(admin)
        .with_context(|| format!("the kubeconfig {}", admin.display()))?;
    for user in &mut config.auth_infos {
        user.auth_info = Some(AuthInfo { token: Some(token.into()), ..AuthInfo::default() });
    }
    // JSON is YAML, and every client reads it.
    let text = serde_json::to_string_pretty(&config).context("a kubeconfig as text")?;
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_for_someone_else_keeps_the_server_and_drops_the_admin() {
        let folder = tempfile::tempdir().unwrap();
        let (admin, other) = (folder.path().join("admin"), folder.path().join("other"));
        std::fs::write(
            &admin,
            "apiVersion: v1\nkind: Config\n\
             clusters: [{name: c, cluster: {server: 'https://127.0.0.1:6443'}}]\n\
             users: [{name: u, user: {token: admin-secret, client-key-data: key}}]\n\
             contexts: [{name: x, context: {cluster: c, user: u}}]\n\
             current-context: x\n",
        )
        .unwrap();
        write_kubeconfig(&admin, "other-secret", &other).unwrap();

        let text = std::fs::read_to_string(&other).unwrap();
        assert!(text.contains("https://127.0.0.1:6443"), "{text}");
        assert!(text.contains("other-secret"), "{text}");
        assert!(!text.contains("admin-secret"), "{text}");
        assert!(!text.contains("client-key-data"), "{text}");
        Kubeconfig::read_from(&other).unwrap();
    }
}
