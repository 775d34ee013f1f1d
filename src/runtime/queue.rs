//! Which Rollout is looked at next, and when. No task and no I/O in here: time comes in.
//!
//! ```text
//!  touched, or its time has come ─▶ due ─ take ─▶ running ─ done ─▶ waits for its time
//!                                    ▲                │ failed ─▶ waits, longer each time
//!                                    └─ touched ──────┘
//! ```
//! A key is in the queue once, whatever happens to it, and is never given out twice at once. What
//! is urgent (traffic on its way home) goes first.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{Backoff, spread};

/// Changes that come together are looked at together.
const GATHER: Duration = Duration::from_millis(50);

/// A change brings a failed key forward, but not into a hot loop.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The longest wait after failures.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));

/// The same while traffic is on its way home.
const URGENT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// A change can be missed: everything is looked at this often, spread by a tenth.
const HOURLY: Duration = Duration::from_hours(1);

/// What becomes of a key after it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look again after this time, or when something changes.
    After {
        /// How long.
        wait: Duration,
        /// Traffic is on its way home.
        urgent: bool,
    },
    /// Look again when something changes; an hour later at the latest.
    OnChange,
    /// Again after a back-off.
    Failed {
        /// Traffic is on its way home.
        urgent: bool,
    },
    /// Somebody else wrote in between: again at once.
    Again {
        /// Traffic is on its way home.
        urgent: bool,
    },
    /// The object is gone: forget it.
    Gone,
}

#[derive(Clone, Debug)]
struct Entry {
    due: Instant,
    urgent: bool,
    running: bool,
    /// Touched while it ran.
    touched: bool,
    failures: u32,
    /// When it was last given back.
    ended: Option<Instant>,
}

/// The keys, and when each is due.
#[derive(Debug)]
pub struct Queue<K> {
    entries: BTreeMap<K, Entry>,
    limit: usize,
    running: usize,
}

impl<K: Ord + Clone> Queue<K> {
    /// An empty queue that gives out at most `limit` keys at once.
    pub const fn new(limit: usize) -> Self {
        Self { entries: BTreeMap::new(), limit, running: 0 }
    }

    /// Something about the key changed: look soon.
    pub fn touch(&mut self, key: K, now: Instant) {
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            due: now,
            urgent: false,
            running: false,
            touched: false,
            failures: 0,
            ended: None,
        });
        if entry.running {
            entry.touched = true;
            return;
        }
        let pause = if entry.failures > 0 && !entry.urgent { AFTER_FAILURE } else { GATHER };
        let soon = entry.ended.map_or(now, |ended| now.max(ended + pause));
        entry.due = entry.due.min(soon);
    }

    /// The next key to look at: urgent ones first, then who waits longest. It is running until
    /// [`Queue::done`].
    pub fn take(&mut self, now: Instant) -> Option<K> {
        if self.running >= self.limit {
            return None;
        }
        let (key, entry) = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| !entry.running && entry.due <= now)
            .min_by_key(|(_, entry)| (!entry.urgent, entry.due))?;
        entry.running = true;
        entry.touched = false;
        self.running += 1;
        Some(key.clone())
    }

    /// The key was looked at.
    pub fn done(&mut self, key: &K, next: Next, now: Instant) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.running) else { return };
        self.running -= 1;
        entry.running = false;
        entry.ended = Some(now);
        let wait = match next {
            Next::Gone if !entry.touched => {
                self.entries.remove(key);
                return;
            }
            // Touched in the meantime: it may be there again under the same name.
            Next::Gone | Next::OnChange => {
                entry.urgent = false;
                entry.failures = 0;
                if next == Next::Gone { GATHER } else { spread(HOURLY, HOURLY / 10) }
            }
            Next::After { wait, urgent } => {
                entry.urgent = urgent;
                entry.failures = 0;
                wait.min(HOURLY)
            }
            Next::Failed { urgent } => {
                entry.urgent = urgent;
                entry.failures = entry.failures.saturating_add(1);
                let backoff = if urgent { URGENT_BACKOFF } else { BACKOFF };
                backoff.after(entry.failures)
            }
            Next::Again { urgent } => {
                entry.urgent = urgent;
                // Two writers that never agree must not keep a core busy.
                entry.failures = entry.failures.saturating_add(1);
                let backoff = if urgent { URGENT_BACKOFF } else { BACKOFF };
                if entry.failures == 1 { Duration::ZERO } else { backoff.after(entry.failures) }
            }
        };
        entry.due = now + wait;
        if entry.touched {
            let pause = if entry.failures > 0 && !entry.urgent { AFTER_FAILURE } else { GATHER };
            entry.due = entry.due.min(now + pause);
            entry.touched = false;
        }
    }

    /// When [`Queue::take`] will have something that is not running. `None`: nothing waits, or
    /// all places are taken.
    pub fn next_due(&self) -> Option<Instant> {
        if self.running >= self.limit {
            return None;
        }
        self.entries.values().filter(|entry| !entry.running).map(|entry| entry.due).min()
    }

    /// All keys it knows.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    /// How many are looked at right now.
    pub const fn running(&self) -> usize {
        self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn calm(wait: Duration) -> Next {
        Next::After { wait, urgent: false }
    }

    #[test]
    fn a_key_is_given_out_once_however_often_it_is_touched() {
        let (mut queue, now) = (Queue::new(8), Instant::now());
        for _ in 0..3 {
            queue.touch("a", now);
        }
        assert_eq!(queue.take(now), Some("a"));
        queue.touch("a", now);
        assert_eq!(queue.take(now), None);
        queue.done(&"a", Next::OnChange, now);
        // Touched while it ran: once more, soon.
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.take(now + GATHER), Some("a"));
        queue.done(&"a", Next::OnChange, now + GATHER);
        // And then nothing more for most of an hour.
        assert_eq!(queue.take(now + HOURLY / 2), None);
        assert_eq!(queue.take(now + 2 * HOURLY), Some("a"));
    }

    #[test]
    fn what_is_urgent_goes_first_and_places_are_limited() {
        let (mut queue, now) = (Queue::new(1), Instant::now());
        queue.touch("b", now);
        assert_eq!(queue.take(now), Some("b"));
        queue.done(&"b", Next::After { wait: SECOND, urgent: true }, now);
        queue.touch("a", now);
        let later = now + 2 * SECOND;
        assert_eq!(queue.take(later), Some("b"));
        assert_eq!(queue.take(later), None);
        assert_eq!(queue.next_due(), None);
        assert_eq!(queue.running(), 1);
        queue.done(&"b", calm(SECOND), later);
        assert_eq!(queue.take(later), Some("a"));
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_their_limit() {
        let (mut queue, start) = (Queue::new(8), Instant::now());
        for (urgent, limit) in [(false, 30 * SECOND), (true, SECOND)] {
            let mut now = start;
            let mut last = Duration::ZERO;
            queue.touch("a", now);
            for _ in 0..20 {
                now = now.max(queue.next_due().unwrap());
                assert_eq!(queue.take(now), Some("a"));
                queue.done(&"a", Next::Failed { urgent }, now);
                last = queue.next_due().unwrap() - now;
                assert!(last <= limit, "{last:?}");
            }
            assert!(last >= limit / 2, "{last:?}");
            let at = queue.next_due().unwrap();
            assert_eq!(queue.take(at), Some("a"));
            queue.done(&"a", Next::Gone, at);
        }
        assert_eq!(queue.keys().count(), 0);
    }

    #[test]
    fn a_change_brings_a_failed_key_forward_but_not_into_a_hot_loop() {
        let (mut queue, mut now) = (Queue::new(8), Instant::now());
        queue.touch("a", now);
        for _ in 0..10 {
            now = now.max(queue.next_due().unwrap());
            assert_eq!(queue.take(now), Some("a"));
            queue.done(&"a", Next::Failed { urgent: false }, now);
        }
        queue.touch("a", now);
        assert_eq!(queue.take(now + SECOND / 2), None);
        assert_eq!(queue.take(now + SECOND), Some("a"));
    }

    #[test]
    fn a_conflict_is_tried_again_at_once_and_then_with_pauses() {
        let (mut queue, now) = (Queue::new(8), Instant::now());
        queue.touch("a", now);
        assert_eq!(queue.take(now), Some("a"));
        queue.done(&"a", Next::Again { urgent: false }, now);
        assert_eq!(queue.take(now), Some("a"));
        queue.done(&"a", Next::Again { urgent: false }, now);
        assert_eq!(queue.take(now), None);
    }

    #[test]
    fn what_is_gone_is_forgotten_unless_it_was_touched_again() {
        let (mut queue, now) = (Queue::new(8), Instant::now());
        queue.touch("a", now);
        assert_eq!(queue.take(now), Some("a"));
        queue.touch("a", now);
        queue.done(&"a", Next::Gone, now);
        assert_eq!(queue.take(now + GATHER), Some("a"));
        queue.done(&"a", Next::Gone, now + GATHER);
        assert_eq!(queue.next_due(), None);
    }
}
