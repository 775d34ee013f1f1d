//! Files to objects: a table of directories, and what is refused and how.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use tidegate::sync::render::{Files, render};

use super::support::files;

const OBJECT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

#[test]
fn every_fixture_renders_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sync/fixtures");
    let mut cases: Vec<_> = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 5, "the fixtures are missing");
    for case in cases {
        let mut files = Files::new();
        read_below(&case.join("in"), "", &mut files);
        let path = std::fs::read_to_string(case.join("path")).unwrap();
        let expected = std::fs::read_to_string(case.join("expected.yaml")).unwrap();
        let expected: Vec<Value> = serde_saphyr::from_multiple(&expected).unwrap();
        let rendered = render(&files, path.trim()).unwrap_or_else(|e| panic!("{case:?}: {e}"));
        let rendered: Vec<Value> = rendered.into_iter().map(|m| m.object).collect();
        let shown = |objects: &[Value]| serde_json::to_string_pretty(objects).unwrap();
        assert_eq!(shown(&rendered), shown(&expected), "{}", case.display());
    }
}

fn read_below(directory: &Path, prefix: &str, files: &mut Files) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            read_below(&path, &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

/// What is wrong, the files, and the whole message.
type Refusal = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const REFUSALS: &[Refusal] = &[
    (
        "a field that is not rendered",
        &[("kustomization.yaml", "resources: []\n\nhelmCharts:\n- name: x\n")],
        "kustomization.yaml:3: `helmCharts` is not supported; let Flux or Argo CD render this \
         directory",
    ),
    (
        "generators",
        &[("kustomization.yaml", "configMapGenerator:\n- name: x\n")],
        "kustomization.yaml:1: `configMapGenerator` is not supported; let Flux or Argo CD render \
         this directory",
    ),
    (
        "a field of an entry",
        &[("kustomization.yaml", "images:\n- name: x\n  tagSuffix: y\n")],
        "kustomization.yaml:3: images[0]: `tagSuffix` is not supported; let Flux or Argo CD \
         render this directory",
    ),
    (
        "a deprecated field",
        &[("kustomization.yaml", "bases: [a]\n")],
        "kustomization.yaml:1: `bases` is not supported; write it as `resources`",
    ),
    (
        "a tag that YAML reads as a number",
        &[("kustomization.yaml", "images:\n- name: x\n  newTag: 1.10\n")],
        "kustomization.yaml:3: images[0].newTag: a string is expected here: quote the value",
    ),
    (
        "a missing file",
        &[("a/kustomization.yaml", "resources:\n- b.yaml\n")],
        "a/kustomization.yaml:2: resources[0]: `a/b.yaml` is not in the repository",
    ),
    (
        "a missing patch",
        &[("kustomization.yaml", "patches:\n- path: p.yaml\n")],
        "kustomization.yaml:2: patches[0]: `p.yaml` is not in the repository",
    ),
    (
        "a URL",
        &[("kustomization.yaml", "resources:\n- https://example.com/x.yaml\n")],
        "kustomization.yaml:2: resources[0]: `https://example.com/x.yaml` is a URL; only paths in \
         the repository are read",
    ),
    (
        "a path out of the repository",
        &[("a/kustomization.yaml", "resources:\n- ../../etc/passwd\n")],
        "a/kustomization.yaml:2: resources[0]: the path `../../etc/passwd` leads out of the \
         repository",
    ),
    (
        "an absolute path",
        &[("kustomization.yaml", "resources:\n- /etc/passwd\n")],
        "kustomization.yaml:2: resources[0]: the path `/etc/passwd` leads out of the repository",
    ),
    (
        "directories that include each other",
        &[
            ("kustomization.yaml", "resources:\n- a\n"),
            ("a/kustomization.yaml", "resources:\n- ../a/../.\n"),
        ],
        "a/kustomization.yaml:2: resources[0]: the directories include each other: . -> a -> .",
    ),
    (
        "a directory without a Kustomize file",
        &[("kustomization.yaml", "resources: [a]\n"), ("a/x.yaml", OBJECT)],
        "kustomization.yaml:1: resources[0]: the directory `a` has no kustomization.yaml",
    ),
    (
        "an object that is there twice",
        &[
            ("a.yaml", OBJECT),
            ("b.yaml", "---\n# c\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"),
        ],
        "b.yaml:3: ConfigMap a is also in a.yaml:1",
    ),
    (
        "a key that is there twice",
        &[("a.yaml", "apiVersion: v1\nkind: ConfigMap\nkind: Secret\nmetadata: {name: a}\n")],
        "a.yaml:3: duplicate mapping key: kind",
    ),
    (
        "a file that is not an object",
        &[("values.yaml", "image: x\n")],
        "values.yaml:1: apiVersion: not a Kubernetes object: the field is missing",
    ),
    (
        "a label that is not a string",
        &[("a.yaml", "apiVersion: v1\nkind: X\nmetadata:\n  name: a\n  labels:\n    v: 1\n")],
        "a.yaml:6: metadata.labels.v: not a Kubernetes object: the value is not a string: quote it",
    ),
    (
        "a patch for nothing",
        &[
            ("kustomization.yaml", "patches:\n- path: p.yaml\n"),
            ("p.yaml", "# c\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: nobody}\n"),
        ],
        "p.yaml:2: no object for this patch: ConfigMap nobody",
    ),
    (
        "an operation that does not fit",
        &[
            (
                "kustomization.yaml",
                "resources: [a.yaml]\npatches:\n- target: {kind: ConfigMap}\n\x20 patch: |-\n\
                 \x20   - {op: remove, path: /data/x}\n",
            ),
            ("a.yaml", OBJECT),
        ],
        "kustomization.yaml:4: patches[0]: operation 0: there is nothing at `/data`",
    ),
    (
        "a directive that is not carried out",
        &[
            ("kustomization.yaml", "resources: [a.yaml]\npatches:\n- path: p.yaml\n"),
            ("a.yaml", OBJECT),
            (
                "p.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {$retainKeys: [a]}\n",
            ),
        ],
        "p.yaml:1: the directive `$retainKeys` is not supported",
    ),
];

#[test]
fn what_is_refused_names_file_line_and_field() {
    for (what, input, message) in REFUSALS {
        match render(&files(input), ".") {
            Err(error) => assert_eq!(error.to_string(), *message, "{what}"),
            Ok(rendered) => panic!("{what} renders to {rendered:?}"),
        }
    }
}

#[test]
fn a_path_that_is_not_there_is_not_an_empty_one() {
    let only_text = files(&[("docs/README.md", "x")]);
    assert_eq!(render(&only_text, "docs"), Ok(Vec::new()));
    let error = render(&only_text, "apps").unwrap_err();
    assert_eq!(error.to_string(), "apps: no manifests here");
}

#[test]
fn an_alias_bomb_is_refused_with_its_file() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let list = vec![format!("*a{}", n - 1); 10].join(", ");
        text = format!("{text}a{n}: &a{n} [{list}]\n");
    }
    let error = render(&files(&[("bomb.yaml", &text)]), ".").unwrap_err();
    assert_eq!(error.file, "bomb.yaml");
    assert!(error.line.is_some(), "{error}");
}

#[test]
fn a_path_that_leads_out_of_the_repository_is_refused() {
    for path in ["..", "a/../../b", "/etc"] {
        assert!(render(&files(&[("a.yaml", OBJECT)]), path).is_err(), "{path}");
    }
}

#[test]
fn directories_that_double_at_each_level_end_in_an_error() {
    let mut tree = BTreeMap::new();
    for level in 0..30 {
        let next = level + 1;
        let text = format!("resources: [../{next}a, ../{next}b]\n");
        for side in ["a", "b"] {
            tree.insert(format!("{level}{side}/kustomization.yaml"), text.clone().into_bytes());
        }
    }
    for side in ["a", "b"] {
        tree.insert(format!("30{side}/kustomization.yaml"), b"resources: []\n".to_vec());
    }
    let error = render(&tree, "0a").unwrap_err();
    assert!(error.to_string().contains("more than 1000 directories"), "{error}");
}

/// Pieces that Kustomize files are made of, put together in any way.
fn fragments() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "resources:\n",
        "- a.yaml\n",
        "- ../\n",
        "- b\n",
        "patches:\n",
        "- path: a.yaml\n",
        "- patch: |-\n    - {op: add, path: /a/-, value: 1}\n",
        "  target: {kind: '.*'}\n",
        "- target: {name: '('}\n",
        "images:\n",
        "- name: x\n",
        "  newTag: y\n",
        "namespace: n\n",
        "apiVersion: v1\n",
        "kind: ConfigMap\n",
        "kind: List\nitems: [1]\n",
        "metadata: {name: a}\n",
        "metadata: 1\n",
        "---\n",
        "labels:\n",
        "- pairs: {a: b}\n  includeSelectors: true\n",
        "$patch: delete\n",
        "spec: {containers: [{name: a}, {name: a}]}\n",
        "spec: []\n",
        "<<: *a\n",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rendering_never_panics_on_any_bytes(
        kustomization in prop::collection::vec(any::<u8>(), 0..200),
        other in prop::collection::vec(any::<u8>(), 0..200),
        path in "[a-c./]{0,8}",
    ) {
        let files: Files = [("kustomization.yaml", kustomization), ("a.yaml", other)]
            .into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        let _ = render(&files, &path);
    }

    #[test]
    fn rendering_never_panics_on_nearly_valid_files(
        kustomization in fragments(), other in fragments(), inner in fragments(),
    ) {
        let input = [
            ("kustomization.yaml", kustomization.as_str()),
            ("a.yaml", &other),
            ("b/kustomization.yaml", &inner),
        ];
        if let Ok(rendered) = render(&files(&input), ".") {
            for manifest in rendered {
                prop_assert!(manifest.object["metadata"]["name"].is_string());
            }
        }
    }
}
