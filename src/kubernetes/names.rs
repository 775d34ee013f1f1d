//! The names of what we make.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use tidegate_engine::state::{GateCall, Place, Revision};

/// The longest name of a Service, and the longest value of a label.
const LABEL_LENGTH: usize = 63;
/// The longest name of most other objects.
const NAME_LENGTH: usize = 253;
/// Characters of the hash that replaces what is cut off.
const HASH_LENGTH: usize = 8;
/// What is added to the name of a Service for the canary's.
const CANARY_SUFFIX: &str = "-canary";
/// The same for blue-green's.
const PREVIEW_SUFFIX: &str = "-preview";

/// The name of a canary's set, and of the object that owns it: as the Deployment controller would
/// name it, so that tools which cut the workload's name out of it find the workload.
pub fn set_name(workload: &str, revision: &Revision) -> String {
    let suffix = format!("-{revision}");
    format!("{}{suffix}", fitting(workload, NAME_LENGTH - suffix.len()))
}

/// The name of the Service that we make for the canary of a Service.
pub fn canary_service_name(service: &str) -> String {
    suffixed(service, CANARY_SUFFIX)
}

/// The name of the Service that we make for the preview of a Service, before a switch.
pub fn preview_service_name(service: &str) -> String {
    suffixed(service, PREVIEW_SUFFIX)
}

fn suffixed(service: &str, suffix: &str) -> String {
    format!("{}{suffix}", fitting(service, LABEL_LENGTH - suffix.len()))
}

/// The name of a gate's Job: one for each trial and place, the same each time. It begins as people
/// would look for it.
pub fn gate_job_name(workload: &str, call: &GateCall) -> String {
    let place = match call.place {
        Place::Start => "start".to_owned(),
        Place::Step(step) => format!("step-{step}"),
        Place::Promotion => "promotion".to_owned(),
        Place::Promoted => "promoted".to_owned(),
    };
    let hash = hash(&format!("{}/{}/{place}", call.trial, call.gate));
    let head = fitting(&format!("{workload}-{}", call.gate), LABEL_LENGTH - hash.len() - 1);
    format!("{head}-{hash}")
}

/// A name as a label's value: itself, or where it is too long its beginning and a hash.
pub fn label_value(name: &str) -> String {
    fitting(name, LABEL_LENGTH)
}

/// Names are ASCII: a byte is a character.
fn fitting(name: &str, length: usize) -> String {
    if name.len() <= length {
        return name.to_owned();
    }
    let head = name.get(..length - HASH_LENGTH - 1).unwrap_or_default();
    format!("{}-{}", head.trim_end_matches(['-', '.']), hash(name))
}

fn hash(text: &str) -> String {
    let mut hash = String::new();
    for byte in Sha256::digest(text.as_bytes()).iter().take(HASH_LENGTH / 2) {
        // Writing to a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_engine::plan::Weight;
    use tidegate_engine::state::TrialId;

    #[test]
    fn short_names_stay() {
        assert_eq!(set_name("web", &Revision::new("a123456789")), "web-a123456789");
        assert_eq!(canary_service_name("web"), "web-canary");
        assert_eq!(preview_service_name("web"), "web-preview");
        assert_eq!(label_value("web.shop"), "web.shop");
    }

    #[test]
    fn long_names_fit_and_stay_apart() {
        let long = "s".repeat(62);
        let other = format!("{}t", "s".repeat(61));
        let name = canary_service_name(&long);
        assert_eq!(name.len(), LABEL_LENGTH);
        assert!(name.ends_with(CANARY_SUFFIX));
        assert_ne!(name, canary_service_name(&other));
        let longest = "d".repeat(NAME_LENGTH);
        let set = set_name(&longest, &Revision::new("a123456789"));
        assert_eq!(set.len(), NAME_LENGTH);
        assert!(set.ends_with("-a123456789"));
        assert_eq!(label_value(&longest).len(), LABEL_LENGTH);
    }

    #[test]
    fn the_job_of_a_gate_has_one_name_for_each_trial_and_place() {
        let call = |trial: &str, place| GateCall {
            gate: "smoke".to_owned(),
            place,
            trial: TrialId::new(trial),
            revision: Revision::new("a1"),
            git: None,
            weight: Weight::ZERO,
            step: 0,
        };
        let name = |call: &GateCall| gate_job_name("web", call);
        let first = name(&call("t1", Place::Start));
        assert!(first.starts_with("web-smoke-"), "{first}");
        assert_eq!(first, name(&call("t1", Place::Start)));
        assert_ne!(first, name(&call("t2", Place::Start)));
        assert_ne!(first, name(&call("t1", Place::Step(0))));
        let long = gate_job_name(&"w".repeat(NAME_LENGTH), &call("t1", Place::Promoted));
        assert_eq!(long.len(), LABEL_LENGTH);
    }

    #[test]
    fn a_name_is_never_cut_behind_a_dash() {
        let name = format!("{}-{}", "s".repeat(46), "t".repeat(20));
        assert!(!canary_service_name(&name).contains("--"));
    }
}
