//! `tidegate sync` as a whole, on the cluster in memory.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use secrecy::ExposeSecret;
use serde_json::Value;
use tidegate::cli::sync::{Source, SyncArgs, SyncCommandError, run_on};
use tidegate::sync::{LocalCluster, Target};

use super::support::{checkout, config_map, reference};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: SyncArgs,
}

fn args(line: &str) -> SyncArgs {
    let words = ["sync", "--repo", "/repo"].into_iter().chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.args).unwrap()
}

#[tokio::test]
async fn once_applies_and_writes_one_report() {
    let cluster = LocalCluster::new();
    let target = Target::Local(cluster.clone());
    let fetch = |source: &Source| {
        assert_eq!((source.repo.as_str(), source.branch.as_str()), ("/repo", "live"));
        Ok(checkout("r1", &[("apps/a.yaml", &config_map("a", "1"))]))
    };
    let mut out = Vec::new();
    let arguments = args("--once --branch live --path apps --output json");
    run_on(arguments, &target, "shop", fetch, &mut out).await.unwrap();
    let report: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(report["revision"], "r1");
    assert_eq!(report["objects"][0]["result"]["Applied"], "Created");
    assert!(cluster.get(&reference("ConfigMap", "a")).is_some());
}

#[tokio::test]
async fn a_password_comes_from_its_file_and_is_never_shown() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "hunter2").unwrap();
    let fetch = |source: &Source| {
        let password = source.password.as_ref().unwrap();
        assert_eq!(password.expose_secret(), "hunter2");
        assert!(!format!("{source:?}").contains("hunter2"));
        Err(format!("{} is refused", source.username.as_deref().unwrap()).into())
    };
    let line = format!("--once --username bot --password-file {}", file.path().display());
    let target = Target::Local(LocalCluster::new());
    let error = run_on(args(&line), &target, "shop", fetch, &mut Vec::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "/repo cannot be fetched");
    assert!(!format!("{error:?}").contains("hunter2"));
    let fetch = |_: &Source| panic!("not without a password");
    let missing = args("--once --password-file /nowhere/at/all");
    let error = run_on(missing, &target, "shop", fetch, &mut Vec::new()).await.unwrap_err();
    assert!(matches!(error, SyncCommandError::Password { .. }));
}

#[tokio::test]
async fn again_and_again_goes_on_after_a_failure_and_reports_only_news() {
    let cluster = LocalCluster::new();
    let target = Target::Local(cluster.clone());
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let fetch = move |_: &Source| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Err("the forge is away".into()),
        n => Ok(checkout(&format!("r{}", n.min(1)), &[("a.yaml", &config_map("a", "1"))])),
    };
    let (mut writer, mut out) = (Vec::new(), Vec::new());
    let mut arguments = args("--interval 1s");
    arguments.interval = std::time::Duration::from_millis(5);
    let run = run_on(arguments, &target, "shop", fetch, &mut writer);
    let enough = async {
        while calls.load(Ordering::SeqCst) < 5 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = run => panic!("it ended: {ended:?}"),
        () = enough => {}
    }
    out.append(&mut writer);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches("revision r1").count(), 1, "{text}");
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    for line in ["--once --interval 5s", "--username bot", "--interval 0s", "--output yaml"] {
        let words = ["sync", "--repo", "/repo"].into_iter().chain(line.split_whitespace());
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
}

fn refused(repo: &str) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.args(["sync", "--once", "--repo", repo]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_be_a_repository_is_refused_before_a_cluster_is_asked_for() {
    let (code, text) = refused("/nowhere/at/all");
    assert_eq!(code, Some(2));
    assert_eq!(text, "tidegate: --repo: found no /nowhere/at/all, expected a repository\n");
    let (code, text) = refused("https://bot:s3cret@git.example.org/fleet.git");
    assert_eq!(code, Some(2), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}
