//! The panels of the live view.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, List, Paragraph, RenderDirection, Sparkline};

use super::plain::{millis, percent, short};
use super::recorder::Traffic;
use super::report::{Evidence, VerdictView};
use super::snapshot::{ArmView, CommitLine, DecisionLine};
use super::view::Palette;

/// Columns of the names of evidence.
const NAME: u16 = 12;
/// Columns of the numbers behind a bar.
const NUMBERS: u16 = 16;

/// One arm: numbers of the last second, and the last minute as sparklines.
pub(super) fn arm(
    frame: &mut Frame<'_>,
    area: Rect,
    name: &str,
    arm: &ArmView,
    style: Style,
    palette: Palette,
) {
    let title = if arm.version.is_empty() {
        format!(" {name} ")
    } else {
        format!(" {name} {} ", arm.version)
    };
    let block = Block::bordered().title(Line::styled(title, style));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let rows: [Rect; 3] = Layout::vertical([Constraint::Length(2); 3]).areas(inner);
    let now = arm.now();
    let rate = now.map_or_else(|| "-".to_owned(), |traffic| format!("{:.0}", traffic.rate));
    let errors = percent(now.and_then(|traffic| traffic.error_rate));
    let p50 = millis(now.and_then(|traffic| traffic.p50));
    let p99 = millis(now.and_then(|traffic| traffic.p99));
    let fails = now.is_some_and(|traffic| traffic.failures > 0);
    let error_style = if fails { palette.bad } else { style };
    spark(frame, rows[0], ["req/s", &rate], series(arm, |t| Some(t.rate)), style);
    spark(frame, rows[1], ["errors", &errors], series(arm, |t| t.error_rate), error_style);
    let latency = [&format!("p50 {p50}")[..], &format!("p99 {p99}")];
    spark(frame, rows[2], latency, series(arm, |t| t.p99), style);
}

/// Thousandths of what is drawn, newest first; missing data stays missing.
fn series(arm: &ArmView, of: fn(&Traffic) -> Option<f64>) -> Vec<Option<u64>> {
    let thousandths = |traffic: &Option<Traffic>| thousandths(of(traffic.as_ref()?)?);
    arm.history.iter().rev().map(thousandths).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is cut to the range of integers, and only drawn"
)]
fn thousandths(value: f64) -> Option<u64> {
    (value.is_finite() && value >= 0.0).then(|| (value * 1e3).round() as u64)
}

fn spark(
    frame: &mut Frame<'_>,
    area: Rect,
    labels: [&str; 2],
    series: Vec<Option<u64>>,
    style: Style,
) {
    let [left, right] =
        Layout::horizontal([Constraint::Length(13), Constraint::Fill(1)]).areas(area);
    let labels: Vec<Line<'_>> = labels.into_iter().map(Line::raw).collect();
    frame.render_widget(Paragraph::new(labels), left);
    let sparkline =
        Sparkline::default().direction(RenderDirection::RightToLeft).style(style).data(series);
    frame.render_widget(sparkline, right);
}

/// What the judge says, and three bars of evidence against their limits.
pub(super) fn evidence(frame: &mut Frame<'_>, area: Rect, view: &VerdictView, palette: Palette) {
    let block = Block::bordered().title(" evidence against its limit ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [text, rows @ ..]: [Rect; 4] = Layout::vertical([Constraint::Length(1); 4]).areas(inner);
    let style = match view.verdict.as_str() {
        "Pass" => palette.good,
        "Fail" => palette.bad,
        _ => palette.strong,
    };
    let verdict = if view.verdict.is_empty() { "no verdict yet" } else { &view.verdict };
    let says = Line::from(vec![
        Span::styled(verdict, style),
        Span::raw(if view.message.is_empty() { "" } else { "  " }),
        Span::raw(view.message.as_str()),
    ]);
    frame.render_widget(says, text);
    let bars = [
        ("guard", view.guard, palette.bad),
        ("regression", view.regression, palette.bad),
        ("safety", view.safety, palette.good),
    ];
    for (row, (name, evidence, style)) in rows.into_iter().zip(bars) {
        bar(frame, row, name, evidence, style);
    }
}

fn bar(frame: &mut Frame<'_>, area: Rect, name: &str, evidence: Option<Evidence>, style: Style) {
    let [left, middle, right] = Layout::horizontal([
        Constraint::Length(NAME),
        Constraint::Fill(1),
        Constraint::Length(NUMBERS),
    ])
    .areas(area);
    frame.render_widget(Line::raw(name), left);
    let Some(evidence) = evidence else {
        frame.render_widget(Line::raw("no data"), middle);
        return;
    };
    let full = filled(evidence.share(), middle.width);
    let empty = usize::from(middle.width).saturating_sub(full);
    let bar = Line::from(vec![Span::styled("█".repeat(full), style), Span::raw("·".repeat(empty))]);
    frame.render_widget(bar, middle);
    let numbers = format!(" {:.1} of {:.1}", evidence.log_e, evidence.limit);
    frame.render_widget(Line::raw(numbers).right_aligned(), right);
}

/// Columns of a bar: full only when the limit is reached.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share from 0 to 1 of a width"
)]
fn filled(share: f64, width: u16) -> usize {
    (share * f64::from(width)).floor() as usize
}

/// The config repository, newest first; what is applied has a mark.
pub(super) fn commits(
    frame: &mut Frame<'_>,
    area: Rect,
    commits: &VecDeque<CommitLine>,
    palette: Palette,
) {
    let lines = commits.iter().map(|commit| {
        Line::from(vec![
            Span::styled(if commit.synced { "● " } else { "  " }, palette.good),
            Span::styled(short(&commit.id), palette.dim),
            Span::raw(" "),
            Span::raw(commit.subject.as_str()),
        ])
    });
    let block = Block::bordered().title(" Git, ● is applied ");
    frame.render_widget(List::new(lines).block(block), area);
}

/// What was decided and done, newest first.
pub(super) fn decisions(
    frame: &mut Frame<'_>,
    area: Rect,
    decisions: &VecDeque<DecisionLine>,
    palette: Palette,
) {
    let lines = decisions.iter().map(|decision| {
        Line::from(vec![
            Span::styled(format!("{:>5.1} ", decision.elapsed.as_secs_f64()), palette.dim),
            Span::styled(decision.reason.as_str(), palette.strong),
            Span::raw(" "),
            Span::raw(decision.message.as_str()),
        ])
    });
    let block = Block::bordered().title(" decisions ");
    frame.render_widget(List::new(lines).block(block), area);
}
