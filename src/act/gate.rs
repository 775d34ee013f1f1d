//! The Job of a gate, from the template of a `CronJob`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_api::{GATE_LABEL, ROLLOUT_LABEL};
use tidegate_engine::state::GateCall;

use super::canary;
use super::error::ActError;
use super::live::Live;
use crate::kubernetes::{Cluster, Kind, Target, json, names};

/// Starts the Job of a gate, once: it has one name for each trial and place. It goes with what was
/// made for the trial, and ends then if it still runs. Only a `CronJob` that says so is run: who
/// may change a Rollout need not be somebody who may run things.
pub async fn run_gate(
    cluster: &Cluster,
    target: &Target,
    cron_job: &str,
    call: &GateCall,
) -> Result<(), ActError> {
    let template = Live::need(cluster, target, Kind::CronJob, cron_job).await?;
    if json::label(&template.object, GATE_LABEL).is_none() {
        return Err(template.unfit(format!("without the label {GATE_LABEL} it is not run")));
    }
    let owner = names::set_name(&target.workload, &call.revision);
    let owner = Live::need(cluster, target, Kind::ControllerRevision, &owner).await?;
    if !target.is_labelled(&owner.object, ROLLOUT_LABEL) {
        return Err(owner.not_ours());
    }
    if json::is_deleted(&owner.object) {
        return Err(owner.not_yet("it is being deleted with all it owns"));
    }
    let job = job(target, &template.object, &owner.object, call);
    match cluster.create(Kind::Job, &job).await {
        Ok(_) => Ok(()),
        // It is there: whose it is, and how it goes, is seen by who looks at it.
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn job(target: &Target, cron_job: &Value, owner: &Value, call: &GateCall) -> Value {
    let template = &cron_job["spec"]["jobTemplate"];
    let of_template = |part: &str| {
        template["metadata"].get(part).and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let mut labels = of_template("labels");
    labels.extend(canary::trial_labels(target, Some(&call.trial)));
    labels.insert(GATE_LABEL.to_owned(), call.gate.as_str().into());
    let mut spec = template["spec"].clone();
    for list in ["containers", "initContainers"] {
        let containers = spec.pointer_mut(&format!("/template/spec/{list}"));
        for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
            tell(container, &told(target, call));
        }
    }
    json!({
        "apiVersion": Kind::Job.api_version(),
        "kind": Kind::Job.as_str(),
        "metadata": {
            "name": names::gate_job_name(&target.workload, call),
            "namespace": target.namespace,
            "labels": labels,
            "annotations": of_template("annotations"),
            "ownerReferences": canary::owned_by(owner),
        },
        "spec": spec,
    })
}

/// What the containers of a gate are told, as variables.
fn told(target: &Target, call: &GateCall) -> BTreeMap<&'static str, String> {
    let service = target.service().map_or("", |_| target.canary_service.name.as_str());
    let git = call.git.as_ref().map_or("", |git| git.as_str());
    BTreeMap::from([
        ("TIDEGATE_ROLLOUT", target.rollout.clone()),
        ("TIDEGATE_TRIAL", call.trial.to_string()),
        ("TIDEGATE_REVISION", call.revision.to_string()),
        ("TIDEGATE_GIT", git.to_owned()),
        ("TIDEGATE_CANARY_SERVICE", service.to_owned()),
        ("TIDEGATE_AT", call.place.at().as_str().to_owned()),
        ("TIDEGATE_STEP", call.step.to_string()),
        ("TIDEGATE_WEIGHT", call.weight.percent().to_string()),
    ])
}

/// What the container says under these names itself is replaced.
fn tell(container: &mut Value, told: &BTreeMap<&str, String>) {
    if !container["env"].is_array() {
        container["env"] = json!([]);
    }
    let Some(env) = container["env"].as_array_mut() else { return };
    env.retain(|variable| variable["name"].as_str().is_none_or(|name| !told.contains_key(name)));
    env.extend(told.iter().map(|(name, value)| json!({"name": name, "value": value})));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::web;
    use tidegate_engine::plan::Weight;
    use tidegate_engine::state::{GitRevision, Place, Revision, TrialId};

    #[test]
    fn the_job_is_the_template_and_knows_its_trial() {
        let cron_job = json!({"spec": {"suspend": true, "jobTemplate": {
            "metadata": {"labels": {"team": "shop", "tidegate.dev/trial": "other"}},
            "spec": {"backoffLimit": 0, "aFieldOfTomorrow": 1, "template": {"spec": {
                "initContainers": [{"name": "wait"}],
                "containers": [{"name": "smoke", "env": [
                    {"name": "TIDEGATE_WEIGHT", "value": "7"},
                    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "t", "key": "t"}}},
                ]}],
            }}},
        }}});
        let owner = json!({"metadata": {"name": "web-a1", "uid": "o"}});
        let call = GateCall {
            gate: "smoke".to_owned(),
            place: Place::Step(1),
            trial: TrialId::new("t1"),
            revision: Revision::new("a1"),
            git: Some(GitRevision::new("c2")),
            weight: Weight::new(25).unwrap(),
            step: 2,
        };
        let job = job(&web(), &cron_job, &owner, &call);
        let labels = json!({
            "team": "shop", "tidegate.dev/gate": "smoke", "tidegate.dev/rollout": "web",
            "tidegate.dev/trial": "t1",
        });
        assert_eq!(job["metadata"]["labels"], labels);
        assert_eq!(job["metadata"]["ownerReferences"][0]["uid"], "o");
        assert_eq!(job["spec"]["backoffLimit"], 0);
        assert_eq!(job["spec"]["aFieldOfTomorrow"], 1, "the template is raw");
        assert_eq!(job["spec"].get("suspend"), None, "it is the CronJob that is suspended");
        let pod = &job["spec"]["template"]["spec"];
        let env = |list: &str| -> Vec<(String, String)> {
            let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
            let all = json::list(&pod[list][0], "/env").iter();
            all.map(|one| (text(&one["name"]), text(&one["value"]))).collect()
        };
        let expected = [
            ("TIDEGATE_AT", "Step"),
            ("TIDEGATE_CANARY_SERVICE", "web-canary"),
            ("TIDEGATE_GIT", "c2"),
            ("TIDEGATE_REVISION", "a1"),
            ("TIDEGATE_ROLLOUT", "web"),
            ("TIDEGATE_STEP", "2"),
            ("TIDEGATE_TRIAL", "t1"),
            ("TIDEGATE_WEIGHT", "25"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(env("initContainers"), expected);
        let mut own = env("containers");
        assert_eq!(own.remove(0), ("TOKEN".to_owned(), "?".to_owned()));
        assert_eq!(own, expected);
    }
}
