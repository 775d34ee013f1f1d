//! Six writers at once with the same order, and a person who pushes in between.

use std::sync::Barrier;

use chrono::DateTime;
use tidegate::git::{Author, local};
use tidegate_engine::effect::RevertOutcome;

use crate::support::{BOTH, Fleet, VALUES, Way, revert, values};

const ROUNDS: u32 = 10;
const WRITERS: u32 = 6;

#[test]
fn six_writers_and_a_person_make_one_revert() {
    for way in BOTH {
        let (fleet, mut range) = Fleet::new().with_culprit();
        let shared = fleet.dir.path().join("shared");
        for round in 0..ROUNDS {
            let trial = format!("t-{round}");
            one_round(&fleet, way, &range, &trial, &shared);
            range.good = fleet.tip();
            let next = values(&format!("v{}", round + 10), 1);
            range.bad = fleet.commit("next", &[(VALUES, Some(&next))]);
        }
        fleet.fsck();
    }
}

fn one_round(
    fleet: &Fleet,
    way: Way,
    range: &crate::support::Range,
    trial: &str,
    shared: &std::path::Path,
) {
    let before = fleet.tip();
    let start = Barrier::new(WRITERS as usize + 1);
    let order = range.order(trial);
    // Half of the writers share a cache, as replicas on one machine would.
    let remotes: Vec<_> = (0..WRITERS)
        .map(|n| if n % 2 == 0 { fleet.remote(way) } else { fleet.remote_in(way, shared) })
        .collect();
    let repo = fleet.repo();
    let outcomes: Vec<RevertOutcome> = std::thread::scope(|scope| {
        let writers: Vec<_> = remotes
            .iter()
            .map(|remote| {
                scope.spawn(|| {
                    start.wait();
                    revert(remote, &order).unwrap()
                })
            })
            .collect();
        scope.spawn(|| {
            start.wait();
            let changes = [("README.md".to_owned(), Some(trial.as_bytes().to_vec()))].into();
            let author = Author { name: "dev".into(), email: "dev@example.invalid".into() };
            let at = DateTime::from_timestamp(1_790_060_000, 0).unwrap();
            local::commit(&repo, "main", &changes, "person", &author, at).unwrap();
        });
        writers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    let commit = match &outcomes[0] {
        RevertOutcome::Pushed { commit } => commit.clone(),
        other => panic!("{other:?}"),
    };
    for outcome in &outcomes {
        assert_eq!(outcome, &RevertOutcome::Pushed { commit: commit.clone() });
    }
    assert_eq!(fleet.reverts(trial), 1, "{way:?} {trial}");
    assert_eq!(fleet.read("README.md"), trial);
    // Nothing of anybody's was lost: the revert and the person's commit, nothing else.
    let range = format!("{before}..main");
    let log = crate::support::git(&fleet.repo(), &["log", "--format=%an", &range]);
    let mut names: Vec<_> = log.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["Tidegate", "dev"]);
}
