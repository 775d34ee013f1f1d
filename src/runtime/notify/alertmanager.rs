//! Alerts to every Alertmanager, posted again each minute while they fire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use reqwest::Url;
use serde_json::{Value, json};
use tidegate_engine::fleet::Hold;
use tidegate_engine::state::State;
use tokio::sync::{Notify, watch};

use super::alert::{Alert, Standing, Subject, alerts, hold_alert};
use crate::runtime::lease::Leading;
use crate::runtime::metrics::Metrics;
use crate::runtime::{Key, said};

/// An alert that fires is posted again this often.
const REPEAT: Duration = Duration::from_mins(1);
/// Without us an alert ends after this: three posts may be lost.
const LASTS: TimeDelta = TimeDelta::minutes(4);
/// One post.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why an Alertmanager cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadAlertmanager {
    /// Not a URL that can be posted to. The text is not repeated: it may hold a password.
    #[error("an Alertmanager's URL must be http(s)://host[/path] without user, query, fragment")]
    Url,
    /// No HTTP client could be made.
    #[error("no HTTP client for Alertmanagers")]
    Client(#[source] reqwest::Error),
}

/// What the alerts of one Rollout follow from.
#[derive(Clone, Debug)]
struct Basis {
    subject: Subject,
    state: State,
    standing: Standing,
}

type Labels = BTreeMap<String, String>;

/// All Alertmanagers, and what fires.
#[derive(Debug)]
pub struct Alertmanagers {
    urls: Vec<Url>,
    client: reqwest::Client,
    bases: Mutex<BTreeMap<Key, Basis>>,
    /// The alert of all Rollouts together.
    hold: Mutex<Option<Alert>>,
    /// What was posted as firing, by its labels: to be posted as resolved once.
    posted: Mutex<BTreeMap<Labels, Alert>>,
    changed: Notify,
}

impl Alertmanagers {
    /// Alertmanagers by their base URLs; none is fine.
    pub fn new(urls: &[String]) -> Result<Self, BadAlertmanager> {
        crate::git::init_tls();
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(BadAlertmanager::Client)?;
        let urls = urls.iter().map(|url| endpoint(url)).collect::<Result<_, _>>()?;
        let (bases, hold, posted) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { urls, client, bases, hold, posted, changed: Notify::new() })
    }

    /// The Rollout's state is this now. What fires anew, or no more, is posted at once.
    pub(in crate::runtime) fn tell(
        &self,
        key: &Key,
        subject: Subject,
        state: &State,
        standing: Standing,
        now: DateTime<Utc>,
    ) {
        let firing = |basis: &Basis| -> BTreeSet<Labels> {
            let alerts = alerts(&basis.subject, &basis.state, &basis.standing, now);
            alerts.into_iter().map(|alert| alert.labels).collect()
        };
        let new = Basis { subject, state: state.clone(), standing };
        let mut bases = lock(&self.bases);
        let before = bases.get(key).map(&firing).unwrap_or_default();
        let is_changed = before != firing(&new);
        bases.insert(key.clone(), new);
        if is_changed {
            self.changed.notify_one();
        }
    }

    /// Whether releases of many failed at once. It is posted at once, as is one more of them.
    pub(in crate::runtime) fn tell_hold(&self, cluster: &str, hold: Option<&Hold>) {
        let new = hold.map(|hold| hold_alert(cluster, hold));
        let mut known = lock(&self.hold);
        if *known != new {
            *known = new;
            self.changed.notify_one();
        }
    }

    /// The Rollout is gone: its alerts end.
    pub(in crate::runtime) fn forget(&self, key: &Key) {
        if lock(&self.bases).remove(key).is_some() {
            self.changed.notify_one();
        }
    }

    /// Posts until `stop` says so.
    pub(in crate::runtime) async fn run(
        &self,
        leading: Leading,
        metrics: &Metrics,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(REPEAT) => {}
                () = self.changed.notified() => {}
                () = said(&mut stop) => return,
            }
            if leading.may_write() {
                self.post(Utc::now(), metrics).await;
            }
        }
    }

    /// One post of all that fires, and of what ended since the last one.
    async fn post(&self, now: DateTime<Utc>, metrics: &Metrics) {
        let body = self.body(now);
        if body.is_empty() {
            return;
        }
        let body = Value::Array(body);
        let posts = self.urls.iter().map(|url| async {
            let answer = self.client.post(url.clone()).json(&body).send().await;
            let sent = answer.and_then(reqwest::Response::error_for_status);
            metrics.alert_post(sent.is_ok());
            if let Err(error) = sent {
                let error = error.without_url();
                tracing::warn!(alertmanager = url.host_str(), %error, "alerts are not delivered");
            }
        });
        futures::future::join_all(posts).await;
    }

    fn body(&self, now: DateTime<Utc>) -> Vec<Value> {
        let mut firing = BTreeMap::new();
        for Basis { subject, state, standing } in lock(&self.bases).values() {
            for alert in alerts(subject, state, standing, now) {
                firing.insert(alert.labels.clone(), alert);
            }
        }
        let hold = lock(&self.hold).clone().filter(|hold| hold.to.is_none_or(|to| now < to));
        firing.extend(hold.map(|hold| (hold.labels.clone(), hold)));
        let mut posted = lock(&self.posted);
        let ended = posted.values().filter(|alert| !firing.contains_key(&alert.labels));
        let mut body: Vec<_> = ended.map(|alert| wire(alert, now)).collect();
        body.extend(firing.values().map(|alert| wire(alert, alert.to.unwrap_or(now + LASTS))));
        *posted = firing;
        body
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn endpoint(text: &str) -> Result<Url, BadAlertmanager> {
    let mut url = Url::parse(text).map_err(|_| BadAlertmanager::Url)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(BadAlertmanager::Url);
    }
    let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// As `/api/v2/alerts` takes it.
fn wire(alert: &Alert, to: DateTime<Utc>) -> Value {
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": text(alert.from),
        "endsAt": text(to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_engine::state::{Ended, Origin, Outcome, Revision, TrialId};

    #[test]
    fn urls_are_checked_and_never_repeated() {
        let url = |text: &str| endpoint(text).map(|url| url.to_string());
        assert_eq!(url("http://am:9093").unwrap(), "http://am:9093/api/v2/alerts");
        assert_eq!(url("https://am/x/").unwrap(), "https://am/x/api/v2/alerts");
        for bad in ["am:9093", "ftp://am", "http://u:hunter2@am", "http://am?x=1", ""] {
            let error = url(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_fires_is_posted_again_and_what_ended_once() {
        let all = Alertmanagers::new(&[]).unwrap();
        let (key, start) = (crate::runtime::key("shop", "web"), DateTime::UNIX_EPOCH);
        let ended = Ended {
            trial: TrialId::new("t1"),
            canary: Revision::new("a1"),
            origin: Origin::Unknown,
            at: start,
            outcome: Outcome::Promoted,
        };
        let state = State { last: Some(ended), ..State::default() };
        all.tell(&key, Subject::default(), &state, Standing::default(), start);
        // Somebody is told at once that there is something to post.
        tokio::time::timeout(DEADLINE, all.changed.notified()).await.unwrap();
        let first = all.body(start);
        assert_eq!(first[0]["labels"]["alertname"], "TidegatePromoted");
        assert_eq!(first[0]["endsAt"], "1970-01-01T00:05:00.000Z");
        assert_eq!(all.body(start + TimeDelta::minutes(1)), first);
        let last = all.body(start + TimeDelta::minutes(6));
        assert_eq!(last[0]["endsAt"], "1970-01-01T00:06:00.000Z");
        // And then nothing more happens.
        assert!(all.body(start + TimeDelta::minutes(7)).is_empty());
    }

    #[tokio::test]
    async fn many_that_fail_at_once_are_one_alert_that_ends_by_itself() {
        let all = Alertmanagers::new(&[]).unwrap();
        let since = DateTime::UNIX_EPOCH;
        let rollouts = ["shop/a", "shop/b", "shop/c"].map(str::to_owned).to_vec();
        let hold = Hold { since, until: since + TimeDelta::minutes(15), rollouts };
        all.tell_hold("blue", Some(&hold));
        tokio::time::timeout(DEADLINE, all.changed.notified()).await.unwrap();
        let body = all.body(since);
        assert_eq!(body.len(), 1);
        let labels = json!({"alertname": "TidegateFleetHold", "severity": "critical",
            "cluster": "blue"});
        assert_eq!(body[0]["labels"], labels);
        assert_eq!(body[0]["annotations"]["rollouts"], "shop/a, shop/b, shop/c");
        // Nobody takes a turn any more, and still it ends.
        let last = all.body(hold.until);
        assert_eq!(last[0]["endsAt"], "1970-01-01T00:15:00.000Z");
        assert!(all.body(hold.until + TimeDelta::minutes(1)).is_empty());
    }
}
