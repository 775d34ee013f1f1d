//! What is measured and what it must satisfy, already parsed: nothing in here can be wrong.

use chrono::TimeDelta;
use serde::Serialize;
use thiserror::Error;

use crate::defaults;

/// What is measured and what it must satisfy.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// All must be proven for a Pass; names are unique. Empty: nothing is measured, and the judge
    /// says neither Pass nor Fail.
    pub criteria: Vec<Criterion>,
    /// How long a window of the evidence lane is.
    pub window: TimeDelta,
    /// How long data may be missing before that is an error.
    pub grace: TimeDelta,
    /// How often the judge may be wrong.
    pub bounds: Bounds,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            criteria: Vec::new(),
            window: defaults::EVIDENCE_WINDOW,
            grace: defaults::MISSING_GRACE,
            bounds: Bounds::STANDARD,
        }
    }
}

/// What cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum InvalidAnalysis {
    /// A margin out of range.
    #[error("margin {relative} x stable + {absolute}: expected 0.01 to 100 and 0 to 1")]
    Margin {
        /// The factor.
        relative: f64,
        /// The rate on top.
        absolute: f64,
    },
    /// A bound out of range.
    #[error("bound {bound}: expected a probability above 0, at most 0.5")]
    Bound {
        /// The probability.
        bound: f64,
    },
    /// A hard limit out of range.
    #[error("hard limit {rate}, {times} x stable: expected 0.0001 to 0.8 and 1 to 1000")]
    Limit {
        /// The rate.
        rate: f64,
        /// The factor.
        times: f64,
    },
    /// A threshold that can never be decided.
    #[error("threshold: expected a finite limit, 1 <= failures <= of and minSamples >= 1")]
    Threshold,
}

/// How often the judge may be wrong, per trial and over all of its criteria.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bounds {
    false_rollback: f64,
    wrong_promote: f64,
}

impl Bounds {
    /// At most 1 in 1000 good releases is sent back by chance.
    pub const STANDARD: Self = Self {
        false_rollback: defaults::FALSE_ROLLBACK_STANDARD,
        wrong_promote: defaults::WRONG_PROMOTE,
    };
    /// At most 1 in 20 good releases is sent back by chance; harm is seen sooner.
    pub const SENSITIVE: Self = Self {
        false_rollback: defaults::FALSE_ROLLBACK_SENSITIVE,
        wrong_promote: defaults::WRONG_PROMOTE,
    };

    /// Probabilities above 0, at most .5.
    pub fn new(false_rollback: f64, wrong_promote: f64) -> Result<Self, InvalidAnalysis> {
        for bound in [false_rollback, wrong_promote] {
            if !(1e-12..=0.5).contains(&bound) {
                return Err(InvalidAnalysis::Bound { bound });
            }
        }
        Ok(Self { false_rollback, wrong_promote })
    }

    /// The probability that a good release is sent back by chance.
    pub const fn false_rollback(self) -> f64 {
        self.false_rollback
    }

    /// The probability, for each criterion, that a release beyond the margin passes by chance.
    pub const fn wrong_promote(self) -> f64 {
        self.wrong_promote
    }
}

/// One thing measured and what it must satisfy.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// The metric, for people; the key of its samples.
    pub name: String,
    /// Its part of the false-rollback bound, relative to the other criteria's. `None`, and anything
    /// that is not a positive number: 1.
    pub weight: Option<f64>,
    /// What is asked of it.
    pub kind: Kind,
}

/// What is asked of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Bad requests of all requests, canary against stable.
    Ratio(Ratio),
    /// A number against a limit.
    Threshold(Threshold),
}

/// Bad requests of all requests, canary against stable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Fail when the canary is worse than this.
    pub fail: Margin,
    /// Pass when the canary is proven no worse than this.
    pub pass: PassMargin,
    /// What no release may exceed, however bad stable is. `None`: no guard lane.
    pub guard: Option<HardLimit>,
}

impl Ratio {
    /// Failed requests.
    pub const ERRORS: Self = Self {
        fail: Margin::FAIL,
        pass: PassMargin::Auto { slo: None },
        guard: Some(HardLimit::STANDARD),
    };
    /// Requests slower than a bound.
    pub const SLOW: Self = Self {
        fail: Margin::FAIL,
        pass: PassMargin::Fixed(Margin {
            relative: defaults::RELATIVE,
            absolute: defaults::SLOW_ABSOLUTE,
        }),
        guard: None,
    };
}

/// What the canary's rate is compared with: `relative * stable + absolute`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Margin {
    relative: f64,
    absolute: f64,
}

impl Margin {
    /// 1.5 times stable's rate and .02 percentage points.
    pub const FAIL: Self = Self { relative: defaults::RELATIVE, absolute: defaults::FAIL_ABSOLUTE };

    /// `relative` from .01 to 100 (1.5: half as much again), `absolute` a rate from 0 to 1
    /// (.005: half a percentage point).
    pub fn new(relative: f64, absolute: f64) -> Result<Self, InvalidAnalysis> {
        if (0.01..=100.0).contains(&relative) && (0.0..=1.0).contains(&absolute) {
            Ok(Self { relative, absolute })
        } else {
            Err(InvalidAnalysis::Margin { relative, absolute })
        }
    }

    /// The factor on stable's rate.
    pub const fn relative(self) -> f64 {
        self.relative
    }

    /// The rate on top, 0 to 1.
    pub const fn absolute(self) -> f64 {
        self.absolute
    }

    /// The rate the canary may have when stable has `stable`.
    pub fn allows(self, stable: f64) -> f64 {
        self.relative * stable + self.absolute
    }

    /// The same rate on top of another factor.
    pub(crate) const fn with_relative(self, relative: f64) -> Self {
        Self { relative, absolute: self.absolute }
    }

    /// The same factor with another rate on top, cut to 0 to 1.
    pub(crate) fn with_absolute(self, absolute: f64) -> Self {
        Self { relative: self.relative, absolute: absolute.clamp(0.0, 1.0) }
    }
}

impl std::fmt::Display for Margin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Rounded: .002 * 100 is .2 only on paper.
        let points = (self.absolute * 1e6).round() / 1e4;
        let relative = (self.relative * 100.0).round() / 100.0;
        write!(f, "{relative} x stable + {points} pp")
    }
}

/// What must be proven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PassMargin {
    /// The tightest of .1, .2, .5 and 1 percentage points that the traffic affords within half of
    /// the plan's time, on top of the Fail margin's factor.
    Auto {
        /// The share of good requests promised, such as .999. The margin is never above half of
        /// what it leaves.
        slo: Option<f64>,
    },
    /// This one.
    Fixed(Margin),
}

/// A rate no release may exceed: the larger of an absolute one and a multiple of stable's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HardLimit {
    rate: f64,
    times: f64,
}

impl HardLimit {
    /// 5 %, or 3 times stable's rate of the last day.
    pub const STANDARD: Self = Self { rate: defaults::HARD_LIMIT, times: defaults::HARD_TIMES };

    /// `rate` from .0001 to .8, `times` from 1 to 1000.
    pub fn new(rate: f64, times: f64) -> Result<Self, InvalidAnalysis> {
        if (0.0001..=0.8).contains(&rate) && (1.0..=1000.0).contains(&times) {
            Ok(Self { rate, times })
        } else {
            Err(InvalidAnalysis::Limit { rate, times })
        }
    }

    /// The limit, given stable's rate of the last day. `None`: not known.
    pub fn of(self, stable: Option<f64>) -> f64 {
        // `max` of a number and a non-number is the number.
        stable.map_or(self.rate, |stable| (self.times * stable).max(self.rate).min(0.8))
    }
}

/// A number against a limit. Has no stated error rate: it is what it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    op: Op,
    limit: f64,
    failures: usize,
    of: usize,
    min_samples: usize,
}

impl Threshold {
    /// Fail when `failures` of any `of` samples in a row violate it, Pass when at least
    /// `min_samples` satisfy it.
    pub fn new(
        op: Op,
        limit: f64,
        failures: usize,
        of: usize,
        min_samples: usize,
    ) -> Result<Self, InvalidAnalysis> {
        if limit.is_finite() && failures >= 1 && failures <= of && min_samples >= 1 {
            Ok(Self { op, limit, failures, of, min_samples })
        } else {
            Err(InvalidAnalysis::Threshold)
        }
    }

    /// How the value is compared.
    pub const fn op(self) -> Op {
        self.op
    }

    /// With what.
    pub const fn limit(self) -> f64 {
        self.limit
    }

    /// How many violations are a Fail.
    pub const fn failures(self) -> usize {
        self.failures
    }

    /// Among how many samples in a row.
    pub const fn of(self) -> usize {
        self.of
    }

    /// How many satisfying samples are a Pass.
    pub const fn min_samples(self) -> usize {
        self.min_samples
    }
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Op {
    /// `< limit`.
    Below,
    /// `<= limit`.
    AtMost,
    /// `> limit`.
    Above,
    /// `>= limit`.
    AtLeast,
}

impl Op {
    /// Whether a value is what it must be.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
        }
    }

    /// For messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }
}
