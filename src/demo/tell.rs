//! What the demo tells while it runs, and at the end.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::state::Revision;

use super::report::{ArmTraffic, Event, Reporter};
use super::run::{Demo, DemoError, Ended};

impl Demo {
    /// What happens next, for people.
    pub(super) fn say(&self, text: &str) {
        self.tell(&Event::Narration { text: text.to_owned() });
    }

    pub(super) fn tell(&self, event: &Event) {
        // Standard output that is closed ends the telling, not the demo: its exit code still says
        // whether the story came true.
        let _ = self.reporter.report(self.started.elapsed(), event);
    }

    /// Versions say more than hashes.
    pub(super) fn in_words(&self, message: &str) -> String {
        let mut words = message.to_owned();
        for (revision, version) in self.local.versions() {
            words = words.replace(revision.as_str(), version);
        }
        words
    }

    fn version_of(&self, revision: &Revision) -> String {
        let version = self.local.versions().get(revision);
        version.map_or_else(|| revision.as_str().to_owned(), Clone::clone)
    }

    pub(super) fn version_of_stable(&self) -> String {
        let stable = self.control.as_ref().and_then(|control| control.state.stable.as_ref());
        stable.map_or_else(String::new, |stable| self.version_of(&stable.revision))
    }

    fn canary(&self) -> Option<Revision> {
        let control = self.control.as_ref()?;
        control.state.trial.as_ref().map(|trial| trial.canary.clone())
    }

    /// How often numbers are told: a view that is drawn over takes every one, lines are for
    /// reading.
    pub(super) fn pace(&self) -> TimeDelta {
        let lines = matches!(self.reporter, Reporter::Plain);
        if lines { TimeDelta::seconds(4) } else { TimeDelta::seconds(1) }
    }

    /// Traffic of both versions, as the clients saw it.
    pub(super) fn tell_traffic(&self, from: DateTime<Utc>, to: DateTime<Utc>) {
        let mut by_version = self.recorder.traffic_by_version(from, to);
        let mut arm = |version: String| ArmTraffic {
            traffic: by_version.remove(&Some(version.clone())).unwrap_or_default(),
            version,
        };
        let stable = arm(self.version_of_stable());
        let canary = self.canary().map(|canary| arm(self.version_of(&canary)));
        self.tell(&Event::Traffic { stable, canary });
    }

    /// The summary, and whether the story came true.
    pub(super) fn finish(
        self,
        ended: Result<Ended, DemoError>,
        kept: Option<&Path>,
    ) -> Result<bool, DemoError> {
        let ended = ended?;
        let mut lines = Vec::new();
        let mut succeeded = match ended {
            Ended::Well => true,
            Ended::Badly(what) => {
                lines.push(what);
                false
            }
            Ended::Closed => {
                lines.push("closed before the end".to_owned());
                false
            }
        };
        let log = self.repository.log(10)?;
        let reverts: Vec<_> = log.iter().filter(|commit| commit.trial.is_some()).collect();
        if reverts.len() != 1 {
            lines.push(format!("found {} revert commits, expected exactly one", reverts.len()));
            succeeded = false;
        }
        lines.extend(self.harm());
        lines.push(String::new());
        lines.push("git log, newest first:".to_owned());
        lines.extend(log.iter().map(|commit| {
            format!("  {} {} ({})", commit.id.short(), commit.subject, commit.author)
        }));
        if let Some(revert) = reverts.first() {
            lines.push(String::new());
            lines.push("the message of the revert:".to_owned());
            lines.extend(revert.message.trim_end().lines().map(|line| format!("  {line}")));
        }
        lines.push(String::new());
        lines.extend(what_next(self.repository.dir(), kept));
        let totals = self.recorder.totals();
        let summary = Event::Summary {
            succeeded,
            requests: totals.requests,
            failures: totals.failures,
            lines,
        };
        let Self { reporter, started, .. } = self;
        let _ = reporter.finish(started.elapsed(), &summary);
        Ok(succeeded)
    }

    /// Who was harmed, and by what.
    fn harm(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (version, totals) in self.recorder.by_version() {
            let name = version.unwrap_or_else(|| "the gateway".to_owned());
            lines.push(format!("{name}: {} requests, {} failed", totals.requests, totals.failures));
        }
        if self.recorder.overflows() > 0 {
            lines.push(format!("{} requests were not sent: too busy", self.recorder.overflows()));
        }
        lines
    }
}

fn what_next(dir: &Path, kept: Option<&Path>) -> Vec<String> {
    let mut lines = Vec::new();
    if kept.is_some() {
        lines.push(format!("look at it: git --git-dir {} log -p", dir.display()));
    } else {
        lines.push("keep the repository to look at: tidegate demo --repo DIR".to_owned());
    }
    lines.push("try your own plan: tidegate simulate examples/rollout.yaml".to_owned());
    lines.push(
        "on a cluster: the objects are `tidegate crd`, the sync is `tidegate sync`;".to_owned(),
    );
    lines.push("  README.md says, under Where it stands, what is still to come".to_owned());
    lines
}
