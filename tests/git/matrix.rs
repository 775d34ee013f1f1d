//! Everything that can go wrong with a push, and what is on the branch afterwards.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::DateTime;
use tidegate::git::{Author, Limits, local};
use tidegate_engine::effect::RevertOutcome;
use tidegate_engine::state::GitRevision;

use crate::server::{Act, Seen};
use crate::support::{Fleet, PASSWORD, VALUES, Way, git, limits, pushed, revert, values};

/// Acts on the first so many requests that are wanted, serves all others.
fn first(
    most: usize,
    wanted: impl Fn(&Seen) -> bool + Send + 'static,
    act: Act,
) -> impl FnMut(&Seen) -> Act + Send + 'static {
    let mut done = 0;
    move |seen| {
        if wanted(seen) && done < most {
            done += 1;
            act.clone()
        } else {
            Act::Serve
        }
    }
}

fn reverted_once(fleet: &Fleet, commit: &GitRevision) {
    assert_eq!(fleet.reverts("t-1"), 1);
    assert_eq!(fleet.read(VALUES), values("v2", 1));
    assert_eq!(&fleet.tip(), commit);
    fleet.fsck();
}

#[test]
fn a_lost_answer_is_found_out_by_reading_again() {
    for act in [Act::ServeThenCut, Act::ServeSome(0), Act::ServeSome(12)] {
        let (fleet, range) = Fleet::new().with_culprit();
        fleet.server.script(first(1, Seen::is_push, act));
        let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
        reverted_once(&fleet, &pushed(&outcome));
        assert_eq!(fleet.server.pushes(), 1);
    }
}

#[test]
fn a_push_that_never_arrived_is_made_again_with_the_same_id() {
    for act in [Act::Cut, Act::Status(500), Act::Status(503)] {
        let (fleet, range) = Fleet::new().with_culprit();
        let order = range.order("t-1");
        // Until the call gives up; what it would have pushed is known.
        fleet.server.script(first(usize::MAX, Seen::is_push, act));
        let wanted = match tidegate::git::propose(
            &fleet.remote(Way::Http),
            &order,
            &Author::default(),
            &crate::support::go(),
        ) {
            Ok(tidegate::git::Proposal::Commit(proposed)) => proposed.commit,
            other => panic!("{other:?}"),
        };
        let outcome = revert(&fleet.remote(Way::Http), &order).unwrap();
        assert!(matches!(outcome, RevertOutcome::Retry { .. }), "{outcome:?}");
        assert_eq!((fleet.reverts("t-1"), fleet.server.pushes()), (0, 5));
        fleet.server.heal();
        let outcome = revert(&fleet.remote(Way::Http), &order).unwrap();
        assert_eq!(outcome, RevertOutcome::Pushed { commit: wanted.clone() });
        reverted_once(&fleet, &wanted);
    }
}

#[test]
fn a_crash_after_the_push_leads_to_the_same_answer() {
    let (fleet, range) = Fleet::new().with_culprit();
    let order = range.order("t-1");
    // The answer and everything after it are lost: as good as a crash.
    let mut gone = false;
    fleet.server.script(move |seen| {
        if gone {
            return Act::Cut;
        }
        gone = seen.is_push();
        if gone { Act::ServeThenCut } else { Act::Serve }
    });
    let outcome = revert(&fleet.remote(Way::Http), &order).unwrap();
    assert!(matches!(outcome, RevertOutcome::Retry { .. }), "{outcome:?}");
    let commit = fleet.tip();
    fleet.server.heal();
    let outcome = revert(&fleet.remote(Way::Http), &order).unwrap();
    assert_eq!(outcome, RevertOutcome::Pushed { commit: commit.clone() });
    reverted_once(&fleet, &commit);
    assert_eq!(fleet.server.pushes(), 1);
}

#[test]
fn no_right_to_write_is_a_refusal() {
    for code in [401, 403] {
        let (fleet, range) = Fleet::new().with_culprit();
        fleet.server.script(first(usize::MAX, Seen::is_push_advertisement, Act::Status(code)));
        let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
        let RevertOutcome::Refused { message } = &outcome else { panic!("{outcome:?}") };
        assert!(message.contains(&code.to_string()) && !message.contains(PASSWORD), "{message}");
        fleet.server.script(first(usize::MAX, Seen::is_push, Act::Status(code)));
        let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
        assert!(matches!(outcome, RevertOutcome::Refused { .. }), "{outcome:?}");
        assert_eq!((fleet.reverts("t-1"), fleet.tip()), (0, range.bad));
    }
}

#[test]
fn trouble_before_anything_is_sent_is_worth_another_try() {
    let (fleet, range) = Fleet::new().with_culprit();
    fleet.server.script(first(usize::MAX, Seen::is_push_advertisement, Act::Status(502)));
    let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
    assert!(matches!(outcome, RevertOutcome::Retry { .. }), "{outcome:?}");
    assert_eq!(fleet.server.pushes(), 0);
}

#[test]
fn a_silent_server_does_not_hold_us() {
    let (fleet, range) = Fleet::new().with_culprit();
    fleet.server.script(first(1, Seen::is_push, Act::Silence(Duration::from_secs(30))));
    let answer = Duration::from_millis(500);
    let remote = fleet.remote(Way::Http).with_limits(Limits { answer, ..limits() });
    let began = std::time::Instant::now();
    let outcome = revert(&remote, &range.order("t-1")).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    reverted_once(&fleet, &pushed(&outcome));
}

fn hook(fleet: &Fleet, text: &str) {
    let path = fleet.repo().join("hooks/pre-receive");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_hook_that_refuses_is_quoted_in_plain_text() {
    let (fleet, range) = Fleet::new().with_culprit();
    hook(&fleet, "echo 'branch main is protected' >&2; printf 'a\\033[31mred\\n' >&2; exit 1");
    let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
    let RevertOutcome::Refused { message } = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("pre-receive hook declined"), "{message}");
    assert!(message.contains("branch main is protected"), "{message}");
    assert!(!message.chars().any(char::is_control), "{message:?}");
    assert_eq!((fleet.server.pushes(), fleet.reverts("t-1")), (1, 0));
    fleet.fsck();
}

/// A person's commit, written straight into the repository behind the server.
fn person(repo: &std::path::Path, n: usize) {
    let changes = [("README.md".to_owned(), Some(format!("race {n}\n").into_bytes()))].into();
    let author = Author { name: "dev".into(), email: "dev@example.invalid".into() };
    let at = DateTime::from_timestamp(1_790_050_000 + i64::try_from(n).unwrap(), 0).unwrap();
    local::commit(repo, "main", &changes, "race", &author, at).unwrap();
}

#[test]
fn a_person_who_is_faster_is_built_upon() {
    // Before the advertisement (we notice), and after it (the server notices).
    for after in [false, true] {
        let (fleet, range) = Fleet::new().with_culprit();
        let (repo, raced) = (fleet.repo(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&raced);
        fleet.server.script(move |seen| {
            let now = if after { seen.is_push() } else { seen.is_push_advertisement() };
            if now && count.load(Ordering::Relaxed) < 2 {
                person(&repo, count.fetch_add(1, Ordering::Relaxed));
            }
            Act::Serve
        });
        let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
        reverted_once(&fleet, &pushed(&outcome));
        assert_eq!(raced.load(Ordering::Relaxed), 2);
        // What the advertisement shows to be moved is not pushed at all.
        assert_eq!(fleet.server.pushes(), if after { 3 } else { 1 });
        assert_eq!(fleet.read("README.md"), "race 1\n");
        let log = git(&fleet.repo(), &["log", "--format=%s", "main"]);
        assert_eq!(log.lines().filter(|l| *l == "race").count(), 2);
    }
}

#[test]
fn a_person_who_is_always_faster_leaves_it_for_later() {
    let (fleet, range) = Fleet::new().with_culprit();
    let (repo, count) = (fleet.repo(), AtomicUsize::new(0));
    fleet.server.script(move |seen| {
        if seen.is_push_advertisement() {
            person(&repo, count.fetch_add(1, Ordering::Relaxed));
        }
        Act::Serve
    });
    let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
    assert!(matches!(outcome, RevertOutcome::Retry { .. }), "{outcome:?}");
    fleet.server.heal();
    let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
    reverted_once(&fleet, &pushed(&outcome));
}

#[test]
fn a_server_with_alternates_is_understood() {
    // Fork networks advertise `.have` lines beside the branches.
    let (fleet, range) = Fleet::new().with_culprit();
    let (root, repo) = (fleet.dir.path(), fleet.repo());
    git(root, &["clone", "-q", "--bare", "remote.git", "pool.git"]);
    let extra = git(&root.join("pool.git"), &["commit-tree", "-m", "z", "main^{tree}"]);
    git(&root.join("pool.git"), &["update-ref", "refs/heads/x", extra.trim()]);
    let info = repo.join("objects/info");
    std::fs::create_dir_all(&info).unwrap();
    let pool = root.join("pool.git/objects");
    std::fs::write(info.join("alternates"), format!("{}\n", pool.display())).unwrap();
    let advertised = git(&repo, &["receive-pack", "--http-backend-info-refs", "."]);
    assert!(advertised.contains(" .have\n"), "{advertised}");
    let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
    reverted_once(&fleet, &pushed(&outcome));
}

#[test]
fn packed_references_move_too() {
    for way in crate::support::BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        git(&fleet.repo(), &["gc", "-q"]);
        git(&fleet.repo(), &["pack-refs", "--all"]);
        let outcome = revert(&fleet.remote(way), &range.order("t-1")).unwrap();
        reverted_once(&fleet, &pushed(&outcome));
    }
}

#[test]
fn a_reader_asks_for_nothing_but_reading() {
    let (fleet, range) = Fleet::new().with_culprit();
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&kinds);
    fleet.server.script(move |seen| {
        heard.lock().unwrap().push(seen.is_fetch());
        Act::Serve
    });
    let mirror = fleet.remote(Way::Http).mirror("main").unwrap();
    assert_eq!(mirror.fetch(&crate::support::go()).unwrap().commit, range.bad);
    let kinds = kinds.lock().unwrap();
    assert!(!kinds.is_empty() && kinds.iter().all(|fetch| *fetch), "{kinds:?}");
}
