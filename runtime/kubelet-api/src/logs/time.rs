//! Times of log lines.

use jiff::Timestamp;
use jiff::fmt::temporal::{DateTimeParser, DateTimePrinter};

/// The longest RFC 3339 time with nanoseconds: `2026-01-02T03:04:05.123456789+01:00`.
pub(crate) const MAX_LEN: usize = 35;

static PARSER: DateTimeParser = DateTimeParser::new();
static PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));

/// Reads an RFC 3339 time with seconds and any fraction of them.
pub(crate) fn parse(text: &[u8]) -> Option<Timestamp> {
    // The parser knows more than RFC 3339.
    let is_plain = |byte: &u8| byte.is_ascii_digit() || b"T:.Z+-".contains(byte);
    let separated = text.len() >= "2026-01-02T03:04:05Z".len() && text.get(10) == Some(&b'T');
    if !separated || text.len() > MAX_LEN || !text.iter().all(is_plain) {
        return None;
    }
    PARSER.parse_timestamp(text).ok()
}

/// Writes it in UTC with nine digits of fraction, and a blank: what the kubelet puts before a line.
pub(crate) fn prefix(time: Timestamp, out: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = PRINTER.print_timestamp(&time, &mut *out);
    out.push(b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_engines_are_read() {
        for (text, nanoseconds) in [
            ("2026-01-02T03:04:05Z", 0),
            ("2026-01-02T03:04:05.1Z", 100_000_000),
            ("2026-01-02T03:04:05.123456789Z", 123_456_789),
            ("2026-01-02T04:04:05.000000001+01:00", 1),
            ("2026-01-02T02:34:05.5-00:30", 500_000_000),
        ] {
            let time = parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(time.as_second(), 1_767_323_045, "{text}");
            assert_eq!(time.subsec_nanosecond(), nanoseconds, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "hello", "2026-01-02", "2026-01-02 03:04:05Z", "2026-01-02T03:04Z", "2026-13-02T03:04:05Z"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_prefix_has_nanoseconds_and_a_blank() {
        let mut out = Vec::new();
        prefix("2026-01-02T04:04:05.5+01:00".parse().unwrap(), &mut out);
        assert_eq!(out, b"2026-01-02T03:04:05.500000000Z ");
    }
}
