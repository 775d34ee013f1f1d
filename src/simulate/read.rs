//! Scenario files.

use std::path::Path;

use chrono::TimeDelta;
use serde::Deserialize;
use tidegate_engine::effect::RevertOutcome;
use tidegate_engine::observed::{Trouble, TroubleKind, What};
use tidegate_engine::sim::{Burst, Event, Happening, Hits, Law, Scenario};

/// A scenario file that cannot be used: where, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{file}: cannot be read")]
    Io {
        /// Which file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a scenario.
    #[error("{file}:{line}: {message}")]
    Invalid {
        /// Which file.
        file: String,
        /// Where in it, from 1; 0 where it cannot be told.
        line: u64,
        /// What was found and what was expected.
        message: String,
    },
}

/// Reads a scenario file.
pub fn read(path: &Path) -> Result<Scenario, ReadError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| ReadError::Io { file: file.clone(), source })?;
    parse(&text).map_err(|(line, message)| ReadError::Invalid { file, line, message })
}

/// Reads a scenario; an error is a line (0: unknown) and a message.
pub fn parse(text: &str) -> Result<Scenario, (u64, String)> {
    let wire: Wire = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |at| at.line());
        (line, error.without_snippet().to_string())
    })?;
    wire.into_scenario().map_err(|message| (0, message))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    title: String,
    lasts: Duration,
    traffic: WireTraffic,
    stable: WireLaw,
    canary: WireLaw,
    #[serde(default)]
    bursts: Vec<WireBurst>,
    events: Vec<WireEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireTraffic {
    rate: f64,
    #[serde(default = "four")]
    replicas: u32,
    #[serde(default = "three_seconds")]
    start_up: Duration,
    #[serde(default = "five_seconds")]
    scrape: Duration,
    #[serde(default = "half_a_second")]
    slow: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireLaw {
    errors: Share,
    latency: WireLatency,
    #[serde(default)]
    pod_spread: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLatency {
    median: Duration,
    sigma: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBurst {
    at: Duration,
    r#for: Duration,
    hits: WireHits,
    #[serde(default)]
    errors: Share,
    #[serde(default = "one")]
    slower: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum WireHits {
    Both,
    Canary,
    StablePod,
    CanaryPod,
}

/// One thing an event says; exactly one is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireEvent {
    at: Duration,
    commit: Option<String>,
    #[serde(default)]
    revert_by_hand: bool,
    ask: Option<WireAsk>,
    gateway: Option<UpDown>,
    forge: Option<UpDown>,
    metrics: Option<UpDown>,
    crash_loop: Option<String>,
    replicas: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum WireAsk {
    Pause,
    Resume,
    Promote,
    PromoteFull,
    Abort,
    AbortHold,
    Retry,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum UpDown {
    Up,
    Down,
}

impl UpDown {
    fn is_up(self) -> bool {
        matches!(self, Self::Up)
    }
}

/// `90s`, `1h30m`, `250ms`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Duration(TimeDelta);

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        crate::resolve::duration(&text)
            .map(Self)
            .ok_or_else(|| format!("found {text:?}, expected a duration such as 90s or 1h30m"))
    }
}

/// `0.1%`.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "String")]
struct Share(f64);

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.strip_suffix('%')
            .and_then(|number| number.trim().parse::<f64>().ok())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| Self(percent / 100.0))
            .ok_or_else(|| format!("found {text:?}, expected a share such as 0.1%"))
    }
}

fn four() -> u32 {
    4
}

fn one() -> f64 {
    1.0
}

fn three_seconds() -> Duration {
    Duration(TimeDelta::seconds(3))
}

fn five_seconds() -> Duration {
    Duration(TimeDelta::seconds(5))
}

fn half_a_second() -> Duration {
    Duration(TimeDelta::milliseconds(500))
}

fn seconds(duration: Duration) -> f64 {
    duration.0.num_milliseconds() as f64 / 1000.0
}

impl Wire {
    fn into_scenario(self) -> Result<Scenario, String> {
        if !(self.traffic.rate >= 0.0 && self.traffic.rate <= 1e6) {
            let rate = self.traffic.rate;
            return Err(format!("traffic.rate: found {rate}, expected 0 to 1000000 per second"));
        }
        if self.traffic.replicas > 1000 {
            let replicas = self.traffic.replicas;
            return Err(format!("traffic.replicas: found {replicas}, expected at most 1000"));
        }
        if self.lasts.0 > TimeDelta::days(31) {
            return Err("lasts: expected at most 31d".to_owned());
        }
        if self.traffic.scrape.0 < TimeDelta::milliseconds(100) {
            return Err("traffic.scrape: expected at least 100ms".to_owned());
        }
        let mut events = Vec::new();
        for (index, event) in self.events.into_iter().enumerate() {
            let at = event.at.0;
            let what = happening(event).map_err(|why| format!("events[{index}]: {why}"))?;
            events.push(Event { at, what });
        }
        events.sort_by_key(|event| event.at);
        Ok(Scenario {
            title: self.title,
            lasts: self.lasts.0,
            rate: self.traffic.rate,
            replicas: self.traffic.replicas,
            start_up: self.traffic.start_up.0,
            scrape: self.traffic.scrape.0,
            slow: seconds(self.traffic.slow),
            stable: self.stable.into_law(),
            canary: self.canary.into_law(),
            bursts: self.bursts.into_iter().map(WireBurst::into_burst).collect(),
            events,
        })
    }
}

impl WireLaw {
    fn into_law(self) -> Law {
        Law {
            errors: self.errors.0,
            latency_median: seconds(self.latency.median),
            latency_sigma: self.latency.sigma,
            pod_spread: self.pod_spread,
        }
    }
}

impl WireBurst {
    fn into_burst(self) -> Burst {
        Burst {
            at: self.at.0,
            lasts: self.r#for.0,
            arm: match self.hits {
                WireHits::Both => Hits::Both,
                WireHits::Canary => Hits::Canary,
                WireHits::StablePod => Hits::StablePod,
                WireHits::CanaryPod => Hits::CanaryPod,
            },
            errors: self.errors.0,
            slower: self.slower,
        }
    }
}

fn happening(event: WireEvent) -> Result<Happening, String> {
    let mut found = Vec::new();
    found.extend(event.commit.map(|template| Happening::Commit { template }));
    found.extend(event.revert_by_hand.then_some(Happening::RevertByHand));
    found.extend(event.ask.map(|ask| Happening::Ask(what(&ask))));
    found.extend(event.gateway.map(|gateway| Happening::Gateway { up: gateway.is_up() }));
    found.extend(event.metrics.map(|metrics| Happening::Metrics { up: metrics.is_up() }));
    found.extend(event.replicas.map(Happening::Replicas));
    found.extend(event.forge.map(|forge| {
        let down = RevertOutcome::Retry { message: "the forge is down".to_owned() };
        Happening::Forge((!forge.is_up()).then_some(down))
    }));
    found.extend(event.crash_loop.map(|template| Happening::Trouble {
        template,
        trouble: Some(Trouble {
            kind: TroubleKind::CrashLoop,
            message: "back-off restarting failed container".to_owned(),
        }),
    }));
    match found.len() {
        1 => found.pop().ok_or_else(String::new),
        many => Err(format!("found {many} happenings, expected exactly one")),
    }
}

fn what(ask: &WireAsk) -> What {
    match ask {
        WireAsk::Pause => What::Pause,
        WireAsk::Resume => What::Resume,
        WireAsk::Promote => What::Promote,
        WireAsk::PromoteFull => What::PromoteFull,
        WireAsk::Abort => What::Abort { hold: false },
        WireAsk::AbortHold => What::Abort { hold: true },
        WireAsk::Retry => What::Retry,
    }
}
