use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

type Answer = Response<Full<Bytes>>;

/// A server that answers request after request with what the function makes of its number.
async fn server<A>(answer: impl Fn(usize) -> A + Clone + Send + Sync + 'static) -> SocketAddr
where
    A: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (answer, count) = (answer.clone(), count.clone());
            let service = service_fn(move |_| {
                let answer = answer(count.fetch_add(1, Ordering::Relaxed));
                async { Ok::<_, Infallible>(answer.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    address
}

fn answer(status: u16, version: &str) -> Answer {
    Response::builder()
        .status(status)
        .header("x-version", version)
        .header("x-pod", format!("{version}-0"))
        .body(Full::from("hello"))
        .unwrap()
}

fn options(target: SocketAddr, rate: f64) -> LoadOptions {
    LoadOptions::new(target, "web.test", rate)
}

/// How many requests are due from then until now, give or take what a busy machine does between
/// two lines of a test.
fn due(rate: f64, from: Instant, until: Instant) -> std::ops::RangeInclusive<f64> {
    let count = rate * (until - from).as_secs_f64();
    count - 10.0..=count + 10.0
}

#[tokio::test]
async fn requests_are_sent_at_the_rate_and_recorded() {
    let target = server(|number| async move {
        if number % 10 == 0 { answer(500, "v2") } else { answer(200, "v1") }
    })
    .await;
    let load = Load::start(options(target, 200.0)).await.unwrap();
    let from = load.mark();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let middle = load.mark();
    assert!(!load.snapshot().is_empty(), "what is recorded can be seen while it runs");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let to = load.mark();
    let record = load.stop().await;

    assert!(due(200.0, from, to).contains(&(record.len() as f64)), "{record}");
    let (first, second) = (record.between(from, middle), record.between(middle, to));
    assert_eq!(first.len() + second.len(), record.between(from, to).len());
    assert!(due(200.0, from, middle).contains(&(first.len() as f64)), "{first}");
    let share = record.share("v2").unwrap();
    assert!((0.09..=0.12).contains(&share), "{share}");
    assert_eq!(record.by_version()[&Some("v2".to_owned())].failed, record.failed().len());
    assert_eq!(record.by_pod().len(), 2);
    let failed = record.assert_none_failed(from, to).unwrap_err().to_string();
    assert!(failed.contains("500 after ") && failed.contains("from v2-0 (v2)"), "{failed}");
    assert_eq!(record.count_bad_until(record.requests()[0].sent), 0);
    assert_eq!(record.count_bad_until(to + Duration::from_secs(9)), record.failed().len());
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_that_stalls_gets_no_fewer_requests_and_pays_for_each() {
    let stall = Arc::new(Semaphore::new(0));
    let gate = stall.clone();
    let target = server(move |_| {
        let gate = gate.clone();
        async move {
            let _ = gate.acquire().await;
            answer(200, "v1")
        }
    })
    .await;
    let load = Load::start(options(target, 200.0)).await.unwrap();
    let from = load.mark();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let to = load.mark();
    stall.add_permits(1_000);
    let record = load.stop().await;
    record.assert_none_failed(from, Instant::now()).unwrap();
    let slowest = record.quantile(1.0).unwrap();
    assert!(slowest >= Duration::from_millis(190), "the first one waited: {slowest:?}");
    let stalled = record.between(from, to);
    assert!(due(200.0, from, to).contains(&(stalled.len() as f64)), "{record}");
    let paid = |request: &Request| request.took >= to - request.sent;
    assert!(stalled.requests().iter().all(paid), "each waited from when it was due: {record}");
}

#[tokio::test]
async fn what_gets_no_answer_failed() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let load = Load::start(options(unused, 50.0)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let refused = load.stop().await;
    assert_eq!(refused.failed().len(), refused.len());
    assert_eq!(refused.share("v1"), None, "no pod answered");
    assert_eq!(refused.by_version()[&None].requests, refused.len());

    let silent = server(|_| std::future::pending()).await;
    let options = LoadOptions { timeout: Duration::from_millis(300), ..options(silent, 50.0) };
    let load = Load::start(options).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let hung = load.stop().await;
    let first = hung.first(Request::failed).unwrap();
    assert_eq!(first.outcome, Outcome::Failed("no answer within 300 ms".to_owned()));
}

#[tokio::test]
async fn a_window_without_requests_proves_nothing() {
    let (record, now) = (Record::default(), Instant::now());
    assert_eq!((record.share("v1"), record.quantile(0.5), record.error_rate()), (None, None, None));
    let error = record.assert_none_failed(now, now).unwrap_err().to_string();
    assert!(error.contains("nothing is known"), "{error}");
}

#[tokio::test]
async fn dropping_a_load_ends_it_at_once() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let target = server(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    })
    .await;
    let options = LoadOptions { timeout: Duration::from_mins(1), ..options(target, 100.0) };
    let load = Load::start(options).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    drop(load);
    assert!(began.elapsed() < Duration::from_secs(1), "it does not wait for answers");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let count = seen.load(Ordering::Relaxed);
    assert!(count > 0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(seen.load(Ordering::Relaxed), count, "and then nothing more is sent");
}

#[tokio::test]
async fn a_rate_that_changes_is_followed() {
    let target = server(|_| async { answer(200, "v1") }).await;
    let load = Load::start(options(target, 1.0)).await.unwrap();
    load.set_rate(200.0).unwrap();
    let from = load.mark();
    assert!(load.set_rate(0.0).is_err());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let to = load.mark();
    let record = load.stop().await;
    assert!(due(200.0, from, to).contains(&(record.len() as f64)), "{record}");
}

#[test]
fn quantiles_are_by_nearest_rank() {
    let now = Instant::now();
    let mut record = Record::default();
    for millis in 1..=200 {
        record.push(Request {
            sent: now,
            took: Duration::from_millis(millis),
            outcome: Outcome::Status(200),
            pod: None,
            version: None,
        });
    }
    let millis = |share| record.quantile(share).unwrap().as_millis();
    assert_eq!((millis(0.0), millis(0.5), millis(0.99), millis(1.0)), (1, 100, 198, 200));
}
