//! Who may reach the API server, and with which file.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use super::{certificates::write_secret, ports};

/// One identity at one address: everything a kubeconfig holds.
#[derive(Clone)]
pub struct Access {
    /// The address of the API server, or of a proxy in front of it.
    pub server: String,
    /// The authority that signed its certificate, PEM.
    pub ca_pem: String,
    /// The bearer token.
    pub token: String,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Access {
    /// An identity at the API server itself.
    pub(super) fn new(ca_pem: &str, token: &str) -> Self {
        Self {
            server: format!("https://127.0.0.1:{}", ports::API_SERVER),
            ca_pem: ca_pem.to_owned(),
            token: token.to_owned(),
        }
    }

    /// The same identity through a proxy.
    #[must_use]
    pub fn through(&self, server: &str) -> Self {
        Self { server: server.to_owned(), ..self.clone() }
    }

    /// The kubeconfig. JSON is YAML, too.
    fn kubeconfig(&self) -> serde_json::Value {
        let mut cluster = json!({"server": self.server});
        if self.server.starts_with("https:") {
            cluster["certificate-authority-data"] = STANDARD.encode(&self.ca_pem).into();
        }
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": cluster}],
            "users": [{"name": "testbed", "user": {"token": self.token}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
            "current-context": "testbed",
        })
    }

    /// Writes the kubeconfig; only its owner may read it.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<PathBuf> {
        write_secret(path, &self.kubeconfig().to_string())
    }

    /// A client with this identity.
    ///
    /// # Errors
    /// Fails when the address or the certificate cannot be used.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig: Kubeconfig =
            serde_json::from_value(self.kubeconfig()).context("read our own kubeconfig")?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .with_context(|| format!("configure a client for {}", self.server))?;
        Client::try_from(config).with_context(|| format!("make a client for {}", self.server))
    }

    /// The identity of a service account: a token as a pod would get it.
    ///
    /// # Errors
    /// Fails when there is no such account.
    pub(super) async fn of_account(&self, namespace: &str, name: &str) -> Result<Self> {
        let what = || format!("ask for a token of the service account {namespace}/{name}");
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(86_400), ..Default::default() };
        let order = TokenRequest { spec, ..Default::default() };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &order)
            .await
            .with_context(what)?;
        let token = answer
            .status
            .map(|status| status.token)
            .ok_or_else(|| anyhow!("the answer holds no token"))
            .with_context(what)?;
        Ok(Self { token, ..self.clone() })
    }
}
