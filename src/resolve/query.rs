//! What is asked of a metric source for one criterion. Texts are made here, in one place, so that
//! what is sent is what was checked.

use tidegate_api::MeasuredBy;

use super::arguments::{regex_literal, string_literal};
use super::promql::Selector;

/// What is asked for one criterion.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Two cumulative counters.
    Counters(CounterQuery),
    /// One number.
    Scalar(ScalarQuery),
}

/// Two cumulative counters: of all, and of the bad or of the good ones.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterQuery {
    /// Who counts.
    pub by: MeasuredBy,
    /// The counter of all.
    pub total: Selector,
    /// The other counter.
    pub second: Second,
    /// Answers that take longer than this, in seconds, are the bad ones. `None`: it is not time
    /// that makes them bad.
    pub slower_than: Option<f64>,
}

/// What the second counter counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Second {
    /// The bad ones.
    Bad(Selector),
    /// Those that were fast enough; the others are bad.
    Fast(Selector),
}

/// One counter of a pod or of a backend, as texts to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterTexts {
    /// The cumulative number of all.
    pub total: String,
    /// The cumulative number of the second counter.
    pub second: String,
    /// The second counter counts the good ones: bad = total - second.
    pub second_is_good: bool,
    /// When the counter of all was read, in Unix seconds.
    pub read: String,
}

/// A metric source's name for the label of one scraped process.
pub const INSTANCE_LABEL: &str = "instance";

/// Labels that tell apart who read a series, not what it counts. A process that is read twice has
/// two sums here, and the larger one is taken: nothing is counted twice.
const READERS: [&str; 3] = ["instance", "job", "prometheus_replica"];

impl Second {
    fn selector(&self) -> &Selector {
        match self {
            Self::Bad(selector) | Self::Fast(selector) => selector,
        }
    }
}

impl CounterQuery {
    /// Cumulative values by pod. `pod_label`, `namespace_label`: what the source calls them.
    /// Not yet differenced: that is done per pod, so that a restart is told from a fall.
    pub fn by_pod(
        &self,
        namespace_label: &str,
        namespace: &str,
        pod_label: &str,
        pods: &[String],
    ) -> CounterTexts {
        let pods = any_of(pods);
        self.texts(pod_label, |selector| {
            selector.with(namespace_label, "=", namespace).with(pod_label, "=~", &pods).to_string()
        })
    }

    /// Cumulative values of one backend, by the gateway's process.
    pub fn by_backend(&self, service: &str) -> CounterTexts {
        self.texts(INSTANCE_LABEL, |selector| {
            // The name of a Service has no character that needs escaping in either form.
            selector.to_string().replace("$(backend)", service)
        })
    }

    fn texts(&self, label: &str, text: impl Fn(&Selector) -> String) -> CounterTexts {
        let readers = READERS.into_iter().filter(|reader| *reader != label);
        let one_reader = std::iter::once(label).chain(readers).collect::<Vec<_>>().join(",");
        let counter = |selector: &Selector| {
            format!("max by ({label}) (sum by ({one_reader}) ({}))", text(selector))
        };
        CounterTexts {
            total: counter(&self.total),
            second: counter(self.second.selector()),
            second_is_good: matches!(self.second, Second::Fast(_)),
            read: format!("max by ({label}) (timestamp({}))", text(&self.total)),
        }
    }
}

/// When each pod's process started, in Unix seconds, as a query. Pods whose processes started at
/// different times have none: the restart of one is not the restart of all.
pub fn process_starts(
    namespace_label: &str,
    namespace: &str,
    pod_label: &str,
    pods: &[String],
) -> String {
    let selector = Selector::of("process_start_time_seconds")
        .with(namespace_label, "=", namespace)
        .with(pod_label, "=~", &any_of(pods));
    format!("max by ({pod_label}) ({selector}) == min by ({pod_label}) ({selector})")
}

/// Which pods are read, whatever they answer: the record that every store of scrapes keeps.
pub fn pods_read(
    namespace_label: &str,
    namespace: &str,
    pod_label: &str,
    pods: &[String],
) -> String {
    let selector = Selector::of("up").with(namespace_label, "=", namespace);
    format!("max by ({pod_label}) ({})", selector.with(pod_label, "=~", &any_of(pods)))
}

/// One number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalarQuery {
    text: String,
}

impl ScalarQuery {
    pub(crate) const fn new(text: String) -> Self {
        Self { text }
    }

    /// The query for the canary with these pods behind this Service.
    pub fn text(&self, pods: &[String], service: &str) -> String {
        let pods = string_literal(&any_of(pods), '"');
        self.text.replace("$(pods)", &pods).replace("$(backend)", service)
    }
}

/// A regular expression that matches these names alone. Without names it is one that no pod can
/// have: an empty one would match every series without the label.
fn any_of(names: &[String]) -> String {
    if names.is_empty() {
        return "-".to_owned();
    }
    names.iter().map(|name| regex_literal(name)).collect::<Vec<_>>().join("|")
}

/// The values of the label `le` that stand for a bound, as libraries write it: `1`, `1.0`, `5e-05`.
pub(crate) fn bucket(bound: f64) -> String {
    let plain = bound.to_string();
    let mut forms = vec![regex_literal(&plain)];
    if !plain.contains('.') {
        forms.push(regex_literal(&format!("{plain}.0")));
    }
    if bound < 1e-4 {
        let (mantissa, exponent) = format!("{bound:e}")
            .split_once("e-")
            .map_or_else(Default::default, |(m, e)| (m.to_owned(), format!("{e:0>2}")));
        forms.push(regex_literal(&format!("{mantissa}e-{exponent}")));
    }
    forms.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters() -> CounterQuery {
        CounterQuery {
            by: MeasuredBy::Pod,
            total: Selector::parse("requests_total").unwrap(),
            second: Second::Bad(Selector::parse(r#"requests_total{code=~"5.."}"#).unwrap()),
            slower_than: None,
        }
    }

    fn summed(label: &str, selector: &str) -> String {
        format!("max by (pod) (sum by ({label}instance,job,prometheus_replica) ({selector}))")
    }

    #[test]
    fn pods_and_namespace_are_added() {
        let texts = counters().by_pod("namespace", "shop", "pod", &["a-1".into(), "b.2".into()]);
        assert_eq!(
            texts.total,
            summed("pod,", r#"requests_total{namespace="shop",pod=~"a-1|b\\.2"}"#)
        );
        assert_eq!(
            texts.second,
            summed("pod,", r#"requests_total{code=~"5..",namespace="shop",pod=~"a-1|b\\.2"}"#)
        );
        assert!(!texts.second_is_good);
        assert_eq!(
            texts.read,
            r#"max by (pod) (timestamp(requests_total{namespace="shop",pod=~"a-1|b\\.2"}))"#
        );
        assert_eq!(
            process_starts("ns", "shop", "pod", &["a-1".into()]),
            "max by (pod) (process_start_time_seconds{ns=\"shop\",pod=~\"a-1\"}) == \
             min by (pod) (process_start_time_seconds{ns=\"shop\",pod=~\"a-1\"})"
        );
    }

    #[test]
    fn what_is_sent_is_promql() {
        let texts = counters().by_pod("namespace", "shop", "pod", &["a-1".into()]);
        let started = process_starts("namespace", "shop", "pod", &["a-1".into()]);
        for text in [texts.total, texts.second, texts.read, started] {
            assert!(super::super::promql::expression(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn without_pods_nothing_is_matched() {
        let texts = counters().by_pod("namespace", "shop", "pod", &[]);
        assert!(texts.total.contains(r#"(requests_total{namespace="shop",pod=~"-"})"#));
    }

    #[test]
    fn the_service_takes_the_place_of_the_backend() {
        let selector = Selector::parse(r#"upstream{name=~"shop_$(backend)_.*"}"#).unwrap();
        let query = CounterQuery {
            by: MeasuredBy::Backend,
            total: selector.clone(),
            second: Second::Bad(selector),
            slower_than: None,
        };
        let texts = query.by_backend("web-canary");
        assert_eq!(
            texts.total,
            summed("", r#"upstream{name=~"shop_web-canary_.*"}"#).replace("(pod)", "(instance)")
        );
    }

    #[test]
    fn a_bound_is_found_however_a_library_writes_it() {
        assert_eq!(bucket(0.5), r"0\.5");
        assert_eq!(bucket(1.0), r"1|1\.0");
        assert_eq!(bucket(250.0), r"250|250\.0");
        assert_eq!(bucket(0.00005), r"0\.00005|5e-05");
    }

    #[test]
    fn a_scalar_query_gets_the_canary() {
        let query = ScalarQuery::new(r#"max(up{pod=~"$(pods)",service="$(backend)"})"#.into());
        assert_eq!(
            query.text(&["w-1".into()], "web-canary"),
            r#"max(up{pod=~"w-1",service="web-canary"})"#
        );
    }
}
