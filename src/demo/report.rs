//! What the demo tells: events, and where they go.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use serde::Serialize;
use tidegate_engine::reason::Reason;

use super::plain;
use super::recorder::Traffic;
use super::snapshot::Snapshot;
use super::terminal::LiveView;

/// One thing that happened. In JSON its kind is the field `event`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// What the demo does next, for people.
    Narration {
        /// One sentence.
        text: String,
    },
    /// A commit came onto the branch.
    Commit {
        /// Its id: 40 hex digits.
        id: String,
        /// First line of its message.
        subject: String,
        /// Who made it.
        author: String,
    },
    /// The sync applied a commit.
    Synced {
        /// The commit: 40 hex digits.
        id: String,
    },
    /// The trial entered a stage; `Idle` when there is no trial.
    Stage {
        /// Name of the stage.
        stage: String,
    },
    /// A weight was read back.
    Weight {
        /// Whole percent.
        weight: u8,
    },
    /// The judge looked.
    Verdict(VerdictView),
    /// The engine decided.
    Decision {
        /// Why.
        reason: Reason,
        /// One sentence, for people.
        message: String,
    },
    /// The revert of a commit is on the branch.
    Reverted {
        /// The revert: 40 hex digits.
        id: String,
        /// First line of its message.
        subject: String,
    },
    /// Stable's template is back in the workload.
    Restored {
        /// Stable's version.
        version: String,
    },
    /// The canary is stable now.
    Promoted {
        /// Its version.
        version: String,
    },
    /// Traffic of the last second.
    Traffic {
        /// Of stable.
        stable: ArmTraffic,
        /// Of the canary; absent where there is none.
        canary: Option<ArmTraffic>,
    },
    /// The demo is over.
    Summary {
        /// Whether all of it happened as it should.
        succeeded: bool,
        /// Requests that ended.
        requests: u64,
        /// Those that failed.
        failures: u64,
        /// What there is to say, a sentence each.
        lines: Vec<String>,
    },
}

/// Traffic of one arm.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ArmTraffic {
    /// What serves in it.
    pub version: String,
    /// The numbers.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// What the judge says, and how much speaks for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictView {
    /// Pass, Fail, `NeedMoreData`, Inconclusive or Error.
    pub verdict: String,
    /// One line with the numbers.
    pub message: String,
    /// Evidence that the canary is worse than stable; absent: no data.
    pub regression: Option<Evidence>,
    /// Evidence that the canary is no worse than its margin; absent: no data.
    pub safety: Option<Evidence>,
    /// Evidence that the canary breaks its absolute limit; absent: no data.
    pub guard: Option<Evidence>,
}

/// Evidence against the limit from which on it is enough, both as natural logarithms of e-values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The evidence so far; below 0 it speaks for the opposite.
    pub log_e: f64,
    /// What is enough.
    pub limit: f64,
}

impl Evidence {
    /// How much of the limit is reached, from 0 to 1.
    pub fn share(&self) -> f64 {
        let share = self.log_e / self.limit;
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }
}

/// Where events go.
#[derive(Debug)]
pub enum Reporter {
    /// To a view that fills the terminal.
    Live(LiveView),
    /// A line each, for people.
    Plain,
    /// A JSON object each, a line each.
    Json,
}

impl Reporter {
    /// JSON when it is asked for, else the live view on a terminal, else plain lines.
    ///
    /// # Errors
    /// The terminal cannot be set up.
    pub fn for_stdout(json: bool) -> io::Result<Self> {
        if json {
            Ok(Self::Json)
        } else if io::stdout().is_terminal() {
            let snapshot = Snapshot { monochrome: no_color(), ..Snapshot::default() };
            Ok(Self::Live(LiveView::start(snapshot)?))
        } else {
            Ok(Self::Plain)
        }
    }

    /// Tells an event that happened `elapsed` after the start.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn report(&self, elapsed: Duration, event: &Event) -> io::Result<()> {
        match self {
            Self::Live(view) => {
                view.change(|snapshot| snapshot.apply(elapsed, event));
                Ok(())
            }
            Self::Plain => write_line(&plain::line(elapsed, event)),
            Self::Json => write_line(&plain::json(elapsed, event)?),
        }
    }

    /// Resolves when a person closes the live view; never elsewhere, where a signal does it.
    pub async fn closed(&self) {
        match self {
            Self::Live(view) => view.closed().await,
            Self::Plain | Self::Json => std::future::pending().await,
        }
    }

    /// Restores the terminal. What the view showed last is gone with it, so the summary is told
    /// once more as lines.
    ///
    /// # Errors
    /// The terminal or standard output is closed.
    pub fn finish(self, elapsed: Duration, summary: &Event) -> io::Result<()> {
        match self {
            Self::Live(view) => {
                view.close()?;
                write_line(&plain::line(elapsed, summary))
            }
            Self::Plain | Self::Json => self.report(elapsed, summary),
        }
    }
}

/// <https://no-color.org>: any text but none means no colours.
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn write_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_evidence_stays_between_0_and_1() {
        let share = |log_e, limit| Evidence { log_e, limit }.share();
        assert!((share(2.0, 4.0) - 0.5).abs() < 1e-12);
        assert!(share(-3.0, 4.0).abs() < 1e-12);
        assert!((share(f64::INFINITY, 4.0) - 1.0).abs() < 1e-12);
        assert!(share(0.0, 0.0).abs() < 1e-12);
    }
}
