//! Samples to a verdict, for one turn.

use chrono::{DateTime, Utc};
use tidegate_api::MetricSourceSpec;
use tidegate_engine::judge::{Context, Samples, Series, Verdict, Weighed, judge};
use tidegate_engine::plan::{Plan, Traffic};
use tidegate_engine::state::{Stage, State};
use tidegate_engine::{Questions, SamplesWanted};

use super::error::chain;
use super::reconcile::{Followed, SOON};
use super::secrets::SecretError;
use super::turns::{Measured, Turns};
use crate::measure::{self, Arms, Basic, Credentials, Source};
use crate::observe::Seen;
use crate::resolve::Resolved;

/// Scrapers look for new pods this often, with some room: Prometheus each 5 s.
const DISCOVERY: std::time::Duration = std::time::Duration::from_secs(8);

impl Measured {
    /// Nothing was to be judged.
    pub(super) fn nothing() -> Self {
        let verdict = Verdict::NeedMoreData { eta: None, metric: String::new() };
        Self { verdict, judgement: None, queries: Vec::new(), again: None, is_blind: false }
    }
}

impl Turns {
    /// What the judge makes of both arms' samples. Nothing that goes wrong here is an error of the
    /// turn: what could not be had is a verdict of its own, and traffic goes home without metrics.
    pub(super) async fn measure(
        &self,
        followed: &Followed,
        seen: &Seen,
        asked: &Questions,
        state: &State,
        now: DateTime<Utc>,
    ) -> Measured {
        let Some(wanted) = &asked.samples else {
            let is_blind = self.is_blind(followed, seen, state, now).await;
            let again = is_blind.then_some(SOON);
            return Measured { again, is_blind, ..Measured::nothing() };
        };
        let resolved = &followed.resolved;
        let arms = Arms::of(&followed.target, seen);
        let found = self.source(&followed.target.namespace, &resolved.source).await;
        let again = found.as_ref().ok().map(|(spec, _)| measure::look_interval(spec));
        let (samples, context, queries) = match found {
            Ok((spec, credentials)) => {
                let name = resolved.source.as_str();
                let source = Source { name, spec: &spec, credentials: &credentials };
                let gathered = self.measurer.gather(resolved, &source, &arms, wanted, now).await;
                (gathered.0, gathered.1, measure::queries(resolved, &spec, &arms, wanted, now))
            }
            Err(message) => {
                let share = wanted.share;
                let context = Context { now, share, plan_time: resolved.plan.time() };
                (unavailable(resolved, wanted, &message), context, Vec::new())
            }
        };
        let analysis = &resolved.plan.analysis;
        let weights = weights(&resolved.plan, wanted.share);
        let weighed = weighed(&resolved.plan, state);
        let judgement = judge(analysis, &samples, &context);
        let judgement = judgement.detailed(analysis, &samples, &weights, weighed);
        let verdict = judgement.verdict.clone();
        Measured { verdict, judgement: Some(judgement), queries, again, is_blind: false }
    }

    /// Traffic would come before anybody measures. Scrapers find new pods within seconds; one that
    /// does not is not waited for.
    async fn is_blind(
        &self,
        followed: &Followed,
        seen: &Seen,
        state: &State,
        now: DateTime<Utc>,
    ) -> bool {
        let is_starting =
            state.trial.as_ref().is_some_and(|trial| matches!(trial.stage, Stage::Starting { .. }));
        if !is_starting || seen.canary.ready == 0 || seen.canary.ready < seen.canary.desired {
            return false;
        }
        let resolved = &followed.resolved;
        let found = self.source(&followed.target.namespace, &resolved.source).await;
        let Ok((spec, credentials)) = found else { return false };
        let patience = DISCOVERY + 8 * measure::look_interval(&spec);
        let born = seen.canary_pods.iter().filter_map(|pod| pod.created).max();
        if born.is_none_or(|born| (now - born).to_std().is_ok_and(|age| age > patience)) {
            return false;
        }
        let name = resolved.source.as_str();
        let source = Source { name, spec: &spec, credentials: &credentials };
        self.measurer.is_blind(resolved, &source, &Arms::of(&followed.target, seen), now).await
    }

    /// The metric source and what it takes to be let in, or why it cannot be asked.
    async fn source(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<(MetricSourceSpec, Credentials), String> {
        let referred = self.references.of(namespace).await.map_err(|error| chain(&error))?;
        let Some(source) = referred.source(name) else {
            return Err(format!("there is no MetricSource {name}"));
        };
        let credentials = self.credentials(&source.spec).await.map_err(|error| chain(&error))?;
        Ok((source.spec.clone(), credentials))
    }

    async fn credentials(&self, spec: &MetricSourceSpec) -> Result<Credentials, SecretError> {
        use secrecy::ExposeSecret as _;
        let mut credentials = Credentials::default();
        if let Some(at) = &spec.bearer_token {
            let secret = self.secrets.get(at.name.as_str()).await?;
            credentials.bearer = Some(secret.text(&at.key)?);
        }
        if let Some(name) = &spec.basic_auth {
            let secret = self.secrets.get(name.as_str()).await?;
            let username = secret.text("username")?.expose_secret().to_owned();
            credentials.basic = Some(Basic { username, password: secret.text("password")? });
        }
        if let Some(at) = &spec.certificate_authority {
            let secret = self.secrets.get(at.name.as_str()).await?;
            // Certificates are public.
            let pem = secret.text(&at.key)?.expose_secret().to_owned();
            credentials.certificate_authority = Some(pem);
        }
        Ok(credentials)
    }
}

/// The share that a gateway splits off, and since when. By pods it is one of connections.
fn weighed(plan: &Plan, state: &State) -> Option<Weighed> {
    let at = &state.trial.as_ref()?.stage;
    let Stage::Baking { since, .. } = at else { return None };
    let share = f64::from(at.weight(plan).percent()) / 100.0;
    (plan.traffic == Traffic::Routes).then_some(Weighed { share, since: *since })
}

/// The weights that are still to come and leave stable something, in whole percent.
fn weights(plan: &Plan, share: f64) -> Vec<u8> {
    let mut weights: Vec<_> = (0..plan.steps.len())
        .map(|step| plan.weight_at(step).percent())
        .filter(|weight| *weight < 100 && f64::from(*weight) / 100.0 > share)
        .collect();
    weights.dedup();
    weights
}

/// No data, and why.
fn unavailable(resolved: &Resolved, wanted: &SamplesWanted, message: &str) -> Samples {
    let mut samples = Samples::empty(wanted.since);
    for criterion in &resolved.plan.analysis.criteria {
        let series = Series::Unavailable { message: message.to_owned() };
        samples.series.insert(criterion.name.clone(), series);
    }
    samples
}
