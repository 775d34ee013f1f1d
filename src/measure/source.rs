//! A metric source and what it allows, read once.

use std::time::Duration;

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use tidegate_api::MetricSourceSpec;

use crate::resolve::units::duration;

/// How often targets are scraped where the source does not say so.
const SCRAPE: TimeDelta = TimeDelta::seconds(15);
/// How long a sample needs until it can be read where the source does not say so.
const DELAY: TimeDelta = TimeDelta::seconds(45);
/// How long a look may take where the source does not say so.
const TIMEOUT: TimeDelta = TimeDelta::seconds(10);
/// How many requests may be on their way at once where the source does not say so.
const IN_FLIGHT: u32 = 8;

/// Looks at samples are at least this far apart.
const SHORTEST_LOOK: Duration = Duration::from_millis(500);

/// How often it is worth looking: a quarter of the scrape interval, so that a new sample waits for
/// an eighth of it on average.
pub fn look_interval(spec: &MetricSourceSpec) -> Duration {
    let milliseconds = Settings::of(spec).scrape.unsigned_abs().saturating_mul(250);
    Duration::from_millis(milliseconds).max(SHORTEST_LOOK)
}

/// What is in the Secrets of a metric source.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The token of the header `Authorization: Bearer`.
    pub bearer: Option<SecretString>,
    /// User and password; a token goes before them.
    pub basic: Option<Basic>,
    /// The certificates that are trusted beside the system's, in PEM.
    pub certificate_authority: Option<String>,
}

/// User and password.
#[derive(Clone, Debug)]
pub struct Basic {
    /// The user.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

impl Credentials {
    /// All that must never be told.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let basic = self.basic.iter().map(|basic| basic.password.clone());
        self.bearer.iter().cloned().chain(basic).collect()
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        let bearer = |of: &Self| of.bearer.as_ref().map(|token| token.expose_secret().to_owned());
        let basic = |of: &Self| {
            let basic = of.basic.as_ref();
            basic.map(|basic| (basic.username.clone(), basic.password.expose_secret().to_owned()))
        };
        bearer(self) == bearer(other)
            && basic(self) == basic(other)
            && self.certificate_authority == other.certificate_authority
    }
}

/// A metric source, as the caller knows it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it says.
    pub spec: &'a MetricSourceSpec,
    /// What its Secrets say.
    pub credentials: &'a Credentials,
}

/// What a source says of itself, with the defaults for what it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// Whole seconds, at least one: no scrape is skipped.
    pub(super) scrape: i64,
    pub(super) delay: TimeDelta,
    pub(super) timeout: Duration,
    pub(super) in_flight: usize,
    pub(super) pod: String,
    pub(super) namespace: String,
}

impl Settings {
    pub(super) fn of(spec: &MetricSourceSpec) -> Self {
        let span = |text: &Option<tidegate_api::Duration>, default| {
            text.as_ref().and_then(|text| duration(text.as_str())).unwrap_or(default)
        };
        let labels = spec.labels.clone().unwrap_or_default();
        let in_flight = spec.max_concurrent_requests.unwrap_or(IN_FLIGHT).clamp(1, 256);
        Self {
            scrape: span(&spec.scrape_interval, SCRAPE).num_seconds().max(1),
            delay: span(&spec.delay, DELAY),
            timeout: span(&spec.timeout, TIMEOUT).to_std().unwrap_or(Duration::from_secs(10)),
            in_flight: usize::try_from(in_flight).unwrap_or(1),
            pod: labels.pod.unwrap_or_else(|| "pod".to_owned()),
            namespace: labels.namespace.unwrap_or_else(|| "namespace".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_does_not_say_is_the_documented_default() {
        let settings = Settings::of(&MetricSourceSpec::default());
        assert_eq!((settings.scrape, settings.delay), (15, TimeDelta::seconds(45)));
        assert_eq!((settings.timeout, settings.in_flight), (Duration::from_secs(10), 8));
        assert_eq!((settings.pod.as_str(), settings.namespace.as_str()), ("pod", "namespace"));
    }

    #[test]
    fn a_scrape_interval_below_a_second_is_read_every_second() {
        let scrape_interval = Some("250ms".into());
        let spec = MetricSourceSpec { scrape_interval, ..MetricSourceSpec::default() };
        assert_eq!(Settings::of(&spec).scrape, 1);
    }

    #[test]
    fn secrets_are_not_shown() {
        let basic = Basic { username: "ada".to_owned(), password: "hunter2".into() };
        let shown = Credentials { basic: Some(basic), ..Credentials::default() };
        assert!(!format!("{shown:?}").contains("hunter2"));
    }
}
