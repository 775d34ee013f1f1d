//! What was measured, as `docs/verdicts.md`.

use std::fmt::Write as _;

use super::{Bar, Held, Line, Measured, Promise};

const HEAD: &str = include_str!("head.md");
const TAIL: &str = include_str!("tail.md");

/// The whole document.
pub fn document(lines: &[Line], runs: usize, seed: u64) -> String {
    let mut text = HEAD.replace("{runs}", &runs.to_string()).replace("{seed}", &seed.to_string());
    let count = |held| lines.iter().filter(|line| line.held() == held).count();
    let (yes, no, open) = (count(Held::Yes), count(Held::No), count(Held::Open));
    let _ = writeln!(text, "\nHeld: {yes}. Not held: {no}. Open: {open}.");
    for promise in Promise::ALL {
        let (title, what) = words(promise);
        let _ = write!(text, "\n## {title}\n{what}\n\n");
        text.push_str("| case | bar | measured | 95 % interval | runs | held |\n");
        text.push_str("|---|---|---|---|---|---|\n");
        for line in lines.iter().filter(|line| line.promise == promise) {
            row(&mut text, line);
        }
    }
    text.push('\n');
    text.push_str(TAIL);
    text
}

fn row(text: &mut String, line: &Line) {
    let bar = match line.bar {
        Bar::SentBack(most) | Bar::Promoted(most) | Bar::NotReleased(most, _) => {
            format!("{} %", most * 100.0)
        }
        Bar::Found(Some(most)) => time(most),
        Bar::Found(None) => "none".to_owned(),
    };
    let (measured, interval) = match line.measured {
        Measured::Share(share) => {
            let percent = 100.0 * share.count as f64 / share.of.max(1) as f64;
            let interval = format!("{:.2} % to {:.2} %", share.low * 100.0, share.high * 100.0);
            (format!("{} ({percent:.2} %)", share.count), interval)
        }
        Measured::Median { median, low, high } => {
            (time(median), format!("{} to {}", time(low), time(high)))
        }
    };
    let held = match line.held() {
        Held::Yes => "yes",
        Held::No => "**no**",
        Held::Open => "open",
        Held::NotPromised => "",
    };
    let _ = writeln!(
        text,
        "| {} | {bar} | {measured} | {interval} | {} | {held} |",
        line.name, line.runs
    );
}

/// `16 s`, `14.2 min`: as fine as it matters.
fn time(seconds: f64) -> String {
    if !seconds.is_finite() {
        "not within the hour".to_owned()
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.1} min", seconds / 60.0)
    }
}

const fn words(promise: Promise) -> (&'static str, &'static str) {
    match promise {
        Promise::GoodStays => (
            "A good release stays",
            "Falsely sent back within an hour at weight 5, of which one canary pod beside 19 has its \
             share.",
        ),
        Promise::WorseIsFound => (
            "A worse release is found",
            "Errors five times as frequent, judged by errors alone: median time from the first \
             traffic to the abort. A second criterion takes half of the bound: it costs minutes.",
        ),
        Promise::BrokenIsStopped => (
            "A broken release is stopped",
            "Median time from the first traffic to the abort, judged by errors alone; the bar is two \
             scrapes and the time of 30 canary requests. There is no bar where those requests, but \
             for the ones of a scrape that may be a burst, are fewer than any test needs to tell the \
             rate from the hard limit of 5 % with the guard lane's probability of error.",
        ),
        Promise::WorseIsNotPromoted => {
            ("A release three times worse is not promoted", "Promoted on the steps 5, 25, 50, 100.")
        }
        Promise::SwitchIsJudged => (
            "After a blue-green switch the past is the control arm",
            "Errors three times as frequent as recorded, judged by errors alone: median time from the \
             switch to the abort.",
        ),
        Promise::QuietIsReleased => (
            "A quiet service can be released",
            "With a threshold on its pods, `onLowTraffic: PromoteUnproven` and a verdict timeout of \
             5 min: not promoted, marked as unproven, within 45 min of the commit.",
        ),
    }
}
