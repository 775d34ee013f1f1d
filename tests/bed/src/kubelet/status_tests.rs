use chrono::TimeDelta;

use super::super::record::Probed;
use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn pod(policy: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "generation": 1},
        "spec": {"restartPolicy": policy, "containers": [{"name": "web", "image": "app:1"}]},
    }))
    .unwrap()
}

fn ended(exit_code: i32) -> Terminated {
    Terminated {
        exit_code,
        reason: if exit_code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: None,
        started_at: Some(at(0)),
        finished_at: at(1),
        container_id: "process://u/web/0".to_owned(),
    }
}

fn record(roles: &[(&str, Role)]) -> PodRecord {
    PodRecord {
        containers: roles
            .iter()
            .map(|(name, role)| ContainerRecord::new(name, "app:1", *role, "ContainerCreating"))
            .collect(),
        start_time: at(0),
        pod_ip: Some("10.244.0.1".to_owned()),
        host_ip: "10.244.255.1".to_owned(),
        terminal: false,
    }
}

fn run(container: &mut ContainerRecord, probed: Probed) {
    container.run(at(0), "process://u/web/0".to_owned(), probed);
}

/// Each condition as `Type=Status(Reason)`.
fn told(pod: &Pod, record: &PodRecord) -> Vec<String> {
    conditions(pod, record, &[], at(9))
        .iter()
        .map(|condition| {
            let reason = condition.reason.map(|reason| format!("({reason})")).unwrap_or_default();
            format!("{}={}{reason}", condition.kind, truth(condition.status))
        })
        .collect()
}

#[test]
fn the_phase_follows_the_containers() {
    let table = [
        // policy, exit code, terminal -> phase
        ("Always", 0, false, "Running"),
        ("Always", 1, false, "Running"),
        ("Always", 1, true, "Failed"),
        ("Always", 0, true, "Succeeded"),
        ("OnFailure", 0, false, "Succeeded"),
        ("OnFailure", 1, false, "Running"),
        ("Never", 0, false, "Succeeded"),
        ("Never", 1, false, "Failed"),
    ];
    for (policy, code, terminal, expected) in table {
        let mut record = record(&[("web", Role::Main)]);
        assert_eq!(phase(&record, policy), "Pending");
        run(&mut record.containers[0], Probed::default());
        assert_eq!(phase(&record, policy), "Running");
        record.containers[0].end(ended(code));
        record.terminal = terminal;
        assert_eq!(phase(&record, policy), expected, "{policy} {code} {terminal}");
    }
}

#[test]
fn a_pod_is_pending_until_its_init_containers_are_done() {
    let mut record = record(&[("init", Role::Init), ("web", Role::Main)]);
    run(&mut record.containers[0], Probed::default());
    assert_eq!(phase(&record, "Always"), "Pending");
    assert_eq!(told(&pod("Always"), &record)[1], "Initialized=False(ContainersNotInitialized)");
    record.containers[0].end(ended(0));
    run(&mut record.containers[1], Probed::default());
    assert_eq!(phase(&record, "Always"), "Running");
    assert_eq!(told(&pod("Always"), &record)[1], "Initialized=True");
}

#[test]
fn a_failed_init_container_fails_the_pod_only_when_it_is_not_tried_again() {
    let mut record = record(&[("init", Role::Init), ("web", Role::Main)]);
    run(&mut record.containers[0], Probed::default());
    record.containers[0].end(ended(1));
    assert_eq!(phase(&record, "Never"), "Failed");
    assert_eq!(phase(&record, "Always"), "Pending");
}

#[test]
fn a_crash_loop_keeps_the_phase_running_and_the_last_end() {
    let mut record = record(&[("web", Role::Main)]);
    run(&mut record.containers[0], Probed::default());
    record.containers[0].end(ended(1));
    record.containers[0].wait("CrashLoopBackOff", Some("back-off 10s".to_owned()));
    assert_eq!(phase(&record, "Always"), "Running");
    let status = render(&pod("Always"), &record, &[]);
    let shown = &status["containerStatuses"][0];
    assert_eq!(shown["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(shown["lastState"]["terminated"]["exitCode"], 1);
    record.containers[0].give_up();
    let status = render(&pod("Always"), &record, &[]);
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 1);
}

#[test]
fn ready_awaits_the_probes_and_the_gates() {
    let mut gated = pod("Always");
    gated.spec.as_mut().unwrap().readiness_gates =
        serde_json::from_value(json!([{"conditionType": "example.com/gate"}])).unwrap();
    let mut record = record(&[("web", Role::Main)]);
    run(&mut record.containers[0], Probed { startup: true, readiness: true });
    assert!(!record.containers[0].started);
    assert_eq!(
        told(&gated, &record)[2..4],
        ["Ready=False(ContainersNotReady)", "ContainersReady=False(ContainersNotReady)"]
    );
    record.containers[0].ready = true;
    assert_eq!(
        told(&gated, &record)[2..4],
        ["Ready=False(ReadinessGatesNotReady)", "ContainersReady=True"]
    );
    gated.status = serde_json::from_value(json!({
        "conditions": [{"type": "example.com/gate", "status": "True"}],
    }))
    .unwrap();
    assert_eq!(told(&gated, &record)[2..4], ["Ready=True", "ContainersReady=True"]);
}

#[test]
fn a_completed_pod_is_not_ready() {
    let mut record = record(&[("job", Role::Main)]);
    run(&mut record.containers[0], Probed::default());
    record.containers[0].end(ended(0));
    assert_eq!(
        told(&pod("Never"), &record),
        [
            "PodReadyToStartContainers=False",
            "Initialized=True(PodCompleted)",
            "Ready=False(PodCompleted)",
            "ContainersReady=False(PodCompleted)",
            "PodScheduled=True",
        ]
    );
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let pod = pod("Always");
    let mut record = record(&[("web", Role::Main)]);
    let first = conditions(&pod, &record, &[], at(0));
    run(&mut record.containers[0], Probed { startup: false, readiness: true });
    let second = conditions(&pod, &record, &first, at(5));
    assert!(second.iter().all(|condition| condition.since == at(0)));
    record.containers[0].ready = true;
    let third = conditions(&pod, &record, &second, at(7));
    let since: Vec<TimeDelta> = third.iter().map(|it| it.since - at(0)).collect();
    assert_eq!(since.iter().map(TimeDelta::num_seconds).collect::<Vec<_>>(), [0, 0, 7, 7, 0]);
    // And then nothing more happens.
    assert_eq!(conditions(&pod, &record, &third, at(99)), third);
}

#[test]
fn restarts_are_decided_by_policy_role_and_exit_code() {
    let rows = [
        ("Always", Role::Main, 0, true),
        ("OnFailure", Role::Main, 0, false),
        ("OnFailure", Role::Main, 1, true),
        ("Never", Role::Main, 1, false),
        ("Always", Role::Init, 0, false),
        ("Always", Role::Init, 1, true),
        ("Never", Role::Init, 1, false),
        ("Never", Role::Sidecar, 0, true),
    ];
    for (policy, role, code, expected) in rows {
        assert_eq!(restarts(policy, role, code), expected, "{policy} {role:?} {code}");
    }
}
