//! What a server says about a push: `report-status` of the Git protocol.
//!
//! Everything that is not a clear yes or no is *unknown*: the push may have happened, and only
//! reading the branch again can tell.

use gix::bstr::ByteSlice;

use crate::git::message::clean_line;

/// The fate of a push, by the server's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The branch is at our commit.
    Accepted,
    /// The server said no: a hook, a protected branch, a race it noticed itself. Which one cannot
    /// be told from the text; read the branch again.
    Rejected(String),
    /// No clear answer.
    Unknown,
}

/// Reads a report: pkt-lines `unpack ok`, `ok <ref>` or `ng <ref> <reason>`. Total over any bytes.
pub fn parse_report(mut bytes: &[u8], reference: &str) -> Report {
    let mut unpacked: Option<bool> = None;
    let mut trouble = String::new();
    let mut accepted: Option<bool> = None;
    while let Some((line, rest)) = split_line(bytes) {
        bytes = rest;
        let line = line.trim_end();
        if let Some(result) = line.strip_prefix(b"unpack ") {
            unpacked = Some(result == b"ok");
            if result != b"ok" {
                trouble = clean_line(&format!("unpack {}", result.to_str_lossy()), 300);
            }
        } else if let Some(name) = line.strip_prefix(b"ok ") {
            if name == reference.as_bytes() && accepted.is_none() {
                accepted = Some(true);
            }
        } else if let Some(rest) = line.strip_prefix(b"ng ") {
            let (name, why) = rest.split_once_str(" ").unwrap_or((rest, b""));
            if name == reference.as_bytes() {
                accepted = Some(false);
                if trouble.is_empty() {
                    trouble = clean_line(&why.to_str_lossy(), 300);
                }
            }
        }
    }
    match (unpacked, accepted) {
        (Some(true), Some(true)) => Report::Accepted,
        (Some(true), Some(false)) | (Some(false), Some(false) | None) => Report::Rejected(trouble),
        // A failed unpack with an accepted branch contradicts itself.
        (None, _) | (Some(true), None) | (Some(false), Some(true)) => Report::Unknown,
    }
}

/// The first pkt-line's content and what follows. `None`: a flush, the end, or not a pkt-line.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (digits, _) = bytes.split_at_checked(4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let length = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    let (line, rest) = bytes.split_at_checked(length)?;
    Some((line.get(4..)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in lines {
            out.extend_from_slice(format!("{:04x}{line}\n", line.len() + 5).as_bytes());
        }
        out.extend_from_slice(b"0000");
        out
    }

    #[test]
    fn reports_are_read() {
        let main = "refs/heads/main";
        let parse = |l: &[&str]| parse_report(&lines(l), main);
        let no = |why: &str| Report::Rejected(why.into());
        assert_eq!(parse(&["unpack ok", "ok refs/heads/main"]), Report::Accepted);
        assert_eq!(parse(&["unpack ok", "ok refs/heads/mainly"]), Report::Unknown);
        assert_eq!(parse(&["unpack ok", "ng refs/heads/main hook declined"]), no("hook declined"));
        assert_eq!(parse(&["unpack ok", "ng refs/heads/main"]), no(""));
        assert_eq!(parse(&["unpack disk full", "ng refs/heads/main x"]), no("unpack disk full"));
        assert_eq!(parse(&["unpack disk full"]), no("unpack disk full"));
        assert_eq!(parse(&["unpack disk full", "ok refs/heads/main"]), Report::Unknown);
        assert_eq!(parse(&["ok refs/heads/main"]), Report::Unknown);
        assert_eq!(parse(&["unpack ok"]), Report::Unknown);
        assert_eq!(parse_report(b"", main), Report::Unknown);
        assert_eq!(parse_report(b"ffff", main), Report::Unknown);
        assert_eq!(parse_report(b"0001", main), Report::Unknown);
        assert_eq!(parse_report(b"+00f", main), Report::Unknown);
        let both = parse(&["unpack ok", "ok refs/heads/main", "ng refs/heads/main late"]);
        assert_eq!(both, no("late"));
    }

    #[test]
    fn a_report_cut_anywhere_is_never_a_yes() {
        let whole = lines(&["unpack ok", "ok refs/heads/main"]);
        let last_line = whole.len() - 4;
        for cut in 0..last_line {
            assert_eq!(parse_report(&whole[..cut], "refs/heads/main"), Report::Unknown, "{cut}");
        }
    }
}
