//! `tidegate pause|resume|promote|promote-full|abort|retry`: a request in the Rollout's annotation,
//! for the revision that is on trial now, and its answer.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use tidegate_api::{REQUEST_ANNOTATION, RequestAnswer, RequestStatus};
use tidegate_engine::observed::What;
use tidegate_engine::reason::Reason;
use tokio::time::{Instant, sleep};

use super::connect::{ClusterArgs, CommandError, Connection};
use super::{LATE, REFUSED};
use crate::kubernetes::{Kind, json as read, patch, sets};

/// The controller looks at once when a request is written.
const ANSWERED: Duration = Duration::from_secs(15);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(250);

/// Whom to ask.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct AskArgs {
    /// The Rollout
    name: String,
    /// The revision that is meant: hash of its pods, or its commit, seven digits at least
    /// [default: the one on trial now]
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How to abort.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct AbortArgs {
    #[command(flatten)]
    pub(super) ask: AskArgs,
    /// Leave Git alone: the failed template stays held
    #[arg(long)]
    pub(super) hold: bool,
}

/// Asks, and tells the answer.
pub(super) async fn run(
    args: &AskArgs,
    what: What,
    out: &mut (dyn Write + Send),
) -> Result<ExitCode, CommandError> {
    let connection = Connection::open(&args.cluster).await?;
    let live = connection.rollout(&args.name).await?;
    let mut seen = read::text(&live, "/status/canary/revision").map(str::to_owned);
    if seen.is_none() && what == What::Retry {
        seen = template(&connection, &live).await?;
    }
    let revision = meant(what, args.revision.clone(), seen)?;
    let token = format!("{:x}", Utc::now().timestamp_micros());
    let text = request(what, revision.as_deref(), &token);
    let annotate =
        |live: &Value| patch::entry(live, "annotations", REQUEST_ANNOTATION, Some(&text));
    let name = &args.name;
    let of = revision.map(|revision| format!(" {revision}")).unwrap_or_default();
    connection.write(Kind::Rollout, &live, annotate).await?;
    writeln!(out, "{name}: {}{of} is asked for", what.as_str())?;
    let until = Instant::now() + ANSWERED;
    loop {
        let live = connection.rollout(name).await?;
        if let Some(answer) = answer(&live, &token) {
            let (code, words) = told(&answer);
            writeln!(out, "{name}: {words}")?;
            return Ok(ExitCode::from(code));
        }
        if Instant::now() >= until {
            writeln!(out, "{name}: no answer yet; does the controller run? see status.request")?;
            return Ok(ExitCode::from(LATE));
        }
        sleep(LOOK).await;
    }
}

/// The revision of the template that the Deployment carries.
async fn template(connection: &Connection, live: &Value) -> Result<Option<String>, CommandError> {
    let workload = read::text(live, "/spec/workloadRef/name").unwrap_or_default();
    let found = connection.cluster.get(Kind::Deployment, &connection.namespace, workload).await?;
    Ok(found.as_ref().and_then(sets::revision).map(|revision| revision.to_string()))
}

/// What is named wins over what was seen; what does something to a revision needs one.
fn meant(
    what: What,
    named: Option<String>,
    seen: Option<String>,
) -> Result<Option<String>, CommandError> {
    let revision = named.or(seen);
    if revision.is_none() && what.names_revision() {
        let message = format!("nothing is on trial to {}: name a --revision", what.as_str());
        return Err(CommandError::Wrong(message));
    }
    Ok(revision)
}

/// The text of the annotation.
fn request(what: What, revision: Option<&str>, token: &str) -> String {
    let mut request = match what {
        What::Abort { hold: true } => json!({"what": "abort", "hold": true}),
        _ => json!({"what": what.as_str()}),
    };
    if let Some(revision) = revision {
        request["revision"] = json!(revision);
    }
    request["token"] = json!(token);
    request.to_string()
}

/// The answer to this very request.
fn answer(live: &Value, token: &str) -> Option<RequestStatus> {
    let found = live.pointer("/status/request")?.clone();
    let found: RequestStatus = serde_json::from_value(found).ok()?;
    (found.token == token).then_some(found)
}

/// Exit code and words.
fn told(answer: &RequestStatus) -> (u8, String) {
    let reason = answer.reason.as_deref().unwrap_or_default();
    let known = Reason::ALL.iter().find(|known| known.as_str() == reason);
    let meaning = known.map_or(reason, |known| known.meaning().trim());
    match answer.answer {
        RequestAnswer::Granted => (0, format!("granted: {meaning}")),
        RequestAnswer::Waiting => (0, "it waits for the first step".to_owned()),
        RequestAnswer::Refused => (REFUSED, format!("refused ({reason}): {meaning}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_revision_that_was_seen() {
        let seen = || Some("acanary".to_owned());
        assert_eq!(meant(What::Promote, None, seen()).unwrap(), seen());
        let named = Some("3f2a91c".to_owned());
        assert_eq!(meant(What::Promote, named.clone(), seen()).unwrap(), named);
        assert_eq!(meant(What::Pause, None, None).unwrap(), None);
        let wrong = meant(What::Abort { hold: false }, None, None).unwrap_err();
        assert!(wrong.is_bad_input());
        assert_eq!(wrong.to_string(), "nothing is on trial to abort: name a --revision");
    }

    #[test]
    fn a_request_is_read_as_it_was_meant() {
        let text = request(What::Abort { hold: true }, Some("acanary"), "7");
        let read: Value = serde_json::from_str(&text).unwrap();
        let wanted = json!({"what": "abort", "hold": true, "revision": "acanary", "token": "7"});
        assert_eq!(read, wanted);
        assert!(!text.contains('\\'));
    }

    #[test]
    fn only_the_answer_to_this_request_counts() {
        let live = json!({"status": {"request": {
            "what": "promote", "who": "ann", "revision": "a1", "token": "7",
            "answer": "Refused", "reason": "RequestForOtherRevision",
        }}});
        assert_eq!(answer(&live, "8"), None);
        assert_eq!(answer(&json!({}), "7"), None);
        let (code, words) = told(&answer(&live, "7").unwrap());
        assert_eq!(code, REFUSED);
        assert!(words.starts_with("refused (RequestForOtherRevision): A request"), "{words}");
        let granted = json!({"status": {"request": {"what": "abort", "who": "ann", "token": "7",
            "answer": "Granted", "reason": "AbortedByPerson"}}});
        let answered = told(&answer(&granted, "7").unwrap());
        assert_eq!(answered, (0, "granted: A person aborted the trial.".to_owned()));
    }
}
