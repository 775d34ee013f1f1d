//! One Rollout as a tree: where its trial is, both arms with their pods, the evidence. Pure.

use std::fmt::Write as _;

use serde_json::Value;

use crate::kubernetes::{json as read, sets};

/// A trial's way forward, in the order of its phases.
const WAY: [&str; 5] = ["Settling", "Starting", "Shifting", "Baking", "Promoting"];
/// And its way home.
const HOME: [&str; 4] = ["Aborting", "Reverting", "Restoring", "Aborted"];
/// Cells of a bar.
const BAR: usize = 20;

/// The tree, with a line break at the end.
pub(super) fn tree(rollout: &Value, sets: &[Value], pods: &[Value]) -> String {
    let text = |pointer: &str| read::text(rollout, pointer).unwrap_or_default();
    let phase = text("/status/phase");
    let mut lines = vec![format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"))];
    lines.push(format!("├─ {}", way(phase)));
    if let Some(weight) = read::count(rollout, "/status/weight") {
        let step = text("/status/step");
        let step = if step.is_empty() { String::new() } else { format!("  step {step}") };
        lines.push(format!("├─ {} {weight}% to the canary{step}", bar(weight)));
    }
    for arm in ["stable", "canary"] {
        lines.extend(arm_of(rollout, arm, sets, pods));
    }
    let metrics = read::list(rollout, "/status/metrics");
    if !metrics.is_empty() {
        lines.push(format!("├─ evidence {}", text("/status/verdict")));
        for metric in metrics {
            let part = |key: &str| metric[key].as_str().unwrap_or_default();
            lines.push(format!("│  {}: {}", part("name"), part("message")));
        }
    }
    if let Some(request) = rollout.pointer("/status/request") {
        let part = |key: &str| request[key].as_str().unwrap_or_default();
        let (what, who, answer) = (part("what"), part("who"), part("answer"));
        lines.push(format!("├─ {what} was asked for by {who}: {answer} {}", part("reason")));
    }
    lines.push(format!("└─ {}", text("/status/message")));
    let mut tree = String::new();
    for line in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(tree, "{}", line.trim_end());
    }
    tree
}

/// `Settling ─ Starting ─ [Baking] ─ Promoting`, or the phase alone where it is on neither way.
fn way(phase: &str) -> String {
    let steps: &[&str] = match phase {
        phase if WAY.contains(&phase) => &WAY,
        phase if HOME.contains(&phase) => &HOME,
        _ => return format!("[{phase}]"),
    };
    let mark = |step: &&str| if *step == phase { format!("[{step}]") } else { (*step).to_owned() };
    steps.iter().map(mark).collect::<Vec<_>>().join(" ─ ")
}

pub(super) fn bar(percent: u32) -> String {
    let full = (usize::try_from(percent).unwrap_or(0).min(100) * BAR).div_ceil(100);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

/// The revision of an arm, and its pods.
fn arm_of(rollout: &Value, arm: &str, all: &[Value], pods: &[Value]) -> Vec<String> {
    let Some(wanted) = read::text(rollout, &format!("/status/{arm}/revision")) else {
        return Vec::new();
    };
    let workload = read::text(rollout, "/spec/workloadRef/name").unwrap_or_default();
    let is_its = |set: &&Value| {
        let is_ours = read::name(set).is_some_and(|name| name.starts_with(&format!("{workload}-")));
        is_ours && sets::revision(set).is_some_and(|revision| revision.as_str() == wanted)
    };
    let uids: Vec<_> = all.iter().filter(is_its).filter_map(read::uid).collect();
    let owns = |pod: &&Value| {
        read::controller(pod).is_some_and(|owner| uids.iter().any(|uid| owner["uid"] == *uid))
    };
    let pods: Vec<_> = pods.iter().filter(owns).collect();
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let commit = read::text(rollout, &format!("/status/{arm}/git")).unwrap_or_default();
    let commit: String = commit.chars().take(10).collect();
    let mut lines = vec![format!("├─ {arm} {wanted} {commit}  {ready} of {} ready", pods.len())];
    for pod in pods {
        let name = read::name(pod).unwrap_or_default();
        let word = if read::is_deleted(pod) {
            "leaves"
        } else if is_ready(pod) {
            "ready"
        } else {
            read::text(pod, "/status/phase").unwrap_or("unknown")
        };
        lines.push(format!("│  {name} {word}"));
    }
    lines
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = read::list(pod, "/status/conditions").iter();
    conditions.any(|found| found["type"] == "Ready" && found["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(name: &str, image: &str) -> Value {
        json!({"metadata": {"name": name, "uid": name},
            "spec": {"template": {"spec": {"image": image}}}})
    }

    fn pod(name: &str, set: &str, ready: &str) -> Value {
        json!({"metadata": {"name": name, "ownerReferences": [{"uid": set, "controller": true}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn a_trial_is_seen_with_both_arms() {
        let all = [set("web-1", "v1"), set("web-2", "v2"), set("other-1", "v1")];
        let revision = |set: &Value| sets::revision(set).unwrap().to_string();
        let rollout = json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"workloadRef": {"name": "web"}},
            "status": {
                "phase": "Baking", "step": "2/3", "weight": 25, "verdict": "NeedMoreData",
                "message": "errors needs more data",
                "stable": {"revision": revision(&all[0]), "git": "3f2a91c0de11"},
                "canary": {"revision": revision(&all[1])},
                "metrics": [{"name": "errors", "message": "3 of 900"}],
                "request": {"what": "promote", "who": "ann", "answer": "Granted",
                    "reason": "PromotedByPerson"},
            },
        });
        let pods = [
            pod("web-1-a", "web-1", "True"),
            pod("web-2-a", "web-2", "False"),
            pod("other-1-a", "other-1", "True"),
        ];
        let (stable, canary) = (revision(&all[0]), revision(&all[1]));
        let wanted = format!(
            "shop/web\n\
             ├─ Settling ─ Starting ─ Shifting ─ [Baking] ─ Promoting\n\
             ├─ █████░░░░░░░░░░░░░░░ 25% to the canary  step 2/3\n\
             ├─ stable {stable} 3f2a91c0de  1 of 1 ready\n\
             │  web-1-a ready\n\
             ├─ canary {canary}   0 of 1 ready\n\
             │  web-2-a Running\n\
             ├─ evidence NeedMoreData\n\
             │  errors: 3 of 900\n\
             ├─ promote was asked for by ann: Granted PromotedByPerson\n\
             └─ errors needs more data\n"
        );
        assert_eq!(tree(&rollout, &all, &pods), wanted);
    }

    #[test]
    fn the_way_home_is_another_one() {
        assert_eq!(way("Aborting"), "[Aborting] ─ Reverting ─ Restoring ─ Aborted");
        assert_eq!(way("Idle"), "[Idle]");
        assert_eq!(bar(0), "░".repeat(BAR));
        assert_eq!(bar(1).chars().filter(|cell| *cell == '█').count(), 1);
        assert_eq!(bar(100), "█".repeat(BAR));
    }
}
