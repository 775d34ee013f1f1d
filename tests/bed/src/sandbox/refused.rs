//! Why a host refuses namespaces, and the command that helps.

use std::{fmt::Write as _, fs, path::Path};

use super::Way;

/// What the host says about itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// AppArmor takes the rights in user namespaces from programs without a profile (Ubuntu 24.04).
    pub(super) apparmor_restricts: bool,
    /// Debian's switch against user namespaces is set.
    pub(super) user_namespaces_off: bool,
    /// No user namespace may be made at all.
    pub(super) no_user_namespace_left: bool,
    /// A seccomp filter is active.
    pub(super) filtered: bool,
    /// This is a container.
    pub(super) container: bool,
}

impl Facts {
    /// Reads them.
    pub(super) fn of_this_host() -> Self {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/sys/{name}")).map(|text| text.trim().to_owned()).ok()
        };
        let is = |name: &str, value: &str| read(name).as_deref() == Some(value);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            apparmor_restricts: is("kernel/apparmor_restrict_unprivileged_userns", "1"),
            user_namespaces_off: is("kernel/unprivileged_userns_clone", "0"),
            no_user_namespace_left: is("user/max_user_namespaces", "0"),
            filtered: status.lines().any(|line| line == "Seccomp:\t2"),
            container: ["/.dockerenv", "/run/.containerenv"].iter().any(|f| Path::new(f).exists()),
        }
    }
}

/// One text: what was tried, the likely cause, the command that helps.
pub(super) fn explain(answers: &[(Way, String)], facts: &Facts) -> String {
    let mut text = String::from(
        "the test bed needs network, mount and process namespaces of its own, and got none.\n",
    );
    for (way, answer) in answers {
        let way = match way {
            Way::Direct => "directly",
            Way::User => "in a user namespace",
            Way::Sudo => "by sudo -n",
        };
        let answer = answer.strip_prefix("test bed: ").unwrap_or(answer);
        let line = answer.lines().last().filter(|line| !line.is_empty());
        // A String takes whatever is written.
        writeln!(text, "  {way}: {}", line.unwrap_or("no answer")).ok();
    }
    let (cause, help) = if facts.container || facts.filtered {
        (
            "a seccomp filter, as Docker's, refuses namespaces",
            "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
             --cap-add SYS_ADMIN --cap-add NET_ADMIN …",
        )
    } else if facts.apparmor_restricts {
        (
            "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns=1)",
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        )
    } else if facts.user_namespaces_off {
        (
            "user namespaces are off for users (kernel.unprivileged_userns_clone=0)",
            "sudo sysctl kernel.unprivileged_userns_clone=1",
        )
    } else if facts.no_user_namespace_left {
        (
            "no user namespaces are allowed (user.max_user_namespaces=0)",
            "sudo sysctl user.max_user_namespaces=10000",
        )
    } else {
        ("not known", "run it as root, or allow yourself `sudo -n`")
    };
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

    fn explained(facts: &Facts) -> String {
        let answers = [
            (Way::User, "test bed: unshare: EPERM: Operation not permitted".to_owned()),
            (Way::Sudo, "sudo: a password is required".to_owned()),
        ];
        explain(&answers, facts)
    }

    #[test]
    fn every_known_cause_comes_with_the_command_that_helps() {
        let none = Facts::default();
        let rows = [
            (Facts { apparmor_restricts: true, ..none.clone() }, "sysctl kernel.apparmor"),
            (Facts { user_namespaces_off: true, ..none.clone() }, "unprivileged_userns_clone=1"),
            (Facts { no_user_namespace_left: true, ..none.clone() }, "max_user_namespaces=10000"),
            (Facts { filtered: true, ..none.clone() }, "seccomp=unconfined"),
            // Inside a container the host's AppArmor is not the reader's to change.
            (
                Facts { container: true, apparmor_restricts: true, ..none.clone() },
                "seccomp=unconfined",
            ),
            (none, "run it as root"),
        ];
        for (facts, help) in rows {
            let text = explained(&facts);
            let line = text.lines().find(|line| line.starts_with("  help:")).unwrap();
            assert!(line.contains(help), "{facts:?}: {text}");
        }
    }

    #[test]
    fn every_way_that_was_tried_is_named_with_its_answer() {
        let text = explained(&Facts::default());
        assert!(text.contains("in a user namespace: unshare: EPERM"), "{text}");
        assert!(text.contains("by sudo -n: sudo: a password is required"), "{text}");
    }
}
