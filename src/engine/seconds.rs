//! Durations travel as whole or fractional seconds.

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn to_seconds(delta: TimeDelta) -> f64 {
    delta.num_milliseconds() as f64 / 1000.0
}

fn from_seconds<E: serde::de::Error>(seconds: f64) -> Result<TimeDelta, E> {
    // Ten thousand years: far from the ends of what chrono can add to a date.
    const LIMIT: f64 = 3.2e11;
    if seconds.is_finite() && seconds.abs() < LIMIT {
        #[expect(clippy::cast_possible_truncation, reason = "bounded a line above")]
        Ok(TimeDelta::milliseconds((seconds * 1000.0).round() as i64))
    } else {
        Err(E::custom(format!("{seconds} seconds: expected a finite duration")))
    }
}

pub(crate) fn serialize<S: Serializer>(delta: &TimeDelta, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(to_seconds(*delta))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimeDelta, D::Error> {
    from_seconds(f64::deserialize(from)?)
}
