//! The scraper: reads the counters of each pod every interval and keeps what it read.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::http::{Getter, HttpError};
use super::reading::{Reading, ReadingError};

/// Readings kept of a pod: at four a second those of the last 10 minutes.
const KEPT: usize = 2_400;

/// Targets that left are forgotten, oldest first, when there are more than so many.
const KEPT_GONE: usize = 100;

/// Where the counters of a pod are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pod.
    pub pod: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What is known of a pod's counters.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// When it was first a target.
    pub since: DateTime<Utc>,
    /// Oldest first; a scrape that failed is not among them.
    pub readings: VecDeque<Reading>,
    /// How many scrapes failed.
    pub failures: u64,
    /// Why the last scrape failed; `None`: it did not.
    pub trouble: Option<String>,
}

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
enum ScrapeError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Reading(#[from] ReadingError),
}

/// Scrapes until it is dropped.
#[derive(Debug)]
pub struct Scraper {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    getter: Getter,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    targets: Vec<Target>,
    series: BTreeMap<String, Series>,
}

impl Scraper {
    /// Scrapes all targets every `interval`; a scrape may take as long.
    pub fn start(every: Duration) -> Self {
        let book = Mutex::new(Book::default());
        let shared = Arc::new(Shared { getter: Getter::new(every), book });
        let scraping = shared.clone();
        let task = tokio::spawn(async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                scraping.scrape().await;
            }
        });
        Self { shared, task }
    }

    /// Replaces the targets. What was read of pods that left stays.
    pub fn set_targets(&self, targets: Vec<Target>, now: DateTime<Utc>) {
        let mut book = self.shared.book();
        for target in &targets {
            let series = || Series { since: now, ..Series::default() };
            book.series.entry(target.pod.clone()).or_insert_with(series);
        }
        book.targets = targets;
        book.forget();
    }

    /// Scrapes all targets now, out of turn; to have the last word of pods that are to stop.
    pub async fn scrape_now(&self) {
        self.shared.scrape().await;
    }

    /// Readings of a pod, oldest first.
    pub fn readings(&self, pod: &str) -> Vec<Reading> {
        let book = self.shared.book();
        let readings = book.series.get(pod).map(|series| series.readings.iter().cloned().collect());
        readings.unwrap_or_default()
    }

    /// What is known of a pod's counters; `None`: it was never a target.
    pub fn series(&self, pod: &str) -> Option<Series> {
        self.shared.book().series.get(pod).cloned()
    }

    /// The pods that are or were targets.
    pub fn pods(&self) -> Vec<String> {
        self.shared.book().series.keys().cloned().collect()
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn scrape(&self) {
        let targets = self.book().targets.clone();
        join_all(targets.into_iter().map(async |target| {
            let read = self.read(target.address).await;
            self.book().record(&target.pod, read);
        }))
        .await;
    }

    async fn read(&self, address: SocketAddr) -> Result<Reading, ScrapeError> {
        let (status, body) = self.getter.get(address, "/metrics").await?;
        if status != StatusCode::OK {
            return Err(ScrapeError::Status(status));
        }
        Ok(Reading::parse(&body, Utc::now())?)
    }
}

impl Book {
    fn record(&mut self, pod: &str, read: Result<Reading, ScrapeError>) {
        let Some(series) = self.series.get_mut(pod) else { return };
        match read {
            // Two scrapes can overlap: what was read earlier and comes later is not news.
            Ok(reading) if series.readings.back().is_none_or(|last| last.at < reading.at) => {
                series.readings.push_back(reading);
                series.trouble = None;
                if series.readings.len() > KEPT {
                    series.readings.pop_front();
                }
            }
            Ok(_) => {}
            Err(error) => {
                series.failures += 1;
                series.trouble = Some(error.to_string());
            }
        }
    }

    fn forget(&mut self) {
        let Self { targets, series } = self;
        let is_target = |pod: &str| targets.iter().any(|target| target.pod == pod);
        let mut gone: Vec<(DateTime<Utc>, String)> = series
            .iter()
            .filter(|(pod, _)| !is_target(pod))
            .map(|(pod, series)| (series.since, pod.clone()))
            .collect();
        gone.sort();
        for (_, pod) in gone.iter().take(gone.len().saturating_sub(KEPT_GONE)) {
            series.remove(pod);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(second: i64) -> Reading {
        let at = DateTime::from_timestamp(second, 0).unwrap();
        Reading { at, total: 1, errors: 0, buckets: Vec::new(), start_time: None }
    }

    #[test]
    fn a_failed_scrape_is_a_missing_reading() {
        let mut book = Book::default();
        book.series.insert("a".to_owned(), Series::default());
        book.record("a", Ok(reading(1)));
        book.record("a", Err(ScrapeError::Status(StatusCode::NOT_FOUND)));
        let series = &book.series["a"];
        assert_eq!((series.readings.len(), series.failures), (1, 1));
        assert_eq!(series.trouble.as_deref(), Some("the answer is 404 Not Found"));
        book.record("a", Ok(reading(2)));
        assert_eq!(book.series["a"].trouble, None);
        assert_eq!(book.series["a"].readings.len(), 2);
    }

    #[test]
    fn a_reading_that_comes_late_is_not_news() {
        let mut book = Book::default();
        book.series.insert("a".to_owned(), Series::default());
        book.record("a", Ok(reading(2)));
        book.record("a", Ok(reading(1)));
        assert_eq!(book.series["a"].readings, [reading(2)]);
    }

    #[test]
    fn the_ring_is_bounded() {
        let mut book = Book::default();
        book.series.insert("a".to_owned(), Series::default());
        for second in 0..3_000 {
            book.record("a", Ok(reading(second)));
        }
        assert_eq!(book.series["a"].readings.len(), KEPT);
        assert_eq!(book.series["a"].readings.back(), Some(&reading(2_999)));
    }
}
