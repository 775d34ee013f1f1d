//! `tidegate simulate`: the user's own Rollout and templates against made-up traffic, in virtual
//! time. One run tells a story; many give shares: false rollbacks, wrong promotions, time to
//! detect.

pub mod read;
pub mod show;
pub mod statistics;

use std::path::{Path, PathBuf};

use tidegate_api as api;
use tidegate_engine::judge::Kind;
use tidegate_engine::plan::{GitPlan, GitWrite, Plan};
use tidegate_engine::sim::{self, Measure, Run, Scenario, Truth};

use crate::resolve::{
    Fault, FieldPath, Invalid, Objects, Query, References, Resolved, load, resolve, shipped,
};

/// Stands for a file where the scenario is the one that comes along.
const BUILT_IN: &str = "bad-release.yaml (built in)";
/// The scenario when none is named.
const BAD_RELEASE: &str = include_str!("../../examples/scenarios/bad-release.yaml");

/// A Rollout and a scenario, ready to be run.
#[derive(Clone, Debug)]
pub struct World {
    /// What the user asked for.
    pub plan: Plan,
    /// What each criterion measures.
    pub measures: Vec<Measure>,
    /// What happens.
    pub scenario: Scenario,
}

impl World {
    /// Reads Rollout, class and templates from `files`, and a scenario; `None` is a release that
    /// fails one request in five. All that is wrong is told at once.
    pub fn read(files: &[PathBuf], scenario: Option<&Path>) -> Result<Self, Vec<Invalid>> {
        let objects = load(files);
        let scenario = match scenario {
            Some(file) => read::file(file),
            None => read::text(Path::new(BUILT_IN), BAD_RELEASE),
        };
        let (objects, scenario) = match (objects, scenario) {
            (Ok(objects), Ok(scenario)) => (objects, scenario),
            (objects, scenario) => {
                let wrong = [objects.err(), scenario.err()];
                return Err(wrong.into_iter().flatten().flatten().collect());
            }
        };
        let rollout = only_rollout(&objects, files)?;
        let resolved = resolve_rollout(rollout, &objects)?;
        let measures = measures(&resolved, &scenario)?;
        Ok(Self { plan: resolved.plan, measures, scenario: scenario.scenario })
    }

    /// Runs it once. The same seed gives the same run.
    pub fn run(&self, seed: u64) -> Run {
        sim::run(&self.plan, &self.measures, &self.scenario, seed)
    }

    /// Whether the release is worse, as its laws say it.
    pub fn truth(&self) -> Truth {
        sim::truth(&self.plan, &self.measures, &self.scenario)
    }
}

fn only_rollout<'a>(
    objects: &'a Objects,
    files: &[PathBuf],
) -> Result<&'a api::Rollout, Vec<Invalid>> {
    match objects.rollouts.as_slice() {
        [rollout] => Ok(rollout),
        others => Err(vec![Invalid {
            file: files.first().cloned(),
            line: 0,
            object: None,
            field: FieldPath::root(),
            found: format!("{} Rollouts in all files", others.len()),
            expected: "exactly one".to_owned(),
        }]),
    }
}

/// The Rollout with what the files and Tidegate itself bring along. A simulated world has a route,
/// and a repository that takes a revert: neither is looked for.
fn resolve_rollout(rollout: &api::Rollout, objects: &Objects) -> Result<Resolved, Vec<Invalid>> {
    let mut templates = objects.cluster_templates.clone();
    templates.extend(shipped()?);
    let references = References {
        classes: &objects.classes,
        templates: &objects.templates,
        cluster_templates: &templates,
        repositories: &objects.repositories,
        sources: None,
        routes_found: true,
    };
    let mut rollout = rollout.clone();
    let unknown = rollout.spec.git.take_if(|_| objects.repositories.is_empty());
    let mut resolved = resolve(&rollout, &references).map_err(|faults| objects.locate(faults))?;
    resolved.plan.git.get_or_insert_with(|| GitPlan {
        repository: unknown.as_ref().map_or("simulated", |git| git.repository.as_str()).to_owned(),
        branch: "main".to_owned(),
        paths: unknown.map_or_else(
            || vec![resolved.workload.clone()],
            |git| git.paths.iter().map(ToString::to_string).collect(),
        ),
        write: GitWrite::Push,
    });
    Ok(resolved)
}

/// What each criterion measures, in the order of the plan.
fn measures(resolved: &Resolved, read: &read::Read) -> Result<Vec<Measure>, Vec<Invalid>> {
    let values = &read.scenario.values;
    let at = FieldPath::of("values");
    let mut faults = Vec::new();
    let mut measures = Vec::new();
    for criterion in &resolved.plan.analysis.criteria {
        let slower_than = resolved.queries.get(&criterion.name).and_then(|query| match query {
            Query::Counters(counters) => counters.slower_than,
            Query::Scalar(_) => None,
        });
        measures.push(match (&criterion.kind, slower_than) {
            (Kind::Ratio(_), Some(bound)) => Measure::Slow(bound),
            (Kind::Ratio(_), None) => Measure::Errors,
            (Kind::Threshold(_), _) => {
                let value = values.get(&criterion.name);
                if value.is_none() {
                    let expected = "a number: what this metric of the analysis measures";
                    faults.push(Fault::new(&at.field(&criterion.name), "nothing", expected));
                }
                Measure::Value(value.copied().unwrap_or_default())
            }
        });
    }
    for name in values.keys() {
        let criteria = &resolved.plan.analysis.criteria;
        let is_threshold = |kind: &Kind| matches!(kind, Kind::Threshold(_));
        if !criteria.iter().any(|known| known.name == *name && is_threshold(&known.kind)) {
            let expected = "the name of a metric with a threshold";
            faults.push(Fault::new(&at.field(name), "an unknown metric", expected));
        }
    }
    if faults.is_empty() { Ok(measures) } else { Err(read.locate(faults)) }
}
