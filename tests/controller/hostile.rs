//! Input made to break the reader: an error, never a crash or a hang.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidegate::resolve::load_text;

/// The first thing said; reading must not take long, even where nothing is optimised.
fn refused(text: &str) -> String {
    let started = Instant::now();
    let said = match load_text("x.yaml", text) {
        Ok(objects) => panic!("accepted: {objects:?}"),
        Err(invalid) => invalid[0].to_string(),
    };
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    said
}

#[test]
fn deep_nesting_is_refused() {
    let flow = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(
        refused(&flow),
        "x.yaml:1: found a list or object too deep inside others, expected at most 64 levels"
    );
    let mut block = String::new();
    for depth in 0..100 {
        block.push_str(&" ".repeat(depth));
        block.push_str("a:\n");
    }
    assert!(refused(&block).contains("too deep"));
    // Deeper than the parser itself goes.
    assert!(refused(&"[".repeat(100_000)).starts_with("x.yaml"));
    assert!(refused(&"- ".repeat(100_000)).starts_with("x.yaml"));
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        let ten = vec![before; 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{ten}]").unwrap();
    }
    assert!(refused(&text).contains("found too many values, expected at most 200000"));

    let long = "y".repeat(1 << 20);
    let many = vec!["*a"; 10_000].join(", ");
    assert!(refused(&format!("a: &a {long}\nb: [{many}]\n")).contains("too many values"));
}

#[test]
fn an_alias_of_nothing_and_of_itself_is_refused() {
    assert!(refused("a: *b\n").starts_with("x.yaml:1: found "));
    assert!(refused("a: &a [*a]\n").starts_with("x.yaml:1: found "));
}

#[test]
fn a_long_text_is_refused_and_not_repeated() {
    let long = "y".repeat(1 << 20);
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: a}}\n\
         spec: {{workloadRef: {{name: {long}}}}}\n"
    );
    assert_eq!(
        refused(&text),
        "x.yaml:4: spec.workloadRef.name: found 1048576 characters, expected at most 253"
    );
    let text = format!("apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\n? {long}\n: x\n");
    assert!(refused(&text).len() < 400);
    let text = format!("apiVersion: tidegate.dev/v1alpha1\nkind: {long}\n");
    assert!(refused(&text).len() < 400);
}

#[test]
fn a_file_of_many_megabytes_is_refused() {
    let text = "#".repeat(5 << 20);
    assert_eq!(refused(&text), "x.yaml: found 5242880 bytes, expected at most 4194304");
}

#[test]
fn many_keys_and_many_documents_are_read_in_time() {
    let mut text = "apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\n".to_owned();
    for key in 0..50_000 {
        writeln!(text, "k{key}: x").unwrap();
    }
    assert_eq!(
        refused(&text),
        "x.yaml:3: k0: found an unknown field, expected apiVersion, kind, metadata or spec"
    );
    let started = Instant::now();
    assert!(load_text("x.yaml", &"---\n".repeat(100_000)).is_ok());
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn tags_and_merge_keys_are_refused() {
    assert!(refused("a: !!python/object:os.system x\n").starts_with("x.yaml:1: found "));
    assert!(refused("a: !secret x\n").contains("expected no tag"));
    assert!(refused("a: &a {b: c}\nd: {<<: *a}\n").contains("expected no merge keys"));
    assert!(refused("? [a, b]\n: c\n").contains("expected a text as a key"));
}

/// Bytes that are more likely than others to mean something.
fn yamlish() -> impl Strategy<Value = String> {
    let words = [
        "apiVersion: tidegate.dev/v1alpha1",
        "kind: Rollout",
        "metadata: {name: a}",
        "spec:",
        "workloadRef:",
        "name: x",
        "strategy:",
        "canary:",
        "steps:",
        "- weight: 5",
        "- {pause: {}}",
        "\n",
        "\n  ",
        "\n    ",
        "---",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a",
        "*a",
        "|",
        ">",
        "'",
        "\"",
        "!",
        "#",
        "%",
        "\t",
        "~",
        "null",
        "1e999",
        "0x",
        "99999999999999999999",
        "\u{feff}",
        "é",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..60)
        .prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = load_text("x.yaml", &text);
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in yamlish()) {
        let _ = load_text("x.yaml", &text);
    }

    #[test]
    fn arbitrary_promql_never_panics(query in "\\PC{0,80}") {
        let quoted = serde_json::to_string(&query).unwrap();
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: AnalysisTemplate\nmetadata: {{name: a}}\n\
             spec: {{args: [{{name: x}}], metrics: [{{name: m, threshold: \
             {{query: {quoted}, op: '<', limit: $(x)}}}}]}}\n"
        );
        let _ = load_text("x.yaml", &text);
    }
}
