//! The live view on a terminal that is only memory.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use tidegate::demo::recorder::Traffic;
use tidegate::demo::report::{ArmTraffic, Event, Evidence, VerdictView};
use tidegate::demo::snapshot::Snapshot;
use tidegate::demo::view::draw;
use tidegate_engine::reason::Reason;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/demo/view.txt");

fn arm(version: &str, requests: u64, failures: u64, p99: f64) -> ArmTraffic {
    let traffic = Traffic {
        requests,
        failures,
        rate: requests as f64,
        error_rate: (requests > 0).then(|| failures as f64 / requests as f64),
        p50: Some(0.02),
        p99: Some(p99),
    };
    ArmTraffic { version: version.to_owned(), traffic }
}

/// The moment in which a bad release is found out.
fn found_out() -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut tell = |second, event| snapshot.apply(Duration::from_secs(second), &event);
    let commit = |id: &str, subject: &str| Event::Commit {
        id: id.repeat(10),
        subject: subject.to_owned(),
        author: "Ada".to_owned(),
    };
    tell(0, commit("1f3a", "shop: v1"));
    tell(0, Event::Synced { id: "1f3a".repeat(10) });
    for second in 1..9 {
        tell(second, Event::Traffic { stable: arm("v1", 400 + second % 3, 0, 0.06), canary: None });
    }
    tell(9, commit("b4d2", "shop: v2, with a faster basket"));
    tell(9, Event::Synced { id: "b4d2".repeat(10) });
    let message = "a new template was seen".to_owned();
    tell(9, Event::Decision { reason: Reason::TrialStarted, message });
    tell(11, Event::Weight { weight: 10 });
    tell(11, Event::Stage { stage: "Baking".to_owned() });
    for second in 11..14 {
        let canary = arm("v2", 40, 5 * (second - 10), 0.3);
        tell(second, Event::Traffic { stable: arm("v1", 360, 0, 0.06), canary: Some(canary) });
    }
    tell(
        14,
        Event::Verdict(VerdictView {
            verdict: "Fail".to_owned(),
            message: "30 of 120 requests failed on the canary, 0 of 1080 on stable".to_owned(),
            regression: Some(Evidence { log_e: 4.25, limit: 6.9 }),
            safety: None,
            guard: Some(Evidence { log_e: 9.0, limit: 7.6 }),
        }),
    );
    let message = "30 of 120 requests failed: traffic goes back".to_owned();
    tell(14, Event::Decision { reason: Reason::AnalysisFailed, message });
    tell(14, Event::Narration { text: "v2 answers every third request with an error.".to_owned() });
    snapshot
}

fn terminal(snapshot: &Snapshot, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, snapshot)).unwrap();
    terminal
}

#[test]
fn a_bad_release_looks_like_this() {
    let drawn = terminal(&found_out(), 100, 32).backend().to_string();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(GOLDEN, &drawn).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    assert!(drawn == golden, "UPDATE=1 rewrites {GOLDEN}; it would be\n{drawn}");
}

#[test]
fn any_size_can_be_drawn() {
    for snapshot in [Snapshot::default(), found_out()] {
        for (width, height) in [(20, 5), (1, 1), (0, 0), (40, 12), (300, 100)] {
            let area = *terminal(&snapshot, width, height).backend().buffer().area();
            assert_eq!((area.width, area.height), (width, height));
        }
    }
}

#[test]
fn monochrome_has_no_colours() {
    let colours = |snapshot: &Snapshot| {
        let terminal = terminal(snapshot, 100, 32);
        let cells = terminal.backend().buffer().content().iter();
        cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    let coloured = found_out();
    assert!(colours(&coloured) > 0);
    let monochrome = Snapshot { monochrome: true, ..coloured };
    assert_eq!(colours(&monochrome), 0);
}
