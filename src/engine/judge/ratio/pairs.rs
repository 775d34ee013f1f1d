//! What is compared with what, window by window.

use chrono::{DateTime, Utc};

use super::sum;
use crate::judge::evidence::Block;
use crate::judge::{CountSeries, Counts, History, Window};

/// Windows in order of time, each once, with whom the canary is compared in it.
pub(super) struct Pairs {
    /// The end of the last window.
    pub(super) end: DateTime<Utc>,
    /// Stable's windows of the hour before, oldest first: its control arm where it has no requests
    /// any more. Each is used once, so that it is evidence once.
    pub(super) past: Vec<Counts>,
}

impl Pairs {
    pub(super) fn new(history: Option<&History>, since: DateTime<Utc>) -> Self {
        let windows = history.iter().flat_map(|history| &history.windows);
        Self { end: since, past: windows.map(|window| sum(window)).collect() }
    }

    /// When the window begins. `None`: it ends no later than the one before it.
    pub(super) fn begin(&mut self, window: &Window) -> Option<DateTime<Utc>> {
        (window.end > self.end).then(|| std::mem::replace(&mut self.end, window.end))
    }

    /// Whom the canary is compared with. Stable answers, but has no requests (weight 100, after a
    /// switch): its own latest past. A stable that does not answer is missing data and has none.
    pub(super) fn control(&mut self, canary: Counts, stable: Counts) -> Counts {
        if canary.total == 0 || stable.total > 0 {
            return stable;
        }
        while let Some(past) = self.past.pop() {
            if past.total > 0 {
                return past;
            }
        }
        stable
    }
}

/// All that is compared.
pub(in crate::judge) fn blocks(series: &CountSeries, since: DateTime<Utc>) -> Vec<Block> {
    let mut pairs = Pairs::new(series.history.as_ref(), since);
    let block = |window: &Window| {
        pairs.begin(window)?;
        let (canary, stable) = window.canary.zip(window.stable)?;
        Some(Block::new(canary, pairs.control(canary, stable)))
    };
    series.windows.iter().filter_map(block).collect()
}
