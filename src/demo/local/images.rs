//! What the images of the demo do. There is no registry here: the tag decides.

use serde_json::{Value, json};

/// Tag, share of requests that fail, median latency in milliseconds.
const IMAGES: &[(&str, f64, u32)] = &[
    ("v1", 0.001, 12),
    // One request in three fails: the release that must not live.
    ("v2", 0.333, 12),
    // As good as v1, and a little faster.
    ("v3", 0.001, 10),
];

/// The template with what its image does added as plain variables, which the sample service reads.
pub fn with_image(template: &Value) -> Value {
    let mut template = template.clone();
    let Some(container) = template.pointer_mut("/spec/containers/0") else { return template };
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    let known = IMAGES.iter().find(|known| known.0 == tag);
    let (_, errors, median) = known.copied().unwrap_or(("latest", 0.001, 12));
    let mut env = container["env"].as_array().cloned().unwrap_or_default();
    env.push(json!({"name": "ERROR_RATE", "value": errors.to_string()}));
    env.push(json!({"name": "LATENCY_MEDIAN_MS", "value": median.to_string()}));
    env.push(json!({"name": "LATENCY_SIGMA", "value": "0.4"}));
    container["env"] = Value::Array(env);
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_decides_and_the_rest_stays() {
        let template = json!({"spec": {"containers": [{"name": "web", "image": "r/web:v2",
            "env": [{"name": "A", "value": "1"}]}]}});
        let with = with_image(&template);
        assert_eq!(with["spec"]["containers"][0]["env"][0]["name"], "A");
        assert_eq!(with["spec"]["containers"][0]["env"][1]["value"], "0.333");
        assert_eq!(with_image(&json!({})), json!({}));
    }
}
