//! Where objects are applied to: a cluster, or the local one of the demo.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kube_target::KubeTarget;
use super::local::LocalCluster;
use super::object::{ObjectRef, is_cluster_scoped};

/// Where objects are applied to.
#[derive(Clone, Debug)]
pub enum Target {
    /// The cluster in memory.
    Local(LocalCluster),
    /// A Kubernetes API server.
    Kube(KubeTarget),
}

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// The object was not there.
    Created,
    /// The object is another one now.
    Changed,
    /// Nothing was written.
    Unchanged,
}

/// What an apply did, and the object as it is stored now.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "the stored object can differ from the applied one"]
pub struct Outcome {
    /// What happened.
    pub applied: Applied,
    /// The object after admission.
    pub object: Value,
}

/// Why a target did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The object has changed since it was read.
    #[error("{object} has changed in the meantime")]
    Conflict {
        /// The object.
        object: Box<ObjectRef>,
    },
    /// Other managers own some of the fields.
    #[error("{object} has fields of others: {}", fields.join(", "))]
    Owned {
        /// The object.
        object: Box<ObjectRef>,
        /// The fields and their owners.
        fields: Vec<String>,
    },
    /// The object, or the namespace it should be in, is not there.
    #[error("{object} is not there")]
    NotFound {
        /// The object.
        object: Box<ObjectRef>,
    },
    /// The API server does not know the kind.
    #[error("the API server does not know {} in {}", object.kind, object.api_version())]
    UnknownKind {
        /// The object.
        object: Box<ObjectRef>,
    },
    /// The API server refuses the request for good.
    #[error("{object} is refused ({code}): {message}")]
    Refused {
        /// The object.
        object: Box<ObjectRef>,
        /// HTTP status.
        code: u16,
        /// What the API server says.
        message: String,
    },
    /// The API server cannot be asked, or answers that it has a problem itself.
    #[error("no answer for {object}: {message}")]
    Unreachable {
        /// The object.
        object: Box<ObjectRef>,
        /// What went wrong.
        message: String,
    },
    /// The API server did not answer in time.
    #[error("no answer for {object} within {} s", limit.as_secs())]
    Deadline {
        /// The object.
        object: Box<ObjectRef>,
        /// How long it was waited.
        limit: Duration,
    },
    /// The value has no `apiVersion`, `kind` or name, or a patch would change them.
    #[error("not an object, or a patch that makes it another one")]
    NotAnObject,
    /// The file of the local cluster cannot be read or written.
    #[error("{}: {message}", file.display())]
    Store {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        message: String,
    },
}

impl Target {
    /// The full name of an object: `namespace` where the kind has namespaces and none is named.
    pub async fn locate(
        &self,
        reference: &ObjectRef,
        namespace: &str,
    ) -> Result<ObjectRef, TargetError> {
        let namespaced = match self {
            Self::Local(_) => !is_cluster_scoped(&reference.group, &reference.kind),
            Self::Kube(kube) => kube.is_namespaced(reference).await?,
        };
        Ok(located(reference, namespaced, namespace))
    }

    /// The object, if it is there.
    pub async fn get(&self, reference: &ObjectRef) -> Result<Option<Value>, TargetError> {
        match self {
            Self::Local(local) => Ok(local.get(reference)),
            Self::Kube(kube) => kube.get(reference).await,
        }
    }

    /// Server-side apply of an object with its full name, as `manager`.
    ///
    /// `live` is what [`Target::get`] answered before: with it the outcome tells created, changed
    /// and unchanged apart. With `force`, fields of other managers are taken over.
    pub async fn apply(
        &self,
        object: &Value,
        live: Option<&Value>,
        manager: &str,
        force: bool,
    ) -> Result<Outcome, TargetError> {
        match self {
            Self::Local(local) => {
                let outcome = local.apply(object, manager, force)?;
                // A long sync does not keep the other tasks of this thread waiting.
                tokio::task::yield_now().await;
                Ok(outcome)
            }
            Self::Kube(kube) => kube.apply(object, live, manager, force).await,
        }
    }

    /// Deletes the object if it is still the one with this `uid`. False when it is not there.
    pub async fn delete(
        &self,
        reference: &ObjectRef,
        uid: Option<&str>,
    ) -> Result<bool, TargetError> {
        match self {
            Self::Local(local) => {
                let deleted = local.delete(reference, uid)?;
                tokio::task::yield_now().await;
                Ok(deleted)
            }
            Self::Kube(kube) => kube.delete(reference, uid).await,
        }
    }
}

/// The reference with the namespace that its scope asks for.
pub(crate) fn located(reference: &ObjectRef, namespaced: bool, namespace: &str) -> ObjectRef {
    let mut located = reference.clone();
    located.namespace =
        namespaced.then(|| reference.namespace.clone().unwrap_or_else(|| namespace.to_owned()));
    located
}
