//! Waits that grow, with some chance in them, so that many do not stay in step.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Doubles from a first wait up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    first: Duration,
    limit: Duration,
}

impl Backoff {
    pub(super) const fn new(first: Duration, limit: Duration) -> Self {
        Self { first, limit }
    }

    /// The wait after so many failures in a row: from half of the doubled wait to all of it.
    pub(super) fn after(self, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(doubled.max(1)).min(self.limit);
        whole / 2 + chance(whole / 2)
    }
}

/// The wait, more or less up to `by`.
pub(super) fn spread(wait: Duration, by: Duration) -> Duration {
    wait.saturating_sub(by) + chance(2 * by)
}

/// Anything from nothing to `whole`. Not for secrets: only to keep waiters apart.
fn chance(whole: Duration) -> Duration {
    const PARTS: u32 = 1000;
    // Each `RandomState` has keys of its own.
    let part = RandomState::new().hash_one(0_u8) % u64::from(PARTS);
    whole / PARTS * u32::try_from(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end_at_their_limit() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        for (failures, whole) in [(0, 1), (1, 1), (2, 2), (5, 16), (6, 30), (40, 30)] {
            let (whole, wait) = (Duration::from_secs(whole), backoff.after(failures));
            assert!(wait >= whole / 2 && wait <= whole, "{failures}: {wait:?}");
        }
    }

    #[test]
    fn a_spread_wait_stays_near() {
        let hour = Duration::from_hours(1);
        for _ in 0..100 {
            let wait = spread(hour, hour / 10);
            assert!(wait >= hour * 9 / 10 && wait <= hour * 11 / 10, "{wait:?}");
        }
    }
}
