//! What a pod template says about the sample service: version and knobs.

use serde_json::Value;

/// Environment variable, the service's flag, and the unit the flag wants after the number.
const KNOBS: [(&str, &str, &str); 7] = [
    ("ERROR_RATE", "error-rate", ""),
    ("LATENCY_MEDIAN_MS", "latency-median", "ms"),
    ("LATENCY_SIGMA", "latency-sigma", ""),
    ("START_DELAY_MS", "start-delay", "ms"),
    ("DRAIN_DELAY_MS", "drain-delay", "ms"),
    ("CRASH_AFTER_MS", "crash-after", "ms"),
    ("SEED", "seed", ""),
];

/// Why a pod template cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `spec.containers` has no entry with a name and an image.
    #[error("the template has no container with a name and an image")]
    NoContainer,
    /// A variable that matters comes from elsewhere.
    #[error("the variable {0} has no plain value")]
    NotPlain(String),
}

/// A pod template, read as far as the demo runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Name of the first container.
    pub container: String,
    /// Tag of its image; `latest` when there is none.
    pub version: String,
    /// Flags of the sample service, one a knob that is set. A value that makes no sense is kept:
    /// the service refuses it, as a real one would, and its pods crash.
    pub flags: Vec<String>,
}

impl Template {
    /// Reads the `template` of a Deployment.
    ///
    /// # Errors
    /// [`TemplateError`]; variables that are no knob of the service are left alone.
    pub fn parse(template: &Value) -> Result<Self, TemplateError> {
        let container = template
            .pointer("/spec/containers/0")
            .filter(|container| container["name"].is_string() && container["image"].is_string())
            .ok_or(TemplateError::NoContainer)?;
        let variables = container["env"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut flags = Vec::new();
        for variable in variables {
            let name = variable["name"].as_str().unwrap_or_default();
            let Some((_, flag, unit)) = KNOBS.iter().find(|knob| knob.0 == name) else {
                continue;
            };
            let value = variable["value"]
                .as_str()
                .ok_or_else(|| TemplateError::NotPlain(name.to_owned()))?;
            flags.push(format!("--{flag}={value}{unit}"));
        }
        Ok(Self {
            container: container["name"].as_str().unwrap_or_default().to_owned(),
            version: tag(container["image"].as_str().unwrap_or_default()).to_owned(),
            flags,
        })
    }
}

/// The tag of an image reference; a port of the registry is none.
fn tag(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split_once(':').map_or("latest", |(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn knobs_become_flags_and_other_variables_are_left_alone() {
        let template = json!({"spec": {"containers": [{
            "name": "shop", "image": "registry.local:5000/shop:v2",
            "env": [
                {"name": "ERROR_RATE", "value": "0.33"},
                {"name": "LATENCY_MEDIAN_MS", "value": "20"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
        }]}});
        let parsed = Template::parse(&template).unwrap();
        assert_eq!(parsed.container, "shop");
        assert_eq!(parsed.version, "v2");
        assert_eq!(parsed.flags, ["--error-rate=0.33", "--latency-median=20ms"]);
    }

    #[test]
    fn a_knob_from_elsewhere_is_refused() {
        let template = json!({"spec": {"containers": [{
            "name": "shop", "image": "shop:v2",
            "env": [{"name": "ERROR_RATE", "valueFrom": {}}],
        }]}});
        let refused = Template::parse(&template).unwrap_err();
        assert_eq!(refused, TemplateError::NotPlain("ERROR_RATE".to_owned()));
    }

    #[test]
    fn a_template_without_containers_is_refused() {
        assert_eq!(Template::parse(&json!({})), Err(TemplateError::NoContainer));
    }

    #[test]
    fn the_tag_is_what_follows_the_name() {
        assert_eq!(tag("shop:v2"), "v2");
        assert_eq!(tag("registry.local:5000/shop"), "latest");
        assert_eq!(tag("registry.local:5000/team/shop:v3@sha256:00"), "v3");
    }
}
