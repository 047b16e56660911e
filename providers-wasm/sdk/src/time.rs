//! Points in time: nanoseconds since 1970 in the contract, RFC 3339 at most backends.

/// A second, in the contract's unit.
pub const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of this many seconds since 1970; none for times before (how backends write "never").
pub fn from_seconds(seconds: i64) -> Option<u64> {
    u64::try_from(seconds).ok()?.checked_mul(SECOND)
}

/// Reads `20ms`, `1.5s`, `10m`, `2h`: nanoseconds.
pub fn parse_duration(text: &str) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    let (number, unit) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let unit = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => return None,
    };
    let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= 9)?;
    let digits: u128 = [whole, fraction].concat().parse().ok()?;
    u64::try_from(digits.checked_mul(u128::from(unit))? / 10_u128.pow(places)).ok()
}

/// Reads `2026-11-21T09:34:28.124662906+01:00`. None: it is none, or lies before 1970 (how backends write "never").
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|byte| any.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if is(at, b".") {
        let digits = bytes.get(at + 1..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let kept = digits.min(9);
        nanos = number(at + 1, at + 1 + kept)? * 10_i64.pow(9 - u32::try_from(kept).ok()?);
        at += 1 + digits;
    }
    let offset = match bytes.get(at)? {
        b'Z' | b'z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == at + 6 && is(at + 3, b":") => {
            let offset = number(at + 1, at + 3)? * 3600 + number(at + 4, at + 6)? * 60;
            if *sign == b'+' { offset } else { -offset }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    from_seconds(seconds)?.checked_add(u64::try_from(nanos).ok()?)
}

/// Writes RFC 3339 in UTC with nanoseconds.
pub fn to_rfc3339(nanos: u64) -> String {
    let seconds = nanos / SECOND;
    let (year, month, day) = date(i64::try_from(seconds / 86_400).unwrap_or(i64::MAX / 2));
    let (hour, minute, second) = (seconds % 86_400 / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", nanos % SECOND)
}

// The civil calendar in eras of 400 years that begin on 1 March, so that a leap day is the last of its year.

const ERA_DAYS: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year.div_euclid(400) * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH_DAYS
}

fn date(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let day_of_era = days.rem_euclid(ERA_DAYS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = days.div_euclid(ERA_DAYS) * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_all_forms_that_engines_write() {
        let noon = 1_795_253_717 * SECOND;
        assert_eq!(parse_rfc3339("2026-11-21T09:35:17Z"), Some(noon));
        assert_eq!(parse_rfc3339("2026-11-21T10:35:17+01:00"), Some(noon));
        assert_eq!(parse_rfc3339("2026-11-21T04:05:17-05:30"), Some(noon));
        assert_eq!(parse_rfc3339("2026-11-21T09:35:17.015419873Z"), Some(noon + 15_419_873));
        assert_eq!(parse_rfc3339("2026-11-21T09:35:17.5Z"), Some(noon + 500_000_000));
        assert_eq!(parse_rfc3339("2026-11-21T09:35:17.0154198739999Z"), Some(noon + 15_419_873));
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00Z"), Some(0));
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("20ms"), Some(20_000_000));
        assert_eq!(parse_duration("1.5s"), Some(1_500_000_000));
        assert_eq!(parse_duration("2h"), Some(7200 * SECOND));
        for text in ["", "5", "s", "5 s", "-5s", "5d", "1.2.3s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_means_never_is_none() {
        for text in [
            "",
            "0001-01-01T00:00:00Z",
            "2026-11-21",
            "2026-13-21T09:35:17Z",
            "2026-11-21T09:35:17",
            "2026-11-21T09:35:17Zjunk",
            "2026-11-21T09:35:17.Z0",
            "2026-11-2éT09:35:17Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
        assert_eq!(from_seconds(-62_135_596_800), None);
    }

    #[test]
    fn every_time_reads_back_as_it_was_written() {
        for nanos in
            [0, 1, 951_782_399_999_999_999, 951_782_400 * SECOND, 1_795_253_717_015_419_873, 4_102_444_800 * SECOND]
        {
            assert_eq!(parse_rfc3339(&to_rfc3339(nanos)), Some(nanos), "{}", to_rfc3339(nanos));
        }
        assert_eq!(to_rfc3339(951_782_400 * SECOND), "2000-02-29T00:00:00.000000000Z");
    }
}
