//! Runs a scenario: the machine and the judge against simulated traffic, in virtual time.

use chrono::{DateTime, TimeDelta, Utc};

use super::arms::{Arms, Measure};
use super::cluster::Cluster;
use super::scenario::{Event, Happening, Scenario};
use super::story::{Line, Run, StepTime, Told, Turned};
use crate::effect::Effect;
use crate::judge::{Judgement, Verdict};
use crate::observed::{Ask, What};
use crate::plan::Plan;
use crate::report::VerdictWord;
use crate::state::{Phase, Revision, Stage, State};
use crate::{Decision, Wake, decide, questions};

/// The revision that serves at the beginning.
pub(super) const FIRST: &str = "v1";
/// What was asked for takes this long to be seen: a write and its reading back.
const SEEN: TimeDelta = TimeDelta::seconds(1);

/// Runs a scenario once; `measures` says what each criterion of the plan measures. The same plan,
/// scenario and seed give the same run.
pub fn run(plan: &Plan, measures: &[Measure], scenario: &Scenario, seed: u64) -> Run {
    let start = DateTime::<Utc>::UNIX_EPOCH;
    let mut sim = Sim::new(plan, measures, scenario, seed, start);
    let end = start + scenario.lasts;
    while sim.cluster.now < end {
        sim.happen();
        let decision = sim.turn();
        let next = sim.next_instant(&decision).min(end);
        sim.pass_until(next);
    }
    Run {
        phase: sim.state.phase(),
        serves: sim.state.stable.map(|stable| stable.revision),
        timeline: sim.timeline,
        steps: sim.steps,
        trials: sim.trials,
        harmed: sim.harmed,
    }
}

struct Sim<'a> {
    plan: &'a Plan,
    scenario: &'a Scenario,
    start: DateTime<Utc>,
    cluster: Cluster,
    arms: Arms<'a>,
    state: State,
    events: std::slice::Iter<'a, Event>,
    pending: Option<&'a Event>,
    /// The metrics answer.
    metrics: bool,
    scraped: DateTime<Utc>,
    committed: DateTime<Utc>,
    /// When the canary's first traffic was read back.
    traffic: Option<DateTime<Utc>>,
    /// When the trial was decided.
    decided: Option<DateTime<Utc>>,
    verdict: &'static str,
    asked_for: Vec<Effect>,
    timeline: Vec<Line>,
    steps: Vec<StepTime>,
    trials: Vec<Told>,
    harmed: u64,
}

impl<'a> Sim<'a> {
    fn new(
        plan: &'a Plan,
        measures: &'a [Measure],
        scenario: &'a Scenario,
        seed: u64,
        start: DateTime<Utc>,
    ) -> Self {
        let mut events = scenario.events.iter();
        let pending = events.next();
        Self {
            plan,
            scenario,
            start,
            cluster: Cluster::new(start, FIRST, scenario.replicas),
            arms: Arms::new(plan, measures, scenario, seed),
            state: State::default(),
            events,
            pending,
            metrics: true,
            scraped: start,
            committed: start,
            traffic: None,
            decided: None,
            verdict: VerdictWord::NeedMoreData.as_str(),
            asked_for: Vec::new(),
            timeline: Vec::new(),
            steps: Vec::new(),
            trials: Vec::new(),
            harmed: 0,
        }
    }

    /// What the scenario has for this instant.
    fn happen(&mut self) {
        while let Some(event) = self.pending
            && self.start + event.at <= self.cluster.now
        {
            self.pending = self.events.next();
            self.write(Turned::Event(event.what.to_string()));
            match &event.what {
                Happening::Commit { template } => {
                    let start_up = self.scenario.start_up;
                    self.cluster.start_up.insert(Revision::new(template.clone()), start_up);
                    self.committed = self.cluster.now;
                    self.cluster.commit(template);
                    self.cluster.sync();
                }
                Happening::RevertByHand => self.revert_by_hand(),
                Happening::Ask(what) => self.ask(*what),
                Happening::Gateway { up } => self.cluster.gateway = *up,
                Happening::Forge(outcome) => {
                    self.cluster.forge = outcome.clone().map_or(Ok(()), Err);
                }
                Happening::Trouble { template, trouble } => {
                    let revision = Revision::new(template.clone());
                    self.cluster.trouble.insert(revision, trouble.clone());
                }
                Happening::Replicas(desired) => self.cluster.scale(*desired),
                Happening::Metrics { up } => self.metrics = *up,
            }
        }
    }

    fn revert_by_hand(&mut self) {
        let commits = self.cluster.branch.commits();
        if let Some(before) = commits.iter().rev().nth(1) {
            let template = before.template.clone();
            self.cluster.commit(template.as_str());
            self.cluster.sync();
        }
    }

    fn ask(&mut self, what: What) {
        let token = (self.cluster.now - self.start).num_milliseconds().to_string();
        let revision = Some(self.cluster.template.to_string());
        self.cluster.ask = Some(Ask { token, who: "a person".to_owned(), what, revision });
    }

    /// One turn of the controller: look, decide, write down, act.
    fn turn(&mut self) -> Decision {
        let now = self.cluster.now;
        let asked = questions(self.plan, &self.state, now);
        let verdict = if let Some(wanted) = &asked.samples {
            let judgement = self.arms.judge(now, wanted.share);
            self.tell_verdict(judgement.as_ref());
            judgement.map(|judgement| judgement.verdict)
        } else {
            self.arms.end();
            None
        };
        let nothing = || Verdict::NeedMoreData { eta: None, metric: "nothing".to_owned() };
        let seen = self.cluster.observe(&self.state, verdict.unwrap_or_else(nothing));
        let decision = decide(self.plan, &self.state, &seen, now);
        self.tell(&decision);
        let before = std::mem::replace(&mut self.state, decision.next.clone());
        self.measure(&before);
        for effect in &decision.effects {
            self.cluster.carry_out(effect);
        }
        decision
    }

    /// Keeps the times that people ask for.
    fn measure(&mut self, before: &State) {
        let now = self.cluster.now;
        if let Some(ended) = self.state.last.as_ref().filter(|_| before.last != self.state.last) {
            self.trials.push(Told {
                canary: ended.canary.clone(),
                after_commit: self.decided.map(|at| at - self.committed),
                after_traffic: self.decided.zip(self.traffic).map(|(at, first)| at - first),
                outcome: ended.outcome.clone(),
            });
        }
        let id = |state: &State| state.trial.as_ref().map(|trial| trial.id.clone());
        if id(before) != id(&self.state) {
            (self.traffic, self.decided, self.verdict) =
                (None, None, VerdictWord::NeedMoreData.as_str());
            self.arms.end();
        }
        let ready = |state: &State| state.trial.as_ref().and_then(|trial| trial.ready);
        if let Some(since) = ready(&self.state)
            && ready(before).is_none()
        {
            let stable = self.state.stable.as_ref().map(|stable| &stable.revision);
            self.arms.begin(since, stable.map_or(0, |stable| self.cluster.ready(stable)));
            self.scraped = now;
        }
        let stage = |state: &State| state.trial.as_ref().map(|trial| trial.stage.clone());
        self.time_steps(stage(before).as_ref(), stage(&self.state).as_ref());
        if self.is_decided() && self.decided.is_none() {
            self.decided = Some(now);
        }
    }

    /// The trial is going home, or to promotion.
    fn is_decided(&self) -> bool {
        match self.state.phase() {
            Phase::Aborting | Phase::Promoting => true,
            Phase::Idle
            | Phase::Settling
            | Phase::Starting
            | Phase::Shifting
            | Phase::Baking
            | Phase::Paused
            | Phase::FastForward
            | Phase::Reverting
            | Phase::Restoring
            | Phase::Aborted
            | Phase::Watching => false,
        }
    }

    fn time_steps(&mut self, before: Option<&Stage>, after: Option<&Stage>) {
        let now = self.cluster.now;
        let step = |stage: Option<&Stage>| match stage {
            Some(Stage::Shifting { step, .. } | Stage::Paused { step, .. }) => Some((*step, false)),
            Some(Stage::Baking { step, .. }) => Some((*step, true)),
            // All steps are behind.
            Some(Stage::Promoting { .. }) => Some((usize::MAX, false)),
            Some(
                Stage::Settling { .. }
                | Stage::Starting { .. }
                | Stage::FastForward { .. }
                | Stage::Aborting { .. }
                | Stage::Reverting { .. }
                | Stage::Restoring { .. }
                | Stage::Aborted { .. }
                | Stage::Watching { .. },
            )
            | None => None,
        };
        let (Some((was, _)), Some((is, bakes))) = (step(before), step(after)) else { return };
        if is > was
            && let Some(open) = self.steps.last_mut().filter(|open| open.took.is_none())
        {
            open.took = Some(now - self.start - open.read_back);
        }
        let is_new = matches!(before, Some(Stage::Shifting { .. }));
        if bakes
            && is_new
            && let Some(trial) = &self.state.trial
        {
            self.traffic = self.traffic.or(Some(now));
            self.steps.push(StepTime {
                canary: trial.canary.clone(),
                weight: self.plan.weight_at(is),
                read_back: now - self.start,
                took: None,
            });
        }
    }

    fn tell_verdict(&mut self, judgement: Option<&Judgement>) {
        let Some(judgement) = judgement else { return };
        let verdict = VerdictWord::from(&judgement.verdict).as_str();
        if std::mem::replace(&mut self.verdict, verdict) == verdict {
            return;
        }
        let text = match &judgement.verdict {
            Verdict::Fail(failure) => vec![failure.message.clone()],
            Verdict::Error { metric, message } => vec![format!("{metric}: {message}")],
            Verdict::Pass | Verdict::NeedMoreData { .. } | Verdict::Inconclusive { .. } => {
                judgement.metrics.iter().map(|view| view.text.clone()).collect()
            }
        };
        self.write(Turned::Verdict { verdict, text });
    }

    /// A line for a decision that is not the one before.
    fn tell(&mut self, decision: &Decision) {
        let phase = decision.next.phase();
        let effects: Vec<_> = decision
            .effects
            .iter()
            .filter(|effect| !matches!(effect, Effect::Announce(_)))
            .cloned()
            .collect();
        let is_new = phase != self.state.phase();
        let asks = !effects.is_empty() && effects != self.asked_for;
        if is_new || asks {
            self.write(Turned::Decision {
                phase,
                reason: decision.reason,
                message: decision.message.clone(),
                effects: effects.clone(),
            });
        }
        self.asked_for = effects;
    }

    fn write(&mut self, turned: Turned) {
        self.timeline.push(Line { at: self.cluster.now - self.start, turned });
    }

    /// The next instant at which anything can be different.
    fn next_instant(&self, decision: &Decision) -> DateTime<Utc> {
        let now = self.cluster.now;
        let scrape = self.is_measured().then(|| self.scraped + self.scenario.scrape);
        let wake = match decision.wake {
            Wake::At(at) => Some(at),
            Wake::OnChange => None,
        };
        let seen = (!decision.effects.is_empty()).then(|| now + SEEN);
        let event = self.pending.map(|event| self.start + event.at);
        let ready = self.cluster.canary.as_ref().and_then(|(_, set)| set.ready_at);
        [scrape, wake, seen, event, ready]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
            .unwrap_or(now + TimeDelta::minutes(1))
    }

    /// The canary has a ready pod, and traffic or a chance of it.
    fn is_measured(&self) -> bool {
        let wanted = questions(self.plan, &self.state, self.cluster.now).samples.is_some();
        let is_ready = self.state.trial.as_ref().is_some_and(|trial| trial.ready.is_some());
        wanted && is_ready
    }

    /// Time passes; requests are answered and scraped.
    fn pass_until(&mut self, next: DateTime<Utc>) {
        let by = next - self.cluster.now;
        if let Some(trial) = self.state.trial.as_ref().filter(|trial| trial.ready.is_some()) {
            let end = next - self.start;
            self.harmed += self.arms.answer(&self.cluster, &trial.canary, end, by);
            if next >= self.scraped + self.scenario.scrape {
                if self.metrics {
                    self.arms.scrape(next);
                }
                self.scraped = next;
            }
        }
        self.cluster.advance(by);
    }
}
