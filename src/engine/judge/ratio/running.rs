//! One ratio's samples, folded as they come.

use chrono::{DateTime, Utc};

use super::guard::GuardLane;
use super::{Finding, Fold};
use crate::judge::{Bounds, Context, CountSeries, GuardSample, Ratio, Window};

/// What [`super::find`] folds anew each time, kept from one look to the next.
pub(in crate::judge) struct RunningRatio {
    fold: Fold,
    guard: Option<GuardLane>,
}

impl RunningRatio {
    /// `before`: what is known before the trial. Its windows and guard samples are folded too.
    pub(in crate::judge) fn new(
        ratio: &Ratio,
        before: &CountSeries,
        since: DateTime<Utc>,
        bounds: Bounds,
        context: &Context,
    ) -> Self {
        let guard = GuardLane::new(ratio, before);
        let mut running = Self { fold: Fold::new(ratio, before, since, bounds, context), guard };
        before.windows.iter().for_each(|window| running.window(window));
        before.guard.iter().for_each(|sample| running.sample(sample));
        running
    }

    pub(in crate::judge) fn window(&mut self, window: &Window) {
        self.fold.window(window);
    }

    pub(in crate::judge) fn sample(&mut self, sample: &GuardSample) {
        if let Some(guard) = &mut self.guard {
            guard.sample(sample);
        }
    }

    pub(in crate::judge) fn finding(&self) -> Finding {
        self.fold.finish(self.guard.as_ref().map(GuardLane::finish))
    }
}
