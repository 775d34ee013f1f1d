//! Why a host refuses namespaces, and the command that helps.

use std::{fmt::Write as _, fs, path::Path};

use super::Way;

/// What may stand in the way; what is certain to do so goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hindrance {
    /// A seccomp filter is active: Docker's refuses namespaces.
    Filtered,
    /// No user namespace may be made at all.
    NoneAllowed,
    /// Debian's switch against user namespaces is set.
    SwitchedOff,
    /// This is a container: it may lack the rights.
    Container,
    /// `AppArmor` takes the rights in user namespaces from unknown programs (Ubuntu 24.04).
    AppArmor,
}

impl Hindrance {
    /// Those this host shows.
    pub(super) fn of_this_host() -> Vec<Self> {
        let is = |name: &str, value: &str| {
            fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|text| text.trim() == value)
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let filtered = status.lines().any(|line| line == "Seccomp:\t2");
        let container =
            ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists());
        [
            (Self::Filtered, filtered),
            (Self::NoneAllowed, is("user/max_user_namespaces", "0")),
            (Self::SwitchedOff, is("kernel/unprivileged_userns_clone", "0")),
            (Self::Container, container),
            (Self::AppArmor, is("kernel/apparmor_restrict_unprivileged_userns", "1")),
        ]
        .into_iter()
        .filter_map(|(hindrance, there)| there.then_some(hindrance))
        .collect()
    }

    /// The cause in words, and what to type.
    fn cause_and_help(self) -> (&'static str, &'static str) {
        match self {
            Self::Filtered | Self::Container => (
                "this container, or the seccomp filter of its engine, refuses namespaces",
                "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
                 --cap-add SYS_ADMIN --cap-add NET_ADMIN …",
            ),
            Self::AppArmor => (
                "AppArmor restricts user namespaces \
                 (kernel.apparmor_restrict_unprivileged_userns=1)",
                "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            Self::SwitchedOff => (
                "user namespaces are off for users (kernel.unprivileged_userns_clone=0)",
                "sudo sysctl kernel.unprivileged_userns_clone=1",
            ),
            Self::NoneAllowed => (
                "no user namespaces are allowed (user.max_user_namespaces=0)",
                "sudo sysctl user.max_user_namespaces=10000",
            ),
        }
    }
}

/// One text: what was tried, the likely cause, the command that helps.
pub(super) fn explain(answers: &[(Way, String)], hindrances: &[Hindrance]) -> String {
    let mut text = String::from(
        "the test bed needs network, mount and process namespaces of its own, and got none.\n",
    );
    for (way, answer) in answers {
        let way = match way {
            Way::Direct => "directly",
            Way::User => "in a user namespace",
            Way::Sudo => "by sudo -n",
        };
        let line = answer.lines().last().unwrap_or("no answer");
        let line = line.strip_prefix("test bed: ").unwrap_or(line);
        // A String takes whatever is written.
        writeln!(text, "  {way}: {line}").ok();
    }
    let (cause, help) = hindrances
        .iter()
        .min()
        .map_or(("not known", "run it as root, or allow yourself `sudo -n`"), |hindrance| {
            hindrance.cause_and_help()
        });
    write!(
        text,
        "  cause: {cause}\n  help:  {help}\n  or leave the cluster tests out: TIDEGATE_TESTBED=off"
    )
    .ok();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(hindrances: &[Hindrance]) -> String {
        let answers = [
            (Way::User, "test bed: unshare: EPERM: Operation not permitted".to_owned()),
            (Way::Sudo, "sudo: a password is required".to_owned()),
        ];
        explain(&answers, hindrances)
    }

    #[test]
    fn every_known_cause_comes_with_the_command_that_helps() {
        let rows: [(&[Hindrance], &str); 7] = [
            (&[Hindrance::AppArmor], "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
            (&[Hindrance::SwitchedOff], "unprivileged_userns_clone=1"),
            (&[Hindrance::NoneAllowed], "max_user_namespaces=10000"),
            (&[Hindrance::Filtered], "seccomp=unconfined"),
            (&[Hindrance::Container, Hindrance::NoneAllowed], "max_user_namespaces=10000"),
            // Inside a container the host's AppArmor is not the reader's to change.
            (&[Hindrance::AppArmor, Hindrance::Container], "seccomp=unconfined"),
            (&[], "run it as root"),
        ];
        for (hindrances, help) in rows {
            let text = explained(hindrances);
            let line = text.lines().find(|line| line.starts_with("  help:")).unwrap();
            assert!(line.contains(help), "{hindrances:?}: {text}");
        }
    }

    #[test]
    fn every_way_that_was_tried_is_named_with_its_answer() {
        let text = explained(&[]);
        assert!(text.contains("in a user namespace: unshare: EPERM"), "{text}");
        assert!(text.contains("by sudo -n: sudo: a password is required"), "{text}");
    }
}
