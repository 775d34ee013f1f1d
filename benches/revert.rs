//! A revert in a large repository: 30,000 commits, 8,000 files, cold.
//!
//! `cargo bench --bench revert -- [--json]`. The repository is made once, with `git fast-import`,
//! below `target/`. Each run is a process of its own, so that its peak memory is the revert's.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should say where")]
#![expect(clippy::disallowed_methods, reason = "the repository is made by git, not by us")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tidegate::git::{Author, Remote, RemoteUrl};
use tidegate_engine::effect::{RevertOrder, RevertOutcome};
use tidegate_engine::state::{GitRevision, TrialId};

const COMMITS: usize = 30_000;
const FILES: usize = 8_000;
/// How far back the bad release is: the others committed this much since.
const BEHIND: usize = 50;
const RUNS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--child") {
        child(Path::new(&args[at + 1]), &args[at + 2], &args[at + 3]);
        return;
    }
    let json = args.iter().any(|arg| arg == "--json");
    let template = repository();
    let bad = rev(&template, &format!("main~{BEHIND}"));
    let good = rev(&template, &format!("main~{}", BEHIND + 1));
    let mut seconds = Vec::new();
    let mut megabytes = Vec::new();
    for run in 0..RUNS {
        // A copy per run (hard links): every run writes its own revert.
        let dir = template.with_file_name(format!("revert-run-{run}"));
        let _ = std::fs::remove_dir_all(&dir);
        git(
            template.parent().unwrap(),
            &["clone", "--quiet", "--bare", "--local", path(&template), path(&dir)],
        );
        let started = Instant::now();
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--child", path(&dir), &good, &bad])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        seconds.push(started.elapsed().as_secs_f64());
        let text = String::from_utf8(out.stdout).unwrap();
        megabytes.push(text.trim().parse::<f64>().unwrap());
        git(&dir, &["fsck", "--connectivity-only", "--no-dangling"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
    seconds.sort_by(f64::total_cmp);
    megabytes.sort_by(f64::total_cmp);
    let (median, worst) = (seconds[RUNS / 2], seconds[RUNS - 1]);
    let peak = megabytes[RUNS - 1];
    if json {
        println!(
            "{{\"bench\":\"revert\",\"commits\":{COMMITS},\"files\":{FILES},\"runs\":{RUNS},\
             \"median_s\":{median:.3},\"worst_s\":{worst:.3},\"peak_mb\":{peak:.1}}}"
        );
    } else {
        println!("revert on {COMMITS} commits x {FILES} files, process start included");
        println!("  median {median:.3} s, worst {worst:.3} s of {RUNS}; peak {peak:.1} MB");
    }
}

/// One revert; prints the peak memory of this process in MB.
fn child(dir: &Path, good: &str, bad: &str) {
    let order = RevertOrder {
        trial: TrialId::new("bench-1"),
        rollout: "bench/app".to_owned(),
        branch: "main".to_owned(),
        paths: vec!["apps/app7".to_owned()],
        good: GitRevision::new(good),
        bad: GitRevision::new(bad),
        why: "bench".to_owned(),
        at: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
    };
    let remote = Remote::new(RemoteUrl::local(dir), dir);
    let stop = Arc::new(AtomicBool::new(false));
    let outcome = tidegate::git::revert(&remote, &order, &Author::default(), &stop).unwrap();
    assert!(matches!(outcome, RevertOutcome::Pushed { .. }), "{outcome:?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kilobytes: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{:.1}", kilobytes / 1024.0);
}

/// Makes the repository, or finds it.
fn repository() -> PathBuf {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("bench");
    let dir = base.join(format!("config-{COMMITS}-{FILES}.git"));
    if dir.exists() {
        return dir;
    }
    std::fs::create_dir_all(&base).unwrap();
    let making = base.join("making.git");
    let _ = std::fs::remove_dir_all(&making);
    git(&base, &["init", "--quiet", "--bare", "--initial-branch=main", path(&making)]);
    let mut import = Command::new("git")
        .args(["-C", path(&making), "fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    {
        let mut to = std::io::BufWriter::new(import.stdin.take().unwrap());
        for commit in 0..COMMITS {
            let text = format!("change {commit}");
            writeln!(to, "commit refs/heads/main").unwrap();
            writeln!(to, "committer dev <dev@example.org> {} +0000", 1_700_000_000 + commit)
                .unwrap();
            writeln!(to, "data {}\n{text}", text.len()).unwrap();
            if commit == 0 {
                for file in 0..FILES {
                    write_file(&mut to, file, 0);
                }
            } else if commit + BEHIND + 1 == COMMITS {
                write_file(&mut to, 7, commit); // the bad release of app7
            } else {
                // Everybody else: never app7, so that the merge is a clean one.
                let file = commit * 7919 % FILES;
                write_file(&mut to, if file % 400 == 7 { file + 1 } else { file }, commit);
            }
        }
        writeln!(to, "done").unwrap();
    }
    assert!(import.wait().unwrap().success());
    std::fs::rename(&making, &dir).unwrap();
    dir
}

fn write_file(to: &mut impl Write, file: usize, commit: usize) {
    let (app, part) = (file % 400, file / 400);
    let text = format!("image:\n  tag: v{commit}\nreplicas: 3\npart: {part}\n");
    writeln!(to, "M 100644 inline apps/app{app}/part{part}.yaml").unwrap();
    writeln!(to, "data {}\n{text}", text.len()).unwrap();
}

fn rev(dir: &Path, name: &str) -> String {
    let out = Command::new("git").args(["-C", path(dir), "rev-parse", name]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn git(dir: &Path, args: &[&str]) {
    let status = Command::new("git").arg("-C").arg(dir).args(args).status().unwrap();
    assert!(status.success(), "git {args:?}");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
