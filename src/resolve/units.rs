//! Texts with a unit to numbers. The schema has checked their form already where they came through
//! the API server or a file; objects made in code have not been checked, so everything is.

use chrono::TimeDelta;

/// Longer than any rollout: what is beyond it is a slip of the hand.
const LONGEST_DAYS: i64 = 366;

/// `1h30m`, `90s`, `250ms`. `None`: not of this form, or longer than a year.
pub(crate) fn duration(text: &str) -> Option<TimeDelta> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    let mut rest = text;
    let mut total = TimeDelta::zero();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let milliseconds = match rest.get(..letters)? {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        rest = rest.get(letters..)?;
        let part = TimeDelta::try_milliseconds(number.checked_mul(milliseconds)?)?;
        total = total.checked_add(&part)?;
    }
    (total <= TimeDelta::days(LONGEST_DAYS)).then_some(total)
}

/// `5%` is 0.05. `None`: not of this form, or above 100%.
pub(crate) fn fraction(text: &str) -> Option<f64> {
    percent(text.strip_suffix('%')?)
}

/// `0.5pp` is 0.005. `None`: not of this form, or above 100pp.
pub(crate) fn points(text: &str) -> Option<f64> {
    percent(text.strip_suffix("pp")?)
}

fn percent(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    // The decimal point is moved in the text: 99.9 / 100 is not 0.999 in floating point.
    let share: f64 = format!("{text}e-2").parse().ok().filter(|_| plain)?;
    (share <= 1.0).then_some(share)
}

/// A finite number.
pub(crate) fn number(text: &str) -> Option<f64> {
    let plain = text.chars().all(|c| matches!(c, '0'..='9' | '.' | '-' | '+' | 'e' | 'E'));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

/// `09:30` as minutes after midnight.
pub(crate) fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let is_two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !is_two_digits(hours) || !is_two_digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_is_the_sum_of_its_parts() {
        assert_eq!(duration("90s"), Some(TimeDelta::seconds(90)));
        assert_eq!(duration("1h30m"), Some(TimeDelta::minutes(90)));
        assert_eq!(duration("1m500ms"), Some(TimeDelta::milliseconds(60_500)));
        assert_eq!(duration("2d"), Some(TimeDelta::hours(48)));
        assert_eq!(duration("0s"), Some(TimeDelta::zero()));
    }

    #[test]
    fn what_is_no_time_span_is_none() {
        for text in ["", "5", "s", "5 s", "-5s", "5.5s", "5w", "1000d", "99999999999999999999s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn shares_and_points_are_parts_of_one() {
        assert_eq!(fraction("5%"), Some(0.05));
        assert_eq!(fraction("100%"), Some(1.0));
        assert_eq!(fraction("99.9%"), Some(0.999));
        assert_eq!(points("0.5pp"), Some(0.005));
        for text in ["5", "%", "101%", "-1%", "inf%", ".%", "1e1%"] {
            assert_eq!(fraction(text), None, "{text}");
        }
        assert_eq!(points("0.5%"), None);
    }

    #[test]
    fn a_time_of_day_is_minutes() {
        assert_eq!(minute_of_day("09:30"), Some(570));
        assert_eq!(minute_of_day("23:59"), Some(1439));
        for text in ["24:00", "9:30", "09:60", "+9:30", "0930"] {
            assert_eq!(minute_of_day(text), None, "{text}");
        }
    }
}
