//! What happens to the config repository, story by story.

use chrono::TimeDelta;
use tidegate::git::{AtMost, Author, Proposal, local, propose};
use tidegate_engine::effect::{RevertOrder, RevertOutcome};
use tidegate_engine::state::GitRevision;

use crate::support::{BOTH, Fleet, Range, VALUES, Way, at, git, go, pushed, revert, values};

/// The same call again, by somebody with an empty cache: the same answer, and nothing is written.
fn and_then_nothing_more_happens(
    fleet: &Fleet,
    way: Way,
    order: &RevertOrder,
    answer: &RevertOutcome,
) {
    let tip = fleet.tip();
    assert_eq!(&revert(&fleet.remote(way), order).unwrap(), answer);
    assert_eq!(fleet.tip(), tip);
    fleet.fsck();
}

#[test]
fn a_mixed_commit_is_reverted_only_in_our_path_and_only_once() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        let tip = fleet.commit("docs", &[("README.md", Some("doc\n"))]);
        let order = range.order("t-1");
        let outcome = revert(&fleet.remote(way), &order).unwrap();
        let commit = pushed(&outcome);
        assert_eq!(fleet.tip(), commit);
        assert_eq!(fleet.read(VALUES), values("v2", 1));
        assert_eq!(fleet.read("apps/backend/values.yaml"), "tag: b3\n");
        assert_eq!(fleet.read("README.md"), "doc\n");
        let parent = git(&fleet.repo(), &["rev-parse", "main^"]);
        assert_eq!(parent.trim(), tip.as_str());
        let changed = git(&fleet.repo(), &["diff", "--name-only", "main^", "main"]);
        assert_eq!(changed.trim(), VALUES);
        assert_eq!(fleet.reverts("t-1"), 1);
        and_then_nothing_more_happens(&fleet, way, &order, &outcome);
    }
}

#[test]
fn a_branch_takes_so_many_reverts_in_an_hour_whoever_counts() {
    let hour = TimeDelta::hours(1);
    for way in BOTH {
        let (fleet, first) = Fleet::new().with_culprit();
        let taking = |since| fleet.remote(way).taking(AtMost { reverts: 1, since });
        let answer = revert(&taking(at() - hour), &first.order("t-1")).unwrap();
        pushed(&answer);
        // What is there already is no further one.
        assert_eq!(revert(&taking(at() - hour), &first.order("t-1")).unwrap(), answer);
        let (fleet, second) = fleet.with_culprit();
        let taking = |since| fleet.remote(way).taking(AtMost { reverts: 1, since });
        let tip = fleet.tip();
        let refused = revert(&taking(at() - hour), &second.order("t-2")).unwrap();
        assert!(matches!(refused, RevertOutcome::Retry { .. }), "{refused:?}");
        assert_eq!(fleet.tip(), tip);
        // An hour after the first one it is written, and then nothing more happens.
        let later = at() + TimeDelta::seconds(1);
        let written = revert(&taking(later), &second.order("t-2")).unwrap();
        pushed(&written);
        and_then_nothing_more_happens(&fleet, way, &second.order("t-2"), &written);
    }
}

#[test]
fn the_commit_says_what_why_who_and_when() {
    let (fleet, range) = Fleet::new().with_culprit();
    let commit = pushed(&revert(&fleet.remote(Way::Local), &range.order("t-1")).unwrap());
    let show = |format: &str| {
        git(&fleet.repo(), &["log", "-1", &format!("--format={format}"), commit.as_str()])
    };
    let bad = &range.bad;
    assert_eq!(
        show("%B").trim_end(),
        format!(
            "Revert \"bump frontend v3, backend b3\"\n\nThis reverts commit {bad}.\n\n\
             error rate 12 % against 1 % (p < 0.001, n = 4210)\n\n\
             Rollout: shop/frontend\nTidegate-Trial: t-1\nTidegate-Reverts: {bad}"
        )
    );
    let when = at().timestamp();
    let who = format!("Tidegate <tidegate@tidegate.invalid> {when}");
    assert_eq!(show("%an <%ae> %at").trim(), who);
    assert_eq!(show("%cn <%ce> %ct").trim(), who);
}

#[test]
fn a_newer_commit_on_another_line_is_kept() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        fleet.commit("cpu 2", &[(VALUES, Some(&values("v3", 2)))]);
        let outcome = revert(&fleet.remote(way), &range.order("t-1")).unwrap();
        pushed(&outcome);
        assert_eq!(fleet.read(VALUES), values("v2", 2));
        and_then_nothing_more_happens(&fleet, way, &range.order("t-1"), &outcome);
    }
}

#[test]
fn a_newer_commit_on_the_adjacent_line_is_a_conflict() {
    let (fleet, range) = Fleet::new().with_culprit();
    let newer = values("v3", 1).replace("replicas: 4", "replicas: 5");
    fleet.commit("replicas 5", &[(VALUES, Some(&newer))]);
    let outcome = revert(&fleet.remote(Way::Local), &range.order("t-1")).unwrap();
    assert_eq!(outcome, RevertOutcome::Conflict { paths: vec![VALUES.into()] });
    and_then_nothing_more_happens(&fleet, Way::Http, &range.order("t-1"), &outcome);
}

#[test]
fn a_fix_on_the_same_line_is_a_conflict() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        fleet.commit("v4, the fix", &[(VALUES, Some(&values("v4", 1)))]);
        let outcome = revert(&fleet.remote(way), &range.order("t-1")).unwrap();
        assert_eq!(outcome, RevertOutcome::Conflict { paths: vec![VALUES.into()] });
        and_then_nothing_more_happens(&fleet, way, &range.order("t-1"), &outcome);
    }
}

#[test]
fn what_a_person_reverted_by_hand_is_left_alone() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        let tip = fleet.commit("back to v2", &[(VALUES, Some(&values("v2", 1)))]);
        let outcome = revert(&fleet.remote(way), &range.order("t-1")).unwrap();
        assert_eq!(outcome, RevertOutcome::AlreadyReverted { tip });
        and_then_nothing_more_happens(&fleet, way, &range.order("t-1"), &outcome);
    }
}

#[test]
fn a_person_who_reverts_our_revert_wins() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        let outcome = revert(&fleet.remote(way), &range.order("t-1")).unwrap();
        pushed(&outcome);
        fleet.commit("Reapply v3", &[(VALUES, Some(&values("v3", 1)))]);
        and_then_nothing_more_happens(&fleet, way, &range.order("t-1"), &outcome);
        assert_eq!(fleet.read(VALUES), values("v3", 1));
    }
}

#[test]
fn a_second_trial_may_revert_what_a_person_reapplied() {
    let (fleet, range) = Fleet::new().with_culprit();
    let good = pushed(&revert(&fleet.remote(Way::Local), &range.order("t-1")).unwrap());
    let bad = fleet.commit("Reapply v3", &[(VALUES, Some(&values("v3", 1)))]);
    let again = Range { good, bad };
    pushed(&revert(&fleet.remote(Way::Local), &again.order("t-2")).unwrap());
    assert_eq!((fleet.reverts("t-1"), fleet.reverts("t-2")), (1, 1));
    assert_eq!(fleet.read(VALUES), values("v2", 1));
}

#[test]
fn a_path_renamed_after_the_culprit_is_not_followed() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        let web = "apps/web/values.yaml";
        fleet.commit("rename", &[(VALUES, None), (web, Some(&values("v3", 1)))]);
        let outcome = revert(&fleet.remote(way), &range.order("t-1")).unwrap();
        assert_eq!(outcome, RevertOutcome::Conflict { paths: vec![web.into()] });
        and_then_nothing_more_happens(&fleet, way, &range.order("t-1"), &outcome);
    }
}

#[test]
fn several_commits_of_the_range_become_one_revert_that_names_them_all() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        let other = fleet.commit("backend b4", &[("apps/backend/values.yaml", Some("tag: b4\n"))]);
        let newest = fleet.commit("cpu 8", &[(VALUES, Some(&values("v3", 8)))]);
        let order = Range { good: range.good.clone(), bad: newest.clone() }.order("t-1");
        let outcome = revert(&fleet.remote(way), &order).unwrap();
        let commit = pushed(&outcome);
        assert_eq!(fleet.read(VALUES), values("v2", 1));
        assert_eq!(fleet.read("apps/backend/values.yaml"), "tag: b4\n");
        let message = git(&fleet.repo(), &["log", "-1", "--format=%B", commit.as_str()]);
        assert!(message.starts_with("Revert \"cpu 8\" and 1 more\n"), "{message}");
        let trailer = format!("Tidegate-Reverts: {newest}, {}\n", range.bad);
        assert!(message.contains(&trailer), "{message}");
        assert!(!message.contains(other.as_str()), "{message}");
        and_then_nothing_more_happens(&fleet, way, &order, &outcome);
    }
}

#[test]
fn a_merge_is_reverted_as_a_whole() {
    let (fleet, range) = Fleet::new().with_culprit();
    let (repo, work) = (fleet.repo(), fleet.dir.path().join("work"));
    git(fleet.dir.path(), &["clone", "-q", repo.to_str().unwrap(), "work"]);
    git(&work, &["checkout", "-q", "-b", "pr"]);
    std::fs::write(work.join(VALUES), values("v5", 1)).unwrap();
    git(&work, &["commit", "-qam", "v5, first part"]);
    std::fs::write(work.join(VALUES), values("v5", 9)).unwrap();
    git(&work, &["commit", "-qam", "v5, second part"]);
    git(&work, &["checkout", "-q", "main"]);
    git(&work, &["merge", "-q", "--no-ff", "-m", "Merge pull request 7", "pr"]);
    git(&work, &["push", "-q", "origin", "main"]);
    let merge = fleet.tip();
    let order = Range { good: range.bad.clone(), bad: merge.clone() }.order("t-1");
    let outcome = revert(&fleet.remote(Way::Http), &order).unwrap();
    assert_eq!(fleet.read(VALUES), values("v3", 1));
    let message = git(&repo, &["log", "-1", "--format=%B", pushed(&outcome).as_str()]);
    let wanted = format!(
        "Revert \"Merge pull request 7\"\n\nThis reverts commit {merge}, reversing\n\
         changes made to {}.\n",
        range.bad
    );
    assert!(message.starts_with(&wanted), "{message}");
    and_then_nothing_more_happens(&fleet, Way::Http, &order, &outcome);
}

#[test]
fn our_revert_is_found_behind_a_merge_by_a_person() {
    // `git pull` makes the person's commit the first parent and our revert the second.
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        let (repo, work) = (fleet.repo(), fleet.dir.path().join("work"));
        git(fleet.dir.path(), &["clone", "-q", repo.to_str().unwrap(), "work"]);
        let outcome = revert(&fleet.remote(way), &range.order("t-1")).unwrap();
        std::fs::write(work.join("notes"), "x\n").unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "-qm", "notes"]);
        git(&work, &["pull", "-q", "--no-rebase", "--no-edit", "origin", "main"]);
        git(&work, &["push", "-q", "origin", "main"]);
        fleet.commit("Reapply v3", &[(VALUES, Some(&values("v3", 1)))]);
        and_then_nothing_more_happens(&fleet, way, &range.order("t-1"), &outcome);
    }
}

#[test]
fn a_trailer_far_back_on_a_side_branch_is_found_in_a_shallow_cache() {
    let (fleet, range) = Fleet::new().with_culprit();
    let repo = fleet.repo();
    // A side branch took our revert over, went on for longer than a first fetch, and was merged
    // without its content.
    git(&repo, &["update-ref", "refs/heads/side", range.good.as_str()]);
    let mut first = None;
    for n in 0..60 {
        let message = if n == 0 { "picked\n\nTidegate-Trial: t-1" } else { "side" };
        let changes = [("side".to_owned(), Some(n.to_string().into_bytes()))].into();
        let author = Author::default();
        let made = local::commit(&repo, "side", &changes, message, &author, at()).unwrap();
        first.get_or_insert(made);
    }
    let merge = ["commit-tree", "-m", "merge", "-p", "main", "-p", "side", "main^{tree}"];
    let merge = git(&repo, &merge);
    git(&repo, &["update-ref", "refs/heads/main", merge.trim()]);
    let outcome = RevertOutcome::Pushed { commit: first.unwrap() };
    and_then_nothing_more_happens(&fleet, Way::Http, &range.order("t-1"), &outcome);
}

#[test]
fn a_trailer_counts_in_any_commit_whoever_wrote_it() {
    let (fleet, range) = Fleet::new().with_culprit();
    let squashed = fleet.commit(
        "Squash of two\n\n* Revert \"bump\"\n\nTidegate-Trial: t-1\n\n* and docs",
        &[("README.md", Some("x"))],
    );
    let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
    assert_eq!(outcome, RevertOutcome::Pushed { commit: squashed });
    and_then_nothing_more_happens(&fleet, Way::Local, &range.order("t-1"), &outcome);
    pushed(&revert(&fleet.remote(Way::Local), &range.order("t-11")).unwrap());
    assert_eq!(fleet.reverts("t-11"), 1);
}

#[test]
fn without_a_way_back_nothing_is_reverted() {
    for way in BOTH {
        let fleet = Fleet::new();
        let root = fleet.commit("init", &[("README.md", Some("x"))]);
        let first = fleet.commit("frontend: v1", &[(VALUES, Some(&values("v1", 1)))]);
        let order = |good: &GitRevision, bad: &GitRevision| {
            Range { good: good.clone(), bad: bad.clone() }.order("t-1")
        };
        let no_baseline = RevertOutcome::NoBaseline;
        let root_order = order(&root, &root);
        assert_eq!(revert(&fleet.remote(way), &order(&root, &first)).unwrap(), no_baseline);
        assert_eq!(revert(&fleet.remote(way), &root_order).unwrap(), no_baseline);
        and_then_nothing_more_happens(&fleet, way, &root_order, &no_baseline);
    }
}

#[test]
fn a_range_that_does_not_touch_the_path_explains_nothing() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        let bad = fleet.commit("docs", &[("README.md", Some("doc\n"))]);
        let unknown = RevertOutcome::CulpritUnknown;
        for (good, bad) in [(&range.bad, &bad), (&bad, &bad)] {
            let range = Range { good: good.clone(), bad: bad.clone() };
            and_then_nothing_more_happens(&fleet, way, &range.order("t-1"), &unknown);
        }
    }
}

#[test]
fn a_revision_that_left_the_branch_is_for_people() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        let gone = fleet.commit("v4", &[(VALUES, Some(&values("v4", 1)))]);
        git(&fleet.repo(), &["update-ref", "refs/heads/main", range.bad.as_str()]);
        fleet.commit("other", &[("README.md", Some("x"))]);
        let order = |good: &GitRevision, bad: &GitRevision| {
            Range { good: good.clone(), bad: bad.clone() }.order("t-1")
        };
        let answer = RevertOutcome::NotOnBranch;
        let never = GitRevision::new("1".repeat(40));
        for order in [
            order(&range.good, &gone),
            order(&gone, &range.bad),
            order(&range.good, &never),
            order(&never, &range.bad),
            order(&range.bad, &range.good),
        ] {
            and_then_nothing_more_happens(&fleet, way, &order, &answer);
        }
    }
}

#[test]
fn a_range_longer_than_the_first_fetch_is_fetched_deeper() {
    let (fleet, range) = Fleet::new().with_culprit();
    for n in 0..70 {
        fleet.commit(&format!("other {n}"), &[("other", Some(&n.to_string()))]);
    }
    let cache = fleet.dir.path().join("shared");
    let remote = fleet.remote_in(Way::Http, &cache);
    // A first look fetches 50 commits; the culprit lies before them.
    remote.mirror("main").unwrap().fetch(&go()).unwrap();
    let outcome = revert(&remote, &range.order("t-1")).unwrap();
    assert_eq!(fleet.read(VALUES), values("v2", 1));
    and_then_nothing_more_happens(&fleet, Way::Http, &range.order("t-1"), &outcome);
    // The cache goes on being used after it was deepened.
    fleet.commit("Reapply v3", &[(VALUES, Some(&values("v3", 1)))]);
    assert_eq!(revert(&remote, &range.order("t-1")).unwrap(), outcome);
}

#[test]
fn a_shallow_cache_follows_the_branch() {
    let (fleet, mut range) = Fleet::new().with_culprit();
    let remote = fleet.remote_in(Way::Http, &fleet.dir.path().join("shared"));
    let mirror = remote.mirror("main").unwrap();
    for n in 0..60 {
        fleet.commit(&format!("other {n}"), &[("other", Some(&n.to_string()))]);
    }
    for round in 0..12 {
        range.good = fleet.tip();
        range.bad = fleet.commit("cpu", &[(VALUES, Some(&values("v3", 100 + round)))]);
        assert_eq!(mirror.fetch(&go()).unwrap().commit, range.bad);
        let trial = format!("t-{round}");
        pushed(&revert(&remote, &range.order(&trial)).unwrap());
        assert_eq!(fleet.reverts(&trial), 1);
    }
    assert_eq!(fleet.read(VALUES), values("v3", 1));
}

#[test]
fn a_proposal_names_the_commit_and_writes_nothing() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        let order = range.order("t-1");
        let (remote, author) = (fleet.remote(way), Author::default());
        let Proposal::Commit(proposed) = propose(&remote, &order, &author, &go()).unwrap() else {
            panic!("nothing proposed");
        };
        assert_eq!((fleet.tip(), fleet.server.pushes()), (range.bad.clone(), 0));
        assert_eq!((&proposed.onto, &proposed.culprits), (&range.bad, &vec![range.bad.clone()]));
        // A crash before the push changes nothing: later the same commit is made again.
        let commit = pushed(&revert(&fleet.remote(way), &order).unwrap());
        assert_eq!(commit, proposed.commit);
        let settled = propose(&remote, &order, &author, &go()).unwrap();
        assert_eq!(settled, Proposal::Settled(RevertOutcome::Pushed { commit }));
    }
}

#[test]
fn every_path_of_an_order_goes_back_and_a_new_one_goes_away() {
    let (fleet, range) = Fleet::new().with_culprit();
    let bad = fleet.commit(
        "more",
        &[("apps/shared/x.yaml", Some("new\n")), ("apps/backend/values.yaml", Some("tag: b9\n"))],
    );
    let mut order = Range { good: range.good, bad }.order("t-1");
    order.paths = vec!["./apps/frontend/".into(), "apps/shared".into()];
    pushed(&revert(&fleet.remote(Way::Http), &order).unwrap());
    assert_eq!(fleet.read(VALUES), values("v2", 1));
    let files = git(&fleet.repo(), &["ls-tree", "-r", "--name-only", "main"]);
    assert!(!files.contains("shared"), "{files}");
    assert_eq!(fleet.read("apps/backend/values.yaml"), "tag: b9\n");
}

#[test]
fn it_runs_on_blocking_threads_of_an_async_program() {
    let (fleet, range) = Fleet::new().with_culprit();
    let (remote, order) = (fleet.remote(Way::Http), range.order("t-1"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let outcome = runtime.block_on(async {
        let kept = remote.clone();
        let outcome = tokio::task::spawn_blocking(move || revert(&remote, &order)).await;
        // The last handle on the HTTP client goes away on an async thread.
        tokio::task::yield_now().await;
        drop(kept);
        outcome.unwrap().unwrap()
    });
    assert_eq!(fleet.tip(), pushed(&outcome));
}
