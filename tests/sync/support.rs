//! Files, settings and names for the tests.

use serde_json::Value;
use tidegate::sync::render::Files;
use tidegate::sync::{Checkout, ObjectRef, Report, Settings, Target, sync_once};

pub(crate) fn files(entries: &[(&str, &str)]) -> Files {
    entries.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

pub(crate) fn checkout(revision: &str, entries: &[(&str, &str)]) -> Checkout {
    Checkout { revision: revision.to_owned(), files: files(entries), skipped: Vec::new() }
}

pub(crate) fn settings() -> Settings {
    Settings {
        name: "shop".to_owned(),
        namespace: "shop".to_owned(),
        path: ".".to_owned(),
        allow_empty: false,
        dry_run: false,
    }
}

pub(crate) async fn sync(target: &Target, checkout: &Checkout) -> Report {
    sync_once(checkout, target, &settings()).await.unwrap()
}

pub(crate) fn reference(kind: &str, name: &str) -> ObjectRef {
    let group = if kind == "Deployment" { "apps" } else { "" };
    ObjectRef {
        group: group.to_owned(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        namespace: (kind != "Namespace").then(|| "shop".to_owned()),
        name: name.to_owned(),
    }
}

pub(crate) fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: {value}}}\n")
}

pub(crate) fn deployment(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, labels: {{\
         tidegate.dev/rollout: web}}}}\nspec: {{replicas: 2, template: {{spec: {{containers: \
         [{{name: app, image: \"{image}\"}}]}}}}}}\n"
    )
}

pub(crate) fn inventory_of(object: Option<&Value>) -> Vec<String> {
    let text = object.and_then(|o| o.pointer("/data/objects")).and_then(Value::as_str);
    text.unwrap_or_default().lines().map(|l| l.rsplit_once(' ').unwrap().0.to_owned()).collect()
}
