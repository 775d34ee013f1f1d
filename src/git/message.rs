//! The message of a revert: Git's own wording, then why, then trailers for machines.
//!
//! Text of other people (subjects, the reason) is cleaned before it gets in, and never becomes a
//! trailer. The trailer `Tidegate-Trial` is the only idempotency key. It counts in **any** commit,
//! whoever wrote it: a rebase, a squash or a cherry-pick of our revert still means that the trial
//! is dealt with, and whoever may push to the branch could undo the revert anyway.

use gix::bstr::ByteSlice;
use tidegate_engine::effect::RevertOrder;
use tidegate_engine::state::GitRevision;

/// Who our commits are by. The same identity always, so that the same revert has the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The name.
    pub name: String,
    /// The mail address.
    pub email: String,
}

impl Default for Author {
    fn default() -> Self {
        Self { name: "Tidegate".into(), email: "tidegate@tidegate.invalid".into() }
    }
}

impl Author {
    /// The signature as Git stores it. Characters that would end a field are taken out.
    pub(crate) fn signature(&self, at: chrono::DateTime<chrono::Utc>) -> gix::actor::Signature {
        let field =
            |text: &str| clean_line(text, 200).replace(['<', '>'], "").trim().to_owned().into();
        gix::actor::Signature {
            name: field(&self.name),
            email: field(&self.email),
            time: gix::date::Time::new(at.timestamp(), 0),
        }
    }
}

/// The idempotency key's trailer.
pub const TRIAL: &str = "Tidegate-Trial";
/// The trailer with `namespace/name`.
pub const ROLLOUT: &str = "Rollout";
/// The trailer with the commits that were reverted.
pub const REVERTS: &str = "Tidegate-Reverts";

/// Characters of a subject that are repeated; Git has no limit, but forges cut after 72 anyway.
const SUBJECT: usize = 200;
/// Characters of the reason.
const WHY: usize = 2000;
/// Commits that are listed; more are counted.
const LISTED: usize = 50;
/// Columns of the reason's lines.
const COLUMNS: usize = 76;

/// A commit to revert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// Its id.
    pub commit: GitRevision,
    /// The first line of its message, as it is.
    pub subject: String,
    /// For a merge its first parent: what is reverted is all that the merge brought.
    pub merged_onto: Option<GitRevision>,
}

/// Writes the message. `culprits` are newest first and not empty.
pub fn compose(order: &RevertOrder, culprits: &[Culprit]) -> String {
    let mut text = title(culprits);
    text.push_str("\n\n");
    text.push_str(&what(culprits));
    let why = paragraph(&order.why);
    if !why.is_empty() {
        text.push_str("\n\n");
        text.push_str(&why);
    }
    let ids: Vec<&str> = culprits.iter().take(LISTED).map(|c| c.commit.as_str()).collect();
    let (rollout, trial) = (clean_line(&order.rollout, 300), order.trial.as_str());
    let reverts = ids.join(", ");
    text + &format!("\n\n{ROLLOUT}: {rollout}\n{TRIAL}: {trial}\n{REVERTS}: {reverts}\n")
}

fn title(culprits: &[Culprit]) -> String {
    let subject = culprits.first().map_or("", |c| c.subject.as_str());
    let subject = clean_line(subject, SUBJECT);
    // Git since 2.43 says "Reapply" for the revert of a revert, but leaves deeper nesting alone.
    let original = subject
        .strip_prefix("Revert \"")
        .and_then(|rest| rest.strip_suffix('"'))
        .filter(|original| !original.starts_with("Revert \""));
    let title = match original {
        Some(original) => format!("Reapply \"{original}\""),
        None => format!("Revert \"{subject}\""),
    };
    match culprits.len() {
        0 | 1 => title,
        n => format!("{title} and {} more", n - 1),
    }
}

fn what(culprits: &[Culprit]) -> String {
    if let [one] = culprits {
        return match &one.merged_onto {
            Some(parent) => {
                let commit = &one.commit;
                format!("This reverts commit {commit}, reversing\nchanges made to {parent}.")
            }
            None => format!("This reverts commit {}.", one.commit),
        };
    }
    let mut lines = vec![format!("This reverts {} commits, newest first:\n", culprits.len())];
    let listed = culprits.iter().take(LISTED);
    lines.extend(listed.map(|c| format!("- {} {}", c.commit, clean_line(&c.subject, 72))));
    if culprits.len() > LISTED {
        lines.push(format!("- and {} older ones", culprits.len() - LISTED));
    }
    lines.join("\n")
}

/// Whether a commit's message carries this trial's trailer: a line that begins with it, wherever
/// it is in the message, so that a squash of several commits keeps it.
pub fn has_trial(message: &[u8], trial: &str) -> bool {
    trials(message).any(|found| found == trial.as_bytes())
}

/// Whether a commit's message carries any trial's trailer.
pub(crate) fn is_of_a_trial(message: &[u8]) -> bool {
    trials(message).next().is_some()
}

fn trials(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message.lines().filter_map(|line| {
        let rest = line.strip_prefix(TRIAL.as_bytes())?;
        Some(rest.strip_prefix(b":")?.trim())
    })
}

/// Whether a trial's id can be a trailer's value: one word of plain characters.
pub(crate) fn is_trial_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    !id.is_empty() && id.len() <= 200 && id.chars().all(plain)
}

/// One line of plain text: control characters and such that turn the direction of text become a
/// space, runs of spaces one, and what is longer than `most` characters ends in `…`.
pub(crate) fn clean_line(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    let mut space = false;
    for c in text.chars() {
        if c.is_control() || c.is_whitespace() || turns_text(c) {
            space = length > 0;
            continue;
        }
        if length + 1 + usize::from(space) > most {
            out.push('…');
            break;
        }
        if space {
            out.push(' ');
            length += 1;
            space = false;
        }
        out.push(c);
        length += 1;
    }
    out
}

/// Invisible characters that reorder what people see.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Cleaned text in lines of a terminal's width, none of which can be taken for a trailer.
fn paragraph(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in clean_line(text, WHY).split(' ').filter(|w| !w.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    for line in &mut lines {
        if looks_like_trailer(line) {
            line.insert_str(0, "  ");
        }
    }
    lines.join("\n")
}

fn looks_like_trailer(line: &str) -> bool {
    line.split_once(':').is_some_and(|(token, _)| {
        let token = token.trim_end();
        !token.is_empty() && token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn culprit(subject: &str) -> Culprit {
        Culprit {
            commit: GitRevision::new("a".repeat(40)),
            subject: subject.into(),
            merged_onto: None,
        }
    }

    #[test]
    fn titles_follow_git() {
        let t = |s: &str| title(&[culprit(s)]);
        assert_eq!(t("bump to v3"), r#"Revert "bump to v3""#);
        assert_eq!(t(r#"Revert "x""#), r#"Reapply "x""#);
        assert_eq!(t(r#"Reapply "x""#), r#"Revert "Reapply "x"""#);
        assert_eq!(t(r#"Revert "Revert "x"""#), r#"Revert "Revert "Revert "x""""#);
        assert_eq!(t(&"x".repeat(100_000)).chars().count(), r#"Revert """#.len() + SUBJECT + 1);
        assert_eq!(title(&[culprit("b"), culprit("a")]), r#"Revert "b" and 1 more"#);
    }

    #[test]
    fn text_of_others_is_one_clean_line() {
        assert_eq!(clean_line("  a\r\nb\u{1b}[31m c\u{202e}d  ", 99), "a b [31m c d");
        assert_eq!(clean_line("abcdef", 3), "abc…");
        assert_eq!(clean_line("abc", 3), "abc");
        assert_eq!(clean_line("ab cd", 3), "ab…");
    }

    #[test]
    fn a_reason_cannot_forge_a_trailer() {
        let text = paragraph("errors 12 %\nTidegate-Trial: other");
        assert_eq!(text, "errors 12 % Tidegate-Trial: other");
        assert!(!has_trial(text.as_bytes(), "other"));
        let first = paragraph("Tidegate-Trial: other");
        assert!(!has_trial(first.as_bytes(), "other"), "{first}");
    }
}
