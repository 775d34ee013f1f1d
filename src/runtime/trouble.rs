//! What was decided and not done, as far as people must know of it.

use std::time::Duration;

use tidegate_engine::effect::Effect;
use tidegate_engine::observed::{self, TroubleKind};
use tidegate_engine::reason::Reason;
use tokio::time::Instant;

use super::error::TurnError;
use crate::kubernetes::ObjectName;

/// What is refused for good is tried again after this.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Why, where waiting does not help.
    pub(super) reason: Option<Reason>,
    /// What, and why.
    pub(super) message: String,
    /// It is expected to pass, and is said with what is said anyway.
    pub(super) is_passing: bool,
    /// It keeps the canary from having its pods.
    keeps_pods: bool,
}

impl Trouble {
    /// What stopped a turn. `None`: somebody was faster, and the next turn looks again.
    pub(super) fn of(error: &TurnError) -> Option<Self> {
        let reason = error.reason();
        (!error.is_conflict()).then(|| Self {
            reason,
            message: error.chain(),
            is_passing: error.is_passing(),
            keeps_pods: reason.is_some() && error.is_about_pods(),
        })
    }

    /// People took what is ours to hold.
    pub(super) fn left_alone(objects: &[String]) -> Option<Self> {
        let message = format!("left alone by break-glass: {}", objects.join(", "));
        (!objects.is_empty()).then_some(Self {
            reason: None,
            message,
            is_passing: false,
            keeps_pods: false,
        })
    }

    /// Both, in one line.
    pub(super) fn and(self, other: &Self) -> Self {
        Self {
            reason: self.reason.or(other.reason),
            message: format!("{}; {}", self.message, other.message),
            is_passing: self.is_passing && other.is_passing,
            keeps_pods: self.keeps_pods || other.keeps_pods,
        }
    }

    /// As the pods' own: a release is not to blame for what the API server refuses us.
    pub(super) fn of_pods(&self) -> Option<observed::Trouble> {
        let trouble =
            || observed::Trouble { kind: TroubleKind::Refused, message: self.message.clone() };
        self.keeps_pods.then(trouble)
    }
}

/// An effect that was refused in a way that asking again soon does not change.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    effect: Effect,
    /// What was not as it should be.
    pub(super) object: Box<ObjectName>,
    at: Instant,
}

impl Refusal {
    pub(super) fn new(effect: &Effect, object: &ObjectName, now: Instant) -> Self {
        Self { effect: effect.clone(), object: Box::new(object.clone()), at: now }
    }

    /// It was this effect.
    pub(super) fn is_of(&self, effect: &Effect) -> bool {
        self.effect == *effect
    }

    /// Whether this effect need not be tried now.
    pub(super) fn holds(&self, effect: &Effect, now: Instant) -> bool {
        self.is_of(effect) && now.saturating_duration_since(self.at) < PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::Kind;
    use tidegate_engine::state::Revision;

    #[test]
    fn a_refused_effect_is_left_for_a_while_and_no_other() {
        let raise = |replicas| Effect::Raise { revision: Revision::new("a1"), replicas };
        let (now, set) = (Instant::now(), ObjectName::namespaced(Kind::ReplicaSet, "shop", "web"));
        let refusal = Refusal::new(&raise(1), &set, now);
        assert!(refusal.holds(&raise(1), now + PATIENCE / 2));
        assert!(!refusal.holds(&raise(2), now));
        assert!(!refusal.holds(&raise(1), now + PATIENCE));
    }
}
