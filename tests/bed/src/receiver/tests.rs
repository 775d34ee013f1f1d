use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::*;

/// A notification as Alertmanager 0.28 sends it.
fn body(status: &str, rollout: &str) -> Value {
    let labels = json!({"alertname": "TidegateAborted", "rollout": rollout, "severity": "warning"});
    let end = if status == "firing" { "0001-01-01T00:00:00Z" } else { "2026-01-01T00:10:00Z" };
    json!({
        "receiver": "people",
        "status": status,
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": {"summary": "v2 failed"},
            "startsAt": "2026-01-01T00:00:00.5Z",
            "endsAt": end,
            "generatorURL": "http://example.test/",
            "fingerprint": "a1b2c3d4e5f60718"
        }],
        "groupLabels": {"rollout": rollout},
        "commonLabels": labels,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.test",
        "version": "4",
        "groupKey": format!("{{}}:{{rollout=\"{rollout}\"}}"),
        "truncatedAlerts": 0
    })
}

async fn receiver() -> Receiver {
    Receiver::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap()
}

/// Posts it and returns the status, or `None` when there is no answer within 1 s.
async fn post(receiver: &Receiver, body: String) -> Option<u16> {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http();
    let request = hyper::Request::post(format!("{}hook", receiver.url()))
        .header("content-type", "application/json")
        .body(http_body_util::Full::<Bytes>::from(body))
        .unwrap();
    let answer = timeout(Duration::from_secs(1), client.request(request)).await.ok()?;
    Some(answer.unwrap().status().as_u16())
}

#[tokio::test]
async fn notifications_are_kept_and_counted() {
    let receiver = receiver().await;
    assert_eq!(post(&receiver, body("firing", "web").to_string()).await, Some(200));
    assert_eq!(post(&receiver, body("firing", "shop").to_string()).await, Some(200));
    assert_eq!(post(&receiver, body("resolved", "web").to_string()).await, Some(200));
    assert_eq!((receiver.count("firing"), receiver.count("resolved")), (2, 1));
    let web = Labels::from([("rollout".to_owned(), "web".to_owned())]);
    assert_eq!(receiver.by_group()[&web], 2);
    let all = receiver.notifications();
    assert!(all[0].fires(&[("rollout", "web"), ("severity", "warning")]));
    assert!(!all[0].fires(&[("rollout", "shop")]) && !all[0].resolves(&[]));
    assert!(all[2].resolves(&[("rollout", "web")]));
    assert_eq!(all[0].payload.alerts[0].fingerprint, "a1b2c3d4e5f60718");
    assert_eq!(all[0].path, "/hook");
    assert!(all[0].at <= all[2].at);
    receiver.clear();
    assert!(receiver.notifications().is_empty());
}

#[tokio::test]
async fn a_notification_that_is_refused_is_kept_but_not_counted() {
    let receiver = receiver().await;
    receiver.answer(Answer::Status(500));
    assert_eq!(post(&receiver, body("firing", "web").to_string()).await, Some(500));
    receiver.answer(Answer::Hang);
    assert_eq!(post(&receiver, body("firing", "web").to_string()).await, None);
    receiver.answer(Answer::Taken);
    assert_eq!(post(&receiver, body("firing", "web").to_string()).await, Some(200));
    let answers: Vec<Answer> = receiver.notifications().iter().map(|one| one.answer).collect();
    assert_eq!(answers, [Answer::Status(500), Answer::Hang, Answer::Taken]);
    assert_eq!(receiver.count("firing"), 1);
}

#[tokio::test]
async fn who_waits_gets_the_first_that_fits_or_learns_what_came() {
    let receiver = receiver().await;
    let second = Duration::from_secs(5);
    let (found, _) = tokio::join!(
        receiver.wait_for("shop fires", second, |one| one.fires(&[("rollout", "shop")])),
        async {
            post(&receiver, body("firing", "web").to_string()).await;
            post(&receiver, body("firing", "shop").to_string()).await
        }
    );
    assert_eq!(found.unwrap().payload.group_labels["rollout"], "shop");
    let error = receiver
        .wait_for("it ends", Duration::from_millis(20), |one| one.resolves(&[]))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("it ends; 2 came"), "{error}");
}

#[tokio::test]
async fn what_is_no_notification_is_refused_and_shown() {
    let receiver = receiver().await;
    assert_eq!(post(&receiver, "hello".to_owned()).await, Some(400));
    assert!(receiver.unreadable()[0].ends_with(": hello"), "{:?}", receiver.unreadable());
    assert!(receiver.notifications().is_empty());
}
