//! The live view: one pure function from a snapshot to a frame.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge};

use super::panels;
use super::snapshot::Snapshot;

/// The way of a trial that ends well.
const FORTH: [&str; 5] = ["Settling", "Starting", "Shifting", "Baking", "Promoting"];
/// The way of a trial that does not.
const BACK: [&str; 3] = ["Aborting", "Reverting", "Restoring"];

/// Styles by meaning; without colours only weight and reversal are left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub(super) stable: Style,
    pub(super) canary: Style,
    pub(super) good: Style,
    pub(super) bad: Style,
    pub(super) dim: Style,
    pub(super) strong: Style,
    pub(super) here: Style,
}

impl Palette {
    fn new(monochrome: bool) -> Self {
        let strong = Style::new().add_modifier(Modifier::BOLD);
        let here = strong.add_modifier(Modifier::REVERSED);
        if monochrome {
            let plain = Style::new();
            return Self {
                stable: plain,
                canary: plain,
                good: plain,
                bad: strong,
                dim: plain,
                strong,
                here,
            };
        }
        Self {
            stable: Style::new().fg(Color::Cyan),
            canary: Style::new().fg(Color::Yellow),
            good: Style::new().fg(Color::Green),
            bad: Style::new().fg(Color::Red),
            dim: Style::new().fg(Color::DarkGray),
            strong,
            here,
        }
    }
}

/// Draws all of it. What does not fit is cut, never an error.
pub fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot) {
    let palette = Palette::new(snapshot.monochrome);
    let [header, stages, weight, arms, evidence, log] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Fill(1),
    ])
    .areas(frame.area());
    draw_header(frame, header, snapshot, palette);
    draw_stages(frame, stages, snapshot, palette);
    draw_weight(frame, weight, snapshot, palette);
    let [stable, canary] = Layout::horizontal([Constraint::Fill(1); 2]).areas(arms);
    panels::arm(frame, stable, "stable", &snapshot.stable, palette.stable, palette);
    panels::arm(frame, canary, "canary", &snapshot.canary, palette.canary, palette);
    panels::evidence(frame, evidence, &snapshot.verdict, palette);
    let [commits, decisions] =
        Layout::horizontal([Constraint::Percentage(42), Constraint::Fill(1)]).areas(log);
    panels::commits(frame, commits, &snapshot.commits, palette);
    panels::decisions(frame, decisions, &snapshot.decisions, palette);
}

fn draw_header(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, palette: Palette) {
    let elapsed = format!("{:.1} s", snapshot.elapsed.as_secs_f64());
    let title = Line::from(vec![
        Span::styled("Tidegate", palette.strong),
        Span::raw(" demo  "),
        Span::styled(elapsed, palette.strong),
    ]);
    let quit = Line::styled("q quits", palette.dim).right_aligned();
    let headline = Line::raw(snapshot.headline.as_str());
    let [title_area, headline_area] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(area);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(7)]).areas(title_area);
    frame.render_widget(title, left);
    frame.render_widget(quit, right);
    frame.render_widget(headline, headline_area);
}

fn draw_stages(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, palette: Palette) {
    let way = |stages: &[&'static str]| {
        let mut spans = Vec::new();
        for stage in stages {
            if !spans.is_empty() {
                spans.push(Span::styled(" → ", palette.dim));
            }
            let style = if *stage == snapshot.stage { palette.here } else { palette.dim };
            spans.push(Span::styled(*stage, style));
        }
        Line::from(spans)
    };
    let (forth, back) = (way(&FORTH), way(&BACK));
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(33)]).areas(area);
    frame.render_widget(forth, left);
    frame.render_widget(back.right_aligned(), right);
}

fn draw_weight(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, palette: Palette) {
    let weight = u16::from(snapshot.weight.min(100));
    let gauge = Gauge::default()
        .block(Block::bordered().title(" weight of the canary "))
        .gauge_style(palette.canary)
        .percent(weight)
        .label(format!("{weight} %"));
    frame.render_widget(gauge, area);
}
