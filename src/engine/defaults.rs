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
    /// How long a gate may take to answer when it does not say.
    /// Most smoke tests end within a few minutes; who waits for a person's approval says so.
    GATE_TIMEOUT: TimeDelta = TimeDelta::minutes(10), "10m";
    /// How often a gate is asked again while it has not answered.
    /// People notice no delay below that, and it is six requests a minute for the one who is asked.
    GATE_INTERVAL: TimeDelta = TimeDelta::seconds(10), "10s";
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
    /// How long a GitOps engine may be in the middle of a commit that failed before people are told.
    /// Healthy applies take seconds, and what we write back ends those that waited for us.
    ENGINE_ALARM: TimeDelta = TimeDelta::minutes(1), "1m";
    /// How many Rollouts whose releases fail at once hold all reverts.
    /// Two bad releases on one day may meet; three in minutes have a cause in common.
    FLEET_FAILS: usize = 3, "3";
    /// Within which time such failures are at once.
    /// A fault of the cluster reaches every trial within a few windows of evidence.
    FLEET_FAILS_WITHIN: TimeDelta = TimeDelta::minutes(5), "5m";
    /// How long reverts are held after the last of such failures.
    /// Long enough for a person to come and look, who can release again as after `Hold`.
    FLEET_HOLD: TimeDelta = TimeDelta::minutes(15), "15m";
    /// How many failed revisions are remembered.
    /// Image automation goes back and forth between a handful of tags; status stays below 16 kB.
    QUARANTINE_SIZE: usize = 10, "10";
    /// How many promoted revisions count as a known way back.
    /// The Deployment's own default `revisionHistoryLimit`.
    PROMOTED_SIZE: usize = 10, "10";
    /// How many undelivered notices are kept; the oldest go first.
    /// An Alertmanager that is down for a day must not grow the status.
    OUTBOX_SIZE: usize = 20, "20";
    /// How long a window of the evidence lane is.
    /// Two scrapes of the common 5 to 15 s can lie in it; a burst within one is one vote.
    EVIDENCE_WINDOW: TimeDelta = TimeDelta::seconds(15), "15s";
    /// How long data may be missing before that is an error.
    /// A scrape each minute, 45 s until it can be queried and one window of 60 s are 165 s.
    MISSING_GRACE: TimeDelta = TimeDelta::minutes(3), "3m";
    /// Probability that a good release is sent back by chance, preset `standard`.
    /// A service released ten times a day meets one in three months.
    FALSE_ROLLBACK_STANDARD: f64 = 0.001, "0.1%";
    /// Probability that a good release is sent back by chance, preset `sensitive`.
    /// The usual level of a single test, for services where harm costs more than a retry.
    FALSE_ROLLBACK_SENSITIVE: f64 = 0.05, "5%";
    /// Probability, per criterion, that a release beyond the margin passes by chance.
    /// The usual level; a lower one costs the same share of more traffic: .01 takes 1.4 times it.
    WRONG_PROMOTE: f64 = 0.05, "5%";
    /// How many times stable's rate the canary may have.
    /// Two healthy pods of one version differ by a third; without room for that, 1 in 3 healthy
    /// releases of a busy service would fail.
    RELATIVE: f64 = 1.5, "1.5";
    /// What the canary may have on top before it fails.
    /// Below .02 percentage points nobody notices, however certain it is.
    FAIL_ABSOLUTE: f64 = 0.0002, "0.02pp";
    /// What the canary may have on top and still pass, when failed requests are counted: the
    /// tightest the traffic affords.
    /// From what a busy service can prove in minutes to what a quiet one can prove at all.
    PASS_LADDER: [f64; 4] = [0.001, 0.002, 0.005, 0.01], "0.1pp, 0.2pp, 0.5pp, 1pp";
    /// What the canary may have on top and still pass, when slow requests are counted.
    /// Shares of slow requests are larger and vary more than shares of failed ones.
    SLOW_ABSOLUTE: f64 = 0.01, "1pp";
    /// The rate of errors no release may exceed.
    /// No service promises less than 95 %; four failures of four requests prove it, beside those of
    /// one scrape.
    HARD_LIMIT: f64 = 0.05, "5%";
    /// How many times stable's rate of the last day the hard limit is at least.
    /// A service that always errs a lot must not be stopped for what it always did.
    HARD_TIMES: f64 = 3.0, "3";
    /// How many requests of the last day make stable's rate known.
    /// Fewer leave the rate uncertain by more than half of the hard limit's factor.
    KNOWN_REQUESTS: u64 = 1000, "1000";
    /// The guard lane's part of the false-rollback bound.
    /// The most that leaves the evidence lane three quarters; 4 failures of 4 still suffice.
    GUARD_PART: f64 = 0.25, "25%";
    /// How much dispersion the guard lane bears with at most.
    /// Errors that come twenty at once are one; a total failure is so proven within 60 requests
    /// however bursty the service was in the last hour.
    GUARD_DISPERSION: f64 = 20.0, "20";
    /// Stable's dispersion in the hour before up to which one sample may stop a release.
    /// Ten errors at once, once in an hour, show as 4 and more.
    CALM_DISPERSION: f64 = 1.5, "1.5";
    /// How long an incident on the canary's pods may last that does not make a release fail.
    /// Five minutes and the windows it begins and ends in: a node that is sick, a neighbour.
    INCIDENT: TimeDelta = TimeDelta::seconds(330), "330s";
    /// How certain the evidence of what lies outside that incident must be.
    /// Few services have an incident during a release, and the evidence as a whole must reach its own
    /// bound as well.
    OUTSIDE_BOUND: f64 = 0.2, "20%";
    /// Up to which bound of false rollbacks incidents are borne with.
    /// Whoever asks for more sensitivity asks for speed.
    PATIENT_BOUND: f64 = 0.01, "1%";
    /// How many standard deviations worse than its like a pod may be by itself.
    /// One pod in a thousand is beyond it.
    POD_DEVIATIONS: f64 = 3.0, "3";
    /// How many times stable's rate the canary may have at most, however much pods differ.
    /// A release that errs three times as often must be found.
    MOST_RELATIVE: f64 = 2.5, "2.5";
    /// How certain it must be that stable breaks the hard limit too before that holds everything.
    /// Less than for the canary: when both are sick, the release is not to blame.
    ENVIRONMENT_BOUND: f64 = 0.05, "5%";
    /// How often the interval of a ratio that people are shown may be wrong, ever.
    /// The usual level. Verdicts do not rest on it: they have bounds of their own.
    INTERVAL_BOUND: f64 = 0.05, "5%";
    /// How many times the share that was asked for, or what part of it, the canary may get before
    /// people are told. Connections that are kept, and retries, move it by less.
    SHARE_TIMES: f64 = 1.5, "1.5";
    /// How often people may be told of a share that is off by chance alone, ever.
    /// Rarely enough that it is worth looking at.
    SHARE_BOUND: f64 = 0.001, "0.1%";
    /// How many of the latest windows say whether the canary is worse now, and how much traffic it
    /// gets.
    /// Five minutes of windows: harm that begins late must not hide behind a healthy hour.
    RECENT_WINDOWS: usize = 20, "20";
    /// The steps of a canary when nothing is said, in percent.
    /// 5 limits the harm of a broken release, 25 shows what only load shows, at 50 both arms are
    /// under the same load, and 100 shows that the canary carries it alone.
    WEIGHTS: [u8; 4] = [5, 25, 50, 100], "5, 25, 50, 100";
    /// The same where the canary never has more pods than `maxSurge` allows.
    /// A quarter more pods is the default of a Deployment: at 25 % each of them gets a third more
    /// than one of stable's, and beyond that the rolling update itself is the next step.
    SURGE_WEIGHTS: [u8; 2] = [5, 25], "5, 25";
    /// How many times the load of one of stable's pods a canary's may get, where there are no more of
    /// them than `maxSurge` allows.
    /// Services that scale by load run at half of what they can carry; beyond it the release would
    /// be judged by its overload.
    SURGE_LOAD: u32 = 2, "2";
    /// How many of the last samples must violate a threshold to fail.
    /// One sample may be an accident of the scrape; three of five are not.
    THRESHOLD_FAILURES: usize = 3, "3";
    /// How many of the last valid samples a threshold looks at.
    /// See the number of failures.
    THRESHOLD_OF: usize = 5, "5";
    /// How many valid samples a threshold needs to pass.
    /// As many as could have failed it.
    THRESHOLD_SAMPLES: usize = 5, "5";
}
