//! A Rollout and what it refers to, to a plan.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use kube::ResourceExt;
use tidegate_api as api;
use tidegate_engine::judge::{Analysis, Bounds};
use tidegate_engine::plan::{
    GitPlan, GitWrite, Limits, Mode, OnFailure, OnInconclusive, OnLowTraffic, Plan, Traffic,
};

use super::arguments::Arguments;
use super::criteria::ready;
use super::files::key_of;
use super::invalid::{Fault, FieldPath, ObjectKey, Told, quoted};
use super::nearest::{nearest, one_of};
use super::query::Query;
use super::steps::{default_way, span, way};
use super::windows::Windows;
use super::{rules, units};

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
    /// The metric source's name.
    pub source: String,
    /// The class's name; `None`: no class.
    pub class: Option<String>,
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
    /// How the tested pods become the Deployment's own.
    pub promotion: api::Promotion,
    /// What a restart gets.
    pub on_restart: api::OnRestart,
    /// When trials may start and be promoted.
    pub windows: Windows,
    /// How many trials of the class may run at once. `None`: no limit.
    pub max_concurrent_trials: Option<u32>,
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

struct Resolver<'a> {
    rollout: &'a api::Rollout,
    references: &'a References<'a>,
    key: ObjectKey,
    class: Option<&'a api::RolloutClass>,
    faults: Vec<Fault>,
}

impl<'a> Resolver<'a> {
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
        let notify = class.and_then(|class| class.notify.as_ref());
        Some(Resolved {
            plan: Plan {
                rollout: format!(
                    "{}/{}",
                    self.key.namespace.as_deref().unwrap_or_default(),
                    self.key.name
                ),
                uid: self.rollout.uid().unwrap_or_default(),
                mode: mode(self.said(|spec| spec.mode, |class| class.mode)),
                traffic: way.traffic,
                steps: way.steps,
                analysis,
                on_failure: on_failure(self.said(|spec| spec.on_failure, |class| class.on_failure)),
                on_inconclusive: on_inconclusive(
                    self.said(|spec| spec.on_inconclusive, |class| class.on_inconclusive),
                ),
                on_low_traffic: on_low_traffic(
                    self.said(|spec| spec.on_low_traffic, |class| class.on_low_traffic),
                ),
                limits,
                git,
            },
            queries,
            source,
            class: self.class.map(ResourceExt::name_any),
            workload: spec.workload_ref.name.to_string(),
            services: spec.services.as_ref().map(|names| texts(names)),
            shared_services: texts(&spec.shared_services),
            canary_service,
            routes: spec
                .routes
                .as_ref()
                .map(|routes| routes.iter().map(|route| route.name.to_string()).collect()),
            promotion: self.said(|spec| spec.promotion, |class| class.promotion),
            on_restart: self.said(|spec| spec.on_restart, |class| class.on_restart),
            windows: Windows::new(windows.map_or(&[], Vec::as_slice)),
            max_concurrent_trials: class.and_then(|class| class.max_concurrent_trials),
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

    fn way(&mut self) -> Option<super::steps::Way> {
        let spec = &self.rollout.spec;
        let has_routes =
            spec.routes.as_ref().map_or(self.references.routes_found, |routes| !routes.is_empty());
        let at = FieldPath::of("spec.strategy");
        let (strategy, key) = match (&spec.strategy, self.class) {
            (Some(strategy), _) => (strategy, self.key.clone()),
            (None, Some(class)) => match &class.spec.strategy {
                Some(strategy) => (strategy, key_of("RolloutClass", class)),
                None => return Some(default_way(has_routes)),
            },
            (None, None) => return Some(default_way(has_routes)),
        };
        match way(strategy, has_routes, &at) {
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
            let text = of(own).as_ref().or(of(class).as_ref());
            span(text, default, &FieldPath::of("spec.limits")).unwrap_or_else(|fault| {
                wrong.push(fault);
                default
            })
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

    fn analysis(&mut self) -> Option<(Analysis, BTreeMap<String, Query>, String)> {
        let (key, own) = (self.key.clone(), self.rollout.spec.analysis.as_ref());
        let class = self.class.and_then(|class| class.spec.analysis.as_ref());
        let class_key = self.class.map(|class| key_of("RolloutClass", class));
        let (templates, at_object) = match own.and_then(|own| own.templates.as_ref()) {
            Some(templates) => (templates.as_slice(), key),
            None => match class.and_then(|class| class.templates.as_ref()) {
                Some(templates) => (templates.as_slice(), class_key.unwrap_or(key)),
                None => (&[][..], key),
            },
        };
        let at = FieldPath::of("spec.analysis.templates");
        let mut analysis = Analysis::default();
        let mut queries = BTreeMap::new();
        for (index, template) in templates.iter().enumerate() {
            self.template(template, &at.index(index), &at_object, &mut analysis, &mut queries);
        }
        let window = own
            .and_then(|own| own.window.as_ref())
            .or_else(|| class.and_then(|class| class.window.as_ref()));
        if let Some(window) = window.and_then(|window| units::duration(window.as_str())) {
            analysis.window = window;
        }
        analysis.bounds = bounds(own, class)?;
        let source = own
            .and_then(|own| own.source.as_ref())
            .or_else(|| class.and_then(|class| class.source.as_ref()))
            .map_or("default", |source| source.as_str());
        self.check_source(source, !queries.is_empty());
        Some((analysis, queries, source.to_owned()))
    }

    fn check_source(&mut self, name: &str, is_needed: bool) {
        let Some(sources) = self.references.sources.filter(|_| is_needed) else { return };
        let Some(source) = sources.iter().find(|source| source.name_any() == name) else {
            let known: Vec<_> = sources.iter().map(ResourceExt::name_any).collect();
            return self.missing("spec.analysis.source", name, "MetricSource", &known);
        };
        let namespace = self.key.namespace.as_deref().unwrap_or_default();
        let allowed = &source.spec.allowed_namespaces;
        if !allowed.iter().any(|allowed| allowed == "*" || allowed == namespace) {
            let expected = format!("a MetricSource that allows the namespace {namespace}");
            let at = FieldPath::of("spec.analysis.source");
            self.faults.push(Fault::new(&at, quoted(name), expected));
        }
    }

    /// The metrics of one template.
    fn template(
        &mut self,
        reference: &api::TemplateRef,
        at: &FieldPath,
        at_object: &ObjectKey,
        analysis: &mut Analysis,
        queries: &mut BTreeMap<String, Query>,
    ) {
        let Some((template, args, metrics)) = self.find_template(reference) else {
            let known = self.template_names();
            let expected = expected_object("analysis template", reference.name.as_str(), &known);
            let at = at.field("name");
            let fault = Fault::new(&at, quoted(reference.name.as_str()), expected);
            return self.faults.push(fault.of(at_object));
        };
        let Some(arguments) = self.arguments(reference, args, at, at_object) else { return };
        for (index, metric) in metrics.iter().enumerate() {
            let metric_at = FieldPath::of("spec.metrics").index(index);
            match ready(metric, &arguments, &metric_at) {
                Ok(ready) if queries.contains_key(&ready.criterion.name) => {
                    let found = format!("a second metric {}", quoted(&ready.criterion.name));
                    let expected = "metrics of different names in all templates";
                    let at = at.field("name");
                    self.faults.push(Fault::new(&at, found, expected).of(at_object));
                }
                Ok(ready) => {
                    queries.insert(ready.criterion.name.clone(), ready.query);
                    analysis.criteria.push(ready.criterion);
                }
                Err(faults) => {
                    self.faults.extend(faults.into_iter().map(|fault| fault.of(&template)));
                }
            }
        }
    }

    fn find_template(
        &self,
        reference: &api::TemplateRef,
    ) -> Option<(ObjectKey, &'a [api::Argument], &'a [api::Metric])> {
        let References { templates, cluster_templates, .. } = *self.references;
        let own = templates
            .iter()
            .find(|template| {
                let key = key_of("AnalysisTemplate", *template);
                key.name == reference.name.as_str() && key.namespace == self.key.namespace
            })
            .filter(|_| reference.kind != Some(api::TemplateKind::ClusterAnalysisTemplate));
        if let Some(template) = own {
            let key = key_of("AnalysisTemplate", template);
            return Some((key, &template.spec.args, &template.spec.metrics));
        }
        let template = cluster_templates
            .iter()
            .find(|template| template.name_any() == reference.name.as_str())
            .filter(|_| reference.kind != Some(api::TemplateKind::AnalysisTemplate))?;
        let key = key_of("ClusterAnalysisTemplate", template);
        Some((key, &template.spec.args, &template.spec.metrics))
    }

    fn template_names(&self) -> Vec<String> {
        let own = self.references.templates.iter().filter(|template| {
            key_of("AnalysisTemplate", *template).namespace == self.key.namespace
        });
        let cluster = self.references.cluster_templates.iter().map(ResourceExt::name_any);
        own.map(ResourceExt::name_any).chain(cluster).collect()
    }

    /// The values of a template's arguments. `None`: one is missing or unknown.
    fn arguments(
        &mut self,
        reference: &api::TemplateRef,
        declared: &[api::Argument],
        at: &FieldPath,
        at_object: &ObjectKey,
    ) -> Option<Arguments> {
        let at = at.field("args");
        let before = self.faults.len();
        for name in reference.args.keys() {
            let known = declared.iter().map(|argument| argument.name.as_str());
            if !known.clone().any(|known| known == name) {
                let expected = match nearest(name, known.clone()) {
                    Some(near) => format!("{near} (did you mean it?)"),
                    None if declared.is_empty() => "no arguments".to_owned(),
                    None => one_of(known),
                };
                let fault = Fault::new(&at.field(name), "an unknown argument", expected);
                self.faults.push(fault.of(at_object));
            }
        }
        let mut values = Vec::new();
        for argument in declared {
            let name = argument.name.as_str();
            match reference.args.get(name).or(argument.default.as_ref()) {
                Some(value) => values.push((name.to_owned(), Some(value.clone()))),
                None => {
                    let expected = argument.description.clone();
                    let expected = expected.unwrap_or_else(|| "a value".to_owned());
                    let fault = Fault::new(&at.field(name), "nothing", expected);
                    self.faults.push(fault.of(at_object));
                }
            }
        }
        let namespace = self.key.namespace.clone().unwrap_or_default();
        let workload = self.rollout.spec.workload_ref.name.to_string();
        values.push(("namespace".to_owned(), Some(namespace)));
        values.push(("workload".to_owned(), Some(workload)));
        (self.faults.len() == before).then(|| values.into_iter().collect())
    }

    /// `None`: the Rollout does not say where its manifests are.
    fn git(&mut self) -> Result<Option<GitPlan>, Told> {
        let Some(git) = &self.rollout.spec.git else { return Ok(None) };
        let repositories = self.references.repositories;
        let name = git.repository.as_str();
        let Some(repository) = repositories.iter().find(|found| found.name_any() == name) else {
            let known: Vec<_> = repositories.iter().map(ResourceExt::name_any).collect();
            self.missing("spec.git.repository", name, "ConfigRepository", &known);
            return Err(Told);
        };
        let namespace = self.key.namespace.clone().unwrap_or_default();
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

    fn missing(&mut self, field: &str, name: &str, kind: &str, known: &[String]) {
        let expected = expected_object(kind, name, known);
        self.faults.push(Fault::new(&FieldPath::of(field), quoted(name), expected));
    }
}

fn is_default(class: &api::RolloutClass) -> bool {
    class.annotations().get(api::DEFAULT_CLASS_ANNOTATION).is_some_and(|value| value == "true")
}

fn expected_object(kind: &str, name: &str, known: &[String]) -> String {
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

/// How often the judge may be wrong: the Rollout's word, then the class's, then the preset.
fn bounds(own: Option<&api::Analysis>, class: Option<&api::Analysis>) -> Option<Bounds> {
    // A preset and a number of one object exclude each other; the nearer object's word counts.
    let said = [own, class].into_iter().flatten();
    let false_rollback = said
        .clone()
        .find_map(|analysis| match (&analysis.false_rollback, analysis.sensitivity) {
            (Some(share), _) => units::fraction(share.as_str()),
            (None, Some(api::Sensitivity::Sensitive)) => Some(Bounds::SENSITIVE.false_rollback()),
            (None, Some(api::Sensitivity::Standard)) => Some(Bounds::STANDARD.false_rollback()),
            (None, None) => None,
        })
        .unwrap_or(Bounds::STANDARD.false_rollback());
    let wrong_promote = said
        .filter_map(|analysis| analysis.wrong_promote.as_ref())
        .find_map(|share| units::fraction(share.as_str()))
        .unwrap_or(Bounds::STANDARD.wrong_promote());
    // The rules have told what is out of range.
    Bounds::new(false_rollback, wrong_promote).ok()
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
