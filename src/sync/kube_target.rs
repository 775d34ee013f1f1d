//! A Kubernetes API server as target: server-side apply of objects of any kind.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::discovery::{self, ApiResource, Scope};
use kube::{Client, Error};
use serde_json::Value;

use super::object::ObjectRef;
use super::target::{Applied, Outcome, TargetError};

/// The longest that one request may take. The API server answers in milliseconds, or has trouble
/// that a later sync should see.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// Group, version and kind.
type KindKey = (String, String, String);

/// A Kubernetes API server; clones share their connection and what they know about kinds.
#[derive(Clone)]
pub struct KubeTarget {
    client: Client,
    /// Kinds that the server has answered for. Kinds it does not know are asked for again, since
    /// their definition may be part of the same sync.
    kinds: Arc<Mutex<BTreeMap<KindKey, (ApiResource, Scope)>>>,
    deadline: Duration,
}

impl fmt::Debug for KubeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeTarget").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl KubeTarget {
    /// A target behind `client`.
    pub fn new(client: Client) -> Self {
        Self { client, kinds: Arc::default(), deadline: REQUEST_DEADLINE }
    }

    /// The same target with another limit for the time of one request.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether objects of this kind are in namespaces, by discovery.
    pub(crate) async fn is_namespaced(&self, reference: &ObjectRef) -> Result<bool, TargetError> {
        Ok(self.kind(reference).await?.1 == Scope::Namespaced)
    }

    pub(crate) async fn get(&self, reference: &ObjectRef) -> Result<Option<Value>, TargetError> {
        let api = self.api(reference).await?;
        let answer = self.within(reference, api.get_opt(&reference.name)).await;
        if let Err(TargetError::NotFound { .. }) = answer {
            // Not "no such object" but "no such path": the kind may be gone since we asked.
            let key = key_of(reference);
            self.kinds.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            self.kind(reference).await?;
        }
        answer?.map(|object| to_value(reference, &object)).transpose()
    }

    pub(crate) async fn apply(
        &self,
        object: &Value,
        live: Option<&Value>,
        manager: &str,
        force: bool,
    ) -> Result<Outcome, TargetError> {
        let reference = ObjectRef::of(object).ok_or(TargetError::NotAnObject)?;
        let api = self.api(&reference).await?;
        let mut params = PatchParams::apply(manager);
        params.force = force;
        let patch = Patch::Apply(object);
        let call = api.patch(&reference.name, &params, &patch);
        let stored = self.within(&reference, call).await?;
        let stored = to_value(&reference, &stored)?;
        let version = |value: &Value| value.pointer("/metadata/resourceVersion").cloned();
        let applied = match live {
            None => Applied::Created,
            Some(live) if version(live) == version(&stored) => Applied::Unchanged,
            Some(_) => Applied::Changed,
        };
        Ok(Outcome { applied, object: stored })
    }

    pub(crate) async fn delete(
        &self,
        reference: &ObjectRef,
        uid: Option<&str>,
    ) -> Result<bool, TargetError> {
        let api = self.api(reference).await?;
        let mut params = DeleteParams::background();
        params.preconditions =
            uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        match self.within(reference, api.delete(&reference.name, &params)).await {
            Ok(_) => Ok(true),
            Err(TargetError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn api(&self, reference: &ObjectRef) -> Result<Api<DynamicObject>, TargetError> {
        let (resource, scope) = self.kind(reference).await?;
        let client = self.client.clone();
        Ok(match (&reference.namespace, scope) {
            (Some(namespace), Scope::Namespaced) => {
                Api::namespaced_with(client, namespace, &resource)
            }
            (None, Scope::Namespaced) => Api::default_namespaced_with(client, &resource),
            (_, Scope::Cluster) => Api::all_with(client, &resource),
        })
    }

    async fn kind(&self, reference: &ObjectRef) -> Result<(ApiResource, Scope), TargetError> {
        let key = key_of(reference);
        let known = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let kind = GroupVersionKind::gvk(&key.0, &key.1, &key.2);
        let call = discovery::pinned_kind(&self.client, &kind);
        let unknown = || TargetError::UnknownKind { object: Box::new(reference.clone()) };
        let (resource, capabilities) = match self.within(reference, call).await {
            Err(TargetError::NotFound { .. }) => return Err(unknown()),
            answer => answer?,
        };
        let answer = (resource, capabilities.scope);
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(key, answer.clone());
        Ok(answer)
    }

    async fn within<T>(
        &self,
        reference: &ObjectRef,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, TargetError> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(classify(reference, error)),
            Err(_) => Err(TargetError::Deadline {
                object: Box::new(reference.clone()),
                limit: self.deadline,
            }),
        }
    }
}

fn key_of(reference: &ObjectRef) -> KindKey {
    (reference.group.clone(), reference.version.clone(), reference.kind.clone())
}

/// Sorts the errors of the client by what a sync does about them.
fn classify(reference: &ObjectRef, error: Error) -> TargetError {
    let object = Box::new(reference.clone());
    match error {
        Error::Api(status) => match status.code {
            404 => TargetError::NotFound { object },
            409 => conflict(object, &status.message),
            429 | 500.. => TargetError::Unreachable { object, message: status.message },
            code => TargetError::Refused { object, code, message: status.message },
        },
        Error::Discovery(_) => TargetError::UnknownKind { object },
        other => TargetError::Unreachable { object, message: other.to_string() },
    }
}

/// 409 is said of fields of others, and of an object that has changed.
fn conflict(object: Box<ObjectRef>, message: &str) -> TargetError {
    if message.starts_with("Apply failed") {
        return TargetError::Owned { object, fields: vec![message.to_owned()] };
    }
    TargetError::Conflict { object }
}

fn to_value(reference: &ObjectRef, object: &DynamicObject) -> Result<Value, TargetError> {
    serde_json::to_value(object).map_err(|e| TargetError::Unreachable {
        object: Box::new(reference.clone()),
        message: e.to_string(),
    })
}
