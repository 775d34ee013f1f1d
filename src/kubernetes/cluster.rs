//! The API server: one request, one deadline, one answer.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use kube::api::{
    DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions,
    PropagationPolicy,
};
use kube::client::ClientBuilder;
use kube::core::Request;
use kube::core::request::Error as RequestError;
use kube::{Client, Config, Error};
use serde_json::{Value, json};
use tidegate_api::FIELD_MANAGER;

use super::error::{ClusterError, Verb, of_status};
use super::json;
use super::kind::{Kind, ObjectName};
use super::patch;

/// The longest that one request may take: the API server answers in milliseconds, or has trouble
/// that the next turn should see.
const DEADLINE: Duration = Duration::from_secs(5);
/// The same where traffic is at stake: a new attempt is better than a long wait.
const URGENT_DEADLINE: Duration = Duration::from_secs(2);

/// Objects of one page of a list that is not kept.
const PAGE: u32 = 100;

/// What becomes of the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go soon after.
    Background,
    /// They go first.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// The API server. Clones share their connections. Nothing in here asks twice: who wants something
/// decides again on what is there then.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    deadline: Duration,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The API server of a configuration, by a client without kube's own layer of retries.
    pub fn connect(mut config: Config) -> Result<Self, Error> {
        config.default_retry = false;
        Ok(Self::new(ClientBuilder::try_from(config)?.build()))
    }

    /// The API server behind a client, which should have no retries of its own.
    pub fn new(client: Client) -> Self {
        Self { client, deadline: DEADLINE }
    }

    /// The same with another limit for the time of one request.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { client: self.client.clone(), deadline }
    }

    /// The same with the short limit for what brings traffic home.
    #[must_use]
    pub fn urgent(&self) -> Self {
        self.with_deadline(self.deadline.min(URGENT_DEADLINE))
    }

    /// The client, for watches and for kube's own helpers.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// One object; `None` where it, or its kind, does not exist.
    pub async fn get(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ClusterError> {
        let object = ObjectName::namespaced(kind, namespace, name);
        let request = request_of(&object).get(name, &GetParams::default());
        match self.ask(object, Verb::Get, request).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind that a label selector selects (`a=b,c`; empty: all), in one namespace
    /// or, without one, in all. Of a kind that the server does not know there are none.
    pub async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        selector: &str,
    ) -> Result<Vec<Value>, ClusterError> {
        let object =
            ObjectName { kind, namespace: namespace.map(str::to_owned), name: String::new() };
        let mut params = ListParams::default();
        if !selector.is_empty() {
            params = params.labels(selector);
        }
        let request = Request::new(kind.path(namespace)).list(&params);
        let mut answer = match self.ask(object, Verb::List, request).await {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            answer => answer?,
        };
        let Value::Array(mut items) = answer["items"].take() else { return Ok(Vec::new()) };
        // Items of a list lack what every single object says of itself.
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.insert("apiVersion".to_owned(), kind.api_version().into());
            item.insert("kind".to_owned(), kind.as_str().into());
        }
        Ok(items)
    }

    /// Every object of a kind, page by page: none is kept here.
    pub async fn each(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        mut take: impl FnMut(Value),
    ) -> Result<(), ClusterError> {
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let object =
                ObjectName { kind, namespace: namespace.map(str::to_owned), name: String::new() };
            let request = Request::new(kind.path(namespace)).list(&params);
            let mut answer = match self.ask(object, Verb::List, request).await {
                Err(error) if error.is_not_found() => return Ok(()),
                answer => answer?,
            };
            if let Value::Array(items) = answer["items"].take() {
                items.into_iter().for_each(&mut take);
            }
            match json::text(&answer, "/metadata/continue").filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(next),
                None => return Ok(()),
            }
        }
    }

    /// The names of all objects of a kind in a namespace. Their metadata is all that is sent.
    pub async fn names(&self, kind: Kind, namespace: &str) -> Result<Vec<String>, ClusterError> {
        let object = ObjectName::namespaced(kind, namespace, "");
        let request =
            Request::new(kind.path(Some(namespace))).list_metadata(&ListParams::default());
        let answer = self.ask(object, Verb::List, request).await?;
        let items = json::list(&answer, "/items").iter();
        Ok(items.filter_map(json::name).map(str::to_owned).collect())
    }

    /// Creates an object, which says itself where it belongs, and answers what was stored.
    /// `Conflict`: it exists.
    pub async fn create(&self, kind: Kind, object: &Value) -> Result<Value, ClusterError> {
        let namespace = json::text(object, "/metadata/namespace").unwrap_or_default();
        let name = json::name(object).unwrap_or_default();
        let reference = ObjectName::namespaced(kind, namespace, name);
        let params =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = request_of(&reference).create(&params, object.to_string().into_bytes());
        self.ask(reference, Verb::Create, request).await
    }

    /// A merge patch. With a version, `Conflict` if the object is not at that version any more.
    pub async fn patch_merge(
        &self,
        object: &ObjectName,
        patch: &Value,
        resource_version: Option<&str>,
    ) -> Result<Value, ClusterError> {
        self.patch(object, None, &Patch::Merge(with_version(patch, resource_version)), false).await
    }

    /// A merge patch of the status subresource.
    pub async fn patch_status(
        &self,
        object: &ObjectName,
        patch: &Value,
        resource_version: Option<&str>,
    ) -> Result<Value, ClusterError> {
        let patch = Patch::Merge(with_version(patch, resource_version));
        self.patch(object, Some("status"), &patch, false).await
    }

    /// A JSON patch of this very version; `Conflict` if the object has moved on.
    pub async fn patch_json(
        &self,
        object: &ObjectName,
        operations: Vec<Value>,
        resource_version: &str,
    ) -> Result<Value, ClusterError> {
        // Setting the version is what makes the server compare it. A failed `test` would be answered
        // like any other patch that cannot be applied.
        let mut all = vec![patch::add("/metadata/resourceVersion", resource_version)];
        all.extend(operations);
        let operations = serde_json::from_value(Value::Array(all)).map_err(|error| {
            ClusterError::Invalid { object: Box::new(object.clone()), fields: error.to_string() }
        })?;
        self.patch(object, None, &Patch::Json::<()>(operations), false).await
    }

    /// A server-side apply of a whole object. Without `force`, `Conflict` where a field belongs to
    /// somebody else.
    pub async fn apply(
        &self,
        object: &ObjectName,
        body: &Value,
        force: bool,
    ) -> Result<Value, ClusterError> {
        self.patch(object, None, &Patch::Apply(body), force).await
    }

    /// Deletes the object that has this uid, and this version if one is given. `false`: it was
    /// gone already. `Conflict`: it is another one by now.
    pub async fn delete(
        &self,
        object: &ObjectName,
        uid: &str,
        resource_version: Option<&str>,
        propagation: Propagation,
    ) -> Result<bool, ClusterError> {
        let params = DeleteParams {
            propagation_policy: Some(match propagation {
                Propagation::Background => PropagationPolicy::Background,
                Propagation::Foreground => PropagationPolicy::Foreground,
                Propagation::Orphan => PropagationPolicy::Orphan,
            }),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: resource_version.map(str::to_owned),
            }),
            ..DeleteParams::default()
        };
        let request = request_of(object).delete(&object.name, &params);
        match self.ask(object.clone(), Verb::Delete, request).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn patch<P: serde::Serialize + fmt::Debug>(
        &self,
        object: &ObjectName,
        subresource: Option<&str>,
        patch: &Patch<P>,
        force: bool,
    ) -> Result<Value, ClusterError> {
        let mut params = PatchParams::apply(FIELD_MANAGER);
        params.force = force;
        let request = match subresource {
            None => request_of(object).patch(&object.name, &params, patch),
            Some(part) => request_of(object).patch_subresource(part, &object.name, &params, patch),
        };
        self.ask(object.clone(), Verb::Patch, request).await
    }

    async fn ask(
        &self,
        object: ObjectName,
        verb: Verb,
        request: Result<axum::http::Request<Vec<u8>>, RequestError>,
    ) -> Result<Value, ClusterError> {
        let unavailable = |object: ObjectName, message: String| ClusterError::Unavailable {
            object: Box::new(object),
            message,
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return Err(unavailable(object, error.to_string())),
        };
        match within(self.deadline, self.client.request::<Value>(request)).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(Error::Api(status))) => Err(of_status(object, verb, &status)),
            // Only what the connection says: the others could quote the body.
            Some(Err(Error::HyperError(error))) => Err(unavailable(object, chain(&error))),
            Some(Err(Error::Service(error))) => Err(unavailable(object, chain(&*error))),
            Some(Err(_)) => Err(unavailable(object, "the answer cannot be read".to_owned())),
            None => {
                let message = format!("none within {} s", self.deadline.as_secs_f64());
                Err(unavailable(object, message))
            }
        }
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, call).await.ok()
}

/// An error with its sources: "connection refused" is in the innermost.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = error.source();
    }
    text
}

fn request_of(object: &ObjectName) -> Request {
    Request::new(object.kind.path(object.namespace.as_deref()))
}

/// The version inside of the patch makes the server refuse it when the object has moved on.
fn with_version(patch: &Value, resource_version: Option<&str>) -> Value {
    let mut patch = patch.clone();
    let Some(version) = resource_version else { return patch };
    if !patch["metadata"].is_object() {
        patch["metadata"] = json!({});
    }
    patch["metadata"]["resourceVersion"] = json!(version);
    patch
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::http::StatusCode;

    use super::*;

    /// An API server that answers everything like this; and how often it was asked.
    async fn server(
        delay: Duration,
        status: StatusCode,
        body: &'static str,
    ) -> (Cluster, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        let answer = move || {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(delay).await;
                (status, body)
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let url = format!("http://{address}").parse().expect("a URL");
        crate::git::init_tls();
        let cluster = Cluster::connect(Config::new(url)).expect("a client");
        (cluster.with_deadline(Duration::from_millis(300)), asked)
    }

    const SOON: Duration = Duration::ZERO;

    #[tokio::test]
    async fn a_server_in_trouble_is_asked_once() {
        let body = r#"{"kind": "Status", "status": "Failure", "code": 503, "reason": "No"}"#;
        let (cluster, asked) = server(SOON, StatusCode::SERVICE_UNAVAILABLE, body).await;
        let error = cluster.get(Kind::Service, "shop", "web").await.expect_err("no answer");
        assert_eq!(error.to_string(), "no answer about Service shop/web: 503 No");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_not_waited_for() {
        let (cluster, _) = server(Duration::from_mins(1), StatusCode::OK, "{}").await;
        let error = cluster.list(Kind::Pod, Some("shop"), "").await.expect_err("no answer");
        assert_eq!(error.to_string(), "no answer about Pod shop/*: none within 0.3 s");
    }

    #[tokio::test]
    async fn what_is_not_there_is_none_and_what_cannot_be_read_is_an_error() {
        let body = r#"{"kind": "Status", "status": "Failure", "code": 404}"#;
        let (cluster, _) = server(SOON, StatusCode::NOT_FOUND, body).await;
        let found = cluster.get(Kind::HttpRoute, "shop", "web").await.expect("an answer");
        assert_eq!(found, None);
        let found = cluster.list(Kind::HttpRoute, None, "a=b").await.expect("an answer");
        assert_eq!(found, Vec::<Value>::new());
        let (cluster, _) = server(SOON, StatusCode::OK, "secret").await;
        let error = cluster.get(Kind::Service, "shop", "web").await.expect_err("no object");
        assert!(!format!("{error:?}").contains("secret"));
    }

    #[test]
    fn the_version_is_part_of_the_patch() {
        let patch = with_version(&json!({"spec": {"a": 1}}), Some("7"));
        assert_eq!(patch, json!({"spec": {"a": 1}, "metadata": {"resourceVersion": "7"}}));
        assert_eq!(with_version(&json!({"a": 1}), None), json!({"a": 1}));
    }
}
