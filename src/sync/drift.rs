//! Where the live object differs from the desired one, field by field. Pure.
//!
//! Only fields that are applied count: what the server fills in, or another manager sets beside
//! ours, is no drift.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::fields::{self, FieldPath, Lists, Segment, without_nulls};
use super::object::ObjectRef;
use super::ownership::owned_leaves;

/// What stands in place of the values of Secrets.
const MASK: &str = "(masked)";

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// The object.
    pub object: ObjectRef,
    /// The field, such as `spec.template.spec.containers[name=app].image`.
    pub path: String,
    /// The value in the repository; masked for Secrets.
    pub desired: Value,
    /// The value in the cluster, none when the field is not there; masked for Secrets.
    pub live: Option<Value>,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: desired {}, live ", self.object, self.path, self.desired)?;
        match &self.live {
            Some(live) => write!(f, "{live}"),
            None => f.write_str("missing"),
        }
    }
}

/// The fields of `desired` that `live` has otherwise or not at all.
pub fn compare(object: &ObjectRef, desired: &Value, live: &Value) -> Vec<Drift> {
    let lists = Lists::of(desired);
    let secret = object.group.is_empty() && object.kind == "Secret";
    let mut desired = without_nulls(desired);
    if secret {
        encode_string_data(&mut desired);
    }
    let leaves = owned_leaves(lists, &desired);
    let differing = leaves.into_iter().filter_map(|(path, value)| {
        let found = fields::get(lists, live, &path);
        let same = match found {
            Some(found) => is_same(&path, &value, found),
            // The server leaves out what has no content.
            None => is_zero(&value),
        };
        if same {
            return None;
        }
        let masked = secret && is_secret_data(&path);
        let shown = |value: &Value| if masked { json!(MASK) } else { value.clone() };
        Some(Drift {
            object: object.clone(),
            path: fields::display(&path),
            desired: shown(&value),
            live: found.map(shown),
        })
    });
    differing.collect()
}

fn is_same(path: &FieldPath, desired: &Value, live: &Value) -> bool {
    if desired == live || (is_empty_map(desired) && live.is_object()) {
        return true;
    }
    let is_quantity = |segment: &Segment| {
        let Segment::Field(name) = segment else { return false };
        matches!(name.as_str(), "limits" | "requests" | "hard" | "capacity" | "sizeLimit")
    };
    if !path.iter().any(is_quantity) {
        return false;
    }
    // The server writes `1000m` as `1`.
    let quantities = quantity(desired).zip(quantity(live));
    quantities.is_some_and(|(a, b)| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()))
}

fn is_empty_map(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// The number that a quantity stands for (k8s.io/apimachinery, `resource.Quantity`).
fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.as_str(),
        Value::Number(number) => return number.as_f64(),
        _ => return None,
    };
    let (digits, scale) = [
        ("Ki", 1024_f64),
        ("Mi", 1024_f64.powi(2)),
        ("Gi", 1024_f64.powi(3)),
        ("Ti", 1024_f64.powi(4)),
        ("Pi", 1024_f64.powi(5)),
        ("Ei", 1024_f64.powi(6)),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ]
    .iter()
    .find_map(|(suffix, scale)| text.strip_suffix(suffix).map(|digits| (digits, *scale)))
    .unwrap_or((text, 1.0));
    digits.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n * scale)
}

fn is_secret_data(path: &[Segment]) -> bool {
    match path.first() {
        Some(Segment::Field(name)) => !matches!(name.as_str(), "metadata" | "type" | "immutable"),
        _ => false,
    }
}

/// The server keeps `stringData` of a Secret as `data` in Base64.
fn encode_string_data(secret: &mut Value) {
    let Some(map) = secret.as_object_mut() else { return };
    let Some(Value::Object(texts)) = map.remove("stringData") else { return };
    let data = map.entry("data").or_insert_with(|| json!({}));
    let Some(data) = data.as_object_mut() else { return };
    for (name, text) in texts {
        let text = text.as_str().unwrap_or_default();
        data.insert(name, json!(base64(text.as_bytes())));
    }
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| chunk.get(i).copied().map_or(0, u32::from);
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place) & 63) as usize;
            let letter = ALPHABET.get(index).copied().unwrap_or(b'=');
            text.push(if place > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(desired: &Value, live: &Value) -> Vec<String> {
        let object = ObjectRef::of(desired).expect("a whole object");
        compare(&object, desired, live).into_iter().map(|d| d.path).collect()
    }

    fn deployment(spec: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"template": {"spec": spec}}})
    }

    #[test]
    fn only_what_is_applied_can_drift() {
        let desired = deployment(&json!({"containers": [{"name": "app", "image": "a:1"}]}));
        let live = deployment(&json!({"restartPolicy": "Always", "containers": [
            {"name": "sidecar", "image": "s"},
            {"name": "app", "image": "a:2", "imagePullPolicy": "Always"}]}));
        assert_eq!(paths(&desired, &live), ["spec.template.spec.containers[name=app].image"]);
    }

    #[test]
    fn what_the_server_writes_in_another_way_is_no_drift() {
        let container = |resources: &Value| {
            deployment(&json!({"containers": [{"name": "a", "resources": resources}]}))
        };
        let desired = container(&json!({"limits": {"cpu": "1000m", "memory": "1024Mi"}}));
        let live = container(&json!({"limits": {"cpu": "1", "memory": "1Gi"}}));
        assert!(paths(&desired, &live).is_empty());
        let live = container(&json!({"limits": {"cpu": "2", "memory": "1Gi"}}));
        assert_eq!(paths(&desired, &live).len(), 1);
        let desired = deployment(&json!({"hostNetwork": false, "volumes": [], "x": null}));
        assert!(paths(&desired, &deployment(&json!({}))).is_empty());
        let desired = deployment(&json!({"hostNetwork": true}));
        assert_eq!(paths(&desired, &deployment(&json!({}))), ["spec.template.spec.hostNetwork"]);
    }

    #[test]
    fn values_of_secrets_are_never_shown() {
        let secret = |key: &str, value: &str| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
                key: {"password": value}})
        };
        let live = secret("data", "aHVudGVyMg==");
        assert!(paths(&secret("stringData", "hunter2"), &live).is_empty());
        let desired = secret("stringData", "correct horse");
        let object = ObjectRef::of(&desired).expect("a whole object");
        let drift = compare(&object, &desired, &live);
        let shown = format!("{drift:?}{}{}", drift[0], json!(drift));
        assert_eq!(drift[0].path, "data.password");
        assert!(!shown.contains("aHVudGVyMg") && !shown.contains("horse"), "{shown}");
    }

    #[test]
    fn base64_has_its_padding() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (text, encoded) in cases {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
