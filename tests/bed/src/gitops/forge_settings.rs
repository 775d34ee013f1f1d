//! Gitea's settings file.

use std::path::Path;

/// Where the forge listens, inside the network namespace of the run.
pub(super) const ADDRESS: &str = "127.0.0.1:3000";

/// What the forge is to do beside HTTP.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForgeOptions {
    /// Serves SSH on this port of 127.0.0.1.
    pub ssh: Option<u16>,
}

/// The text of `app.ini`.
///
/// Everything that works in the background is off: a test counts requests and commits, and a job
/// that wakes on a timer would add its own. Passwords are hashed cheaply, because hashing them as
/// for the internet takes longer than all else the forge does here.
pub(super) fn app_ini(folder: &Path, static_root: &Path, options: ForgeOptions) -> String {
    let folder = folder.display();
    let static_root = static_root.display();
    let ssh = match options.ssh {
        None => "DISABLE_SSH = true\n".to_owned(),
        Some(port) => format!(
            "DISABLE_SSH = false\nSTART_SSH_SERVER = true\nSSH_DOMAIN = 127.0.0.1\n\
             SSH_LISTEN_HOST = 127.0.0.1\nSSH_LISTEN_PORT = {port}\nSSH_PORT = {port}\n"
        ),
    };
    let quiet =
        QUIET_JOBS.map(|job| format!("[cron.{job}]\nENABLED = false\nRUN_AT_START = false\n"));
    let quiet = quiet.join("\n");
    format!(
        "APP_NAME = Forge\n\
         RUN_MODE = prod\n\
         ; The run is alone in its namespaces, where its user is root or looks like it.\n\
         I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true\n\
         WORK_PATH = {folder}\n\n\
         [server]\n\
         PROTOCOL = http\n\
         HTTP_ADDR = 127.0.0.1\n\
         HTTP_PORT = 3000\n\
         ROOT_URL = http://{ADDRESS}/\n\
         STATIC_ROOT_PATH = {static_root}\n\
         OFFLINE_MODE = true\n\
         LFS_START_SERVER = false\n\
         ENABLE_GZIP = false\n\
         {ssh}\n\
         [database]\n\
         DB_TYPE = sqlite3\n\
         PATH = {folder}/forge.db\n\
         SQLITE_JOURNAL_MODE = WAL\n\
         SQLITE_TIMEOUT = 5000\n\n\
         [repository]\n\
         ROOT = {folder}/repositories\n\
         DEFAULT_BRANCH = main\n\
         DISABLED_REPO_UNITS = repo.issues,repo.ext_issues,repo.wiki,repo.ext_wiki,\
         repo.projects,repo.packages,repo.actions\n\
         DISABLE_STARS = true\n\n\
         [security]\n\
         INSTALL_LOCK = true\n\
         PASSWORD_HASH_ALGO = pbkdf2$1000$50\n\n\
         {FIXED}{quiet}"
    )
}

/// Settings that do not depend on the run.
const FIXED: &str = "\
[service]
DISABLE_REGISTRATION = true
REQUIRE_SIGNIN_VIEW = false
DEFAULT_ALLOW_CREATE_ORGANIZATION = false
ENABLE_NOTIFY_MAIL = false
ENABLE_TIMETRACKING = false

[log]
MODE = console
LEVEL = Warn

[session]
PROVIDER = memory

[cache]
ADAPTER = memory

[queue]
TYPE = channel

[indexer]
ISSUE_INDEXER_TYPE = db
REPO_INDEXER_ENABLED = false

[git.config]
core.fsync = none
gc.auto = 0
maintenance.auto = false

[picture]
DISABLE_GRAVATAR = true

[oauth2]
ENABLED = false

[mirror]
ENABLED = false

[actions]
ENABLED = false

[packages]
ENABLED = false

[api]
ENABLE_SWAGGER = false

";

/// Jobs that Gitea starts by itself unless told otherwise.
const QUIET_JOBS: [&str; 9] = [
    "archive_cleanup",
    "update_mirrors",
    "repo_health_check",
    "check_repo_stats",
    "update_migration_poster_id",
    "sync_external_users",
    "cleanup_actions",
    "cleanup_hook_task_table",
    "update_checker",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_served_only_when_asked_for() {
        let quiet = app_ini(Path::new("/run"), Path::new("/static"), ForgeOptions::default());
        assert!(quiet.contains("\nDISABLE_SSH = true\n"), "{quiet}");
        assert!(!quiet.contains("START_SSH_SERVER"), "{quiet}");

        let served = ForgeOptions { ssh: Some(2222) };
        let served = app_ini(Path::new("/run"), Path::new("/static"), served);
        assert!(served.contains("\nSSH_LISTEN_PORT = 2222\n"), "{served}");
        assert!(!served.contains("DISABLE_SSH = true"), "{served}");
    }

    #[test]
    fn no_line_of_the_settings_is_indented_or_doubled_up() {
        let text = app_ini(Path::new("/run"), Path::new("/static"), ForgeOptions::default());
        for line in text.lines() {
            assert_eq!(line.trim(), line);
            assert!(line.matches(" = ").count() <= 1, "{line}");
        }
    }
}
