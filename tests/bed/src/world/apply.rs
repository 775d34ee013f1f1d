//! Objects from YAML, applied as `kubectl apply --server-side` does.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::{GroupVersionKind, TypeMeta},
};

use super::wait::eventually;

/// The field manager of what the test bed applies.
const MANAGER: &str = "tidegate-testbed";

/// Applies every document of a YAML text, one after the other.
///
/// An object without a namespace goes to `namespace`, or is taken as one of the cluster without it.
///
/// # Errors
/// Fails at the first document that the API server refuses.
pub async fn apply(kube: &Client, yaml: &str, namespace: Option<&str>) -> Result<()> {
    for object in parse(yaml)? {
        apply_object(kube, object, namespace).await?;
    }
    Ok(())
}

/// Applies the `CustomResourceDefinition`s of a folder and waits until they serve.
///
/// Other objects in the folder are left out: programs ship their own Deployments beside them.
///
/// # Errors
/// Fails when a definition is refused, or does not serve within 30 s.
pub async fn apply_definitions(kube: &Client, folder: &Path) -> Result<()> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml"))
        .collect();
    paths.sort();
    let mut definitions = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let objects = parse(&text).with_context(|| path.display().to_string())?;
        definitions.extend(objects.into_iter().filter(|object| {
            object.types.as_ref().is_some_and(|types| types.kind == "CustomResourceDefinition")
        }));
    }
    if definitions.is_empty() {
        return Err(anyhow!("{} holds no CustomResourceDefinition", folder.display()));
    }
    try_join_all(definitions.into_iter().map(async |definition| {
        let name = definition.name_any();
        apply_object(kube, definition, None).await?;
        serves(kube, &name).await
    }))
    .await
    .map(drop)
}

async fn serves(kube: &Client, name: &str) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(kube.clone());
    eventually(name, Duration::from_secs(30), async || {
        let status = definitions.get(name).await?.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        Ok(conditions
            .iter()
            .any(|condition| condition.type_ == "Established" && condition.status == "True")
            .then_some(()))
    })
    .await
}

fn parse(yaml: &str) -> Result<Vec<DynamicObject>> {
    yaml.split("\n---")
        .map(|document| document.trim_start_matches("---"))
        .filter(|document| {
            document.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'))
        })
        .map(|document| serde_saphyr::from_str(document).context("read a document of YAML"))
        .collect()
}

async fn apply_object(kube: &Client, object: DynamicObject, namespace: Option<&str>) -> Result<()> {
    let types = object.types.clone().unwrap_or_default();
    let api = api_of(kube, &types, object.namespace().as_deref().or(namespace))?;
    let name = object.name_any();
    let how = PatchParams::apply(MANAGER).force();
    api.patch(&name, &how, &Patch::Apply(&object))
        .await
        .with_context(|| format!("apply {} {name}", types.kind))
        .map(drop)
}

fn api_of(kube: &Client, types: &TypeMeta, namespace: Option<&str>) -> Result<Api<DynamicObject>> {
    let kind = GroupVersionKind::try_from(types).context("read apiVersion and kind")?;
    let resource = ApiResource::from_gvk(&kind);
    Ok(match namespace {
        Some(namespace) => Api::namespaced_with(kube.clone(), namespace, &resource),
        None => Api::all_with(kube.clone(), &resource),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_separated_and_comments_alone_are_none() {
        let text = "---\n# only words\n---\napiVersion: v1\nkind: Namespace\n\
                    metadata: {name: a}\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: b\n";
        let names: Vec<_> = parse(text).unwrap().iter().map(DynamicObject::name_any).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
