//! Samples from a store over HTTP, an honest one and hostile ones.

mod gateway;
mod hostile;
mod record;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tidegate::measure::{Arms, Credentials, Measurer, Source};
use tidegate::observe::PodSeen;
use tidegate::resolve::{References, Resolved, resolve};
use tidegate_api as api;
use tidegate_engine::SamplesWanted;
use tidegate_engine::judge::{CountSeries, Counts, Samples, Series, Verdict, judge};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// When the evidence begins, in Unix seconds.
const SINCE: i64 = 1_800_000_000;
const SCRAPE: i64 = 2;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(SINCE + second, 0).unwrap()
}

/// What the store answers.
type Answer = dyn Fn(&Asked) -> Response + Send + Sync;

/// One question, as it arrived.
#[derive(Clone, Debug)]
struct Asked {
    query: String,
    start: i64,
    end: i64,
    step: i64,
    authorization: Option<String>,
}

struct Store {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Store {
    async fn start(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let state: (Arc<Answer>, _) = (Arc::new(answer), asked.clone());
        let app = Router::new().fallback(answered).with_state(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prometheus", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked, task }
    }

    fn spec(&self) -> api::MetricSourceSpec {
        api::MetricSourceSpec {
            url: self.url.clone(),
            allowed_namespaces: vec!["*".to_owned()],
            scrape_interval: Some("2s".into()),
            delay: Some("2s".into()),
            timeout: Some("2s".into()),
            ..api::MetricSourceSpec::default()
        }
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

type Shared = (Arc<Answer>, Arc<Mutex<Vec<Asked>>>);

async fn answered(
    State((answer, log)): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let url: reqwest::Url =
        format!("http://x/?{}", String::from_utf8(body.to_vec()).unwrap()).parse().unwrap();
    let of = |name: &str| {
        let found = url.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let authorization = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let asked = Asked {
        query: of("query"),
        start: of("start").parse().unwrap_or_default(),
        end: of("end").parse().unwrap_or_default(),
        step: of("step").parse().unwrap_or(1),
        authorization,
    };
    log.lock().unwrap().push(asked.clone());
    answer(&asked)
}

fn matrix(result: &[Value]) -> Response {
    let body = json!({"status": "success", "data": {"resultType": "matrix", "result": result}});
    axum::Json(body).into_response()
}

/// One series: its value at each instant that was asked for, where it has one.
fn line(asked: &Asked, labels: &Value, value: impl Fn(i64) -> Option<f64>) -> Option<Value> {
    let instants = (0..).map(|index| asked.start + index * asked.step);
    let instants = instants.take_while(|instant| *instant <= asked.end);
    let values: Vec<_> = instants
        .filter_map(|instant| Some(json!([instant, value(instant)?.to_string()])))
        .collect();
    (!values.is_empty()).then(|| json!({"metric": labels, "values": values}))
}

/// What a pod counts: born when, requests per second, and one in so many fails.
#[derive(Clone, Copy)]
struct Pod {
    name: &'static str,
    born: i64,
    rate: f64,
    bad: f64,
}

const PODS: [Pod; 2] = [
    Pod { name: "web-stable", born: SINCE - 90_000, rate: 20.0, bad: 0.001 },
    Pod { name: "web-canary", born: SINCE - 4, rate: 5.0, bad: 0.5 },
];

/// An honest store: scrapes at even seconds, and half a second after.
fn honest(asked: &Asked) -> Response {
    let lines = PODS.iter().filter(|pod| asked.query.contains(pod.name)).filter_map(|pod| {
        let scraped = |instant: i64| (instant - 1).div_euclid(SCRAPE) * SCRAPE;
        let age = |instant: i64| (scraped(instant) - pod.born) as f64;
        let is_born = |instant: &i64| scraped(*instant) >= pod.born;
        line(asked, &json!({"pod": pod.name}), |instant| {
            let total = (age(instant) * pod.rate).floor();
            let bad = (total * pod.bad).floor();
            let value = if asked.query.contains("process_start_time") {
                pod.born as f64
            } else if asked.query.contains("timestamp(") {
                scraped(instant) as f64 + 0.5
            } else if asked.query.contains("5..") {
                return Some(bad).filter(|bad| *bad > 0.0 && is_born(&instant));
            } else {
                total
            };
            is_born(&instant).then_some(value)
        })
    });
    matrix(&lines.collect::<Vec<_>>())
}

fn rollout(metrics: &str) -> Resolved {
    let template: api::AnalysisTemplate = serde_saphyr::from_str(&format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: AnalysisTemplate\n\
         metadata: {{name: web, namespace: shop}}\nspec: {{metrics: [{metrics}]}}"
    ))
    .unwrap();
    let rollout: api::Rollout = serde_saphyr::from_str(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\n\
         metadata: {name: web, namespace: shop}\n\
         spec: {workloadRef: {name: web}, analysis: {window: 10s, templates: [{name: web}]}}",
    )
    .unwrap();
    let references =
        References { templates: &[template], routes_found: true, ..References::default() };
    resolve(&rollout, &references).unwrap()
}

const ERRORS: &str = "{name: errors, by: pod, ratio: {total: http_requests_total, \
    bad: 'http_requests_total{code=~\"5..\"}'}}";

fn pod(name: &str, created: i64) -> PodSeen {
    PodSeen {
        name: name.to_owned(),
        uid: format!("uid of {name}"),
        ip: None,
        created: DateTime::from_timestamp(created, 0),
        ready: true,
        gone: false,
        restarts: 0,
    }
}

fn wanted() -> SamplesWanted {
    SamplesWanted { since: at(0), share: 0.2 }
}

struct Asking {
    measurer: Measurer,
    resolved: Resolved,
    spec: api::MetricSourceSpec,
    credentials: Credentials,
    stable: Vec<PodSeen>,
    canary: Vec<PodSeen>,
}

impl Asking {
    fn new(store: &Store, metrics: &str) -> Self {
        Self {
            measurer: Measurer::new(),
            resolved: rollout(metrics),
            spec: store.spec(),
            credentials: Credentials::default(),
            stable: vec![pod("web-stable", SINCE - 90_000)],
            canary: vec![pod("web-canary", SINCE - 4)],
        }
    }

    fn arms(&self) -> Arms<'_> {
        Arms {
            namespace: "shop",
            canary: &self.canary,
            stable: &self.stable,
            canary_service: "web-canary",
            stable_service: Some("web"),
        }
    }

    fn source(&self) -> Source<'_> {
        Source { name: "main", spec: &self.spec, credentials: &self.credentials }
    }

    async fn look(&self, second: i64) -> Samples {
        let (resolved, source, arms) = (&self.resolved, self.source(), self.arms());
        self.measurer.gather(resolved, &source, &arms, &wanted(), at(second)).await.0
    }

    async fn is_blind(&self, second: i64) -> bool {
        let (resolved, source, arms) = (&self.resolved, self.source(), self.arms());
        self.measurer.is_blind(resolved, &source, &arms, at(second)).await
    }
}

fn counts<'a>(samples: &'a Samples, name: &str) -> &'a CountSeries {
    let Series::Counts(series) = &samples.series[name] else { panic!("{samples:?}") };
    series
}

fn trouble(samples: &Samples, name: &str) -> String {
    let Series::Unavailable { message } = &samples.series[name] else { panic!("{samples:?}") };
    message.clone()
}

fn sum(series: &CountSeries) -> (Counts, Counts) {
    let add = |sum: Counts, counts: Option<Counts>| sum.plus(counts.unwrap_or_default());
    series.windows.iter().fold(Default::default(), |(canary, stable), window| {
        (add(canary, window.canary), add(stable, window.stable))
    })
}

#[tokio::test]
async fn counts_of_both_arms_become_windows_and_guard_samples() {
    let store = Store::start(honest).await;
    let asking = Asking::new(&store, ERRORS);
    let samples = asking.look(64).await;
    let series = counts(&samples, "errors");
    let ends: Vec<_> = series.windows.iter().map(|window| window.end).collect();
    assert_eq!(ends, (1..=6).map(|index| at(index * 10)).collect::<Vec<_>>());
    let (canary, stable) = sum(series);
    assert_eq!(canary, Counts { total: 300, bad: 150 });
    assert_eq!((stable.total, stable.bad <= 2), (1200, true));
    // Every scrape is a guard sample, at its own time; so is the newest, before its delay is over.
    assert_eq!(series.guard.len(), 32);
    assert_eq!(series.guard[0].at, at(0) + TimeDelta::milliseconds(500));
    assert_eq!(series.guard.last().unwrap().at, at(64) + TimeDelta::milliseconds(500));
    let history = series.history.as_ref().unwrap();
    assert_eq!(history.day.total, 86_400 * 20);
    assert_eq!(history.windows.len(), 360);
    assert_eq!(history.windows[359], [Counts { total: 200, bad: 0 }]);
}

#[tokio::test]
async fn a_bad_canary_is_judged_from_the_store() {
    let store = Store::start(honest).await;
    let asking = Asking::new(&store, ERRORS);
    let samples = asking.look(30).await;
    let plan = &asking.resolved.plan;
    let context =
        tidegate_engine::judge::Context { now: at(30), share: 0.2, plan_time: TimeDelta::hours(1) };
    let verdict = judge(&plan.analysis, &samples, &context).verdict;
    assert!(matches!(verdict, Verdict::Fail(_)), "{verdict:?}");
}

#[tokio::test]
async fn looking_often_says_the_same_as_looking_once_and_asks_for_what_is_new() {
    let store = Store::start(honest).await;
    let often = Asking::new(&store, ERRORS);
    for second in 0..200 {
        often.look(second).await;
    }
    store.asked();
    let last = often.look(202).await;
    let asked = store.asked();
    // Two counters, the times of the scrapes, the starts of the processes.
    let (newest, asked): (Vec<_>, Vec<_>) =
        asked.into_iter().partition(|asked| asked.end > SINCE + 202);
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|asked| asked.end == SINCE + 200 && asked.start >= SINCE + 180));
    assert_eq!(newest.len(), 4);
    assert!(newest.iter().all(|asked| asked.start == asked.end));
    often.look(202).await;
    assert_eq!(store.asked().len(), 0);
    let once = Asking::new(&store, ERRORS).look(202).await;
    assert_eq!(counts(&last, "errors").windows, counts(&once, "errors").windows);
    assert_eq!(counts(&last, "errors").guard, counts(&once, "errors").guard);
}

#[tokio::test]
async fn criteria_that_ask_the_same_share_the_answer() {
    let store = Store::start(honest).await;
    let second = ERRORS.replace("name: errors", "name: again");
    let asking = Asking::new(&store, &format!("{ERRORS}, {second}"));
    let samples = asking.look(20).await;
    // Four for now and for what is newest, two each for the last day and the last hour.
    assert_eq!(store.asked().len(), 12);
    assert_eq!(samples.series["errors"], samples.series["again"]);
}

#[tokio::test]
async fn pods_that_are_not_read_yet_are_waited_for_only_where_others_are_read() {
    for (read, is_blind) in [
        (vec!["web-stable"], true),
        (vec!["web-stable", "web-canary"], false),
        (vec![], false),
        (vec!["web-canary"], false),
    ] {
        let store = Store::start(move |asked| {
            assert!(asked.query.contains("up{"), "{}", asked.query);
            let one = |name: &&str| line(asked, &json!({"pod": name}), |_| Some(1.0));
            matrix(&read.iter().filter_map(one).collect::<Vec<_>>())
        })
        .await;
        assert_eq!(Asking::new(&store, ERRORS).is_blind(9).await, is_blind);
    }
}

#[tokio::test]
async fn the_guard_lane_does_not_wait_for_the_delay() {
    let store = Store::start(honest).await;
    let asking = Asking::new(&store, ERRORS);
    let samples = asking.look(2).await;
    assert!(counts(&samples, "errors").windows.is_empty());
    let last = counts(&samples, "errors").guard.last().unwrap().canary;
    // Without what it counted before the evidence began.
    assert_eq!(last, Some(Counts { total: 20, bad: 10 }));
    // Nor does what tells it whether one sample suffices.
    assert!(counts(&samples, "errors").history.is_some());
    assert_eq!(store.asked().len(), 8);
}

#[tokio::test]
async fn nothing_is_asked_before_the_evidence_begins() {
    let store = Store::start(honest).await;
    let asking = Asking::new(&store, ERRORS);
    let samples = asking.look(0).await;
    assert_eq!(samples.series["errors"], Series::Counts(CountSeries::default()));
    assert_eq!(store.asked().len(), 0);
}

#[tokio::test]
async fn a_store_without_the_canary_is_no_zero() {
    let store = Store::start(|asked| {
        let without = Asked { query: asked.query.replace("web-canary", "-"), ..asked.clone() };
        honest(&without)
    })
    .await;
    let samples = Asking::new(&store, ERRORS).look(100).await;
    let series = counts(&samples, "errors");
    // A pod that was never heard of holds the windows up for a while, then no more.
    assert!(!series.windows.is_empty());
    assert!(series.windows.iter().all(|window| window.canary.is_none()));
    assert!(series.windows.iter().any(|window| window.stable.is_some()));
    assert!(series.guard.iter().all(|sample| sample.canary.is_none()));
}

#[tokio::test]
async fn thresholds_are_values_at_the_ends_of_windows() {
    let store = Store::start(|asked| {
        let value = line(asked, &json!({}), |instant| {
            (instant != SINCE + 21).then_some(if instant > SINCE + 35 { f64::NAN } else { 0.25 })
        });
        matrix(value.as_slice())
    })
    .await;
    let memory = "{name: memory, threshold: {query: 'max(memory{pod=~\"$(pods)\"})', op: '<', \
        limit: '1'}}";
    let asking = Asking::new(&store, memory);
    let expected = Series::Scalar(vec![
        (at(11), Some(0.25)),
        (at(21), None),
        (at(31), Some(0.25)),
        (at(41), None),
    ]);
    assert_eq!(asking.look(45).await.series["memory"], expected);
    assert_eq!(asking.look(47).await.series["memory"], expected);
    let asked = store.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].query, r#"max(memory{pod=~"web-canary"})"#);
}

#[tokio::test]
async fn several_series_are_no_number() {
    let store = Store::start(|asked| {
        let one = |name| line(asked, &json!({"pod": name}), |_| Some(0.0)).unwrap();
        matrix(&[one("a"), one("b")])
    })
    .await;
    let memory = "{name: memory, threshold: {query: memory, op: '<', limit: '1'}}";
    let samples = Asking::new(&store, memory).look(45).await;
    assert_eq!(
        trouble(&samples, "memory"),
        "metric source main answers with 2 series, expected one"
    );
}

#[tokio::test]
async fn a_pod_that_left_keeps_its_counts() {
    let store = Store::start(honest).await;
    let mut asking = Asking::new(&store, ERRORS);
    let before = counts(&asking.look(32).await, "errors").guard.last().copied().unwrap();
    asking.stable.clear();
    let samples = asking.look(34).await;
    let after = counts(&samples, "errors").guard.last().copied().unwrap();
    assert!(after.stable.unwrap().total >= before.stable.unwrap().total);
    assert!(after.canary.unwrap().total > before.canary.unwrap().total);
}

#[tokio::test]
async fn a_look_can_be_moved_between_threads() {
    let store = Store::start(honest).await;
    let asking = Asking::new(&store, ERRORS);
    let samples = tokio::spawn(async move { asking.look(30).await }).await.unwrap();
    assert!(!counts(&samples, "errors").windows.is_empty());
}
