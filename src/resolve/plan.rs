//! A Rollout and what it refers to, to a plan.

use std::collections::BTreeMap;

use chrono::{TimeDelta, Weekday};
use kube::ResourceExt;
use tidegate_api as api;
use tidegate_engine::plan::{
    Gate, GitPlan, GitWrite, Limits, Mode, OnFailure, OnInconclusive, OnLowTraffic, OnRestart,
    Plan, PromoteBy, Traffic,
};
use tidegate_engine::windows::{Window, Windows};

use super::files::key_of;
use super::gates::{self, GateQuery};
use super::invalid::{Fault, FieldPath, ObjectKey, Told, quoted};
use super::nearest::{nearest, one_of};
use super::query::Query;
use super::rules;
use super::steps::{default_way, span, way};
use super::units;

/// What a Rollout may refer to.
#[derive(Clone, Copy, Debug, Default)]
pub struct References<'a> {
    /// All classes.
    pub classes: &'a [api::RolloutClass],
    /// The templates of the Rollout's namespace, or of all namespaces.
    pub templates: &'a [api::AnalysisTemplate],
    /// The templates of the cluster.
    pub cluster_templates: &'a [api::ClusterAnalysisTemplate],
    /// All repositories.
    pub repositories: &'a [api::ConfigRepository],
    /// All metric sources. `None`: metrics come from elsewhere, and a source is only a name.
    pub sources: Option<&'a [api::MetricSource]>,
    /// Whether a route with one of the Services as a backend was found; asked only where neither
    /// the Rollout says which routes there are.
    pub routes_found: bool,
}

/// A Rollout with everything it refers to, parsed: nothing in here can be wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What the engine needs to know.
    pub plan: Plan,
    /// What is asked for each criterion, by its name.
    pub queries: BTreeMap<String, Query>,
    /// How each gate is asked, by its name.
    pub gates: BTreeMap<String, GateQuery>,
    /// The metric source's name.
    pub source: String,
    /// The Deployment's name.
    pub workload: String,
    /// The Services to pin. `None`: all that select the pods.
    pub services: Option<Vec<String>>,
    /// Services that may reach the canary at any weight.
    pub shared_services: Vec<String>,
    /// The user's own Service for the canary or the preview. `None`: we create one.
    pub canary_service: Option<String>,
    /// The routes that split the traffic. `None`: all with one of the Services as a backend.
    pub routes: Option<Vec<String>>,
    /// Labels of every alert.
    pub alert_labels: BTreeMap<String, String>,
}

/// Puts a Rollout, its class, its templates and its repository together. All that is wrong is told
/// at once; each fault names its object.
pub fn resolve(
    rollout: &api::Rollout,
    references: &References<'_>,
) -> Result<Resolved, Vec<Fault>> {
    let key = key_of("Rollout", rollout);
    let mut resolver =
        Resolver { rollout, references, key, class: None, faults: rules::rollout(&rollout.spec) };
    resolver.find_class();
    let whole = resolver.resolved();
    let Resolver { key, mut faults, .. } = resolver;
    match whole {
        Some(whole) if faults.is_empty() => Ok(whole),
        _ => {
            faults = faults.into_iter().map(|fault| fault.of(&key)).collect();
            faults.sort_by(|a, b| (&a.object, &a.field).cmp(&(&b.object, &b.field)));
            faults.dedup();
            Err(faults)
        }
    }
}

/// A resolution on its way: what it is about, and what was found wrong so far.
pub(super) struct Resolver<'a> {
    pub(super) rollout: &'a api::Rollout,
    pub(super) references: &'a References<'a>,
    pub(super) key: ObjectKey,
    pub(super) class: Option<&'a api::RolloutClass>,
    pub(super) faults: Vec<Fault>,
}

impl Resolver<'_> {
    fn find_class(&mut self) {
        let classes = self.references.classes;
        if let Some(name) = &self.rollout.spec.class {
            self.class = classes.iter().find(|class| class.name_any() == name.as_str());
            if self.class.is_none() {
                let known: Vec<_> = classes.iter().map(ResourceExt::name_any).collect();
                self.missing("spec.class", name.as_str(), "RolloutClass", &known);
            }
        } else {
            let mut default = classes.iter().filter(|class| is_default(class));
            self.class = default.next();
            if let Some(second) = default.next() {
                let first = self.class.map(ResourceExt::name_any).unwrap_or_default();
                let found = format!("two default classes, {first} and {}", second.name_any());
                let at = FieldPath::of("spec.class");
                self.faults.push(Fault::new(&at, found, "one, or a class by its name"));
            }
        }
        if let Some(class) = self.class {
            let key = key_of("RolloutClass", class);
            self.faults.extend(rules::class(&class.spec).into_iter().map(|fault| fault.of(&key)));
        }
    }

    /// `None` always comes with a fault.
    fn resolved(&mut self) -> Option<Resolved> {
        let (spec, class) = (&self.rollout.spec, self.class.map(|class| &class.spec));
        let way = self.way();
        let limits = self.limits();
        let analysis = self.analysis();
        let git = self.git();
        let (way, limits, (analysis, queries, source), git) = (way?, limits?, analysis?, git.ok()?);
        self.check_gateways(way.traffic, &queries);
        let preview =
            spec.strategy.as_ref().or_else(|| class.and_then(|class| class.strategy.as_ref()));
        let preview = preview.and_then(|strategy| strategy.blue_green.as_ref());
        let preview = preview.and_then(|blue_green| blue_green.preview_service.as_ref());
        let canary_service = match way.traffic {
            Traffic::Switch => preview.map(ToString::to_string),
            Traffic::Routes | Traffic::Pods => {
                spec.canary_service.as_ref().map(ToString::to_string)
            }
        };
        let windows =
            spec.windows.as_ref().or_else(|| class.and_then(|class| class.windows.as_ref()));
        let gates = self.gates();
        let notify = class.and_then(|class| class.notify.as_ref());
        Some(Resolved {
            plan: Plan {
                rollout: format!(
                    "{}/{}",
                    self.key.namespace.as_deref().unwrap_or_default(),
                    self.key.name
                ),
                uid: self.rollout.uid().unwrap_or_default(),
                class: self.class.map(ResourceExt::name_any),
                max_trials: class.and_then(|class| class.max_concurrent_trials),
                mode: mode(self.said(|spec| spec.mode, |class| class.mode)),
                traffic: way.traffic,
                promotion: self.promotion(),
                steps: way.steps,
                analysis,
                on_failure: on_failure(self.said(|spec| spec.on_failure, |class| class.on_failure)),
                on_inconclusive: on_inconclusive(
                    self.said(|spec| spec.on_inconclusive, |class| class.on_inconclusive),
                ),
                on_low_traffic: on_low_traffic(
                    self.said(|spec| spec.on_low_traffic, |class| class.on_low_traffic),
                ),
                on_restart: on_restart(self.said(|spec| spec.on_restart, |class| class.on_restart)),
                windows: open_in(windows.map_or(&[], Vec::as_slice)),
                gates: gates.iter().map(|(gate, _)| gate.clone()).collect(),
                limits,
                git,
            },
            queries,
            gates: gates.into_iter().map(|(gate, query)| (gate.name, query)).collect(),
            source,
            workload: spec.workload_ref.name.to_string(),
            services: spec.services.as_ref().map(|names| texts(names)),
            shared_services: texts(&spec.shared_services),
            canary_service,
            routes: spec
                .routes
                .as_ref()
                .map(|routes| routes.iter().map(|route| route.name.to_string()).collect()),
            alert_labels: notify.map(|notify| notify.labels.clone()).unwrap_or_default(),
        })
    }

    /// What the Rollout says, else its class, else the built-in default.
    fn said<T: Default>(
        &self,
        rollout: impl Fn(&api::RolloutSpec) -> Option<T>,
        class: impl Fn(&api::RolloutClassSpec) -> Option<T>,
    ) -> T {
        rollout(&self.rollout.spec)
            .or_else(|| self.class.and_then(|found| class(&found.spec)))
            .unwrap_or_default()
    }

    fn promotion(&self) -> PromoteBy {
        promote_by(self.said(|spec| spec.promotion, |class| class.promotion))
    }

    fn way(&mut self) -> Option<super::steps::Way> {
        let spec = &self.rollout.spec;
        let has_routes =
            spec.routes.as_ref().map_or(self.references.routes_found, |routes| !routes.is_empty());
        let promotion = self.promotion();
        let at = FieldPath::of("spec.strategy");
        let (strategy, key) = match (&spec.strategy, self.class) {
            (Some(strategy), _) => (strategy, self.key.clone()),
            (None, Some(class)) => match &class.spec.strategy {
                Some(strategy) => (strategy, key_of("RolloutClass", class)),
                None => return Some(default_way(has_routes, promotion)),
            },
            (None, None) => return Some(default_way(has_routes, promotion)),
        };
        match way(strategy, has_routes, promotion, &at) {
            Ok(way) => Some(way),
            Err(faults) => {
                self.faults.extend(faults.into_iter().map(|fault| fault.of(&key)));
                None
            }
        }
    }

    fn limits(&mut self) -> Option<Limits> {
        let empty = api::Limits::default();
        let own = self.rollout.spec.limits.as_ref().unwrap_or(&empty);
        let class = self.class.and_then(|class| class.spec.limits.as_ref()).unwrap_or(&empty);
        let built_in = Limits::default();
        let mut wrong = Vec::new();
        let mut limit = |of: fn(&api::Limits) -> &Option<api::Duration>, default: TimeDelta| {
            let text = of(own).as_ref().or_else(|| of(class).as_ref());
            span(text, default, &FieldPath::of("spec.limits"), &mut wrong).unwrap_or(default)
        };
        let limits = Limits {
            settle: limit(|limits| &limits.settle, built_in.settle),
            ready: limit(|limits| &limits.ready, built_in.ready),
            shift: limit(|limits| &limits.shift, built_in.shift),
            verdict: limit(|limits| &limits.verdict, built_in.verdict),
            hand_over: limit(|limits| &limits.hand_over, built_in.hand_over),
            drain: limit(|limits| &limits.drain, built_in.drain),
            scale_down_delay: limit(|limits| &limits.scale_down_delay, built_in.scale_down_delay),
        };
        // The rules have told which limit is wrong, and in which object.
        wrong.is_empty().then_some(limits)
    }

    /// The rules have told what is wrong with one, and in which object; but for what the Rollout and
    /// its class only say together.
    fn gates(&mut self) -> Vec<(Gate, GateQuery)> {
        let class = self.class.and_then(|class| class.spec.gates.as_ref());
        let gates = self.rollout.spec.gates.as_ref().or(class).map_or(&[][..], Vec::as_slice);
        let at = FieldPath::of("spec.gates");
        let late = gates::too_late(gates, self.promotion(), &at);
        self.faults.extend(late);
        gates::gates(gates, &at).unwrap_or_default()
    }

    /// `None`: the Rollout does not say where its manifests are.
    fn git(&mut self) -> Result<Option<GitPlan>, Told> {
        let Some(git) = &self.rollout.spec.git else { return Ok(None) };
        let repositories = self.references.repositories;
        let name = git.repository.as_str();
        let namespace = self.key.namespace.clone().unwrap_or_default();
        let is_open = |found: &&api::ConfigRepository| {
            let allowed = found.spec.allow.iter().flat_map(|allow| &allow.namespaces);
            found.name_any() == name && allowed.clone().any(|allowed| allowed.as_str() == namespace)
        };
        let Some(repository) = repositories.iter().find(is_open) else {
            self.closed("spec.git.repository", name, "ConfigRepository");
            return Err(Told);
        };
        for (index, path) in git.paths.iter().enumerate() {
            if !is_allowed(&repository.spec.allow, &namespace, path.as_str()) {
                let expected =
                    format!("a path that ConfigRepository {name} allows the namespace {namespace}");
                let at = FieldPath::of("spec.git.paths").index(index);
                self.faults.push(Fault::new(&at, quoted(path.as_str()), expected));
            }
        }
        Ok(Some(GitPlan {
            repository: name.to_owned(),
            branch: repository.spec.branch.clone(),
            paths: git.paths.iter().map(ToString::to_string).collect(),
            write: match repository.spec.write.unwrap_or_default() {
                api::GitWrite::Push => GitWrite::Push,
                api::GitWrite::PullRequest => GitWrite::PullRequest,
                api::GitWrite::PushThenPullRequest => GitWrite::PushThenPullRequest,
            },
        }))
    }

    /// A name that nobody has, or that is not for this namespace: which of both, and what else there
    /// is, is not for everybody to know.
    pub(super) fn closed(&mut self, field: &str, name: &str, kind: &str) {
        let namespace = self.key.namespace.as_deref().unwrap_or("of the Rollout");
        let expected = format!("a {kind} that is there and allows the namespace {namespace}");
        self.faults.push(Fault::new(&FieldPath::of(field), quoted(name), expected));
    }

    /// A name nobody has.
    pub(super) fn missing(&mut self, field: &str, name: &str, kind: &str, known: &[String]) {
        let expected = expected_object(kind, name, known);
        self.faults.push(Fault::new(&FieldPath::of(field), quoted(name), expected));
    }
}

fn is_default(class: &api::RolloutClass) -> bool {
    class.annotations().get(api::DEFAULT_CLASS_ANNOTATION).is_some_and(|value| value == "true")
}

pub(super) fn expected_object(kind: &str, name: &str, known: &[String]) -> String {
    let names = known.iter().map(String::as_str);
    match nearest(name, names.clone()) {
        Some(near) => format!("the name of a {kind}: {near} (did you mean it?)"),
        None if known.is_empty() => format!("the name of a {kind}, and there is none"),
        None => format!("the name of a {kind}: {}", one_of(names)),
    }
}

/// Whether one of the entries for the namespace has the path, or `**` above it.
fn is_allowed(allow: &[api::AllowedPaths], namespace: &str, path: &str) -> bool {
    let here = allow
        .iter()
        .filter(|allow| allow.namespaces.iter().any(|allowed| allowed.as_str() == namespace));
    here.flat_map(|allow| &allow.paths).any(|allowed| {
        let allowed = allowed.as_str();
        match allowed.strip_suffix("**") {
            Some("") => true,
            Some(above) if above.ends_with('/') => {
                path.starts_with(above) || path == above.trim_end_matches('/')
            }
            _ => allowed == path,
        }
    })
}

fn texts(names: &[api::Name]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

const fn mode(mode: api::Mode) -> Mode {
    match mode {
        api::Mode::Enforce => Mode::Enforce,
        api::Mode::Observe => Mode::Observe,
    }
}

/// As the schema has it.
pub(super) const fn promote_by(promotion: api::Promotion) -> PromoteBy {
    match promotion {
        api::Promotion::HandOver => PromoteBy::HandOver,
        api::Promotion::Surge => PromoteBy::Surge,
    }
}

const fn on_failure(on_failure: api::OnFailure) -> OnFailure {
    match on_failure {
        api::OnFailure::Revert => OnFailure::Revert,
        api::OnFailure::Hold => OnFailure::Hold,
    }
}

const fn on_inconclusive(on_inconclusive: api::OnInconclusive) -> OnInconclusive {
    match on_inconclusive {
        api::OnInconclusive::Pause => OnInconclusive::Pause,
        api::OnInconclusive::Abort => OnInconclusive::Abort,
    }
}

const fn on_low_traffic(on_low_traffic: api::OnLowTraffic) -> OnLowTraffic {
    match on_low_traffic {
        api::OnLowTraffic::Pause => OnLowTraffic::Pause,
        api::OnLowTraffic::PromoteUnproven => OnLowTraffic::PromoteUnproven,
    }
}

const fn on_restart(on_restart: api::OnRestart) -> OnRestart {
    match on_restart {
        api::OnRestart::Pass => OnRestart::Pass,
        api::OnRestart::Trial => OnRestart::Trial,
    }
}

/// Windows whose times the rules have checked; one without times never opens.
fn open_in(windows: &[api::Window]) -> Windows {
    let minute = |time: &api::TimeOfDay| units::minute_of_day(time.as_str()).unwrap_or(0);
    let windows = windows.iter().map(|window| Window {
        days: window.days.iter().map(|day| weekday(*day)).collect(),
        from: minute(&window.from),
        to: minute(&window.to),
    });
    Windows::new(windows.collect())
}

const fn weekday(day: api::Weekday) -> Weekday {
    match day {
        api::Weekday::Mon => Weekday::Mon,
        api::Weekday::Tue => Weekday::Tue,
        api::Weekday::Wed => Weekday::Wed,
        api::Weekday::Thu => Weekday::Thu,
        api::Weekday::Fri => Weekday::Fri,
        api::Weekday::Sat => Weekday::Sat,
        api::Weekday::Sun => Weekday::Sun,
    }
}
