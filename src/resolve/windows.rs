//! When trials may start and be promoted. Abort and revert never ask.

use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Timelike, Utc, Weekday};
use tidegate_api as api;

use super::units;

/// Times of the week, in UTC. None: any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    /// Empty: every day.
    days: Vec<Weekday>,
    /// Minutes after midnight.
    from: u16,
    to: u16,
}

impl Window {
    fn is_on(&self, day: Weekday) -> bool {
        self.days.is_empty() || self.days.contains(&day)
    }
}

impl Windows {
    /// Windows whose times the rules have checked; one without times never opens.
    pub(crate) fn new(windows: &[api::Window]) -> Self {
        let windows = windows.iter().map(|window| Window {
            days: window.days.iter().map(|day| weekday(*day)).collect(),
            from: units::minute_of_day(window.from.as_str()).unwrap_or(0),
            to: units::minute_of_day(window.to.as_str()).unwrap_or(0),
        });
        Self(windows.collect())
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

const fn weekday(day: api::Weekday) -> Weekday {
    match day {
        api::Weekday::Mon => Weekday::Mon,
        api::Weekday::Tue => Weekday::Tue,
        api::Weekday::Wed => Weekday::Wed,
        api::Weekday::Thu => Weekday::Thu,
        api::Weekday::Fri => Weekday::Fri,
        api::Weekday::Sat => Weekday::Sat,
        api::Weekday::Sun => Weekday::Sun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn weekdays() -> Windows {
        let days = vec![api::Weekday::Mon, api::Weekday::Fri];
        Windows::new(&[api::Window { days, from: "09:00".into(), to: "17:00".into() }])
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
