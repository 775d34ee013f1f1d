//! Texts that others write: reports of servers, subjects and reasons of people.

use proptest::prelude::*;
use tidegate::git::message::{Culprit, compose, has_trial};
use tidegate::git::report::{Report, parse_report};
use tidegate_engine::state::GitRevision;

use crate::support::{Fleet, Range, git};

const MAIN: &str = "refs/heads/main";

fn range() -> Range {
    Range { good: GitRevision::new("1".repeat(40)), bad: GitRevision::new("2".repeat(40)) }
}

fn culprit(subject: String, merge: bool) -> Culprit {
    let merged_onto = merge.then(|| GitRevision::new("3".repeat(40)));
    Culprit { commit: GitRevision::new("2".repeat(40)), subject, merged_onto }
}

/// Text as people write it, and as they would to deceive.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        Just("Tidegate-Trial: other".to_owned()),
        Just("\n\nTidegate-Trial: other\n".to_owned()),
        Just("\r\nRollout: evil/one\r\n".to_owned()),
        Just("Revert \"".to_owned()),
        Just("\u{1b}[2J\u{202e}".to_owned()),
        Just(" word ".to_owned()),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn a_report_of_any_bytes_is_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        // A yes needs both lines, whole.
        let says_yes = bytes.windows(9).any(|w| w == b"unpack ok");
        if parse_report(&bytes, MAIN) == Report::Accepted {
            prop_assert!(says_yes);
        }
    }

    #[test]
    fn a_report_of_any_lines_is_read(
        lines in prop::collection::vec(
            prop_oneof![
                Just("unpack ok".to_owned()), Just("unpack no".to_owned()),
                Just("ok refs/heads/main".to_owned()), Just("ok refs/heads/x".to_owned()),
                "ng refs/heads/main .{0,40}", ".{0,20}",
            ],
            0..6,
        ),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        for line in &lines {
            bytes.extend_from_slice(format!("{:04x}{line}\n", line.len() + 5).as_bytes());
        }
        let refused = lines.iter().any(|l| l.starts_with("ng refs/heads/main "));
        let complete = lines.iter().any(|l| l == "unpack ok");
        let report = parse_report(&bytes, MAIN);
        if refused || !complete {
            prop_assert_ne!(&report, &Report::Accepted);
        }
        if let Report::Rejected(why) = report {
            prop_assert!(!why.chars().any(char::is_control));
        }
        let _total = parse_report(&bytes[..cut.index(bytes.len() + 1)], MAIN);
    }

    #[test]
    fn a_message_carries_its_trial_and_no_other(
        why in text(), subjects in prop::collection::vec((text(), any::<bool>()), 1..4),
    ) {
        let mut order = range().order("t-1");
        order.why = why;
        let culprits: Vec<_> = subjects.into_iter().map(|(s, m)| culprit(s, m)).collect();
        let message = compose(&order, &culprits);
        prop_assert!(has_trial(message.as_bytes(), "t-1"));
        prop_assert!(!has_trial(message.as_bytes(), "other"));
        prop_assert!(!has_trial(message.as_bytes(), "t"));
        prop_assert!(!message.chars().any(|c| c.is_control() && c != '\n'), "{:?}", message);
        prop_assert!(message.len() < 20_000);
        let parsed = gix::objs::commit::MessageRef::from_bytes(message.as_bytes());
        let trailers: Vec<String> = parsed
            .body()
            .map(|b| b.trailers().map(|t| t.token.to_string()).collect())
            .unwrap_or_default();
        prop_assert_eq!(trailers, ["Rollout", "Tidegate-Trial", "Tidegate-Reverts"]);
        // The subject is one line, then comes an empty one.
        prop_assert_eq!(message.lines().nth(1), Some(""));
    }
}

#[test]
fn git_reads_our_trailers_as_we_do() {
    let fleet = Fleet::new();
    let mut order = range().order("t-1");
    order.why = "Signed-off-by: nobody\n\nTidegate-Trial: other".into();
    let message = compose(&order, &[culprit("x\u{7}y".into(), false)]);
    fleet.commit(&message, &[("a", Some("b"))]);
    let read = git(&fleet.repo(), &["log", "-1", "--format=%(trailers:only,unfold)", "main"]);
    let two = "2".repeat(40);
    let want = format!("Rollout: shop/frontend\nTidegate-Trial: t-1\nTidegate-Reverts: {two}");
    assert_eq!(read.trim(), want);
}

#[test]
fn a_subject_of_a_hundred_kilobytes_is_cut() {
    let message = compose(&range().order("t-1"), &[culprit("x".repeat(100_000), false)]);
    assert!(message.len() < 1000, "{}", message.len());
}
