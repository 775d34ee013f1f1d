//! Gitea as the forge of the run.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::json;

pub use super::forge_settings::ForgeOptions;
use super::{
    api::Api,
    forge_settings::{ADDRESS, app_ini},
    repository::{Credentials, Repository},
};
use crate::{
    components::{Components, Folder, Program},
    world::{Daemon, eventually},
};

/// Owns the repositories; people's commits are made through this account.
pub(super) const OWNER: &str = "platform";
/// The account of the product.
const BOT: &str = "tidegate";
/// Reachable from within the run's own namespaces only.
const PASSWORD: &str = "forge-of-the-test-bed";

/// Gitea starts in about a second; a machine that builds beside it needs more.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The programs and folders the forge is made of.
#[derive(Clone, Debug)]
pub struct ForgePrograms {
    /// Gitea's executable.
    pub gitea: PathBuf,
    /// The folder with Gitea's `templates`, `options` and `public`.
    pub static_root: PathBuf,
    /// The `git` that Gitea and [`Repository::force_push`] run.
    pub git: PathBuf,
}

impl ForgePrograms {
    /// Those of the component cache.
    pub fn of(components: &Components) -> Self {
        Self {
            gitea: components.program(Program::Gitea),
            static_root: components.folder(Folder::GiteaStatic),
            git: components.program(Program::Git),
        }
    }
}

/// A running Gitea; it ends with this value.
pub struct Forge {
    owner: Api,
    bot: Credentials,
    folder: PathBuf,
    programs: ForgePrograms,
    daemon: Daemon,
}

impl Forge {
    /// Starts the forge with its data and log in `folder`, and creates its users.
    ///
    /// The owner of all repositories is `platform`; the user `tidegate` is a collaborator who may
    /// write, see [`Forge::bot`].
    pub async fn start(components: &Components, folder: &Path) -> anyhow::Result<Self> {
        Self::launch(ForgePrograms::of(components), folder, ForgeOptions::default()).await
    }

    /// Like [`Forge::start`], with every choice open.
    pub async fn launch(
        programs: ForgePrograms,
        folder: &Path,
        options: ForgeOptions,
    ) -> anyhow::Result<Self> {
        let folder = folder.join("forge");
        std::fs::create_dir_all(folder.join("home"))
            .with_context(|| format!("the forge's folder {}", folder.display()))?;
        let settings = folder.join("app.ini");
        std::fs::write(&settings, app_ini(&folder, &programs.static_root, options))
            .with_context(|| format!("the forge's settings {}", settings.display()))?;

        let mut command = gitea(&programs, &folder)?;
        command.arg("web").arg("--config").arg(&settings);
        let daemon = Daemon::start("gitea", &folder, command)?;
        let owner = Api::new(&format!("http://{ADDRESS}"), OWNER, PASSWORD)?;
        let mut forge = Self {
            bot: Credentials { user: BOT.to_owned(), token: String::new() },
            owner,
            folder,
            programs,
            daemon,
        };
        forge.wait_until_it_answers().await?;
        forge.create_users().await?;
        Ok(forge)
    }

    /// `http://host:port` of the forge.
    pub fn url(&self) -> String {
        format!("http://{ADDRESS}")
    }

    /// The product's user and its token, which is also its password for Git over HTTP.
    pub fn bot(&self) -> Credentials {
        self.bot.clone()
    }

    /// Creates a private repository that holds one commit with a README, on branch `main`.
    pub async fn repository(&self, name: &str) -> anyhow::Result<Repository> {
        let body = json!({
            "name": name,
            "private": true,
            "auto_init": true,
            "default_branch": "main",
            "readme": "Default",
        });
        let create = self.owner.post("/user/repos", &body).await;
        create.with_context(|| format!("creating the repository {name}"))?;
        let repository = Repository::new(
            name,
            self.url(),
            self.owner.clone(),
            self.bot(),
            self.programs.git.clone(),
            self.folder.join("repositories"),
        );
        repository.invite(BOT).await?;
        Ok(repository)
    }

    /// Ends the forge as a power cut does.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts a killed forge again, on the data it left.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let mut command = gitea(&self.programs, &self.folder)?;
        command.arg("web").arg("--config").arg(self.folder.join("app.ini"));
        self.daemon = Daemon::start("gitea", &self.folder, command)?;
        self.wait_until_it_answers().await
    }

    /// The process, for tests that count its memory.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let (daemon, api) = (&mut self.daemon, &self.owner);
        let up = eventually("the forge answers", START_TIMEOUT, async || {
            if daemon.has_exited().is_some() {
                return Ok(Some(false));
            }
            api.answers().await.map(|()| Some(true))
        })
        .await?;
        if up { Ok(()) } else { self.daemon.still_runs() }
    }

    async fn create_users(&mut self) -> anyhow::Result<()> {
        self.create_owner()?;
        let body = json!({
            "username": BOT,
            "email": format!("{BOT}@example.com"),
            "password": PASSWORD,
            "must_change_password": false,
        });
        self.owner.post("/admin/users", &body).await.context("creating the product's user")?;
        let body = json!({ "name": "write", "scopes": ["write:repository", "read:user"] });
        let token = self
            .owner
            .as_user(BOT, PASSWORD)
            .post(&format!("/users/{BOT}/tokens"), &body)
            .await
            .context("creating the product's token")?;
        let token = token["sha1"].as_str().context("the new token has no `sha1`")?;
        token.clone_into(&mut self.bot.token);
        Ok(())
    }

    /// The first user cannot be made through the API.
    fn create_owner(&self) -> anyhow::Result<()> {
        let output = gitea(&self.programs, &self.folder)?
            .args(["admin", "user", "create", "--admin", "--must-change-password=false"])
            .args(["--username", OWNER, "--password", PASSWORD])
            .args(["--email", "platform@example.com", "--config"])
            .arg(self.folder.join("app.ini"))
            .stdin(Stdio::null())
            .output()
            .context("running gitea admin user create")?;
        if !output.status.success() {
            bail!(
                "gitea admin user create ended with {}: {}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}

/// Gitea with an environment of its own: the host's proxies, Git settings and `GITEA_*` variables
/// are not part of the test.
fn gitea(programs: &ForgePrograms, folder: &Path) -> anyhow::Result<Command> {
    let git = programs.git.parent().context("the path of git has no folder")?;
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", git.display());
    let mut command = Command::new(&programs.gitea);
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder.join("home"))
        .env("GITEA_WORK_DIR", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .current_dir(folder);
    Ok(command)
}
