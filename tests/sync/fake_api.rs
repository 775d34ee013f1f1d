//! An API server for the tests: discovery, GET, apply, DELETE, over the cluster in memory.
//!
//! It writes down each request, and can stop answering after a number of writes.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use tidegate::sync::target::TargetError;
use tidegate::sync::{KubeTarget, LocalCluster, ObjectRef, Target};

/// Group and version, plural, kind, whether it has namespaces.
const KINDS: [(&str, &str, &str, bool); 6] = [
    ("v1", "configmaps", "ConfigMap", true),
    ("v1", "secrets", "Secret", true),
    ("v1", "services", "Service", true),
    ("v1", "namespaces", "Namespace", false),
    ("apps/v1", "deployments", "Deployment", true),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", false),
];

#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    pub(crate) cluster: LocalCluster,
    /// Method, path with query, and content type of each request.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    /// After so many writes, nothing is answered any more.
    writes_left: Arc<Mutex<Option<usize>>>,
    /// Names of objects that are refused.
    refused: Arc<Mutex<Vec<String>>>,
}

impl FakeApi {
    pub(crate) fn target(&self) -> Target {
        let router = Router::new().fallback(answer).with_state(self.clone());
        Target::Kube(KubeTarget::new(kube::Client::new(router, "default")))
    }

    pub(crate) fn die_after(&self, writes: Option<usize>) {
        *self.writes_left.lock().unwrap() = writes;
    }

    pub(crate) fn refuse(&self, name: &str) {
        self.refused.lock().unwrap().push(name.to_owned());
    }

    pub(crate) fn accept_all(&self) {
        self.refused.lock().unwrap().clear();
    }

    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

async fn answer(State(api): State<FakeApi>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map_or("", |v| v.to_str().unwrap());
    let line = format!("{} {} {content_type}", parts.method, parts.uri);
    api.requests.lock().unwrap().push(line.trim_end().to_owned());
    let is_write = parts.method != Method::GET;
    let mut left = api.writes_left.lock().unwrap();
    match left.as_mut() {
        Some(0) => return status(503, "the server is gone"),
        Some(left) if is_write => *left -= 1,
        _ => {}
    }
    drop(left);
    let path = parts.uri.path().trim_start_matches('/').to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    respond(&api, &parts.method, &path, &query, &body)
}

fn respond(api: &FakeApi, method: &Method, path: &str, query: &str, body: &Bytes) -> Response {
    let (group_version, rest) = if let Some(rest) = path.strip_prefix("api/v1") {
        ("v1".to_owned(), rest)
    } else {
        let mut parts = path.strip_prefix("apis/").unwrap_or_default().splitn(3, '/');
        let mut next = || parts.next().unwrap_or_default();
        (format!("{}/{}", next(), next()), next())
    };
    let kinds: Vec<_> = kinds(api).into_iter().filter(|k| k.0 == group_version).collect();
    let rest = rest.trim_start_matches('/');
    if rest.is_empty() {
        return discovery(&group_version, &kinds);
    }
    let parts: Vec<&str> = rest.split('/').collect();
    let (namespace, plural, name) = match parts.as_slice() {
        ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, *name),
        [plural, name] => (None, *plural, *name),
        _ => return status(404, "no such path"),
    };
    let Some((_, _, kind, _)) = kinds.iter().find(|k| k.1 == plural) else {
        return status(404, "no such resource");
    };
    let (group, version) = group_version.split_once('/').unwrap_or(("", &group_version));
    let reference = ObjectRef {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.clone(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    let writes = *method != Method::GET;
    if writes && api.refused.lock().unwrap().iter().any(|refused| refused == name) {
        return status(422, "spec.replicas: Invalid value");
    }
    object(api, method, &reference, query, body)
}

fn object(
    api: &FakeApi,
    method: &Method,
    reference: &ObjectRef,
    query: &str,
    body: &Bytes,
) -> Response {
    match *method {
        Method::GET => match api.cluster.get(reference) {
            Some(object) => Json(object).into_response(),
            None => status(404, "not found"),
        },
        Method::PATCH => {
            if let Some(namespace) = &reference.namespace {
                let home = ObjectRef {
                    group: String::new(),
                    version: "v1".to_owned(),
                    kind: "Namespace".to_owned(),
                    namespace: None,
                    name: namespace.clone(),
                };
                if api.cluster.get(&home).is_none() {
                    return status(404, "namespace not found");
                }
            }
            let desired: Value = serde_json::from_slice(body).unwrap();
            let manager = query.split('&').find_map(|p| p.strip_prefix("fieldManager=")).unwrap();
            match api.cluster.apply(&desired, manager, query.contains("force=true")) {
                Ok(outcome) => Json(outcome.object).into_response(),
                Err(TargetError::Owned { .. }) => status(409, "Apply failed with 1 conflict"),
                Err(error) => status(409, &error.to_string()),
            }
        }
        Method::DELETE => {
            let options: Value = serde_json::from_slice(body).unwrap();
            let uid = options.pointer("/preconditions/uid").and_then(Value::as_str);
            match api.cluster.delete(reference, uid) {
                Ok(true) => Json(json!({"kind": "Status", "apiVersion": "v1",
                    "metadata": {}, "status": "Success"}))
                .into_response(),
                Ok(false) => status(404, "not found"),
                Err(_) => status(409, "the UID in the precondition does not match"),
            }
        }
        _ => status(405, "method not allowed"),
    }
}

/// The built-in kinds and those of the definitions that have been applied.
fn kinds(api: &FakeApi) -> Vec<(String, String, String, bool)> {
    let built_in = KINDS.map(|(gv, plural, kind, scope)| {
        (gv.to_owned(), plural.to_owned(), kind.to_owned(), scope)
    });
    let definitions = api.cluster.list("apiextensions.k8s.io", "CustomResourceDefinition", None);
    let defined = definitions.iter().map(|d| {
        let text = |pointer: &str| d.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let group_version = format!("{}/v1", text("/spec/group"));
        let namespaced = text("/spec/scope") == "Namespaced";
        (group_version, text("/spec/names/plural"), text("/spec/names/kind"), namespaced)
    });
    built_in.into_iter().chain(defined).collect()
}

fn discovery(group_version: &str, kinds: &[(String, String, String, bool)]) -> Response {
    if kinds.is_empty() {
        return status(404, "no such group and version");
    }
    let resources: Vec<Value> = kinds
        .iter()
        .map(|(_, plural, kind, namespaced)| {
            json!({"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind,
                "verbs": ["get", "patch", "delete"]})
        })
        .collect();
    Json(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources}))
    .into_response()
}

fn status(code: u16, message: &str) -> Response {
    // As the API server has it: only a missing object is NotFound, a path is plain 404.
    let reason = if message == "not found" { "NotFound" } else { "" };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
}
