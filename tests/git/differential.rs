//! Our revert against Git's own merge on random histories. All histories are made by one
//! `git fast-import` and merged by one `git merge-tree`: a process for each would take minutes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use tempfile::TempDir;
use tidegate::git::{Remote, RemoteUrl, local};
use tidegate_engine::effect::{RevertOrder, RevertOutcome};
use tidegate_engine::state::{GitRevision, TrialId};

use crate::support::{at, git, git_with_input, revert, try_git};

const CASES: u64 = 300;
const PLAIN: usize = 12;

/// `SplitMix64`: the same histories on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
}

type Files = BTreeMap<String, Vec<String>>;

fn first_files(chance: &mut Chance) -> Files {
    let mut files = Files::new();
    for app in ["a", "b", "c"] {
        for kind in ["values", "kustomization"] {
            let lines = (0..3 + chance.below(38))
                .map(|i| format!("{app}{kind}{i}: {}", chance.below(10)))
                .collect();
            files.insert(format!("apps/{app}/{kind}.yaml"), lines);
        }
    }
    files
}

fn change(chance: &mut Chance, files: &mut Files) {
    for _ in 0..=chance.below(3) {
        let names: Vec<String> = files.keys().cloned().collect();
        let name = names[chance.below(names.len())].clone();
        let mut lines = files[&name].clone();
        let at = chance.below(lines.len());
        match chance.below(100) {
            0..60 => {
                let key = lines[at].split(':').next().unwrap().to_owned();
                lines[at] = format!("{key}: {}", 10 + chance.below(990));
            }
            60..75 => lines.insert(at, format!("new{}: {}", chance.below(1000), chance.below(10))),
            75..85 if lines.len() > 2 => drop(lines.remove(at)),
            85..90 if files.len() > 3 => {
                files.remove(&name);
                continue;
            }
            90..95 => {
                let new = format!("apps/n{}/x.yaml", chance.below(100));
                files.insert(new, (0..5).map(|i| format!("k{i}: v")).collect());
                continue;
            }
            _ => {
                let base = name.rsplit('/').next().unwrap();
                let new = format!("apps/r{}/{base}", chance.below(100));
                if !files.contains_key(&new) {
                    files.remove(&name);
                    files.insert(new, lines);
                }
                continue;
            }
        }
        files.insert(name, lines);
    }
}

/// One random history: what to revert, and where the branch is.
struct Case {
    branch: String,
    good: GitRevision,
    bad: GitRevision,
    tip: GitRevision,
}

/// Makes histories in a fresh repository: a branch each. Beside it two commits on top of `bad`,
/// one with today's files and one with those of `good`: their merge is the revert.
fn make(repo: &Path, numbers: std::ops::Range<u64>) -> Vec<Case> {
    let mut stream = Vec::new();
    let mut points = Vec::new();
    let mut mark = 0;
    for number in numbers {
        let mut chance = Chance(0x7469_6465_0000 + number);
        let (branch, mut files) = (format!("refs/heads/case-{number}"), first_files(&mut chance));
        let mut versions = Vec::new();
        for n in 0..3 + chance.below(6) {
            if n > 0 {
                change(&mut chance, &mut files);
            }
            mark += 1;
            let from = (n > 0).then_some(mark - 1);
            write_commit(&mut stream, &branch, mark, from, &files);
            versions.push((mark, files.clone()));
        }
        let bad = 1 + chance.below(versions.len() - 1);
        points.push((number, versions[bad - 1].0, versions[bad].0, mark));
        for (side, files) in [("ours", versions.len() - 1), ("theirs", bad - 1)] {
            mark += 1;
            let name = format!("refs/{side}/{number}");
            write_commit(&mut stream, &name, mark, Some(versions[bad].0), &versions[files].1);
        }
    }
    let marks = repo.join("marks");
    let export = format!("--export-marks={}", marks.display());
    git_with_input(repo, &["fast-import", "--quiet", &export], &stream);
    let marks = std::fs::read_to_string(marks).unwrap();
    let ids: BTreeMap<u64, GitRevision> = marks
        .lines()
        .filter_map(|l| l.strip_prefix(':')?.split_once(' '))
        .map(|(mark, id)| (mark.parse().unwrap(), GitRevision::new(id)))
        .collect();
    let case = |(number, good, bad, tip): (u64, u64, u64, u64)| Case {
        branch: format!("case-{number}"),
        good: ids[&good].clone(),
        bad: ids[&bad].clone(),
        tip: ids[&tip].clone(),
    };
    points.into_iter().map(case).collect()
}

fn write_commit(out: &mut Vec<u8>, name: &str, mark: u64, from: Option<u64>, files: &Files) {
    let at = 1_790_000_000 + mark;
    writeln!(out, "commit {name}\nmark :{mark}").unwrap();
    writeln!(out, "committer dev <dev@example.invalid> {at} +0000\ndata 2\nx\n").unwrap();
    if let Some(from) = from {
        writeln!(out, "from :{from}").unwrap();
    }
    writeln!(out, "deleteall").unwrap();
    for (path, lines) in files {
        let content = lines.join("\n") + "\n";
        writeln!(out, "M 100644 inline {path}\ndata {}\n{content}", content.len()).unwrap();
    }
}

fn order(case: &Case, paths: &[&str]) -> RevertOrder {
    RevertOrder {
        trial: TrialId::new(&case.branch),
        rollout: "shop/x".into(),
        branch: case.branch.clone(),
        paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        good: case.good.clone(),
        bad: case.bad.clone(),
        why: "random".into(),
        at: at(),
    }
}

fn tree(repo: &gix::Repository, commit: &GitRevision) -> gix::ObjectId {
    let id = gix::ObjectId::from_hex(commit.as_str().as_bytes()).unwrap();
    repo.find_commit(id).unwrap().tree_id().unwrap().detach()
}

/// What Git makes of each case: the tree, or the kinds of its conflicts.
fn oracle(repo: &Path, numbers: std::ops::Range<u64>) -> Vec<Result<String, Vec<String>>> {
    let pairs: Vec<String> = numbers.map(|n| format!("refs/ours/{n} refs/theirs/{n}\n")).collect();
    let pairs = pairs.concat().into_bytes();
    let out = git_with_input(repo, &["merge-tree", "--write-tree", "--stdin"], &pairs);
    let text = String::from_utf8(out).unwrap();
    let mut fields = text.split('\0');
    let mut answers = Vec::new();
    while let Some(status) = fields.next().filter(|s| !s.is_empty()) {
        let tree = fields.next().unwrap().to_owned();
        if status == "1" {
            assert_eq!(fields.next(), Some(""), "a clean merge says nothing more");
            answers.push(Ok(tree));
            continue;
        }
        // The files in conflict, up to an empty field.
        while fields.next().is_some_and(|f| !f.is_empty()) {}
        // Then messages: a count, so many paths, the kind, the text; up to an empty field.
        let mut kinds = Vec::new();
        while let Some(count) = fields.next().filter(|f| !f.is_empty()) {
            let kind = fields.nth(count.parse().unwrap()).unwrap();
            kinds.push(kind.to_owned());
            fields.next().unwrap();
        }
        answers.push(Err(kinds));
    }
    answers
}

/// Git's guess that a new file belongs where its neighbours were renamed to. We leave the file
/// where it is. Nothing else may differ.
fn is_directory_rename_only(kinds: &[String]) -> bool {
    let mut conflicts = kinds.iter().filter(|k| k.starts_with("CONFLICT")).peekable();
    conflicts.peek().is_some() && conflicts.all(|k| k == "CONFLICT (directory rename suggested)")
}

#[test]
fn a_revert_is_the_same_as_gits_on_random_histories() {
    let dir = TempDir::new().unwrap();
    local::init(dir.path(), "main").unwrap();
    let repo = dir.path();
    let remote = Remote::new(RemoteUrl::local(repo), repo);
    let store = gix::open_opts(repo, gix::open::Options::isolated()).unwrap();
    let (mut same, mut both_conflict, mut renamed, mut empty) = (0, 0, 0, 0);
    let cases = make(repo, 0..CASES);
    let answers = oracle(repo, 0..CASES);
    assert_eq!(answers.len(), cases.len());
    for (number, (case, want)) in cases.iter().zip(answers).enumerate() {
        if number < PLAIN {
            assert_eq!(want.is_ok(), plain_revert(repo, case, want.as_ref().ok()), "{number}");
        }
        let outcome = revert(&remote, &order(case, &["."])).unwrap();
        let got = match &outcome {
            RevertOutcome::Pushed { commit } => Ok(tree(&store, commit).to_string()),
            RevertOutcome::AlreadyReverted { tip } => Ok(tree(&store, tip).to_string()),
            RevertOutcome::Conflict { paths } => Err(paths.clone()),
            // The commit of the case changes nothing.
            RevertOutcome::CulpritUnknown => {
                assert_eq!(tree(&store, &case.good), tree(&store, &case.bad));
                empty += 1;
                continue;
            }
            other => panic!("case {number}: {other:?}"),
        };
        match (&got, &want) {
            (Ok(ours), Ok(theirs)) if ours == theirs => same += 1,
            (Err(_), Err(_)) => both_conflict += 1,
            (Ok(_), Err(kinds)) if is_directory_rename_only(kinds) => renamed += 1,
            _ => panic!("case {number}: ours {got:?}, Git's {want:?}"),
        }
    }
    assert!(
        same > CASES / 2 && both_conflict > CASES / 30,
        "{same} same, {both_conflict} conflict"
    );
    assert!(renamed <= CASES / 50, "{renamed}");
    assert!(empty <= CASES / 20, "{empty}");
    git(repo, &["fsck", "--no-dangling"]);
}

/// The same with the command that people use, in a work tree; `true`: it went through.
fn plain_revert(repo: &Path, case: &Case, want: Option<&String>) -> bool {
    let work = TempDir::new().unwrap();
    let path = work.path().join("w");
    git(repo, &["worktree", "add", "-q", "--detach", path.to_str().unwrap(), case.tip.as_str()]);
    let (clean, _, _) = try_git(&path, &["revert", "-n", case.bad.as_str()]);
    if clean {
        let written = git(&path, &["write-tree"]).trim().to_owned();
        assert_eq!(Some(&written), want);
    }
    git(repo, &["worktree", "remove", "--force", path.to_str().unwrap()]);
    clean
}

#[test]
fn a_scoped_revert_leaves_everything_else_as_it_was() {
    let dir = TempDir::new().unwrap();
    local::init(dir.path(), "main").unwrap();
    let repo = dir.path();
    let remote = Remote::new(RemoteUrl::local(repo), repo);
    let mut pushed = 0;
    for case in make(repo, 1000..1080) {
        let outcome = revert(&remote, &order(&case, &["apps/a", "apps/b/values.yaml"])).unwrap();
        let RevertOutcome::Pushed { commit } = outcome else { continue };
        pushed += 1;
        let mirror = remote.mirror(&case.branch).unwrap();
        let files = |commit: &GitRevision, ours: bool| {
            let mut files = mirror.snapshot(commit, ".", 1 << 20).unwrap().files;
            files.retain(|p, _| (p.starts_with("apps/a/") || p == "apps/b/values.yaml") == ours);
            files
        };
        let (outside, inside) = (|c: &_| files(c, false), |c: &_| files(c, true));
        assert_eq!(outside(&case.tip), outside(&commit), "{}", case.branch);
        assert_ne!(inside(&case.tip), inside(&commit), "{}", case.branch);
    }
    assert!(pushed > 10, "{pushed}");
}
