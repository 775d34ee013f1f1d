//! A classic histogram: how many observations are at most so large, for fixed bounds.

use std::fmt::Write as _;
use std::time::Duration;

/// Upper bounds in seconds: the defaults of the Prometheus client libraries.
pub const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Durations counted by [`BOUNDS`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Not cumulative; the last one counts what is above all bounds.
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        self.counts[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        self.sum += seconds;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper bound and the number of durations up to it, in ascending order; the last bound is
    /// infinite.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut total = 0;
        BOUNDS
            .into_iter()
            .chain([f64::INFINITY])
            .zip(self.counts)
            .map(|(bound, count)| {
                total += count;
                (bound, total)
            })
            .collect()
    }

    /// Appends the histogram in the Prometheus text format.
    pub(super) fn expose(&self, name: &str, labels: &str, text: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, count) in self.cumulative() {
            let le = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{le}\"}} {count}");
        }
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", self.sum);
        let _ = writeln!(text, "{name}_count{{{labels}}} {}", self.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_belongs_to_it() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_millis(5));
        histogram.observe(Duration::from_millis(6));
        histogram.observe(Duration::from_mins(1));
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[0], (0.005, 1));
        assert_eq!(cumulative[1], (0.01, 2));
        assert_eq!(cumulative[10], (10.0, 2));
        assert_eq!(cumulative[11], (f64::INFINITY, 3));
        assert_eq!(histogram.count(), 3);
    }

    #[test]
    fn it_is_exposed_as_clients_do() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_millis(250));
        let mut text = String::new();
        histogram.expose("h", "method=\"GET\"", &mut text);
        assert!(text.contains("h_bucket{method=\"GET\",le=\"0.1\"} 0\n"), "{text}");
        assert!(text.contains("h_bucket{method=\"GET\",le=\"0.25\"} 1\n"), "{text}");
        assert!(text.contains("h_bucket{method=\"GET\",le=\"+Inf\"} 1\n"), "{text}");
        assert!(
            text.ends_with("h_sum{method=\"GET\"} 0.25\nh_count{method=\"GET\"} 1\n"),
            "{text}"
        );
    }
}
