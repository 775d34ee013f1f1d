//! Scenario files: all that is wrong is told at once, by file, line and field.

mod fields;

use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use tidegate_engine::effect::RevertOutcome;
use tidegate_engine::observed::{Trouble, TroubleKind, What};
use tidegate_engine::sim::{Burst, Event, Happening, Hits, Law, Scenario, Unrest};

use crate::resolve::tree::{Node, read};
use crate::resolve::{Fault, FieldPath, Invalid};
use fields::{Fields, Map, Range};

/// More happenings or bursts than any story has.
const MOST: usize = 1000;
/// More scrapes than anybody wants to wait for: a month of one in 5 s.
const MOST_SCRAPES: i64 = 600_000;

/// A scenario, and where it stands.
#[derive(Clone, Debug)]
pub struct Read {
    /// What happens.
    pub scenario: Scenario,
    file: PathBuf,
    tree: Node,
}

impl Read {
    /// Adds file and line to what is wrong.
    pub(super) fn locate(&self, faults: Vec<Fault>) -> Vec<Invalid> {
        locate(&self.file, &self.tree, faults)
    }
}

/// Reads a scenario file.
pub fn file(file: &Path) -> Result<Read, Vec<Invalid>> {
    match std::fs::read(file) {
        Err(error) => Err(vec![whole(file, error.to_string(), "a file that can be read")]),
        Ok(bytes) => match std::str::from_utf8(&bytes) {
            Err(error) => {
                let found = format!("byte {} that is no UTF-8", error.valid_up_to());
                Err(vec![whole(file, found, "text in UTF-8")])
            }
            Ok(written) => text(file, written),
        },
    }
}

/// Reads a scenario that is in memory; `file` stands for its file.
pub fn text(file: &Path, text: &str) -> Result<Read, Vec<Invalid>> {
    let documents = read(text).map_err(|error| {
        let line = error.line;
        vec![Invalid { line, ..whole(file, error.found, &error.expected) }]
    })?;
    let mut documents = documents.into_iter();
    let (Some(tree), None) = (documents.next(), documents.next()) else {
        return Err(vec![whole(file, "no document, or several".to_owned(), "one scenario")]);
    };
    let mut fields = Fields::default();
    let scenario = scenario(&mut fields, &tree);
    if fields.faults.is_empty() {
        Ok(Read { scenario, file: file.to_owned(), tree })
    } else {
        Err(locate(file, &tree, fields.faults))
    }
}

fn whole(file: &Path, found: String, expected: &str) -> Invalid {
    let (file, field) = (Some(file.to_owned()), FieldPath::root());
    Invalid { file, line: 0, object: None, field, found, expected: expected.to_owned() }
}

fn locate(file: &Path, tree: &Node, faults: Vec<Fault>) -> Vec<Invalid> {
    let mut all: Vec<_> = faults
        .into_iter()
        .map(|fault| Invalid {
            file: Some(file.to_owned()),
            line: tree.line_of(&fault.field),
            object: None,
            field: fault.field,
            found: fault.found,
            expected: fault.expected,
        })
        .collect();
    all.sort_by(|a, b| (a.line, &a.field).cmp(&(b.line, &b.field)));
    all
}

const SECOND: TimeDelta = TimeDelta::seconds(1);

fn scenario(fields: &mut Fields, tree: &Node) -> Scenario {
    let known = ["title", "lasts", "traffic", "stable", "canary", "values", "bursts", "events"];
    let root = fields.map(tree, &FieldPath::root(), &known);
    let title = fields.text(&root, "title");
    let lasts = fields.span(&root, "lasts", None, (SECOND, TimeDelta::days(31)));
    let known = ["rate", "replicas", "startUp", "scrape"];
    let traffic = fields.inner(&root, "traffic", &known);
    let hundredth = TimeDelta::milliseconds(100);
    let scrape =
        fields.span(&traffic, "scrape", Some(SECOND * 5), (hundredth, TimeDelta::minutes(10)));
    if lasts.num_milliseconds() / scrape.num_milliseconds().max(1) > MOST_SCRAPES {
        let at = FieldPath::of("lasts");
        let expected = format!("at most {MOST_SCRAPES} times traffic.scrape");
        fields.faults.push(Fault::new(&at, format!("{} s", lasts.num_seconds()), expected));
    }
    let (bursts, bursts_at) = fields.list(&root, "bursts", MOST);
    let bursts = bursts.iter().enumerate();
    let bursts = bursts.map(|(index, node)| burst(fields, node, &bursts_at.index(index))).collect();
    let (events, events_at) = fields.list(&root, "events", MOST);
    let mut events: Vec<_> = events
        .iter()
        .enumerate()
        .filter_map(|(index, node)| event(fields, node, &events_at.index(index)))
        .collect();
    events.sort_by_key(|event| event.at);
    Scenario {
        title,
        lasts,
        rate: fields.number(&traffic, "rate", None, Range(0.0, 1e6)),
        replicas: fields.whole(&traffic, "replicas", Some(4), (1, 500)),
        start_up: fields.span(
            &traffic,
            "startUp",
            Some(SECOND * 3),
            (TimeDelta::zero(), TimeDelta::days(1)),
        ),
        scrape,
        stable: law(fields, &root, "stable"),
        canary: law(fields, &root, "canary"),
        values: fields.values(&root, "values"),
        bursts,
        unrest: Unrest::NONE,
        events,
    }
}

fn law(fields: &mut Fields, root: &Map<'_>, name: &str) -> Law {
    let law = fields.inner(root, name, &["errors", "latency", "podSpread"]);
    let latency = fields.inner(&law, "latency", &["median", "sigma"]);
    let longest = (TimeDelta::milliseconds(1), TimeDelta::hours(1));
    let median = fields.span(&latency, "median", None, longest);
    Law {
        errors: fields.share(&law, "errors", None),
        latency_median: median.num_milliseconds() as f64 / 1000.0,
        latency_sigma: fields.number(&latency, "sigma", None, Range(0.0, 5.0)),
        pod_spread: fields.number(&law, "podSpread", Some(0.0), Range(0.0, 3.0)),
    }
}

const ANY: (TimeDelta, TimeDelta) = (TimeDelta::zero(), TimeDelta::days(31));

fn burst(fields: &mut Fields, node: &Node, at: &FieldPath) -> Burst {
    let burst = fields.map(node, at, &["at", "for", "hits", "errors", "slower"]);
    let hits = [
        ("both", Hits::Both),
        ("canary", Hits::Canary),
        ("stablePod", Hits::StablePod),
        ("canaryPod", Hits::CanaryPod),
    ];
    Burst {
        at: fields.span(&burst, "at", None, ANY),
        lasts: fields.span(&burst, "for", None, ANY),
        arm: fields.one_of(&burst, "hits", &hits).unwrap_or(Hits::Both),
        errors: fields.share(&burst, "errors", Some(0.0)),
        slower: fields.number(&burst, "slower", Some(1.0), Range(0.01, 1000.0)),
    }
}

/// What an event may say beside when; exactly one of them.
const HAPPENINGS: [&str; 8] =
    ["ask", "commit", "crashLoop", "forge", "gateway", "metrics", "replicas", "revertByHand"];

fn event(fields: &mut Fields, node: &Node, at: &FieldPath) -> Option<Event> {
    let known: Vec<_> = ["at"].into_iter().chain(HAPPENINGS).collect();
    let event = fields.map(node, at, &known);
    let when = fields.span(&event, "at", None, ANY);
    let said: Vec<_> = HAPPENINGS.into_iter().filter(|name| event.has(name)).collect();
    let [name] = said.as_slice() else {
        let found = if said.is_empty() { "nothing".to_owned() } else { said.join(" and ") };
        let expected = format!("exactly one of {}", HAPPENINGS.join(", "));
        fields.faults.push(Fault::new(at, found, expected));
        return None;
    };
    let what = happening(fields, &event, name)?;
    Some(Event { at: when, what })
}

fn happening(fields: &mut Fields, event: &Map<'_>, name: &str) -> Option<Happening> {
    let updown = [("up", true), ("down", false)];
    Some(match name {
        "ask" => Happening::Ask(fields.one_of(event, name, &asks())?),
        "commit" => Happening::Commit { template: fields.name(event, name)? },
        "crashLoop" => Happening::Trouble {
            template: fields.name(event, name)?,
            trouble: Trouble {
                kind: TroubleKind::CrashLoop,
                message: "back-off restarting failed container".to_owned(),
            },
        },
        "forge" => {
            let is_up = fields.one_of(event, name, &updown)?;
            let down = RevertOutcome::Retry { message: "the forge is down".to_owned() };
            Happening::Forge((!is_up).then_some(down))
        }
        "gateway" => Happening::Gateway { up: fields.one_of(event, name, &updown)? },
        "metrics" => Happening::Metrics { up: fields.one_of(event, name, &updown)? },
        "replicas" => Happening::Replicas(fields.whole(event, name, None, (0, 500))),
        _ => {
            fields.must_be_true(event, name);
            Happening::RevertByHand
        }
    })
}

fn asks() -> [(&'static str, What); 7] {
    [
        ("pause", What::Pause),
        ("resume", What::Resume),
        ("promote", What::Promote),
        ("promoteFull", What::PromoteFull),
        ("abort", What::Abort { hold: false }),
        ("abortHold", What::Abort { hold: true }),
        ("retry", What::Retry),
    ]
}
