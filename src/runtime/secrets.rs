//! Secrets of the controller's own namespace: read one by one, by name, when they are needed, and
//! never kept. There is no right to list or watch them.

use secrecy::SecretString;
use serde_json::Value;

use crate::kubernetes::{Cluster, ClusterError, Kind};

/// Why a Secret cannot be used. What is in it is never said.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It could not be read.
    #[error("Secret {name} cannot be read")]
    Read {
        /// Which.
        name: String,
        /// Why not.
        #[source]
        source: ClusterError,
    },
    /// It does not exist.
    #[error("there is no Secret {name} in the namespace {namespace}")]
    Missing {
        /// Which.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// It lacks a key, or the key's value is no text.
    #[error("Secret {name}: found no text in the key {key}, expected one")]
    Key {
        /// Which.
        name: String,
        /// Its key.
        key: String,
    },
}

/// Reads the Secrets of one namespace.
#[derive(Clone, Debug)]
pub struct Secrets {
    cluster: Cluster,
    namespace: String,
}

/// One Secret, as it was read.
pub struct Secret {
    name: String,
    data: Value,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Of this namespace.
    pub fn new(cluster: &Cluster, namespace: impl Into<String>) -> Self {
        Self { cluster: cluster.clone(), namespace: namespace.into() }
    }

    /// One Secret by its name.
    pub async fn get(&self, name: &str) -> Result<Secret, SecretError> {
        let found = self.cluster.get(Kind::Secret, &self.namespace, name).await;
        let found = found.map_err(|source| SecretError::Read { name: name.to_owned(), source })?;
        let Some(mut secret) = found else {
            let (name, namespace) = (name.to_owned(), self.namespace.clone());
            return Err(SecretError::Missing { name, namespace });
        };
        Ok(Secret { name: name.to_owned(), data: secret["data"].take() })
    }
}

impl Secret {
    /// It has this key.
    pub fn has(&self, key: &str) -> bool {
        self.data.get(key).is_some()
    }

    /// The text of a key, without the line feed that editors leave at its end.
    pub fn text(&self, key: &str) -> Result<SecretString, SecretError> {
        let missing = || SecretError::Key { name: self.name.clone(), key: key.to_owned() };
        let encoded = self.data.get(key).cloned().ok_or_else(missing)?;
        let bytes: k8s_openapi::ByteString =
            serde_json::from_value(encoded).map_err(|_| missing())?;
        let text = String::from_utf8(bytes.0).map_err(|_| missing())?;
        Ok(SecretString::from(text.trim_end_matches(['\n', '\r']).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    #[test]
    fn a_key_is_decoded_and_nothing_of_it_is_shown() {
        // "hunter2\n", and bytes that are no text.
        let data = json!({"token": "aHVudGVyMgo=", "raw": "//4="});
        let secret = Secret { name: "git".to_owned(), data };
        assert_eq!(secret.text("token").unwrap().expose_secret(), "hunter2");
        assert!(!format!("{secret:?}").contains("aHVu"));
        assert!(secret.has("raw") && !secret.has("password"));
        let error = secret.text("raw").unwrap_err();
        assert_eq!(error.to_string(), "Secret git: found no text in the key raw, expected one");
        assert!(secret.text("password").is_err());
    }
}
