//! The environment and the command line of a container. Pure: what has to be read from the API
//! server is asked for by [`wanted`] and handed in as [`Sources`].

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use super::image::{self, Image};

/// An object that a container's environment refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    ConfigMap(String),
    Secret(String),
}

/// Those objects; `None`: the API server does not have it.
pub(super) type Sources = BTreeMap<Wanted, Option<BTreeMap<String, String>>>;

/// What a pod knows of itself at run time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses<'a> {
    pub(super) pod: &'a str,
    pub(super) host: &'a str,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    /// The program and its arguments; never empty.
    pub(super) argv: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
}

/// The objects that the container's environment refers to.
pub(super) fn wanted(container: &Container) -> BTreeSet<Wanted> {
    let mut wanted = BTreeSet::new();
    for source in container.env_from.iter().flatten() {
        wanted.extend(source.config_map_ref.iter().map(|it| Wanted::ConfigMap(it.name.clone())));
        wanted.extend(source.secret_ref.iter().map(|it| Wanted::Secret(it.name.clone())));
    }
    for source in container.env.iter().flatten().filter_map(|entry| entry.value_from.as_ref()) {
        let config = source.config_map_key_ref.as_ref();
        wanted.extend(config.map(|it| Wanted::ConfigMap(it.name.clone())));
        let secret = source.secret_key_ref.as_ref();
        wanted.extend(secret.map(|it| Wanted::Secret(it.name.clone())));
    }
    wanted
}

/// Command line and environment of a container. The error is the message that the kubelet shows
/// with `CreateContainerConfigError`.
pub(super) fn invocation(
    pod: &Pod,
    container: &Container,
    image: &Image,
    addresses: Addresses<'_>,
    sources: &Sources,
) -> Result<Invocation, String> {
    let mut env = base(pod, container, image, addresses);
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let config = source.config_map_ref.as_ref();
        let config = config.map(|it| (Wanted::ConfigMap(it.name.clone()), it.optional));
        let secret = source.secret_ref.as_ref();
        let secret = secret.map(|it| (Wanted::Secret(it.name.clone()), it.optional));
        for (wanted, optional) in config.into_iter().chain(secret) {
            let Some(values) = find(sources, &wanted, optional)? else { continue };
            env.extend(values.iter().map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
        }
    }
    // A value may refer to those before it; the API server keeps their order.
    for entry in container.env.iter().flatten() {
        let value = match &entry.value_from {
            Some(source) => from(pod, source, addresses, sources)?,
            None => Some(expand(entry.value.as_deref().unwrap_or_default(), &env)),
        };
        if let Some(value) = value {
            env.insert(entry.name.clone(), value);
        }
    }
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| expand(word, &env)).collect()
    };
    let mut argv = expanded(&container.command);
    if argv.is_empty() {
        argv.push(image.program.display().to_string());
        argv.extend(image.arguments.iter().cloned());
    }
    argv.extend(expanded(&container.args));
    Ok(Invocation { argv, env })
}

/// What every container gets. Processes of all pods share one network: `POD_IP` is there even
/// when the template does not ask for it, since a program must listen on its own address.
fn base(
    pod: &Pod,
    container: &Container,
    image: &Image,
    addresses: Addresses<'_>,
) -> BTreeMap<String, String> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
    let name = pod.metadata.name.clone().unwrap_or_default();
    let tag = image::tag(container.image.as_deref().unwrap_or_default()).to_owned();
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), path),
        ("HOME".to_owned(), "/tmp".to_owned()),
        ("HOSTNAME".to_owned(), name),
        ("IMAGE_TAG".to_owned(), tag),
        ("POD_IP".to_owned(), addresses.pod.to_owned()),
    ]);
    env.extend(image.env.clone());
    env
}

fn find<'a>(
    sources: &'a Sources,
    wanted: &Wanted,
    optional: Option<bool>,
) -> Result<Option<&'a BTreeMap<String, String>>, String> {
    match (sources.get(wanted).and_then(Option::as_ref), wanted) {
        (Some(values), _) => Ok(Some(values)),
        (None, _) if optional == Some(true) => Ok(None),
        (None, Wanted::ConfigMap(name)) => Err(format!("configmap \"{name}\" not found")),
        (None, Wanted::Secret(name)) => Err(format!("secret \"{name}\" not found")),
    }
}

/// One value; `None`: it is optional and not there.
fn from(
    pod: &Pod,
    source: &EnvVarSource,
    addresses: Addresses<'_>,
    sources: &Sources,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        let known = self::field(pod, &field.field_path, addresses);
        return known.map(Some).ok_or_else(|| {
            format!("field label not supported by this kubelet: {}", field.field_path)
        });
    }
    let config = source.config_map_key_ref.as_ref().map(|it| {
        (Wanted::ConfigMap(it.name.clone()), "ConfigMap", &it.name, &it.key, it.optional)
    });
    let secret = source
        .secret_key_ref
        .as_ref()
        .map(|it| (Wanted::Secret(it.name.clone()), "Secret", &it.name, &it.key, it.optional));
    let Some((wanted, kind, name, key, optional)) = config.or(secret) else {
        return Err("resourceFieldRef is not supported by this kubelet".to_owned());
    };
    let Some(values) = find(sources, &wanted, optional)? else { return Ok(None) };
    match values.get(key) {
        Some(value) => Ok(Some(value.clone())),
        None if optional == Some(true) => Ok(None),
        None => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            Err(format!("couldn't find key {key} in {kind} {namespace}/{name}"))
        }
    }
}

/// A field of the downward API; `None`: there is no such field.
fn field(pod: &Pod, path: &str, addresses: Addresses<'_>) -> Option<String> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let known = match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" | "status.podIPs" => Some(addresses.pod.to_owned()),
        "status.hostIP" | "status.hostIPs" => Some(addresses.host.to_owned()),
        _ => {
            let (map, key) = path.split_once("['")?;
            let key = key.strip_suffix("']")?;
            let map = match map {
                "metadata.labels" => &metadata.labels,
                "metadata.annotations" => &metadata.annotations,
                _ => return None,
            };
            map.as_ref().and_then(|map| map.get(key).cloned())
        }
    };
    Some(known.unwrap_or_default())
}

/// Replaces `$(NAME)` by its value. `$$` is a dollar; a name that is unknown stays as it is.
pub(super) fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix("$(").and_then(|rest| rest.split_once(')'))
        {
            match env.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&rest[..rest.len() - after.len()]),
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = &rest[1..];
        }
    }
    expanded + rest
}

#[cfg(test)]
#[path = "env_tests.rs"]
mod tests;
