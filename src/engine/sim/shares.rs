//! Where the requests of the toy cluster go.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use crate::observed::{Pinned, RouteView};
use crate::plan::{Traffic, Weight};
use crate::state::Revision;

impl Cluster {
    /// Ready pods of a revision, whoever owns them.
    pub fn ready(&self, revision: &Revision) -> u32 {
        let own = self.sets.get(revision).map_or(0, |set| set.ready);
        let ours = self.canary.as_ref().filter(|(known, _)| known == revision);
        own.saturating_add(ours.map_or(0, |(_, set)| set.ready))
    }

    /// The share of requests that is sent to each revision, 0 to 1, whether or not anything there
    /// can answer; what is sent to nobody is missing from the sum.
    pub fn shares(&self, traffic: Traffic) -> BTreeMap<Revision, f64> {
        let weight = match self.accepted {
            RouteView::Split(weight) if traffic == Traffic::Routes => {
                f64::from(weight.percent()) / 100.0
            }
            RouteView::Split(_) | RouteView::Home => 0.0,
        };
        let mut shares = self.of_service();
        for share in shares.values_mut() {
            *share *= 1.0 - weight;
        }
        if let Some((canary, _)) = self.canary.as_ref().filter(|(_, set)| set.ready > 0) {
            *shares.entry(canary.clone()).or_default() += weight;
        }
        shares
    }

    fn of_service(&self) -> BTreeMap<Revision, f64> {
        let ours = self.canary.iter().map(|(revision, set)| (revision, set));
        let mut shares = BTreeMap::<Revision, f64>::new();
        for (revision, set) in self.sets.iter().chain(ours) {
            let selected = match &self.pinned {
                Pinned::To(pinned) => pinned == revision,
                Pinned::All | Pinned::Mixed => true,
                Pinned::NoService => false,
            };
            if selected && set.ready > 0 {
                *shares.entry(revision.clone()).or_default() += f64::from(set.ready);
            }
        }
        let all: f64 = shares.values().sum();
        for share in shares.values_mut() {
            *share /= all;
        }
        shares
    }

    /// The canary's weight as the routes say it.
    pub fn weight(&self) -> Weight {
        match self.written {
            RouteView::Split(weight) => weight,
            RouteView::Home => Weight::ZERO,
        }
    }
}
