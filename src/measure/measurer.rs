//! Asks, and remembers what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_api::{MeasuredBy, MetricSourceSpec};
use tidegate_engine::SamplesWanted;
use tidegate_engine::judge::{Context, Samples, Series};
use tokio::time::Instant;

use super::arms::{Arms, groups};
use super::link::{AskError, Link, Question, Span, answer};
use super::source::{Settings, Source};
use super::trial::{Look, Trial};
use crate::resolve::{Query, Resolved, pods_read};

/// Rounds of questions in one look: a trial's past is read in parts.
const ROUNDS: usize = 32;
/// What only might help is not waited for longer.
const SHORT: Duration = Duration::from_secs(2);

/// Gathers samples, and keeps between looks what was read.
#[derive(Default)]
pub struct Measurer {
    /// By name of the source.
    links: Mutex<BTreeMap<String, Arc<Link>>>,
    /// By name of the Rollout.
    trials: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Option<Trial>>>>>,
}

impl Measurer {
    /// With nothing remembered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Both arms' samples since the evidence began, and what the judge must know beside them.
    /// Takes no longer than the source's timeout; what is not answered by then is `Unavailable`.
    pub async fn gather(
        &self,
        resolved: &Resolved,
        source: &Source<'_>,
        arms: &Arms<'_>,
        wanted: &SamplesWanted,
        now: DateTime<Utc>,
    ) -> (Samples, Context) {
        let context = Context { now, share: wanted.share, plan_time: resolved.plan.time() };
        let settings = Settings::of(source.spec);
        let link = match self.link(source, &settings) {
            Ok(link) => link,
            Err(error) => return (unavailable(resolved, source, wanted, &error), context),
        };
        let look = Look::new(resolved, &settings, arms, wanted, now);
        let remembered = self.remembered(&resolved.plan.rollout);
        let mut remembered = remembered.lock().await;
        let is_same = |trial: &Trial| trial.is_for(source.name, wanted.since, &resolved.queries);
        if !remembered.as_ref().is_some_and(is_same) {
            *remembered = None;
        }
        let trial = remembered
            .get_or_insert_with(|| Trial::new(source.name, wanted.since, &resolved.queries));
        ask(trial, &look, &link).await;
        (trial.samples(&look), context)
    }

    /// The canary's pods are not read yet while stable's are: its first errors would be seen by
    /// nobody. A store that keeps no record of what is read, or does not answer, says nothing.
    pub async fn is_blind(
        &self,
        resolved: &Resolved,
        source: &Source<'_>,
        arms: &Arms<'_>,
        now: DateTime<Utc>,
    ) -> bool {
        let is_by_pod =
            |query: &Query| matches!(query, Query::Counters(query) if query.by == MeasuredBy::Pod);
        if !resolved.queries.values().any(is_by_pod) {
            return false;
        }
        let settings = Settings::of(source.spec);
        let Ok(link) = self.link(source, &settings) else { return false };
        let (stable, canary) = (arms.stable_names(), arms.canary_names());
        let all: Vec<_> = stable.iter().chain(&canary).cloned().collect();
        let instant = now.timestamp() + 1;
        let question = Question {
            text: pods_read(&settings.namespace, arms.namespace, &settings.pod, &all),
            span: Span { start: instant, end: instant, step: settings.scrape },
        };
        let deadline = Instant::now() + settings.timeout.min(SHORT);
        let answers = link.ask(vec![question.clone()], deadline).await;
        let Ok(series) = answer(&answers, &question) else { return false };
        let read: BTreeSet<_> =
            series.iter().filter_map(|one| one.metric().get(&settings.pod)).collect();
        stable.iter().any(|name| read.contains(name))
            && canary.iter().any(|name| !read.contains(name))
    }

    /// A Rollout is gone, and all that was read for it.
    pub fn forget(&self, rollout: &str) {
        self.trials().remove(rollout);
    }

    fn link(&self, source: &Source<'_>, settings: &Settings) -> Result<Arc<Link>, AskError> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(source.name).filter(|link| link.is_for(source)) {
            return Ok(link.clone());
        }
        let link = Arc::new(Link::new(source, settings)?);
        links.insert(source.name.to_owned(), link.clone());
        Ok(link)
    }

    fn remembered(&self, rollout: &str) -> Arc<tokio::sync::Mutex<Option<Trial>>> {
        self.trials().entry(rollout.to_owned()).or_default().clone()
    }

    fn trials(&self) -> MutexGuard<'_, BTreeMap<String, Arc<tokio::sync::Mutex<Option<Trial>>>>> {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Measurer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measurer").finish_non_exhaustive()
    }
}

/// Asks until all is read, or the time is up. What was read by then is kept.
async fn ask(trial: &mut Trial, look: &Look<'_>, link: &Link) {
    let begin = Instant::now();
    let deadline = begin + look.settings.timeout;
    trial.begin(look);
    for round in 0..ROUNDS {
        // Another part could not be had in what is left: the next look goes on with it.
        if round > 0 && begin.elapsed() * 2 > look.settings.timeout {
            return;
        }
        let questions = trial.questions(look);
        if questions.is_empty() {
            return;
        }
        let answers = link.ask(questions, deadline).await;
        trial.take(look, &answers);
    }
}

fn unavailable(
    resolved: &Resolved,
    source: &Source<'_>,
    wanted: &SamplesWanted,
    error: &AskError,
) -> Samples {
    let mut samples = Samples::empty(wanted.since);
    for criterion in &resolved.plan.analysis.criteria {
        let message = format!("metric source {} {error}", source.name);
        samples.series.insert(criterion.name.clone(), Series::Unavailable { message });
    }
    samples
}

/// A range query, for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The criterion it is asked for.
    pub metric: String,
    /// `PromQL`.
    pub query: String,
    /// The first instant that is read.
    pub from: DateTime<Utc>,
    /// The last one.
    pub to: DateTime<Utc>,
    /// The time between two of them.
    pub step: TimeDelta,
}

/// What the windows of a look are made of: who asks the same of the source can make them again. In
/// parts and with overlap it is asked look by look; here are all instants at once.
pub fn queries(
    resolved: &Resolved,
    spec: &MetricSourceSpec,
    arms: &Arms<'_>,
    wanted: &SamplesWanted,
    now: DateTime<Utc>,
) -> Vec<Asked> {
    let settings = Settings::of(spec);
    let look = Look::new(resolved, &settings, arms, wanted, now);
    let mut pods = arms.stable_names();
    pods.extend(arms.canary_names());
    // As they are asked for.
    pods.sort();
    let mut all = Vec::new();
    for (name, query) in &resolved.queries {
        let ask = |span: Span, query: String| {
            let [from, to] = [span.start, span.end].map(|at| DateTime::from_timestamp(at, 0));
            let (metric, step) = (name.clone(), TimeDelta::seconds(span.step));
            // Nothing is read before the evidence has begun.
            let (from, to) = from.zip(to).filter(|(_, to)| *to > wanted.since)?;
            Some(Asked { metric, query, from, to, step })
        };
        match query {
            Query::Counters(query) => {
                for group in groups(query, arms, &settings, &pods) {
                    let texts = [group.texts.total, group.texts.second];
                    all.extend(texts.into_iter().filter_map(|text| ask(look.instants(), text)));
                }
            }
            Query::Scalar(query) => {
                let text = query.text(&arms.canary_names(), arms.canary_service);
                all.extend(ask(look.window_ends(), text));
            }
        }
    }
    all
}
