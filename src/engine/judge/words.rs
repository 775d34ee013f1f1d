//! Numbers as people read them.

use chrono::TimeDelta;

use super::Counts;

/// `7/1,830 (0.38 %)`.
pub fn of_requests(counts: Counts) -> String {
    let rate = counts.rate().map_or_else(|| "no requests".to_owned(), percent);
    format!("{}/{} ({rate})", count(counts.bad), count(counts.total))
}

/// `0.38 %`: two digits that matter.
pub fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    match percent {
        _ if percent == 0.0 => "0 %".to_owned(),
        _ if percent >= 10.0 => format!("{percent:.0} %"),
        _ if percent >= 1.0 => format!("{} %", (percent * 10.0).round() / 10.0),
        _ if percent >= 0.1 => format!("{percent:.2} %"),
        _ => format!("{percent:.3} %"),
    }
}

/// `+0.38 pp`: what one rate has more than another.
pub fn points(difference: f64) -> String {
    let sign = if difference < 0.0 { '-' } else { '+' };
    format!("{sign}{}", percent(difference.abs()).replace('%', "pp"))
}

/// `0.52`, `2.3`, `38`: how many times as much.
pub fn times(ratio: f64) -> String {
    match ratio {
        _ if ratio == 0.0 => "0".to_owned(),
        _ if ratio >= 10.0 => format!("{ratio:.0}"),
        _ if ratio >= 1.0 => format!("{ratio:.1}"),
        _ => format!("{ratio:.2}"),
    }
}

/// `36,410`: thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `e^log`.
pub(super) fn power(log: f64) -> String {
    if log < 100.0_f64.ln() {
        format!("{:.1}", log.exp())
    } else if log < 1e9_f64.ln() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 100 and 10^9"
        )]
        let whole = log.exp().round() as u64;
        count(whole)
    } else {
        format!("10^{:.0}", (log / std::f64::consts::LN_10).floor())
    }
}

/// `50 s`, `12 min`, `3 h`: one unit.
pub fn duration(time: TimeDelta) -> String {
    let seconds = time.num_seconds();
    match seconds {
        _ if seconds < 120 => format!("{seconds} s"),
        _ if seconds < 2 * 3600 => format!("{} min", time.num_minutes()),
        _ if seconds < 48 * 3600 => format!("{} h", time.num_hours()),
        _ => format!("{} days", time.num_days()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [(7, "7"), (1830, "1,830"), (36_410, "36,410"), (123_456, "123,456")]
        {
            assert_eq!(count(number), text);
        }
        for (rate, text) in [
            (0.0, "0 %"),
            (0.331, "33 %"),
            (0.0123, "1.2 %"),
            (0.05, "5 %"),
            (0.00383, "0.38 %"),
            (1e-5, "0.001 %"),
        ] {
            assert_eq!(percent(rate), text);
        }
        assert_eq!([points(0.0038), points(-0.012)], ["+0.38 pp", "-1.2 pp"]);
        assert_eq!([0.0, 0.456, 2.345, 38.4].map(times), ["0", "0.46", "2.3", "38"]);
        assert_eq!(power(0.3_f64.ln()), "0.3");
        assert_eq!(power(1333.4_f64.ln()), "1,333");
        assert_eq!(power(2000.0), "10^868");
        assert_eq!(power(f64::NEG_INFINITY), "0.0");
    }
}
