//! Templates and their arguments to an analysis.

use std::collections::BTreeMap;

use kube::ResourceExt;
use tidegate_api as api;
use tidegate_engine::judge::{Analysis, Bounds};
use tidegate_engine::plan::Traffic;

use super::arguments::Arguments;
use super::criteria::ready;
use super::files::key_of;
use super::invalid::{Fault, FieldPath, ObjectKey, quoted};
use super::nearest::{nearest, one_of};
use super::plan::{References, Resolver, expected_object};
use super::query::Query;
use super::units;

impl<'a> Resolver<'a> {
    /// What is measured, what is asked for it, and of whom. `None`: a bound is wrong, and told.
    pub(super) fn analysis(&mut self) -> Option<(Analysis, BTreeMap<String, Query>, String)> {
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
        let namespace = self.key.namespace.as_deref().unwrap_or_default();
        let is_open = |source: &api::MetricSource| {
            let mut allowed = source.spec.allowed_namespaces.iter();
            source.name_any() == name
                && allowed.any(|allowed| allowed == "*" || allowed == namespace)
        };
        if !sources.iter().any(is_open) {
            self.closed("spec.analysis.source", name, "MetricSource");
        }
    }

    /// A gateway counts by Service. Where one Service leads to both revisions, in turns or at once,
    /// its counts are of neither.
    pub(super) fn check_gateways(&mut self, traffic: Traffic, queries: &BTreeMap<String, Query>) {
        if traffic == Traffic::Routes {
            return;
        }
        for (name, query) in queries {
            if let Query::Counters(query) = query
                && query.by == api::MeasuredBy::Backend
            {
                let found = format!("metric {name} by backend, without routes that split");
                let expected = "metrics by pod: a gateway does not tell the revisions apart";
                let at = FieldPath::of("spec.analysis.templates");
                self.faults.push(Fault::new(&at, found, expected));
            }
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
            let expected = expected_object("template", reference.name.as_str(), &known);
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
            let given = reference.args.get(name).or(argument.default.as_ref());
            if let Some(value) = given {
                values.push((name.to_owned(), Some(value.clone())));
            } else {
                let expected = argument.description.clone();
                let expected = expected.unwrap_or_else(|| "a value".to_owned());
                let fault = Fault::new(&at.field(name), "nothing", expected);
                self.faults.push(fault.of(at_object));
            }
        }
        let namespace = self.key.namespace.clone().unwrap_or_default();
        let workload = self.rollout.spec.workload_ref.name.to_string();
        values.push(("namespace".to_owned(), Some(namespace)));
        values.push(("workload".to_owned(), Some(workload)));
        (self.faults.len() == before).then(|| values.into_iter().collect())
    }
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
