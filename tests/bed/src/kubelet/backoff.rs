//! The wait before a container is started again. Pure; as `flowcontrol.Backoff` of client-go.

use std::time::Duration;

use tokio::time::Instant;

/// The longest wait, as in Kubernetes.
pub(super) const LIMIT: Duration = Duration::from_mins(5);

/// A doubling wait that is forgotten after twice its limit without a failure.
#[derive(Clone, Debug)]
pub(super) struct BackOff {
    base: Duration,
    /// The wait, and when it was set.
    entry: Option<(Duration, Instant)>,
}

impl BackOff {
    /// Starts without a wait: the first restart is at once.
    pub(super) fn new(base: Duration) -> Self {
        Self { base, entry: None }
    }

    /// The wait after a failure at that time, when there is one.
    pub(super) fn wait(&self, failed: Instant) -> Option<Duration> {
        let (wait, set) = self.entry?;
        (!expired(set, failed)).then_some(wait)
    }

    /// Notes a start after a failure at that time: the next wait is longer.
    pub(super) fn next(&mut self, failed: Instant) {
        let wait = match self.entry {
            Some((wait, set)) if !expired(set, failed) => wait.saturating_mul(2).min(LIMIT),
            _ => self.base,
        };
        self.entry = Some((wait, failed));
    }
}

fn expired(set: Instant, failed: Instant) -> bool {
    failed.saturating_duration_since(set) > LIMIT * 2
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`, `500ms`.
pub(super) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, 0) => format!("{}ms", duration.as_millis()),
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_then_the_wait_doubles() {
        let mut backoff = BackOff::new(Duration::from_secs(10));
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = backoff.wait(now);
            waits.push(wait.unwrap_or_default().as_secs());
            backoff.next(now);
            now += wait.unwrap_or_default() + Duration::from_secs(1);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_quiet_minutes_forget_the_wait() {
        let mut backoff = BackOff::new(Duration::from_secs(10));
        let now = Instant::now();
        backoff.next(now);
        assert_eq!(backoff.wait(now + Duration::from_mins(10)), Some(Duration::from_secs(10)));
        let later = now + Duration::from_secs(601);
        assert_eq!(backoff.wait(later), None);
        backoff.next(later);
        assert_eq!(backoff.wait(later), Some(Duration::from_secs(10)));
    }

    #[test]
    fn durations_read_as_in_go() {
        let printed = [10, 80, 300].map(|seconds| go_duration(Duration::from_secs(seconds)));
        assert_eq!(printed, ["10s", "1m20s", "5m0s"]);
        assert_eq!(go_duration(Duration::from_millis(500)), "500ms");
    }
}
