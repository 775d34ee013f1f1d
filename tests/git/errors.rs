//! What is wrong is said by name, and never with a secret in it.

use std::time::{Duration, Instant};

use tidegate::git::{self, Credentials, GitError, Limits, Remote, RemoteUrl, SkippedKind};
use tidegate_engine::effect::RevertOutcome;
use tidegate_engine::state::GitRevision;

use crate::server::Act;
use crate::support::{BOTH, Fleet, PASSWORD, USER, VALUES, Way, git, go, limits, revert, values};

fn fails(remote: &Remote, branch: &str) -> GitError {
    let error = remote.mirror(branch).and_then(|m| m.fetch(&go())).unwrap_err();
    for text in [format!("{error:?}"), error.to_string(), error.chain()] {
        assert!(!text.contains(PASSWORD) && !text.contains("wrong-token"), "{text}");
    }
    error
}

fn cache_is_clean(fleet: &Fleet, cache: &str) {
    let left: Vec<_> = std::fs::read_dir(fleet.dir.path().join(cache))
        .map(|d| d.map(|e| e.unwrap().path()).collect())
        .unwrap_or_default();
    assert!(left.iter().all(|p| p.extension().is_some_and(|x| x == "lock")), "{left:?}");
}

#[test]
fn a_missing_repository_or_branch_is_named() {
    for way in BOTH {
        let (fleet, range) = Fleet::new().with_culprit();
        let missing = match way {
            Way::Local => Remote::new(RemoteUrl::local(fleet.dir.path().join("none.git")), "x"),
            Way::Http => {
                let url: RemoteUrl = fleet.server.url("none.git").parse().unwrap();
                let who = Credentials::bound_to(&url, USER, PASSWORD.into()).unwrap();
                Remote::new(url, fleet.dir.path().join("cache0")).with_credentials(who).unwrap()
            }
        };
        let error = fails(&missing, "main");
        assert!(matches!(error, GitError::RepositoryMissing { .. }), "{error:?}");
        assert!(error.to_string().contains("none.git") && !error.is_retryable(), "{error}");
        cache_is_clean(&fleet, "cache0");

        let error = fails(&fleet.remote(way), "production");
        assert!(matches!(error, GitError::BranchMissing { .. }), "{error:?}");
        assert!(error.to_string().contains("`production`") && !error.is_retryable(), "{error}");
        cache_is_clean(&fleet, "cache1");

        let mut order = range.order("t-1");
        order.branch = "production".into();
        let error = revert(&fleet.remote(way), &order).unwrap_err();
        assert!(matches!(error, GitError::BranchMissing { .. }), "{error:?}");
    }
}

#[test]
fn an_empty_repository_has_no_branch() {
    for way in BOTH {
        let fleet = Fleet::new();
        let error = fails(&fleet.remote(way), "main");
        assert!(matches!(error, GitError::BranchMissing { .. }), "{error:?}");
    }
}

#[test]
fn refused_credentials_are_said_without_them() {
    let (fleet, range) = Fleet::new().with_culprit();
    let url: RemoteUrl = fleet.server.url("remote.git").parse().unwrap();
    let without = Remote::new(url.clone(), fleet.dir.path().join("cache0"));
    let error = fails(&without, "main");
    assert!(
        matches!(error, GitError::CredentialsRefused { status: 401, given: false, .. }),
        "{error:?}"
    );
    let who = Credentials::bound_to(&url, USER, "wrong-token".into()).unwrap();
    let wrong = without.with_credentials(who).unwrap();
    let error = fails(&wrong, "main");
    assert!(
        matches!(error, GitError::CredentialsRefused { status: 401, given: true, .. }),
        "{error:?}"
    );
    assert!(!error.is_retryable());
    cache_is_clean(&fleet, "cache0");
    let error = revert(&wrong, &range.order("t-1")).unwrap_err();
    assert!(matches!(error, GitError::CredentialsRefused { .. }), "{error:?}");
}

#[test]
fn credentials_of_another_host_are_not_taken() {
    let fleet = Fleet::new();
    let url: RemoteUrl = fleet.server.url("remote.git").parse().unwrap();
    let other: RemoteUrl = "https://git.example.com/x".parse().unwrap();
    let theirs = Credentials::bound_to(&other, USER, PASSWORD.into()).unwrap();
    let refused = Remote::new(url, "x").with_credentials(theirs).unwrap_err();
    assert_eq!(refused, git::UrlError::OtherHost);
    assert!(fleet.server.seen().is_empty());
}

#[test]
fn a_redirect_is_not_followed_and_gets_no_credentials() {
    let (fleet, _) = Fleet::new().with_culprit();
    let elsewhere = Fleet::new();
    let to = elsewhere.server.url("remote.git/info/refs?service=git-upload-pack");
    fleet.server.script(move |_| Act::Redirect(to.clone()));
    let error = fails(&fleet.remote(Way::Http), "main");
    assert!(matches!(error, GitError::Malformed { .. }), "{error:?}");
    assert!(error.chain().contains("redirects (HTTP 302)"), "{}", error.chain());
    assert!(elsewhere.server.seen().is_empty());
}

#[test]
fn trouble_of_the_server_is_worth_another_try() {
    let (fleet, range) = Fleet::new().with_culprit();
    for act in [Act::Status(500), Act::Status(503), Act::Status(429), Act::Cut] {
        let shown = format!("{act:?}");
        fleet.server.script(move |_| act.clone());
        let error = fails(&fleet.remote(Way::Http), "main");
        assert!(error.is_retryable(), "{shown}: {error:?}");
        let outcome = revert(&fleet.remote(Way::Http), &range.order("t-1")).unwrap();
        assert!(matches!(outcome, RevertOutcome::Retry { .. }), "{shown}: {outcome:?}");
    }
    let url: RemoteUrl = "http://127.0.0.1:1/x".parse().unwrap();
    let error = fails(&Remote::new(url, fleet.dir.path().join("c")), "main");
    assert!(matches!(error, GitError::Unreachable { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(fleet.reverts("t-1"), 0);
}

#[test]
fn an_answer_that_is_not_gits_is_malformed() {
    let (fleet, _) = Fleet::new().with_culprit();
    let smart = "application/x-git-upload-pack-advertisement";
    for (kind, body) in [
        ("text/html", b"<html>sign in</html>".to_vec()),
        (smart, b"".to_vec()),
        (smart, b"zzzz not a pkt-line".to_vec()),
        (smart, b"001e# service=git-receive-pack\n0000".to_vec()),
    ] {
        let shown = String::from_utf8_lossy(&body).into_owned();
        fleet.server.script(move |_| Act::Say(kind, body.clone()));
        let error = fails(&fleet.remote(Way::Http), "main");
        assert!(matches!(error, GitError::Malformed { .. }), "{shown}: {error:?}");
        assert!(!error.is_retryable());
    }
}

#[test]
fn a_fetch_that_breaks_off_leaves_nothing_behind() {
    let (fleet, _) = Fleet::new().with_culprit();
    let cache = fleet.dir.path().join("shared");
    let mirror = fleet.remote_in(Way::Http, &cache).mirror("main").unwrap();
    fleet.server.script(|seen| match seen.method.as_str() {
        "POST" => Act::ServeSome(300),
        _ => Act::Serve,
    });
    let error = mirror.fetch(&go()).unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    cache_is_clean(&fleet, "shared");
    fleet.server.heal();
    assert_eq!(mirror.fetch(&go()).unwrap().commit, fleet.tip());
}

#[test]
fn a_broken_cache_is_made_again() {
    let (fleet, _) = Fleet::new().with_culprit();
    let cache = fleet.dir.path().join("shared");
    let mirror = fleet.remote_in(Way::Http, &cache).mirror("main").unwrap();
    mirror.fetch(&go()).unwrap();
    let folder = std::fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path());
    let folder = folder.filter(|p| p.is_dir()).last().unwrap();
    for broken in ["HEAD", "config"] {
        std::fs::write(folder.join(broken), "\0 nonsense [").unwrap();
        let tip = fleet.commit("x", &[("x", Some(broken))]);
        assert_eq!(mirror.fetch(&go()).unwrap().commit, tip, "{broken}");
    }
    for pack in std::fs::read_dir(folder.join("objects/pack")).unwrap() {
        std::fs::remove_file(pack.unwrap().path()).unwrap();
    }
    let tip = fleet.commit("y", &[("y", Some("y"))]);
    assert_eq!(mirror.fetch(&go()).unwrap().commit, tip);
    let snapshot = mirror.snapshot(&tip, "apps", 1 << 20).unwrap();
    assert_eq!(snapshot.files[VALUES], values("v3", 1).into_bytes());
}

#[test]
fn silence_ends_with_the_limit() {
    let (fleet, _) = Fleet::new().with_culprit();
    fleet.server.script(|_| Act::Silence(Duration::from_secs(20)));
    let answer = Duration::from_millis(300);
    let remote = fleet.remote(Way::Http).with_limits(Limits { answer, ..limits() });
    let began = Instant::now();
    assert!(fails(&remote, "main").is_retryable());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_request_to_stop_is_honoured() {
    let (fleet, range) = Fleet::new().with_culprit();
    let stop = go();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let order = range.order("t-1");
    let author = git::Author::default();
    let outcome = git::revert(&fleet.remote(Way::Http), &order, &author, &stop).unwrap();
    assert_eq!(outcome, RevertOutcome::Retry { message: "stopped on request".into() });
    assert!(fleet.server.seen().is_empty());
}

#[test]
fn more_than_the_limits_is_not_read() {
    let fleet = Fleet::new();
    fleet.commit("big", &[("big", Some(&"0".repeat(3 << 20)))]);
    // 3 MB of zeros are a pack of a few kB.
    let small = Limits { object_bytes: 1 << 20, ..limits() };
    let error = fails(&fleet.remote(Way::Http).with_limits(small), "main");
    assert!(!matches!(error, GitError::Unreachable { .. }), "{error:?}");
    let tight = Limits { answer_bytes: 1000, ..limits() };
    let error = fails(&fleet.remote(Way::Http).with_limits(tight), "main");
    assert!(matches!(error, GitError::TooLarge { limit: 1000, .. }), "{error:?}");
}

#[test]
fn a_snapshot_has_regular_files_and_names_the_rest() {
    let (fleet, range) = Fleet::new().with_culprit();
    let work = fleet.dir.path().join("work");
    git(fleet.dir.path(), &["clone", "-q", fleet.repo().to_str().unwrap(), "work"]);
    std::os::unix::fs::symlink("/etc/passwd", work.join("apps/frontend/link")).unwrap();
    git(&work, &["add", "."]);
    let module = format!("160000,{},apps/frontend/module", range.good);
    git(&work, &["update-index", "--add", "--cacheinfo", &module]);
    git(&work, &["commit", "-qm", "odd things"]);
    git(&work, &["push", "-q", "origin", "main"]);
    for way in BOTH {
        let mirror = fleet.remote(way).mirror("main").unwrap();
        let tip = mirror.fetch(&go()).unwrap();
        assert_eq!((&tip.commit, tip.subject.as_str()), (&fleet.tip(), "odd things"));
        let take = |path: &str, limit| mirror.snapshot(&tip.commit, path, limit);
        let snapshot = take("./apps/frontend/", 1000).unwrap();
        let files: Vec<_> = snapshot.files.keys().map(String::as_str).collect();
        assert_eq!(files, [VALUES]);
        let skipped: Vec<_> = snapshot.skipped.iter().map(|s| (s.path.as_str(), s.kind)).collect();
        let link = ("apps/frontend/link", SkippedKind::Symlink);
        assert_eq!(skipped, [link, ("apps/frontend/module", SkippedKind::Submodule)]);
        assert_eq!(take(".", 1000).unwrap().files.len(), 2);
        assert_eq!(take(VALUES, 1000).unwrap().files.len(), 1);
        let missing = take("apps/none", 1000).unwrap_err();
        assert!(matches!(&missing, GitError::PathMissing { path, .. } if path == "apps/none"));
        assert!(matches!(take("apps", 50).unwrap_err(), GitError::TooLarge { limit: 50, .. }));
        assert!(matches!(take("../x", 50).unwrap_err(), GitError::Path(_)));
        let never = GitRevision::new("1".repeat(40));
        let missing = mirror.snapshot(&never, "apps", 50).unwrap_err();
        assert!(matches!(missing, GitError::CommitMissing { .. }), "{missing:?}");
    }
}

#[test]
fn an_order_with_nonsense_is_refused_before_any_request() {
    let (fleet, range) = Fleet::new().with_culprit();
    let remote = fleet.remote(Way::Http);
    let mut orders = vec![range.order("t 1"), range.order(""), range.order("t\nTidegate-Trial: u")];
    let mut changed = |change: &dyn Fn(&mut tidegate_engine::effect::RevertOrder)| {
        let mut order = range.order("t-1");
        change(&mut order);
        orders.push(order);
    };
    changed(&|o| o.branch = "--upload-pack=x".into());
    changed(&|o| o.branch = "a..b".into());
    changed(&|o| o.good = GitRevision::new("main"));
    changed(&|o| o.bad = GitRevision::new("-x"));
    changed(&|o| o.paths = vec!["../other".into()]);
    changed(&|o| o.paths = vec![]);
    for order in orders {
        let error = revert(&remote, &order).unwrap_err();
        assert!(matches!(error, GitError::Order { .. } | GitError::Path(_)), "{error:?}");
        assert!(!error.is_retryable());
    }
    assert!(fleet.server.seen().is_empty());
}

#[test]
fn what_a_killed_fetch_left_behind_is_swept_away() {
    let (fleet, _) = Fleet::new().with_culprit();
    let cache = fleet.dir.path().join("shared");
    let mirror = fleet.remote_in(Way::Http, &cache).mirror("main").unwrap();
    mirror.fetch(&go()).unwrap();
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&cache).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    let folder = names().into_iter().find(|n| !n.contains('.')).unwrap();
    std::fs::create_dir(cache.join(format!("{folder}-fetch-half"))).unwrap();
    std::fs::create_dir(cache.join("somebody-elses")).unwrap();
    std::fs::remove_dir_all(cache.join(&folder)).unwrap();
    mirror.fetch(&go()).unwrap();
    let mut left = names();
    left.sort();
    assert_eq!(left, [folder.clone(), format!("{folder}.lock"), "somebody-elses".into()]);
}
