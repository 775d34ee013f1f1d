//! An API server for one namespace of objects: versions, merge and JSON patches, the status
//! subresource, finalizers. It writes down each request and can be told to fail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use tidegate::kubernetes::Cluster;

/// Objects by path, such as `/apis/apps/v1/namespaces/shop/deployments/web`.
#[derive(Clone, Default)]
pub(crate) struct ApiServer(Arc<Mutex<Store>>);

#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<String>,
    /// A part of `METHOD path`, and the status to answer once.
    faults: VecDeque<(String, u16)>,
    mutation: Option<Mutation>,
}

/// What becomes of each object that is created by a request whose line holds this.
struct Mutation {
    part: String,
    change: fn(&mut Value),
}

impl ApiServer {
    pub(crate) fn cluster(&self) -> Cluster {
        let router = Router::new().fallback(answer).with_state(self.clone());
        Cluster::new(kube::Client::new(router, "default"))
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.0.lock().unwrap()
    }

    /// Puts an object there, as somebody else would.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut store = self.store();
        let version = store.next();
        object["metadata"]["resourceVersion"] = json!(version);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{version}"));
        }
        store.objects.insert(path.to_owned(), object);
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.store().objects.get(path).cloned().unwrap_or_default()
    }

    /// All objects below a path.
    pub(crate) fn below(&self, path: &str) -> Vec<Value> {
        let store = self.store();
        let found = store.objects.iter().filter(|(at, _)| at.starts_with(path));
        found.map(|(_, object)| object.clone()).collect()
    }

    /// Changes an object, as somebody else would.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(path);
        change(&mut object);
        self.put(path, object);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.store().objects.remove(path);
    }

    /// The next write whose line holds this is answered with this status.
    pub(crate) fn fail(&self, part: &str, status: u16) {
        self.store().faults.push_back((part.to_owned(), status));
    }

    /// From now on something changes each new object whose line holds this.
    pub(crate) fn mutate(&self, part: &str, change: fn(&mut Value)) {
        self.store().mutation = Some(Mutation { part: part.to_owned(), change });
    }

    /// Method and path of each write since the last call.
    pub(crate) fn take_writes(&self) -> Vec<String> {
        std::mem::take(&mut self.store().writes)
    }
}

impl Store {
    fn next(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn fault(&mut self, line: &str) -> Option<u16> {
        let at = self.faults.iter().position(|(part, _)| line.contains(part.as_str()))?;
        self.faults.remove(at).map(|(_, status)| status)
    }

    fn list(&self, path: &str, query: &str) -> Value {
        let selector = query.split('&').find_map(|part| part.strip_prefix("labelSelector="));
        let wanted: Vec<(String, String)> = selector
            .unwrap_or_default()
            .replace("%3D", "=")
            .replace("%2C", ",")
            .replace("%2F", "/")
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let (parent, plural) = path.rsplit_once('/').unwrap();
        let fits = |at: &str, object: &Value| {
            let here = at.starts_with(&format!("{path}/"))
                || at.starts_with(&format!("{parent}/namespaces/"))
                    && at.contains(&format!("/{plural}/"));
            here && wanted
                .iter()
                .all(|(key, value)| object["metadata"]["labels"][key] == value.as_str())
        };
        let items: Vec<_> =
            self.objects.iter().filter(|(at, object)| fits(at, object)).map(|(_, o)| o).collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"},
            "items": items})
    }

    fn patch(&mut self, path: &str, is_json: bool, body: &Value) -> Result<Value, u16> {
        let (path, part) = match path.strip_suffix("/status") {
            Some(path) => (path, "status"),
            None => (path, ""),
        };
        let Some(old) = self.objects.get(path).cloned() else { return Err(404) };
        let mut new = old.clone();
        if is_json {
            for operation in body.as_array().unwrap() {
                json_patch(&mut new, operation).ok_or(422_u16)?;
            }
        } else {
            merge(&mut new, body);
        }
        if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
            return Err(409);
        }
        // Each door leads to its own part alone.
        let mut stored = if part == "status" { old.clone() } else { new.clone() };
        stored["status"] = if part == "status" { new } else { old.clone() }["status"].take();
        if stored != old {
            stored["metadata"]["resourceVersion"] = json!(self.next());
        }
        let finalizers = stored["metadata"]["finalizers"].as_array().map_or(0, Vec::len);
        if stored["metadata"].get("deletionTimestamp").is_some() && finalizers == 0 {
            self.objects.remove(path);
        } else {
            self.objects.insert(path.to_owned(), stored.clone());
        }
        Ok(stored)
    }
}

async fn answer(State(api): State<ApiServer>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default());
    let line = format!("{} {path}", parts.method);
    let mut store = api.store();
    if parts.method != Method::GET {
        store.writes.push(line.clone());
    }
    if let Some(code) = store.fault(&line) {
        return status(code);
    }
    let content = parts.headers.get(header::CONTENT_TYPE);
    let is_json_patch = content.is_some_and(|value| value == "application/json-patch+json");
    match parts.method {
        Method::GET => match store.objects.get(&path) {
            Some(object) => Json(object.clone()).into_response(),
            None if is_list(&path) => Json(store.list(&path, query)).into_response(),
            None => status(404),
        },
        Method::POST => {
            let mut object: Value = parsed(&body);
            let name = object["metadata"]["name"].as_str().unwrap();
            let path = format!("{path}/{name}");
            if store.objects.contains_key(&path) {
                return status(409);
            }
            let mutation = store.mutation.as_ref().filter(|it| line.contains(&it.part));
            if let Some(Mutation { change, .. }) = mutation {
                change(&mut object);
            }
            let version = store.next();
            object["metadata"]["resourceVersion"] = json!(version);
            object["metadata"]["uid"] = json!(format!("uid-{version}"));
            store.objects.insert(path, object.clone());
            Json(object).into_response()
        }
        Method::PATCH => match store.patch(&path, is_json_patch, &parsed(&body)) {
            Ok(object) => Json(object).into_response(),
            Err(code) => status(code),
        },
        Method::DELETE => match store.objects.remove(&path) {
            Some(object) => Json(object).into_response(),
            None => status(404),
        },
        _ => status(405),
    }
}

/// A list's path ends with a resource, an object's with a name.
fn is_list(path: &str) -> bool {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let rest = if parts[0] == "api" { &parts[2..] } else { &parts[3..] };
    rest.len() == 1 || rest.len() == 3 && rest[0] == "namespaces"
}

fn parsed(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap()
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn json_patch(target: &mut Value, operation: &Value) -> Option<()> {
    let path = operation["path"].as_str()?;
    if operation["op"] == "test" {
        return (target.pointer(path)? == &operation["value"]).then_some(());
    }
    let (parent, key) = path.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    match target.pointer_mut(parent)? {
        Value::Object(members) if operation["op"] == "remove" => members.remove(&key).map(drop),
        Value::Object(members) => {
            members.insert(key, operation["value"].clone());
            Some(())
        }
        Value::Array(items) => {
            let at = if key == "-" { items.len() } else { key.parse().ok()? };
            match operation["op"].as_str()? {
                "remove" => drop((at < items.len()).then(|| items.remove(at))?),
                "add" => items.insert(at, operation["value"].clone()),
                _ => *items.get_mut(at)? = operation["value"].clone(),
            }
            Some(())
        }
        _ => None,
    }
}

fn status(code: u16) -> Response {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        _ => "InternalError",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "testing value failed", "reason": reason, "code": code});
    (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
}
