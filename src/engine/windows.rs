//! When trials may start and be promoted. Abort and revert never ask.

use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Timelike, Utc, Weekday};

/// Times of the week, in UTC. None: any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

/// One time of the week. One that does not end after it begins never opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The days it opens on. Empty: every day.
    pub days: Vec<Weekday>,
    /// When it opens, in minutes after midnight.
    pub from: u16,
    /// When it closes, in minutes after midnight.
    pub to: u16,
}

impl Window {
    fn is_on(&self, day: Weekday) -> bool {
        self.days.is_empty() || self.days.contains(&day)
    }
}

impl Windows {
    /// Open in each of these; none: always.
    pub fn new(windows: Vec<Window>) -> Self {
        Self(windows)
    }

    /// Whether a trial may start or be promoted now.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        let minute = now.hour() * 60 + now.minute();
        self.0.is_empty()
            || self.0.iter().any(|window| {
                window.is_on(now.weekday())
                    && u32::from(window.from) <= minute
                    && minute < u32::from(window.to)
            })
    }

    /// When it next may, if it may not now.
    pub fn opens(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.is_open(now) {
            return None;
        }
        let midnight = now.with_time(NaiveTime::MIN).single()?;
        let days = (0..=7).filter_map(|days| midnight.checked_add_signed(TimeDelta::days(days)));
        days.flat_map(|day| {
            self.0
                .iter()
                .filter(move |window| window.is_on(day.weekday()) && window.from < window.to)
                .map(move |window| day + TimeDelta::minutes(i64::from(window.from)))
        })
        .filter(|opening| *opening > now)
        .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn weekdays() -> Windows {
        let days = vec![Weekday::Mon, Weekday::Fri];
        Windows::new(vec![Window { days, from: 9 * 60, to: 17 * 60 }])
    }

    #[test]
    fn a_window_is_open_from_its_first_minute_to_before_its_last() {
        // 2 March 2026 is a Monday.
        assert!(!weekdays().is_open(at("2026-03-02T08:59:59Z")));
        assert!(weekdays().is_open(at("2026-03-02T09:00:00Z")));
        assert!(weekdays().is_open(at("2026-03-02T16:59:59Z")));
        assert!(!weekdays().is_open(at("2026-03-02T17:00:00Z")));
        assert!(!weekdays().is_open(at("2026-03-03T12:00:00Z")));
    }

    #[test]
    fn the_next_opening_is_found_across_the_week() {
        let opens = |text| weekdays().opens(at(text));
        assert_eq!(opens("2026-03-02T12:00:00Z"), None);
        assert_eq!(opens("2026-03-02T17:00:00Z"), Some(at("2026-03-06T09:00:00Z")));
        assert_eq!(opens("2026-03-06T20:00:00Z"), Some(at("2026-03-09T09:00:00Z")));
    }

    #[test]
    fn without_windows_it_is_always_open() {
        assert!(Windows::default().is_open(at("2026-03-01T03:00:00Z")));
        assert_eq!(Windows::default().opens(at("2026-03-01T03:00:00Z")), None);
    }
}
