//! What a request to the Kubernetes API is about, read from its path.

use std::fmt;

/// Verb and object of a request, in the words of RBAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Resource in the plural, such as `deployments`.
    pub resource: String,
    /// Namespace, where there is one.
    pub namespace: Option<String>,
    /// Name; `None` for lists, watches of many and creations.
    pub name: Option<String>,
    /// Such as `status` or `scale`.
    pub subresource: Option<String>,
    /// Whether nothing is to be kept of it (`dryRun=All`).
    pub dry_run: bool,
}

impl Target {
    /// Reads it; `None`: the path is none of a resource (`/healthz`, `/api`, `/openapi/v3`).
    pub(super) fn parse(method: &str, path: &str, query: &str) -> Option<Self> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let group = match parts.next()? {
            "api" => String::new(),
            "apis" => parts.next()?.to_owned(),
            _ => return None,
        };
        let version = parts.next()?.to_owned();
        let rest: Vec<&str> = parts.collect();
        // `namespaces` is a resource, too: with a subresource of its own or nothing after its name.
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", name, "status" | "finalize"] => (Some(*name), rest.as_slice()),
            ["namespaces", name, rest @ ..] if !rest.is_empty() => (Some(*name), rest),
            ["namespaces", name] => (Some(*name), rest.as_slice()),
            rest => (None, rest),
        };
        let resource = (*rest.first()?).to_owned();
        let name = rest.get(1).map(|name| (*name).to_owned());
        let subresource = rest.get(2..).filter(|rest| !rest.is_empty()).map(|rest| rest.join("/"));
        let asked = |wanted: &str| query.split('&').any(|pair| pair == wanted);
        let watch = asked("watch=true") || asked("watch=1");
        let verb = match (method, &name) {
            ("GET" | "HEAD", _) if watch => "watch",
            ("GET" | "HEAD", Some(_)) => "get",
            ("GET" | "HEAD", None) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", Some(_)) => "delete",
            ("DELETE", None) => "deletecollection",
            _ => return None,
        };
        Some(Self {
            verb,
            group,
            version,
            resource,
            namespace: namespace.map(ToOwned::to_owned),
            name,
            subresource,
            dry_run: asked("dryRun=All"),
        })
    }

    /// Whether it changes something that a decision brought about. Not among them: reviews of
    /// rights, which change nothing; leases and events, which come by the clock and by the way,
    /// so that the numbers of the others are the same in every run.
    pub(super) fn is_write(&self) -> bool {
        let reads = matches!(self.verb, "get" | "list" | "watch");
        let besides =
            matches!(self.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io")
                || matches!(self.resource.as_str(), "leases" | "events")
                || self.subresource.as_deref() == Some("token");
        !reads && !besides && !self.dry_run
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verb, self.resource)?;
        if let Some(subresource) = &self.subresource {
            write!(formatter, "/{subresource}")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(formatter, " {namespace}")?;
        }
        if let Some(name) = &self.name {
            let before = if self.namespace.is_some() { '/' } else { ' ' };
            write!(formatter, "{before}{name}")?;
        }
        if self.dry_run {
            write!(formatter, " (dry run)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_from_paths() {
        for (method, path, query, expected) in [
            ("GET", "/api/v1/pods", "", "list pods"),
            ("GET", "/api/v1/pods", "limit=5&watch=true", "watch pods"),
            ("GET", "/api/v1/namespaces", "", "list namespaces"),
            ("GET", "/api/v1/namespaces/shop", "", "get namespaces shop/shop"),
            ("PUT", "/api/v1/namespaces/shop/finalize", "", "update namespaces/finalize shop/shop"),
            ("GET", "/api/v1/namespaces/shop/pods", "", "list pods shop"),
            ("GET", "/api/v1/namespaces/shop/pods/a/log", "", "get pods/log shop/a"),
            ("POST", "/apis/apps/v1/namespaces/shop/deployments", "", "create deployments shop"),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/shop/deployments/web/status",
                "dryRun=All",
                "patch deployments/status shop/web (dry run)",
            ),
            (
                "DELETE",
                "/apis/tidegate.dev/v1alpha1/rolloutclasses/a",
                "",
                "delete rolloutclasses a",
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/shop/replicasets",
                "labelSelector=a",
                "deletecollection replicasets shop",
            ),
        ] {
            let target = Target::parse(method, path, query).unwrap();
            assert_eq!(target.to_string(), expected, "{method} {path}?{query}");
        }
        for path in ["/healthz", "/api", "/apis", "/apis/apps", "/apis/apps/v1", "/openapi/v3", "/"]
        {
            assert_eq!(Target::parse("GET", path, ""), None, "{path}");
        }
    }

    #[test]
    fn only_what_decisions_bring_about_is_a_write() {
        let write = |method, path, query| Target::parse(method, path, query).unwrap().is_write();
        assert!(write("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", ""));
        assert!(write("DELETE", "/api/v1/namespaces/a", ""));
        assert!(!write("GET", "/api/v1/namespaces/a", ""));
        assert!(!write("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", "dryRun=All"));
        assert!(!write("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", ""));
        assert!(!write("POST", "/apis/events.k8s.io/v1/namespaces/a/events", ""));
        assert!(!write("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", ""));
    }
}
