//! A notice as an Event of `events.k8s.io/v1`.

use serde_json::{Value, json};
use tidegate_api::GROUP;
use tidegate_engine::effect::{Notice, Severity};

use crate::kubernetes::{Kind, json as read, names};
use crate::runtime::status::shorten;

/// Longest note that the API server takes, in characters and on the safe side of its 1024 bytes.
const LONGEST: usize = 1000;

/// The Event of a notice. Its name is the same each time.
pub(super) fn of(rollout: &Value, notice: &Notice, instance: &str) -> Value {
    let (name, uid) = (read::name(rollout), read::uid(rollout));
    let namespace = read::text(rollout, "/metadata/namespace").unwrap_or_default();
    // Kept for one purpose: two Rollouts that had the same name one after the other.
    let uid = uid.unwrap_or_default();
    let short: String = uid.chars().filter(char::is_ascii_alphanumeric).take(10).collect();
    let base = names::label_value(name.unwrap_or_default());
    let mut note = shorten(&notice.message, LONGEST);
    while note.len() > LONGEST + 20 {
        note.pop();
    }
    json!({
        "apiVersion": Kind::Event.api_version(),
        "kind": Kind::Event.as_str(),
        "metadata": {"name": format!("{base}.{short}.{}", notice.id), "namespace": namespace},
        "eventTime": notice.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        "reportingController": GROUP,
        "reportingInstance": instance.chars().take(128).collect::<String>(),
        "action": "Decide",
        "reason": notice.reason.as_str(),
        "note": note,
        "type": match notice.severity {
            Severity::Info => "Normal",
            Severity::Warning | Severity::Critical => "Warning",
        },
        "regarding": {
            "apiVersion": Kind::Rollout.api_version(), "kind": Kind::Rollout.as_str(),
            "namespace": namespace, "name": name, "uid": uid,
            "resourceVersion": read::resource_version(rollout),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use tidegate_engine::reason::Reason;

    #[test]
    fn the_event_of_a_notice_has_the_same_name_each_time_and_fits() {
        let rollout = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "1234-5678-90",
            "resourceVersion": "7"}});
        let notice = Notice {
            id: 3,
            at: DateTime::UNIX_EPOCH,
            severity: Severity::Critical,
            reason: Reason::AnalysisFailed,
            message: "é".repeat(5000),
        };
        let event = of(&rollout, &notice, "pod-1");
        assert_eq!(event["metadata"]["name"], "web.1234567890.3");
        assert_eq!(event["eventTime"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(event["reportingController"], "tidegate.dev");
        assert_eq!(event["type"], "Warning");
        assert!(event["note"].as_str().unwrap().len() <= 1024);
    }
}
