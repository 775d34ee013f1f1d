//! Gitea as the forge of the run.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
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
    world::{Launch, Ready, Server},
};

/// Owns the repositories; people's commits are made through this account.
pub(super) const OWNER: &str = "platform";
/// The account of the product.
const BOT: &str = "tidegate";
/// Reachable from within the run's own namespaces only.
const PASSWORD: &str = "forge-of-the-test-bed";

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
    git: PathBuf,
    server: Server,
}

impl Forge {
    /// Starts the forge with its data in `data` and its log in `logs`, and creates its users.
    ///
    /// The owner of all repositories is `platform`; the user `tidegate` is a collaborator who may
    /// write, see [`Forge::bot`].
    pub async fn start(components: &Components, data: &Path, logs: &Path) -> anyhow::Result<Self> {
        let programs = ForgePrograms::of(components);
        Self::launch(programs, data, logs, ForgeOptions::default()).await
    }

    /// Like [`Forge::start`], with every choice open.
    pub async fn launch(
        programs: ForgePrograms,
        data: &Path,
        logs: &Path,
        options: ForgeOptions,
    ) -> anyhow::Result<Self> {
        let folder = data.join("forge");
        std::fs::create_dir_all(folder.join("home"))
            .with_context(|| format!("the forge's folder {}", folder.display()))?;
        let settings = folder.join("app.ini");
        std::fs::write(&settings, app_ini(&folder, &programs.static_root, options))
            .with_context(|| format!("the forge's settings {}", settings.display()))?;

        let owner = Api::new(&format!("http://{ADDRESS}"), OWNER, PASSWORD)?;
        let gitea = gitea(&programs, &folder)?;
        let web = gitea.clone().arg("web").arg("--config").arg(&settings);
        let ready = Ready::Http(format!("http://{ADDRESS}/api/v1/version"));
        let server = Server::launch(web, logs, ready)?;
        server.ready().await?;
        create_owner(gitea.command().arg("--config").arg(&settings))?;
        let bot = create_bot(&owner).await?;
        Ok(Self { owner, bot, folder, git: programs.git, server })
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
            self.git.clone(),
            self.folder.join("repositories"),
        );
        repository.invite(BOT).await?;
        Ok(repository)
    }

    /// The process, to be killed and started again.
    pub fn server(&self) -> &Server {
        &self.server
    }
}

async fn create_bot(owner: &Api) -> anyhow::Result<Credentials> {
    let body = json!({
        "username": BOT,
        "email": format!("{BOT}@example.com"),
        "password": PASSWORD,
        "must_change_password": false,
    });
    owner.post("/admin/users", &body).await.context("creating the product's user")?;
    let body = json!({ "name": "write", "scopes": ["write:repository", "read:user"] });
    let token = owner
        .as_user(BOT, PASSWORD)
        .post(&format!("/users/{BOT}/tokens"), &body)
        .await
        .context("creating the product's token")?;
    let token = token["sha1"].as_str().context("the new token has no `sha1`")?;
    Ok(Credentials { user: BOT.to_owned(), token: token.to_owned() })
}

/// The first user cannot be made through the API.
fn create_owner(gitea: &mut Command) -> anyhow::Result<()> {
    let output = gitea
        .args(["admin", "user", "create", "--admin", "--must-change-password=false"])
        .args(["--username", OWNER, "--password", PASSWORD])
        .args(["--email", "platform@example.com"])
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

/// Gitea with folders and Git settings of its own.
fn gitea(programs: &ForgePrograms, folder: &Path) -> anyhow::Result<Launch> {
    let git = programs.git.parent().context("the path of git has no folder")?;
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", git.display());
    Ok(Launch::new("gitea", programs.gitea.clone())
        .env("PATH", path)
        .env("HOME", folder.join("home"))
        .env("GITEA_WORK_DIR", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1"))
}
