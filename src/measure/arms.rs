//! Whose samples: both arms, as Kubernetes knows them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tidegate_api::MeasuredBy;
use tidegate_engine::judge::counter::Side;

use super::source::Settings;
use crate::kubernetes::Target;
use crate::observe::{PodSeen, Seen};
use crate::resolve::{CounterQuery, CounterTexts, INSTANCE_LABEL, process_starts};

/// Both arms. Kubernetes says which pods are the canary's; no label of a series does.
#[derive(Clone, Copy, Debug)]
pub struct Arms<'a> {
    /// The namespace of all of them.
    pub namespace: &'a str,
    /// The canary's pods, those that end too.
    pub canary: &'a [PodSeen],
    /// Stable's pods, those that end too.
    pub stable: &'a [PodSeen],
    /// The Service that selects the canary alone.
    pub canary_service: &'a str,
    /// The Service behind the routes. `None`: nobody sends requests.
    pub stable_service: Option<&'a str>,
}

impl<'a> Arms<'a> {
    /// Both arms at one look.
    pub fn of(target: &'a Target, seen: &'a Seen) -> Self {
        Self {
            namespace: &target.namespace,
            canary: &seen.canary_pods,
            stable: &seen.stable_pods,
            canary_service: &target.canary_service.name,
            stable_service: target.service(),
        }
    }

    /// Pods with their side.
    pub(super) fn pods(&self) -> impl Iterator<Item = (Side, &'a PodSeen)> {
        let stable = self.stable.iter().map(|pod| (Side::Stable, pod));
        stable.chain(self.canary.iter().map(|pod| (Side::Canary, pod)))
    }

    /// Names of the canary's pods that are there.
    pub(super) fn canary_names(&self) -> Vec<String> {
        names(self.canary)
    }

    /// Names of stable's pods that are there.
    pub(super) fn stable_names(&self) -> Vec<String> {
        names(self.stable)
    }
}

fn names(pods: &[PodSeen]) -> Vec<String> {
    pods.iter().filter(|pod| !pod.gone).map(|pod| pod.name.clone()).collect()
}

/// Counters that are asked for together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Whose they are. `None`: the process' name says so.
    pub(super) side: Option<Side>,
    pub(super) texts: CounterTexts,
    /// When the processes started. `None`: not asked.
    pub(super) started: Option<String>,
    /// The label that names the process.
    pub(super) label: String,
}

impl Group {
    /// A process of this group, as the ledger calls it: one gateway counts for both arms.
    pub(super) fn name(&self, process: &str) -> String {
        self.side.map_or_else(|| process.to_owned(), |side| arm_at(side, process))
    }

    /// The other arm at the same process. `None`: a process is of one arm.
    pub(super) fn twin(&self, process: &str) -> Option<String> {
        let other = match self.side? {
            Side::Canary => Side::Stable,
            Side::Stable => Side::Canary,
        };
        Some(arm_at(other, process))
    }
}

fn arm_at(side: Side, process: &str) -> String {
    match side {
        Side::Canary => format!("canary behind {process}"),
        Side::Stable => format!("stable behind {process}"),
    }
}

/// What is asked for a pair of counters. `pods`: those whose counters are asked for.
pub(super) fn groups(
    query: &CounterQuery,
    arms: &Arms<'_>,
    settings: &Settings,
    pods: &[String],
) -> Vec<Group> {
    match query.by {
        MeasuredBy::Pod => {
            let (namespace, pod) = (settings.namespace.as_str(), settings.pod.as_str());
            vec![Group {
                side: None,
                texts: query.by_pod(namespace, arms.namespace, pod, pods),
                started: Some(process_starts(namespace, arms.namespace, pod, pods)),
                label: settings.pod.clone(),
            }]
        }
        MeasuredBy::Backend => {
            let stable = arms.stable_service.map(|service| (Side::Stable, service));
            let both = stable.into_iter().chain([(Side::Canary, arms.canary_service)]);
            let group = |(side, service)| Group {
                side: Some(side),
                texts: query.by_backend(service),
                started: None,
                label: INSTANCE_LABEL.to_owned(),
            };
            both.map(group).collect()
        }
    }
}

/// When a pod was created, as far as it is known: an unknown age is a great one for stable, whose
/// counters then start with their first reading.
pub(super) fn created(side: Side, pod: &PodSeen, since: DateTime<Utc>) -> DateTime<Utc> {
    pod.created.unwrap_or(match side {
        Side::Canary => since,
        Side::Stable => DateTime::UNIX_EPOCH,
    })
}

/// By name of the criterion.
pub(super) type ByCriterion<T> = BTreeMap<String, T>;
