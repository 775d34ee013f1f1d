//! `tidegate sync`: a path of a repository, applied to a cluster, once or again and again.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::sync::{Checkout, KubeTarget, Report, Settings, SyncError, Target, sync_once};

/// The shortest pause between two syncs: less would only load the forge.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Apply a path of a repository: plain YAML or simple Kustomize
#[derive(Clone, Debug, clap::Args)]
pub struct SyncArgs {
    /// URL or local path of the repository
    #[arg(long)]
    pub repo: String,
    /// Branch whose tip is applied
    #[arg(long, default_value = "main")]
    pub branch: String,
    /// Directory or file in the repository
    #[arg(long, default_value = ".")]
    pub path: String,
    /// Pause between two syncs, such as 30s, 5m or 1h
    #[arg(long, default_value = "30s", value_parser = parse_interval, conflicts_with = "once")]
    pub interval: Duration,
    /// Sync one time and exit; fails when an object fails
    #[arg(long)]
    pub once: bool,
    /// Name of the sync; its inventory is the `ConfigMap` `tidegate-sync-NAME`
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Namespace of the inventory and of objects that name none [default: that of the context]
    #[arg(long)]
    pub namespace: Option<String>,
    /// Show what would change, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Accept a path without objects: everything that was applied before is deleted
    #[arg(long)]
    pub allow_empty: bool,
    /// Form of the reports
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// User name for the repository
    #[arg(long, requires = "password_file")]
    pub username: Option<String>,
    /// File with the password or token for the repository; read again for each sync
    #[arg(long)]
    pub password_file: Option<PathBuf>,
}

/// The form of the reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Lines for people; syncs that change nothing are left out
    Text,
    /// One JSON object per sync
    Json,
}

/// Which files are fetched, and how.
#[derive(Clone, Debug)]
pub struct Source {
    /// URL or local path of the repository.
    pub repo: String,
    /// The branch.
    pub branch: String,
    /// The user name, where one is needed.
    pub username: Option<String>,
    /// The password or token.
    pub password: Option<SecretString>,
}

/// Why fetching failed.
pub type FetchError = Box<dyn Error + Send + Sync>;

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncCommandError {
    /// The repository.
    #[error("{repo} cannot be fetched")]
    Fetch {
        /// The repository.
        repo: String,
        /// Why.
        source: FetchError,
    },
    /// The password.
    #[error("the password file {} cannot be read", file.display())]
    Password {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The connection to the cluster. Kube's errors say what caused them themselves.
    #[error("no connection to a cluster: {0}")]
    Cluster(Box<kube::Error>),
    /// Nothing was applied.
    #[error("nothing is applied")]
    Sync(#[from] SyncError),
    /// Some objects failed; the report says which.
    #[error("{0} objects failed")]
    Incomplete(usize),
    /// Nobody reads the reports any more.
    #[error("the report cannot be written")]
    Report(#[from] std::io::Error),
    /// The task that fetches ended without an answer.
    #[error("fetching was cut off")]
    Interrupted,
}

/// Syncs to the cluster of the current context, until it is interrupted or, with `once`, one time.
///
/// `fetch` answers with all files of the branch's tip; it may block.
pub async fn run<F>(
    args: SyncArgs,
    fetch: F,
    out: &mut (dyn Write + Send),
) -> Result<(), SyncCommandError>
where
    F: Fn(&Source) -> Result<Checkout, FetchError> + Send + Sync + 'static,
{
    let client = kube::Client::try_default()
        .await
        .map_err(|error| SyncCommandError::Cluster(Box::new(error)))?;
    let namespace = client.default_namespace().to_owned();
    let target = Target::Kube(KubeTarget::new(client));
    run_on(args, &target, &namespace, fetch, out).await
}

/// The same on a given target, with the namespace that is used when the arguments have none.
pub async fn run_on<F>(
    args: SyncArgs,
    target: &Target,
    namespace: &str,
    fetch: F,
    out: &mut (dyn Write + Send),
) -> Result<(), SyncCommandError>
where
    F: Fn(&Source) -> Result<Checkout, FetchError> + Send + Sync + 'static,
{
    let settings = Settings {
        name: args.name.clone(),
        namespace: args.namespace.clone().unwrap_or_else(|| namespace.to_owned()),
        path: args.path.clone(),
        allow_empty: args.allow_empty,
        dry_run: args.dry_run,
    };
    let fetch = Arc::new(fetch);
    if args.once {
        let report = one(&args, &settings, target, &fetch).await?;
        write(&report, args.output, out)?;
        let failed = report.failed() + report.not_pruned.len();
        return if failed == 0 { Ok(()) } else { Err(SyncCommandError::Incomplete(failed)) };
    }
    loop {
        let pause = async {
            match one(&args, &settings, target, &fetch).await {
                Ok(report) if args.output == Output::Json || is_news(&report) => {
                    write(&report, args.output, out)?;
                }
                Ok(report) => tracing::debug!(revision = report.revision, "nothing to do"),
                // The next one may go through: the forge or the API server is away for a while.
                Err(error) => tracing::error!(error = with_causes(&error), "the sync failed"),
            }
            tokio::time::sleep(args.interval).await;
            Ok::<(), SyncCommandError>(())
        };
        // A sync can be dropped between any two writes: the next one finds the inventory.
        tokio::select! {
            ended = pause => ended?,
            () = interrupted() => return Ok(()),
        }
    }
}

/// Ends when someone (SIGINT) or the kubelet (SIGTERM) asks the process to end.
async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminate) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        return;
    }
    // Without a handler the signal itself ends the process.
    let _ = tokio::signal::ctrl_c().await;
}

async fn one<F>(
    args: &SyncArgs,
    settings: &Settings,
    target: &Target,
    fetch: &Arc<F>,
) -> Result<Report, SyncCommandError>
where
    F: Fn(&Source) -> Result<Checkout, FetchError> + Send + Sync + 'static,
{
    let source = Source {
        repo: args.repo.clone(),
        branch: args.branch.clone(),
        username: args.username.clone(),
        password: args.password_file.as_ref().map(read_password).transpose()?,
    };
    let fetch = Arc::clone(fetch);
    let fetched = tokio::task::spawn_blocking(move || fetch(&source)).await;
    let fetched = fetched.map_err(|_| SyncCommandError::Interrupted)?;
    let repo = &args.repo;
    let checkout =
        fetched.map_err(|source| SyncCommandError::Fetch { repo: repo.clone(), source })?;
    Ok(sync_once(&checkout, target, settings).await?)
}

fn read_password(file: &PathBuf) -> Result<SecretString, SyncCommandError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| SyncCommandError::Password { file: file.clone(), source })?;
    // Editors and `kubectl create secret --from-file` leave a line end.
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Whether a person wants to read it.
fn is_news(report: &Report) -> bool {
    report.previous.as_ref() != Some(&report.revision)
        || report.unchanged() != report.objects.len()
        || !report.is_complete()
        || !report.pruned.is_empty()
        || !report.drift.is_empty()
}

fn write(report: &Report, output: Output, out: &mut dyn Write) -> std::io::Result<()> {
    match output {
        Output::Text => writeln!(out, "{report}")?,
        Output::Json => {
            serde_json::to_writer(&mut *out, report)?;
            writeln!(out)?;
        }
    }
    out.flush()
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Reads `30s`, `5m`, `1h`.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not an interval such as 30s, 5m or 1h");
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) => (digits, text.trim_start_matches(digits)),
        None => return Err(wrong()),
    };
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "m" => u64::from(number) * 60,
        "h" => u64::from(number) * 3600,
        _ => u64::from(number),
    };
    let interval = Duration::from_secs(seconds);
    if interval < SHORTEST_INTERVAL { Err(wrong()) } else { Ok(interval) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit_and_is_not_zero() {
        for (text, seconds) in [("1s", 1), ("30s", 30), ("5m", 300), ("2h", 7200)] {
            assert_eq!(parse_interval(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "s", "0s", "30", "-1s", "1d", "1.5m", "99999999999s"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
