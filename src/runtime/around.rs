//! What decides nothing, and people should know: looked for seldom, and never waited for.

use std::time::Duration;

use tidegate_engine::observed::Around;
use tidegate_engine::state::{Stage, State, TrialId};
use tokio::time::Instant;

use super::Key;
use super::reconcile::Followed;
use super::turns::Turns;
use crate::observe::{self, Seen};

/// What stable's pods need is looked for when a trial starts, and this often while it runs.
const EVERY: Duration = Duration::from_mins(1);

/// What stable's pods lack, as it was found for a trial.
#[derive(Clone, Debug)]
pub(super) struct Lack {
    trial: TrialId,
    at: Instant,
    gone: Vec<String>,
}

/// Whether what was found last is too old, or about another trial.
fn is_due(last: Option<&Lack>, trial: &TrialId, now: Instant) -> bool {
    last.is_none_or(|last| last.trial != *trial || now.duration_since(last.at) >= EVERY)
}

fn known(last: Option<Lack>, trial: &TrialId) -> Vec<String> {
    last.filter(|last| last.trial == *trial).map(|last| last.gone).unwrap_or_default()
}

impl Turns {
    /// What is around the trial.
    pub(super) async fn around(
        &self,
        key: &Key,
        followed: &Followed,
        state: &State,
        seen: &Seen,
    ) -> Around {
        let engine = seen.engine.clone();
        let trial = state.trial.as_ref();
        let Some(trial) = trial.filter(|it| !matches!(it.stage, Stage::Watching { .. })) else {
            return Around { engine, gone: Vec::new() };
        };
        let (last, now) = (self.lack(key), Instant::now());
        let mut gone = if is_due(last.as_ref(), &trial.id, now) {
            let (cluster, target) = (self.cluster.urgent(), &followed.target);
            match observe::missing_config_maps(&cluster, target, &seen.config_maps).await {
                Ok(gone) => {
                    let trial = trial.id.clone();
                    self.set_lack(key, Lack { trial, at: now, gone: gone.clone() });
                    gone
                }
                // It is no reason to stop a trial, or to wait with what traffic needs.
                Err(error) => {
                    tracing::warn!(rollout = %key, %error, "what stable needs is not known");
                    known(last, &trial.id)
                }
            }
        } else {
            known(last, &trial.id)
        };
        gone.extend(observe::said_to_be_missing(&seen.stable));
        Around { engine, gone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_at_the_start_and_each_minute() {
        let (one, two) = (TrialId::new("one"), TrialId::new("two"));
        let now = Instant::now();
        assert!(is_due(None, &one, now));
        let last = Lack { trial: one.clone(), at: now, gone: Vec::new() };
        assert!(!is_due(Some(&last), &one, now + Duration::from_secs(59)));
        assert!(is_due(Some(&last), &one, now + Duration::from_mins(1)));
        assert!(is_due(Some(&last), &two, now));
    }
}
