//! What the validation rules of the definitions say, for objects that never saw an API server. A
//! test holds both to the same answers.

use regex_lite::Regex;
use tidegate_api as api;
use tidegate_engine::plan::PromoteBy;

use super::arguments::Arguments;
use super::criteria::ready;
use super::gates::{gates, too_late};
use super::invalid::{Fault, FieldPath, quoted};
use super::plan::promote_by;
use super::steps::way;
use super::units;

/// A Rollout by itself, without what it refers to.
pub(crate) fn rollout(spec: &api::RolloutSpec) -> Vec<Fault> {
    let at = FieldPath::of("spec");
    let mut faults = Vec::new();
    // Routes that are not named may be found: only an empty list says that there are none.
    let has_routes = spec.routes.as_ref().is_none_or(|routes| !routes.is_empty());
    if let Some(strategy) = &spec.strategy {
        let way = way(strategy, has_routes, promotion(spec.promotion), &at.field("strategy"));
        faults.extend(way.err().unwrap_or_default());
    }
    for (index, service) in spec.shared_services.iter().enumerate() {
        if spec.services.as_ref().is_some_and(|services| services.contains(service)) {
            let at = at.field("sharedServices").index(index);
            let expected = "it in services or in sharedServices, not in both";
            faults.push(Fault::new(&at, quoted(service.as_str()), expected));
        }
    }
    if let Some(analysis) = &spec.analysis {
        faults.extend(self::analysis(analysis, &at.field("analysis")));
    }
    faults.extend(limits(spec.limits.as_ref(), &at.field("limits")));
    faults.extend(windows(spec.windows.as_deref(), &at.field("windows")));
    faults.extend(gates_of(spec.gates.as_deref(), spec.promotion, &at.field("gates")));
    if let Some(git) = &spec.git {
        faults.extend(paths(&git.paths, false, &at.field("git").field("paths")));
    }
    faults
}

/// A class.
pub(crate) fn class(spec: &api::RolloutClassSpec) -> Vec<Fault> {
    let at = FieldPath::of("spec");
    let mut faults = Vec::new();
    if let Some(strategy) = &spec.strategy {
        let way = way(strategy, true, promotion(spec.promotion), &at.field("strategy"));
        faults.extend(way.err().unwrap_or_default());
    }
    if let Some(analysis) = &spec.analysis {
        faults.extend(self::analysis(analysis, &at.field("analysis")));
    }
    faults.extend(limits(spec.limits.as_ref(), &at.field("limits")));
    faults.extend(windows(spec.windows.as_deref(), &at.field("windows")));
    faults.extend(gates_of(spec.gates.as_deref(), spec.promotion, &at.field("gates")));
    faults
}

fn gates_of(
    list: Option<&[api::Gate]>,
    said: Option<api::Promotion>,
    at: &FieldPath,
) -> Vec<Fault> {
    let list = list.unwrap_or_default();
    let mut faults = gates(list, at).err().unwrap_or_default();
    faults.extend(too_late(list, promotion(said), at));
    faults
}

/// What one object by itself says of it.
fn promotion(said: Option<api::Promotion>) -> PromoteBy {
    promote_by(said.unwrap_or_default())
}

fn analysis(analysis: &api::Analysis, at: &FieldPath) -> Vec<Fault> {
    let mut faults = Vec::new();
    if analysis.sensitivity.is_some() && analysis.false_rollback.is_some() {
        let expected = "sensitivity or falseRollback, not both";
        faults.push(Fault::new(&at.field("falseRollback"), "it beside sensitivity", expected));
    }
    let bounds = [
        ("falseRollback", &analysis.false_rollback, 0.1, "above 0% and at most 10%"),
        ("wrongPromote", &analysis.wrong_promote, 0.2, "above 0% and at most 20%"),
    ];
    for (field, given, most, expected) in bounds {
        if let Some(given) = given {
            let share = units::fraction(given.as_str());
            if !share.is_some_and(|share| share > 0.0 && share <= most) {
                faults.push(Fault::new(&at.field(field), quoted(given.as_str()), expected));
            }
        }
    }
    if let Some(window) = &analysis.window {
        let seconds = units::duration(window.as_str()).map(|window| window.num_milliseconds());
        if !seconds.is_some_and(|milliseconds| (1_000..=600_000).contains(&milliseconds)) {
            faults.push(Fault::new(&at.field("window"), quoted(window.as_str()), "1s to 10m"));
        }
    }
    faults
}

fn limits(limits: Option<&api::Limits>, at: &FieldPath) -> Vec<Fault> {
    let Some(limits) = limits else { return Vec::new() };
    [
        ("settle", &limits.settle),
        ("ready", &limits.ready),
        ("shift", &limits.shift),
        ("verdict", &limits.verdict),
        ("handOver", &limits.hand_over),
        ("drain", &limits.drain),
        ("scaleDownDelay", &limits.scale_down_delay),
    ]
    .into_iter()
    .filter_map(|(field, text)| {
        let text = text.as_ref()?.as_str();
        let expected = "a time span such as 90s or 1h30m, at most 366d";
        let is_none = units::duration(text).is_none();
        is_none.then(|| Fault::new(&at.field(field), quoted(text), expected))
    })
    .collect()
}

fn windows(windows: Option<&[api::Window]>, at: &FieldPath) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, window) in windows.unwrap_or_default().iter().enumerate() {
        let at = at.index(index);
        let from = units::minute_of_day(window.from.as_str());
        let to = units::minute_of_day(window.to.as_str());
        match (from, to) {
            (Some(from), Some(to)) if from < to => {}
            (Some(_), Some(_)) => {
                let expected =
                    format!("a time after {}; over midnight it is two windows", window.from);
                faults.push(Fault::new(&at.field("to"), quoted(window.to.as_str()), expected));
            }
            _ => faults.push(Fault::new(&at, "no times of day", "from and to such as 09:30")),
        }
    }
    faults
}

/// Paths inside a repository. `pattern`: a last part `**` is allowed.
fn paths(paths: &[api::RepositoryPath], pattern: bool, at: &FieldPath) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let is_bad = path
            .as_str()
            .split('/')
            .any(|part| part.is_empty() || part == ".." || (part == "." && !pattern));
        if is_bad {
            let expected = "a path without empty parts, . and ..";
            faults.push(Fault::new(&at.index(index), quoted(path.as_str()), expected));
        }
    }
    faults
}

/// A template by itself: its metrics, with each argument's default where it has one.
pub(crate) fn template(args: &[api::Argument], metrics: &[api::Metric]) -> Vec<Fault> {
    let at = FieldPath::of("spec");
    let mut faults = Vec::new();
    for (index, argument) in args.iter().enumerate() {
        let name = argument.name.as_str();
        if RESERVED.contains(&name) {
            let at = at.field("args").index(index).field("name");
            faults.push(Fault::new(&at, quoted(name), "another name: it is always there"));
        }
    }
    let always = ["namespace", "workload"].map(|name| (name.to_owned(), None));
    let given = args.iter().map(|arg| (arg.name.to_string(), arg.default.clone()));
    let arguments: Arguments = always.into_iter().chain(given).collect();
    for (index, metric) in metrics.iter().enumerate() {
        let at = at.field("metrics").index(index);
        faults.extend(ready(metric, &arguments, &at).err().unwrap_or_default());
    }
    faults
}

/// Arguments that are always there.
const RESERVED: [&str; 4] = ["namespace", "workload", "pods", "backend"];

/// A repository.
pub(crate) fn repository(spec: &api::ConfigRepositorySpec) -> Vec<Fault> {
    const URLS: [&str; 3] = [
        r"^https://[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]+)?/[^\s@?#]+$",
        r"^ssh://([A-Za-z0-9_][-A-Za-z0-9_.]*@)?[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]+)?/[^\s@?#]+$",
        concat!(
            r"^http://(localhost|127[.]0[.]0[.]1|[a-z0-9][-a-z0-9.]*[.]svc([.]cluster[.]local)?)",
            r"(:[0-9]+)?/[^\s@?#]+$",
        ),
    ];
    let at = FieldPath::of("spec");
    let mut faults = Vec::new();
    if !URLS.iter().any(|url| is_like(&spec.url, url)) {
        let expected = "https://host/path or ssh://user@host/path, without a password";
        faults.push(Fault::new(&at.field("url"), without_userinfo(&spec.url), expected));
    }
    if !matches!(spec.write, None | Some(api::GitWrite::Push)) && spec.pull_requests.is_none() {
        let expected = "a forge, as write opens pull requests";
        faults.push(Fault::new(&at.field("pullRequests"), "nothing", expected));
    }
    for (index, allow) in spec.allow.iter().enumerate() {
        let at = at.field("allow").index(index).field("paths");
        faults.extend(paths(&allow.paths, true, &at));
    }
    faults
}

/// A metric source.
pub(crate) fn source(spec: &api::MetricSourceSpec) -> Vec<Fault> {
    let at = FieldPath::of("spec");
    let mut faults = Vec::new();
    if !is_like(&spec.url, r"^https?://[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]+)?(/[^\s@?#]*)?$") {
        let expected = "http:// or https:// with a host, without user, query and fragment";
        faults.push(Fault::new(&at.field("url"), without_userinfo(&spec.url), expected));
    }
    if spec.bearer_token.is_some() && spec.basic_auth.is_some() {
        let expected = "bearerToken or basicAuth, not both";
        faults.push(Fault::new(&at.field("basicAuth"), "it beside bearerToken", expected));
    }
    for (field, text) in [
        ("scrapeInterval", &spec.scrape_interval),
        ("delay", &spec.delay),
        ("timeout", &spec.timeout),
    ] {
        if let Some(text) = text.as_ref().filter(|text| units::duration(text.as_str()).is_none()) {
            let expected = "a time span such as 15s, at most 366d";
            faults.push(Fault::new(&at.field(field), quoted(text.as_str()), expected));
        }
    }
    faults
}

fn is_like(text: &str, pattern: &str) -> bool {
    Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
}

/// A URL as it may be shown: a password somebody wrote into it is not repeated.
fn without_userinfo(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (_, host))) => quoted(&format!("{scheme}://…@{host}")),
        None => quoted(url),
    }
}
