//! Conditions, in the form Kubernetes tools know.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The types of the conditions of a Rollout. `docs/rollout.md` says when each is what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// Stable serves. True during a trial too, so that waiting for it blocks nobody.
    Ready,
    /// A trial is on its way.
    Progressing,
    /// Nothing goes on without a person: the spec is wrong, or something is refused.
    Stalled,
    /// What Git says and what runs are the same.
    Synced,
    /// Somebody's changes to a held object are kept back.
    ChangesHeld,
    /// The template rolled out past the gate: it is stable now, unjudged.
    GateBypassed,
    /// The GitOps engine waits for the held Deployment and cannot apply what follows.
    EngineWaits,
    /// The GitOps engine does not get to an end with the commit that failed: a person can end it.
    EngineBlocked,
    /// Something that stable's pods need is gone: none of them could be replaced.
    StableConfigGone,
}

impl ConditionType {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Ready,
        Self::Progressing,
        Self::Stalled,
        Self::Synced,
        Self::ChangesHeld,
        Self::GateBypassed,
        Self::EngineWaits,
        Self::EngineBlocked,
        Self::StableConfigGone,
    ];

    /// As it stands in `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Stalled => "Stalled",
            Self::Synced => "Synced",
            Self::ChangesHeld => "ChangesHeld",
            Self::GateBypassed => "GateBypassed",
            Self::EngineWaits => "EngineWaits",
            Self::EngineBlocked => "EngineBlocked",
            Self::StableConfigGone => "StableConfigGone",
        }
    }
}
