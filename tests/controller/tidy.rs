//! Keeps the house: dead files, long files and functions, forbidden arrows, left-over notes.

use std::fs;
use std::path::{Path, PathBuf};

/// Product code only: everything under `src`.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "the scan looks in the wrong place");
    found
}

fn short(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string()
}

/// The part of a file that ships: everything before its tests.
fn shipped(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or(text)
}

fn refuse(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn files_fit_in_the_head() {
    let long: Vec<_> = sources()
        .iter()
        .filter_map(|(path, text)| {
            let lines = shipped(text).lines().count();
            (lines > 450).then(|| format!("{}: {lines} lines", short(path)))
        })
        .collect();
    refuse("files over 450 lines (aim at 400)", &long);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in shipped(&text).lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let code = line.trim_start();
            let starts = ["fn ", "pub fn ", "async fn ", "pub async fn ", "const fn "]
                .iter()
                .any(|start| code.starts_with(start))
                || code.starts_with("pub(")
                    && (code.contains(") fn ") || code.contains(") async fn "));
            if open.is_none() && starts {
                open = Some((number, indent, code.to_owned()));
            }
            let Some((start, at, name)) = &open else { continue };
            if indent == *at && (code.starts_with('}') || code.ends_with(';')) {
                let length = number - start + 1;
                if length > 80 {
                    long.push(format!("{}:{}: {length} lines: {name}", short(&path), start + 1));
                }
                open = None;
            }
        }
    }
    refuse("functions over 80 lines (aim at 70)", &long);
}

#[test]
fn nothing_is_left_for_later() {
    let notes = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "XX".to_owned() + "X"];
    let mut left = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if notes.iter().any(|note| line.contains(note.as_str()))
                || line.contains("todo!(")
                || line.contains("unimplemented!(")
            {
                left.push(format!("{}:{}: {}", short(&path), number + 1, line.trim()));
            }
        }
    }
    refuse("notes for later", &left);
}

#[test]
fn every_file_is_part_of_a_crate() {
    let all = sources();
    let mut orphans = Vec::new();
    for (path, _) in &all {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let dir = path.parent().unwrap();
        let is_root = matches!(name.as_str(), "lib" | "main");
        let (module, parents) = if name == "mod" {
            let module = dir.file_name().unwrap().to_string_lossy().into_owned();
            (
                module,
                vec![dir.parent().unwrap().join("mod.rs"), dir.parent().unwrap().join("lib.rs")],
            )
        } else {
            (
                name.clone(),
                vec![
                    dir.join("mod.rs"),
                    dir.join("lib.rs"),
                    dir.parent()
                        .unwrap()
                        .join(format!("{}.rs", dir.file_name().unwrap().to_string_lossy())),
                ],
            )
        };
        let named = all.iter().any(|(other, text)| {
            parents.contains(other)
                && text.lines().any(|line| {
                    line.trim_start_matches("pub ")
                        .trim_start_matches("pub(crate) ")
                        .trim_start_matches("pub(super) ")
                        == format!("mod {module};")
                })
        });
        if !is_root && !named {
            orphans.push(short(path));
        }
    }
    refuse("files no module names", &orphans);
}

#[test]
fn the_arrows_point_one_way() {
    // (where, what may not be named there, why)
    let forbidden: &[(&str, &[&str], &str)] = &[
        ("src/engine/", &["tokio", "kube", "reqwest", "gix", "Utc::now"], "the engine is pure"),
        ("src/api/", &["tidegate_engine", "tokio::", "gix"], "the wire has no logic"),
        ("src/resolve/", &["kube::Client", "reqwest", "gix::", "Utc::now"], "parsing does no I/O"),
        ("src/git/", &["crate::demo", "crate::sync", "crate::cli", "kube::"], "Git knows Git"),
        ("src/sync/", &["crate::demo", "crate::cli"], "the sync is a library"),
    ];
    let mut crossed = Vec::new();
    for (path, text) in sources() {
        let name = short(&path);
        for (dir, names, why) in forbidden {
            if !name.starts_with(dir) {
                continue;
            }
            for (number, line) in shipped(&text).lines().enumerate() {
                let code = line.split("//").next().unwrap_or(line);
                if let Some(found) = names.iter().find(|name| code.contains(**name)) {
                    crossed.push(format!("{name}:{}: {found}: {why}", number + 1));
                }
            }
        }
    }
    refuse("arrows that point the wrong way", &crossed);
}

#[test]
fn the_product_stands_alone() {
    let words =
        ["../shar".to_owned() + "ed", "proto".to_owned() + "types/", "resea".to_owned() + "rch/"];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {}", short(&path), number + 1, line.trim()));
            }
        }
    }
    refuse("references to what does not ship", &found);
}
