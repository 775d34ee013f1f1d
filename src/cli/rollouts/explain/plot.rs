//! A ratio and its interval on a line. Pure.

use tidegate_api::Between;

/// Cells of the line.
const CELLS: usize = 41;
/// The cell of 1.
const MIDDLE: usize = CELLS / 2;
/// How many decades there may be on either side of 1, with the numbers at the five ticks.
const SCALES: [(f64, [&str; 5]); 3] = [
    (1.0, ["0.1", "0.3", "1", "3", "10"]),
    (2.0, ["0.01", "0.1", "1", "10", "100"]),
    (4.0, ["0.0001", "0.01", "1", "100", "10000"]),
];

/// What is drawn.
pub(super) struct Plot {
    /// The canary's rate over stable's.
    pub(super) ratio: f64,
    pub(super) interval: Between,
    /// The ratio above which it fails.
    pub(super) fails: Option<f64>,
    /// The ratio below which it must be proven to be.
    pub(super) passes: Option<f64>,
}

impl Plot {
    /// Three lines: numbers, the axis with `F` and `P`, the interval. What is beyond the axis has an
    /// arrow.
    pub(super) fn lines(&self) -> [String; 3] {
        let (decades, ticks) = self.scale();
        let mut axis = ['-'; CELLS];
        for tick in (0..CELLS).step_by(MIDDLE / 2) {
            put(&mut axis, tick, '+');
        }
        for (mark, at) in [('P', self.passes), ('F', self.fails)] {
            if let Some(at) = at {
                put(&mut axis, cell(at, decades), mark);
            }
        }
        let mut numbers = String::new();
        for (tick, number) in ticks.iter().enumerate() {
            // Under its tick as far as there is room.
            let at = (tick * MIDDLE / 2).saturating_sub(number.len() / 2);
            numbers = format!("{numbers:<at$}{number}");
        }
        let line = |cells: &[char]| cells.iter().collect::<String>().trim_end().to_owned();
        [numbers, line(&axis), line(&self.interval(decades))]
    }

    /// The smallest scale with the interval and the marks on it, else the largest.
    fn scale(&self) -> (f64, [&'static str; 5]) {
        let high = self.interval.high.unwrap_or(self.ratio);
        let all = [Some(self.ratio), Some(self.interval.low), Some(high), self.fails, self.passes];
        let fits = |decades: f64| {
            let mut positive = all.into_iter().flatten().filter(|ratio| *ratio > 0.0);
            positive.all(|ratio| ratio.log10().abs() <= decades)
        };
        let [small, middle, large] = SCALES;
        [small, middle].into_iter().find(|(decades, _)| fits(*decades)).unwrap_or(large)
    }

    fn interval(&self, decades: f64) -> [char; CELLS] {
        let mut cells = [' '; CELLS];
        let (first, last) = (
            cell(self.interval.low, decades),
            cell(self.interval.high.unwrap_or(f64::MAX), decades),
        );
        for at in first..=last {
            put(&mut cells, at, '=');
        }
        let beyond = 10_f64.powf(decades);
        put(&mut cells, first, if self.interval.low < 1.0 / beyond { '<' } else { '[' });
        let is_open = self.interval.high.is_none_or(|high| high > beyond);
        put(&mut cells, last, if is_open { '>' } else { ']' });
        put(&mut cells, cell(self.ratio, decades), 'o');
        cells
    }
}

fn put(cells: &mut [char; CELLS], at: usize, mark: char) {
    if let Some(cell) = cells.get_mut(at) {
        *cell = mark;
    }
}

/// Where a ratio is; beyond the ends it is at the end.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to CELLS - 1")]
fn cell(ratio: f64, decades: f64) -> usize {
    let at = (ratio.max(f64::MIN_POSITIVE).log10() / decades).clamp(-1.0, 1.0);
    ((at + 1.0) * MIDDLE as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(ratio: f64, low: f64, high: Option<f64>, passes: Option<f64>) -> [String; 3] {
        Plot { ratio, interval: Between { low, high }, fails: Some(1.6), passes }.lines()
    }

    #[test]
    fn an_interval_is_where_its_numbers_are() {
        assert_eq!(
            lines(2.3, 0.5, Some(6.7), Some(4.5)),
            [
                "0.1      0.3        1         3        10",
                "+---------+---------+---F-----+--P------+",
                "              [============o=========]",
            ]
        );
    }

    #[test]
    fn what_is_beyond_the_axis_has_an_arrow() {
        let [numbers, _, interval] = lines(0.0, 0.0, Some(50.0), None);
        assert!(numbers.starts_with("0.01") && numbers.ends_with("100"), "{numbers}");
        assert_eq!(interval, format!("o{}]", "=".repeat(36)));
        let [_, _, interval] = lines(40.0, 3.0, None, None);
        assert_eq!(interval, format!("{}[==========o===>", " ".repeat(25)));
        let [numbers, ..] = lines(1e9, 1e7, None, None);
        assert!(numbers.ends_with("10000"), "{numbers}");
    }
}
