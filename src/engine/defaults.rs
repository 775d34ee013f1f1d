//! Every default, with its reason beside it. `docs/defaults.md` is generated from this file.

use chrono::TimeDelta;

/// One row of `docs/defaults.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The constant's name.
    pub name: &'static str,
    /// Its value as written.
    pub value: &'static str,
    /// What it is and why it is what it is.
    pub why: &'static str,
}

macro_rules! defaults {
    ($($(#[doc = $why:literal])+ $name:ident: $type:ty = $value:expr, $text:literal;)+) => {
        $($(#[doc = $why])+ pub const $name: $type = $value;)+

        /// All of them, in the order of this file.
        pub const ALL: &[Row] = &[$(Row {
            name: stringify!($name),
            value: $text,
            why: concat!($($why),+),
        }),+];
    };
}

defaults! {
    /// How long a Deployment may take to show one settled set before a trial.
    /// A rolling update of 20 pods with slow probes takes about this long.
    SETTLE_DEADLINE: TimeDelta = TimeDelta::minutes(10), "10m";
    /// How long canary pods may take to become ready.
    /// The same as the Deployment's own `progressDeadlineSeconds`.
    READY_DEADLINE: TimeDelta = TimeDelta::minutes(10), "10m";
    /// How long a gateway may take to accept a weight.
    /// In-cluster gateways take under 2 s, cloud load balancers up to a minute; after two,
    /// it is broken.
    SHIFT_DEADLINE: TimeDelta = TimeDelta::minutes(2), "2m";
    /// How long a step may go on without a verdict, beyond its minimum time.
    /// At 3 requests per second and weight 20 a pass takes 21 minutes in the median and 51 in the
    /// 90th percentile.
    VERDICT_DEADLINE: TimeDelta = TimeDelta::hours(1), "1h";
    /// How long the Deployment controller may take to take over the tested pods.
    /// It takes well under a second; a leader change of it takes up to 15 s.
    HAND_OVER_DEADLINE: TimeDelta = TimeDelta::minutes(2), "2m";
    /// How long requests in flight may take after the canary's weight went to 0.
    /// The default of `terminationGracePeriodSeconds`.
    DRAIN: TimeDelta = TimeDelta::seconds(30), "30s";
    /// How long both full sets are kept after the traffic was promoted.
    /// Long enough to notice and go back with one write, short enough for the
    /// pod disruption budget, which counts the union of both sets.
    SCALE_DOWN_DELAY: TimeDelta = TimeDelta::seconds(30), "30s";
    /// Minimum time at a weight when a step does not say.
    /// Five windows of the evidence lane, and longer than most caches need to warm up.
    BAKE: TimeDelta = TimeDelta::minutes(2), "2m";
    /// How often the world is looked at while a trial runs and nothing changes.
    /// Watches can lose an event; the guard lane looks at each new sample anyhow.
    LOOK_INTERVAL: TimeDelta = TimeDelta::seconds(5), "5s";
    /// How often a Rollout at rest is looked at when nothing changes.
    /// A lost watch event must not hide a new template for longer.
    REST_INTERVAL: TimeDelta = TimeDelta::minutes(5), "5m";
    /// How long traffic may take to be back on stable before people are woken.
    /// A write and its reading back take under two seconds; 30 s is fifteen tries.
    HOME_ALARM: TimeDelta = TimeDelta::seconds(30), "30s";
    /// How long a revert may be on its way before people are woken.
    /// Traffic is safe meanwhile; most outages of a forge are over by then.
    REVERT_ALARM: TimeDelta = TimeDelta::minutes(15), "15m";
    /// How many failed revisions are remembered.
    /// Image automation goes back and forth between a handful of tags; status stays below 16 kB.
    QUARANTINE_SIZE: usize = 10, "10";
    /// How many promoted revisions count as a known way back.
    /// The Deployment's own default `revisionHistoryLimit`.
    PROMOTED_SIZE: usize = 10, "10";
    /// How many undelivered notices are kept; the oldest go first.
    /// An Alertmanager that is down for a day must not grow the status.
    OUTBOX_SIZE: usize = 20, "20";
}
