//! The plan: from the Rollout that the sync brought, faster in the waits that a demo cannot show.

use chrono::TimeDelta;
use tidegate_engine::judge::{Analysis, Bounds, Criterion, Kind, Margin, PassMargin, Ratio};
use tidegate_engine::plan::{
    GitPlan, GitWrite, Limits, Mode, OnFailure, OnInconclusive, OnLowTraffic, Plan, Step, Traffic,
    Weight,
};

use crate::sync::LocalCluster;

/// The plan of the Rollout in the cluster.
pub fn of(_api: &LocalCluster) -> Result<Plan, String> {
    let weight = |percent, seconds| {
        let weight = Weight::new(percent).unwrap_or(Weight::FULL);
        Step::Weight { weight, bake: TimeDelta::seconds(seconds) }
    };
    let margin = Margin::new(1.5, 0.01).map_err(|error| error.to_string())?;
    let criterion = |name: &str, ratio| Criterion {
        name: name.to_owned(),
        weight: None,
        kind: Kind::Ratio(ratio),
    };
    Ok(Plan {
        rollout: "shop/web".to_owned(),
        uid: "demo".to_owned(),
        mode: Mode::Enforce,
        traffic: Traffic::Routes,
        steps: vec![weight(10, 4), weight(50, 3), weight(100, 2)],
        analysis: Analysis {
            criteria: vec![
                criterion(
                    "http-errors",
                    Ratio { pass: PassMargin::Fixed(margin), ..Ratio::ERRORS },
                ),
                criterion("http-latency", Ratio::SLOW),
            ],
            window: TimeDelta::seconds(1),
            grace: TimeDelta::seconds(10),
            bounds: Bounds::STANDARD,
        },
        on_failure: OnFailure::Revert,
        on_inconclusive: OnInconclusive::Pause,
        on_low_traffic: OnLowTraffic::Pause,
        limits: Limits {
            drain: TimeDelta::seconds(2),
            scale_down_delay: TimeDelta::seconds(2),
            ..Limits::default()
        },
        git: Some(GitPlan {
            repository: "config".to_owned(),
            branch: super::repository::BRANCH.to_owned(),
            paths: vec![super::repository::PATH.to_owned()],
            write: GitWrite::Push,
        }),
    })
}
