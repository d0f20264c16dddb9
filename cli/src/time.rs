//! Times and durations as texts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 86_400_000;

/// Unix milliseconds of a time.
pub(crate) fn unix_milliseconds(at: SystemTime) -> i64 {
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => milliseconds(after),
        Err(before) => -milliseconds(before.duration()),
    }
}

/// `2026-01-31T12:00:00.000Z`.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    let (days, rest) = (unix_ms.div_euclid(DAY_MS), unix_ms.rem_euclid(DAY_MS));
    let (year, month, day) = date_of(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        rest / 3_600_000,
        rest / 60_000 % 60,
        rest / 1000 % 60,
        rest % 1000
    )
}

/// Reads Unix seconds, or a time such as `2026-01-31T12:00:00+01:00`. Without an offset it would mean
/// something else on every machine, so it is refused.
pub(crate) fn read(text: &str) -> Result<SystemTime, String> {
    let text = text.trim();
    let milliseconds = read_seconds(text).or_else(|| read_rfc3339(text));
    let milliseconds = milliseconds.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        format!(
            "at is {shown:?}; it takes Unix seconds up to the year 9999, or a time with an offset such as \
             2026-01-31T12:00:00+01:00"
        )
    })?;
    Ok(UNIX_EPOCH + Duration::from_millis(milliseconds))
}

/// Up to the year 9999: milliseconds by mistake are beyond that.
fn read_seconds(text: &str) -> Option<u64> {
    const LAST: u64 = 253_402_300_799;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let seconds: u64 = whole.parse().ok().filter(|seconds| *seconds <= LAST)?;
    Some(seconds * 1000 + thousandths(fraction)?)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn thousandths(fraction: &str) -> Option<u64> {
    format!("{fraction:0<3}").get(..3)?.parse().ok()
}

fn read_rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign, offset) => {
            let [hours, minutes] = numbers(offset, ':', [2, 2])?;
            let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            if sign == "-" { -minutes } else { minutes }
        }
    };
    // 60 is a leap second.
    let exists = (1..=12).contains(&month) && hour < 24 && minute < 60 && second <= 60;
    let days = days_of(year, month, day);
    if !exists || date_of(days) != (year, month, day) || !is_number(fraction) {
        return None;
    }
    let seconds = days * 86_400 + (hour * 60 + minute - offset) * 60 + second;
    Some(u64::try_from(seconds).ok()? * 1000 + thousandths(fraction)?)
}

/// Numbers of so many digits.
fn numbers<const N: usize>(text: &str, mark: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut found = [0; N];
    let mut parts = text.split(mark);
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !is_number(part) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Days since 1970. Years are counted from March, so that a leap day is the last of its year.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

fn date_of(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let next_year = i64::from(month >= 10);
    (era * 400 + year + next_year, (month + 2) % 12 + 1, day)
}

/// For people: one unit, or two for long ones.
pub(crate) fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{:.1} s", duration.as_secs_f64()),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Reads `90s`, `15m`, `12h`, `30d` or `4w`. The unit is needed: whoever means days must not get seconds.
pub(crate) fn read_duration(text: &str) -> Result<Duration, String> {
    let number_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let unit = match unit {
        "s" => Some(1),
        "m" | "min" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        "w" => Some(604_800),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(unit)
        .and_then(|(number, unit)| number.checked_mul(unit))
        .filter(|seconds| *seconds <= 100 * 366 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(|| "it takes a whole number and a unit: 90s, 15m, 12h, 30d or 4w".to_owned())
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test: what cannot be unwrapped has failed"
)]
mod tests {
    use super::*;

    fn read_ms(text: &str) -> i64 {
        unix_milliseconds(read(text).unwrap())
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, unix_ms) in [
            ("0", 0),
            ("1700000000.25", 1_700_000_000_250),
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-11-26t15:11:00.5+01:00", 1_795_702_260_500),
            ("2026-11-26 12:11:00-02:00", 1_795_702_260_000),
        ] {
            assert_eq!(read_ms(text), unix_ms, "{text}");
            assert_eq!(read_ms(&rfc3339(unix_ms)), unix_ms, "{text}");
        }
    }

    #[test]
    fn every_day_of_nine_centuries_is_written_and_read() {
        for day in 0..330_000 {
            let unix_ms = day * DAY_MS + 1;
            assert_eq!(read_ms(&rfc3339(unix_ms)), unix_ms);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "-1",
            "1.",
            ".5",
            "1e9",
            "1700000000000",
            "2026-11-26T15:11:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-1-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00+1",
            "2026-01-01T00:00:00+25:00",
            "2026-01-01T00:00:00Zx",
            "1969-12-31T23:59:59Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00é",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(read_duration("90s").unwrap().as_secs(), 90);
        assert_eq!(read_duration("15m").unwrap().as_secs(), 900);
        assert_eq!(read_duration("30d").unwrap().as_secs(), 2_592_000);
        for text in [
            "",
            "d",
            "1x",
            "-1",
            "1.5h",
            "99999999999999999999",
            "999999w",
        ] {
            assert!(read_duration(text).is_err(), "{text}");
        }
    }
}
