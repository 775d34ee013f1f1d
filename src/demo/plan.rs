//! The plan: from the Rollout that the sync brought, faster in the waits that a demo cannot show.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::de::DeserializeOwned;
use tidegate_api::{AnalysisTemplate, Rollout};
use tidegate_engine::plan::Plan;

use super::story::SCRAPE;
use crate::resolve::{self, Query, References, Second};
use crate::sync::LocalCluster;

/// What an administrator would have set up: the repository that may be written to.
const REPOSITORY: &str = include_str!("manifests/repository.yaml");

/// Evidence windows: four scrapes instead of fifteen seconds.
const WINDOW: u32 = 4;
/// Instead of half a minute each: requests here take milliseconds, and the way back is shown once.
const SHORT: TimeDelta = TimeDelta::seconds(2);

/// A plan, and what the judge is given for it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What the engine follows.
    pub plan: Plan,
    /// The criteria for which slow answers are the bad ones; for the others failed ones are.
    pub slow: BTreeSet<String>,
}

/// The plan of the Rollout in the cluster; what is wrong with it, a line each.
pub fn of(api: &LocalCluster) -> Result<Planned, String> {
    let rollouts: Vec<Rollout> = all(api, "Rollout")?;
    let rollout = rollouts.first().ok_or("the repository has no Rollout")?;
    let templates: Vec<AnalysisTemplate> = all(api, "AnalysisTemplate")?;
    let admin = resolve::load_text("repository.yaml", REPOSITORY).map_err(lines)?;
    let references = References {
        templates: &templates,
        cluster_templates: &resolve::shipped().map_err(lines)?,
        repositories: &admin.repositories,
        ..References::default()
    };
    let resolved = resolve::resolve(rollout, &references).map_err(lines)?;
    let slow = resolved.queries.iter().filter(|(_, query)| counts_slow(query));
    let slow = slow.map(|(name, _)| name.clone()).collect();
    let mut plan = resolved.plan;
    let scrape = TimeDelta::from_std(SCRAPE).unwrap_or(SHORT);
    plan.analysis.window = scrape * i32::try_from(WINDOW).unwrap_or(1);
    plan.limits.drain = SHORT;
    plan.limits.scale_down_delay = SHORT;
    Ok(Planned { plan, slow })
}

fn all<T: DeserializeOwned>(api: &LocalCluster, kind: &str) -> Result<Vec<T>, String> {
    let objects = api.list("tidegate.dev", kind, None).into_iter();
    objects
        .map(|object| serde_json::from_value(object).map_err(|error| format!("{kind}: {error}")))
        .collect()
}

fn counts_slow(query: &Query) -> bool {
    matches!(query, Query::Counters(counters) if matches!(counters.second, Second::Fast(_)))
}

fn lines<T: ToString>(faults: Vec<T>) -> String {
    faults.into_iter().map(|fault| fault.to_string()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::samples::SLOW;
    use crate::sync::CONTROLLER;

    #[test]
    fn the_manifests_of_the_demo_make_a_plan() {
        let (rollout, analysis) =
            (include_str!("manifests/rollout.yaml"), include_str!("manifests/analysis.yaml"));
        let api = LocalCluster::new();
        for text in [rollout, analysis] {
            let mut object: serde_json::Value = serde_saphyr::from_str(text).unwrap();
            object["metadata"]["namespace"] = "shop".into();
            let _stored = api.apply(&object, CONTROLLER, true).unwrap();
        }
        let planned = of(&api).unwrap();
        assert_eq!(planned.plan.steps.len(), 3);
        assert_eq!(planned.plan.analysis.criteria.len(), 2);
        assert_eq!(planned.slow.len(), 1);
        assert!(planned.plan.git.is_some());
        // What counts as slow in the samples is what the template says.
        assert!(analysis.contains(&format!("slo: {}ms", SLOW * 1e3)));
    }
}
