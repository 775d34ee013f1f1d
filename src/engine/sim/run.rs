//! Runs a scenario: the machine and the judge against simulated traffic, in virtual time.

use chrono::{DateTime, TimeDelta, Utc};

use super::arms::Arms;
use super::cluster::Cluster;
use super::scenario::{Event, Happening, Scenario};
use crate::effect::Effect;
use crate::judge::Verdict;
use crate::observed::{Ask, What};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::state::{Outcome, Phase, Revision, State};
use crate::{Decision, Wake, decide, questions};

/// What became of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Every turn that changed something or asked for something.
    pub timeline: Vec<Line>,
    /// How each trial ended, in order.
    pub trials: Vec<Told>,
    /// Requests that failed because the new version answered them.
    pub harmed: u64,
    /// Where it stands at the end.
    pub phase: Phase,
    /// The revision that serves at the end.
    pub serves: Option<Revision>,
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// From the start.
    pub at: TimeDelta,
    /// Where it stands after the turn.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// The same for people.
    pub message: String,
    /// What is asked for.
    pub effects: Vec<Effect>,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The revision on trial.
    pub canary: Revision,
    /// From the commit to the decision: weight 0 asked for, or all steps passed.
    pub decided_after: Option<TimeDelta>,
    /// How it ended.
    pub outcome: Outcome,
}

/// Runs a scenario once. The same plan, scenario and seed give the same run.
pub fn run(plan: &Plan, scenario: &Scenario, seed: u64) -> Run {
    let start = DateTime::<Utc>::UNIX_EPOCH;
    let mut sim = Sim::new(plan, scenario, seed, start);
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
        trials: sim.trials,
        harmed: sim.harmed,
    }
}

struct Sim<'a> {
    plan: &'a Plan,
    scenario: &'a Scenario,
    start: DateTime<Utc>,
    cluster: Cluster,
    arms: Arms,
    state: State,
    events: std::slice::Iter<'a, Event>,
    pending: Option<&'a Event>,
    metrics: bool,
    scraped: DateTime<Utc>,
    committed: DateTime<Utc>,
    decided: Option<DateTime<Utc>>,
    timeline: Vec<Line>,
    trials: Vec<Told>,
    harmed: u64,
}

impl<'a> Sim<'a> {
    fn new(plan: &'a Plan, scenario: &'a Scenario, seed: u64, start: DateTime<Utc>) -> Self {
        let mut events = scenario.events.iter();
        let pending = events.next();
        Self {
            plan,
            scenario,
            start,
            cluster: Cluster::new(start, "v1", scenario.replicas),
            arms: Arms::new(seed),
            state: State::default(),
            events,
            pending,
            metrics: true,
            scraped: start,
            committed: start,
            decided: None,
            timeline: Vec::new(),
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
                    match trouble {
                        Some(trouble) => {
                            self.cluster.trouble.insert(revision, trouble.clone());
                        }
                        None => {
                            self.cluster.trouble.remove(&revision);
                        }
                    }
                }
                Happening::Replicas(desired) => self.cluster.scale(*desired),
                Happening::Metrics { up } => self.metrics = *up,
            }
        }
    }

    fn revert_by_hand(&mut self) {
        let before = self.cluster.branch.iter().rev().nth(1).map(|commit| commit.template.clone());
        if let Some(template) = before {
            self.cluster.commit(template.as_str());
            self.cluster.sync();
        }
    }

    fn ask(&mut self, what: What) {
        let token = format!("{}", (self.cluster.now - self.start).num_milliseconds());
        self.cluster.ask = Some(Ask { token, who: "a person".to_owned(), what });
    }

    /// One turn of the controller: look, decide, write down, act.
    fn turn(&mut self) -> Decision {
        let now = self.cluster.now;
        let asked = questions(self.plan, &self.state, now);
        let verdict = match asked.samples {
            Some(_) => self.arms.judge(&self.plan.analysis, now, self.metrics),
            None => Verdict::NeedMoreData { eta: None, metric: String::new() },
        };
        let seen = self.cluster.observe(&self.state, verdict);
        let decision = decide(self.plan, &self.state, &seen, now);
        self.tell(&decision);
        for effect in &decision.effects {
            self.cluster.carry_out(effect);
        }
        decision
    }

    fn tell(&mut self, decision: &Decision) {
        let before = self.state.phase();
        let phase = decision.next.phase();
        if phase != before {
            let decided = matches!(phase, Phase::Aborting | Phase::Promoting | Phase::Paused);
            if decided && self.decided.is_none() {
                self.decided = Some(self.cluster.now);
            }
        }
        if decision.next.trial.is_some() && self.state.trial.is_none() {
            self.arms.begin();
            self.decided = None;
        }
        if decision.next.last != self.state.last
            && let Some(ended) = &decision.next.last
        {
            self.trials.push(Told {
                canary: ended.canary.clone(),
                decided_after: self.decided.map(|at| at - self.committed),
                outcome: ended.outcome.clone(),
            });
        }
        if phase != before || !decision.effects.is_empty() {
            self.timeline.push(Line {
                at: self.cluster.now - self.start,
                phase,
                reason: decision.reason,
                message: decision.message.clone(),
                effects: decision.effects.clone(),
            });
        }
        self.state = decision.next.clone();
    }

    /// The next instant at which anything can be different.
    fn next_instant(&self, decision: &Decision) -> DateTime<Utc> {
        let now = self.cluster.now;
        let on_trial = self.state.trial.is_some();
        let scrape = if on_trial { Some(self.scraped + self.scenario.scrape) } else { None };
        let wake = match decision.wake {
            Wake::At(at) => Some(at),
            Wake::OnChange => None,
        };
        // What was asked for takes a moment to be seen.
        let seen = (!decision.effects.is_empty()).then(|| now + TimeDelta::seconds(1));
        let event = self.pending.map(|event| self.start + event.at);
        let ready = self.cluster.sets.values().filter_map(|set| set.ready_at).min();
        [scrape, wake, seen, event, ready]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
            .unwrap_or(now + TimeDelta::minutes(1))
    }

    /// Time passes; requests are answered and scraped.
    fn pass_until(&mut self, next: DateTime<Utc>) {
        let by = next - self.cluster.now;
        if self.state.trial.is_some() {
            let window = self.plan.analysis.window;
            self.harmed += self.arms.answer(self.scenario, &self.cluster, &self.state, next, by);
            if next >= self.scraped + self.scenario.scrape {
                self.arms.scrape(next, window);
                self.scraped = next;
            }
        } else {
            self.scraped = next;
        }
        self.cluster.advance(by);
    }
}
