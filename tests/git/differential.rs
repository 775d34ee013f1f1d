//! Our revert against Git's own merge on random histories.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::DateTime;
use tempfile::TempDir;
use tidegate::git::{Author, Remote, RemoteUrl, local};
use tidegate_engine::effect::{RevertOrder, RevertOutcome};
use tidegate_engine::state::{GitRevision, TrialId};

use crate::support::{at, git, revert, try_git};

const CASES: u64 = 300;
const PLAIN: u64 = 12;

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

fn difference(old: &Files, new: &Files) -> BTreeMap<String, Option<Vec<u8>>> {
    let gone = old.keys().filter(|p| !new.contains_key(*p)).map(|p| (p.clone(), None));
    let here = new.iter().filter(|(p, lines)| old.get(*p) != Some(lines));
    let here = here.map(|(p, lines)| (p.clone(), Some((lines.join("\n") + "\n").into_bytes())));
    gone.chain(here).collect()
}

/// One random history: what to revert, and where the branch is.
struct Case {
    branch: String,
    good: GitRevision,
    bad: GitRevision,
    tip: GitRevision,
}

fn make(repo: &Path, number: u64) -> Case {
    let mut chance = Chance(0x7469_6465_0000 + number);
    let branch = format!("case-{number}");
    let author = Author { name: "dev".into(), email: "dev@example.invalid".into() };
    let (mut before, mut files, mut commits) = (Files::new(), first_files(&mut chance), Vec::new());
    for n in 0..3 + chance.below(6) {
        if n > 0 {
            change(&mut chance, &mut files);
        }
        let changes = difference(&before, &files);
        let at = DateTime::from_timestamp(1_790_000_000 + 60 * i64::try_from(n).unwrap(), 0);
        let message = format!("commit {n}");
        commits
            .push(local::commit(repo, &branch, &changes, &message, &author, at.unwrap()).unwrap());
        before.clone_from(&files);
    }
    let bad = 1 + chance.below(commits.len() - 1);
    let tip = commits.last().unwrap().clone();
    Case { branch, good: commits[bad - 1].clone(), bad: commits[bad].clone(), tip }
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

fn tree(repo: &Path, commit: &str) -> String {
    git(repo, &["rev-parse", &format!("{commit}^{{tree}}")]).trim().to_owned()
}

/// What Git makes of it: the tree, or its words about the conflict. Two commits on top of `bad`
/// stand for today's tip and for the old content; their merge is the revert.
fn oracle(repo: &Path, case: &Case) -> Result<String, String> {
    let on_bad = |tree: String| {
        let parent = case.bad.as_str();
        git(repo, &["commit-tree", "-m", "x", "-p", parent, &tree]).trim().to_owned()
    };
    let ours = on_bad(tree(repo, case.tip.as_str()));
    let theirs = on_bad(tree(repo, case.good.as_str()));
    let (clean, out, err) = try_git(repo, &["merge-tree", "--write-tree", &ours, &theirs]);
    assert!(err.is_empty(), "{err}");
    if clean { Ok(out.trim().to_owned()) } else { Err(out) }
}

/// Git's guess that a new file belongs where its neighbours were renamed to. We leave the file
/// where it is. Nothing else may differ.
fn is_directory_rename_only(words: &str) -> bool {
    let conflicts: Vec<_> = words.lines().filter(|l| l.starts_with("CONFLICT (")).collect();
    !conflicts.is_empty() && conflicts.iter().all(|l| l.starts_with("CONFLICT (file location)"))
}

#[test]
fn a_revert_is_the_same_as_gits_on_random_histories() {
    let dir = TempDir::new().unwrap();
    local::init(dir.path(), "main").unwrap();
    let repo = dir.path();
    let remote = Remote::new(RemoteUrl::local(repo), repo);
    let (mut same, mut both_conflict, mut renamed, mut empty) = (0, 0, 0, 0);
    for number in 0..CASES {
        let case = make(repo, number);
        let want = oracle(repo, &case);
        if number < PLAIN {
            assert_eq!(want.is_ok(), plain_revert(repo, &case, want.as_ref().ok()), "{number}");
        }
        let outcome = revert(&remote, &order(&case, &["."])).unwrap();
        let got = match &outcome {
            RevertOutcome::Pushed { commit } => Ok(tree(repo, commit.as_str())),
            RevertOutcome::AlreadyReverted { tip } => Ok(tree(repo, tip.as_str())),
            RevertOutcome::Conflict { paths } => Err(paths.clone()),
            // The commit of the case changes nothing.
            RevertOutcome::CulpritUnknown => {
                assert_eq!(tree(repo, case.good.as_str()), tree(repo, case.bad.as_str()));
                empty += 1;
                continue;
            }
            other => panic!("case {number}: {other:?}"),
        };
        match (&got, &want) {
            (Ok(ours), Ok(theirs)) if ours == theirs => same += 1,
            (Err(_), Err(_)) => both_conflict += 1,
            (Ok(_), Err(words)) if is_directory_rename_only(words) => renamed += 1,
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
    for number in 1000..1080 {
        let case = make(repo, number);
        let outcome = revert(&remote, &order(&case, &["apps/a", "apps/b/values.yaml"])).unwrap();
        let RevertOutcome::Pushed { commit } = outcome else { continue };
        pushed += 1;
        let mirror = remote.mirror(&case.branch).unwrap();
        let outside = |commit: &GitRevision| {
            let mut files = mirror.snapshot(commit, ".", 1 << 20).unwrap().files;
            files.retain(|p, _| !p.starts_with("apps/a/") && p != "apps/b/values.yaml");
            files
        };
        assert_eq!(outside(&case.tip), outside(&commit), "{number}");
        assert_ne!(tree(repo, case.tip.as_str()), tree(repo, commit.as_str()));
    }
    assert!(pushed > 10, "{pushed}");
}
