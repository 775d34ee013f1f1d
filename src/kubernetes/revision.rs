//! A pod template by hash.

use std::fmt::Write;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tidegate_engine::state::Revision;

/// The label by which the sets of one Deployment tell their pods apart. The Deployment controller
/// puts it on its own sets; a canary's set has it with our revision as value.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// Characters of the hash that are kept: 36 bits, for the few templates of one workload.
const HASH_CHARACTERS: usize = 9;

/// A pod template by hash: `a` and nine hexadecimal digits of the SHA-256 of its JSON with sorted
/// keys, without the label `pod-template-hash`.
///
/// It is for live templates of the API server, which have all their defaults. The leading `a` is
/// no character of the hashes of the Deployment controller, so that none of our names can be one
/// of its names.
pub fn revision_of(template: &Value) -> Revision {
    let mut text = String::new();
    write_canonical(template, &mut Vec::new(), &mut text);
    let digest = Sha256::digest(text.as_bytes());
    let mut revision = String::from("a");
    for byte in digest.iter().take(HASH_CHARACTERS.div_ceil(2)) {
        // Writing to a String cannot fail.
        let _ = write!(revision, "{byte:02x}");
    }
    revision.truncate(1 + HASH_CHARACTERS);
    Revision::new(revision)
}

/// JSON with sorted keys, whatever order the map type keeps.
fn write_canonical<'a>(value: &'a Value, path: &mut Vec<&'a str>, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().map(String::as_str).collect();
            keys.sort_unstable();
            text.push('{');
            for key in keys {
                if is_left_out(path, key) {
                    continue;
                }
                text.push_str(&Value::from(key).to_string());
                text.push(':');
                path.push(key);
                write_canonical(&map[key], path, text);
                path.pop();
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            path.push("[]");
            for item in items {
                write_canonical(item, path, text);
                text.push(',');
            }
            path.pop();
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

/// What differs between the template of a Deployment and that of its sets; servers before 1.33
/// send `creationTimestamp: null`, which says nothing.
fn is_left_out(path: &[&str], key: &str) -> bool {
    match path {
        ["metadata", "labels"] => key == POD_TEMPLATE_HASH,
        ["metadata"] => key == "creationTimestamp",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template() -> Value {
        json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        })
    }

    #[test]
    fn a_revision_is_a_name_that_the_deployment_controller_never_makes() {
        let revision = revision_of(&template());
        let text = revision.as_str();
        assert_eq!(text.len(), 10);
        assert!(text.starts_with('a'));
        assert!(text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)));
    }

    #[test]
    fn the_label_of_a_set_and_an_empty_timestamp_change_nothing() {
        let mut of_set = template();
        of_set["metadata"]["labels"][POD_TEMPLATE_HASH] = json!("5d8f7b");
        of_set["metadata"]["creationTimestamp"] = Value::Null;
        assert_eq!(revision_of(&of_set), revision_of(&template()));
    }

    #[test]
    fn everything_else_changes_it() {
        let plain = revision_of(&template());
        let mut labels = template();
        labels["metadata"]["labels"]["version"] = json!("2");
        let mut image = template();
        image["spec"]["containers"][0]["image"] = json!("web:2");
        let mut newer = template();
        newer["spec"]["aFieldOfTomorrow"] = json!({"labels": {POD_TEMPLATE_HASH: "1"}});
        let mut elsewhere = template();
        elsewhere["spec"]["aFieldOfTomorrow"] = json!({"labels": {}});
        for other in [&labels, &image, &newer, &elsewhere] {
            assert_ne!(revision_of(other), plain, "{other}");
        }
        assert_ne!(revision_of(&newer), revision_of(&elsewhere));
    }

    #[test]
    fn the_order_of_a_list_counts_and_that_of_keys_does_not() {
        let one: Value = serde_json::from_str(r#"{"spec":{"a":[1,2],"b":null}}"#).expect("JSON");
        let keys: Value = serde_json::from_str(r#"{"spec":{"b":null,"a":[1,2]}}"#).expect("JSON");
        let list: Value = serde_json::from_str(r#"{"spec":{"a":[2,1],"b":null}}"#).expect("JSON");
        assert_eq!(revision_of(&one), revision_of(&keys));
        assert_ne!(revision_of(&one), revision_of(&list));
    }
}
