//! The forms in which a secret value turns up again: as it is, and in the encodings that programs put values through.
//!
//! Base64 (both alphabets; also inside a longer text that was encoded as a whole, as `user:value` is), hexadecimal,
//! percent-encoding (as in a path, and as in a form), the inside of a JSON string, HTML. Not found: what was compressed,
//! hashed, encrypted, cut in pieces, or encoded twice. Cost: about twelve times the value's size.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Shorter values are left alone: they would turn up everywhere.
pub(crate) const SHORTEST: usize = 4;
/// Larger values are documents; of them only the value itself is looked for.
const MAX_ENCODED: usize = 8 * 1024;
/// A piece of base64 shorter than this stands in many texts by chance.
const SHORTEST_PIECE: usize = 8;

/// A form of a value.
pub(crate) type Form = Zeroizing<Vec<u8>>;

/// All forms of a value, each once. Empty if the value is too short.
pub(crate) fn of(value: &[u8]) -> Vec<Form> {
    if value.len() < SHORTEST {
        return Vec::new();
    }
    let mut forms = vec![Zeroizing::new(value.to_vec())];
    if value.len() > MAX_ENCODED {
        return forms;
    }
    let mut add = |form: Vec<u8>| {
        let form = Zeroizing::new(form);
        if form.len() >= SHORTEST && !forms.contains(&form) {
            forms.push(form);
        }
    };
    add(STANDARD.encode(value).into_bytes());
    add(URL_SAFE.encode(value).into_bytes());
    add(STANDARD_NO_PAD.encode(value).into_bytes());
    add(URL_SAFE_NO_PAD.encode(value).into_bytes());
    for offset in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            add(base64_inside(engine, value, offset));
        }
    }
    add(hexadecimal(value, false));
    add(hexadecimal(value, true));
    for (spaces, upper) in [("%20", true), ("%20", false), ("+", true), ("+", false)] {
        add(percent(value, spaces, upper));
    }
    if let Ok(text) = std::str::from_utf8(value) {
        let escaped = json(text);
        // Some escape the slash, which needs none.
        add(String::from_utf8_lossy(&escaped).replace('/', "\\/").into_bytes());
        add(escaped);
        add(html(text));
    }
    forms
}

/// What stands in the base64 of a longer text where the value does, if `offset` bytes come before it (modulo 3): the
/// characters that depend on the value alone.
fn base64_inside(engine: &impl Engine, value: &[u8], offset: usize) -> Vec<u8> {
    let mut padded = Zeroizing::new(vec![0; offset]);
    padded.extend_from_slice(value);
    let text = Zeroizing::new(engine.encode(&*padded).into_bytes());
    let (from, to) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
    match text.get(from..to) {
        Some(piece) if piece.len() >= SHORTEST_PIECE => piece.to_vec(),
        _ => Vec::new(),
    }
}

fn hexadecimal(value: &[u8], upper: bool) -> Vec<u8> {
    let mut text = String::with_capacity(value.len() * 2);
    for byte in value {
        // Writing to a string can't fail.
        let _ = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
    }
    text.into_bytes()
}

/// Percent-encoded but for the unreserved characters of RFC 3986.
pub(crate) fn percent(value: &[u8], space: &str, upper: bool) -> Vec<u8> {
    let mut text = String::with_capacity(value.len() * 3);
    for byte in value {
        let _ = match byte {
            b' ' => text.write_str(space),
            b if b.is_ascii_alphanumeric() || b"-._~".contains(b) => text.write_char(char::from(*b)),
            b if upper => write!(text, "%{b:02X}"),
            b => write!(text, "%{b:02x}"),
        };
    }
    text.into_bytes()
}

/// Escaped for the inside of a JSON string (RFC 8259, section 7).
pub(crate) fn json(text: &str) -> Vec<u8> {
    let mut escaped = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        let _ = match c {
            '"' => escaped.write_str("\\\""),
            '\\' => escaped.write_str("\\\\"),
            '\n' => escaped.write_str("\\n"),
            '\r' => escaped.write_str("\\r"),
            '\t' => escaped.write_str("\\t"),
            '\u{8}' => escaped.write_str("\\b"),
            '\u{c}' => escaped.write_str("\\f"),
            c if u32::from(c) < 0x20 => write!(escaped, "\\u{:04x}", u32::from(c)),
            c => escaped.write_char(c),
        };
    }
    escaped.into_bytes()
}

fn html(text: &str) -> Vec<u8> {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "pä ss/\"w\\o&rd+\n4711";

    fn found(text: &str) -> bool {
        of(VALUE.as_bytes()).iter().any(|form| text.contains(std::str::from_utf8(form).unwrap()))
    }

    #[test]
    fn the_encodings_of_a_value_are_known() {
        let base64 = |text: String| STANDARD.encode(text);
        for text in [
            format!("a {VALUE} b"),
            base64(VALUE.to_owned()),
            URL_SAFE_NO_PAD.encode(VALUE),
            base64(format!("u:{VALUE}")),
            base64(format!("us:{VALUE}")),
            base64(format!("use:{VALUE} and more")),
            URL_SAFE.encode(format!("xx{VALUE}yy")),
            String::from_utf8(hexadecimal(VALUE.as_bytes(), false)).unwrap(),
            String::from_utf8(hexadecimal(VALUE.as_bytes(), true)).unwrap(),
            "p%C3%A4%20ss%2F%22w%5Co%26rd%2B%0A4711".to_owned(),
            "p%c3%a4+ss%2f%22w%5co%26rd%2b%0a4711".to_owned(),
            r#"{"a": "pä ss/\"w\\o&rd+\n4711"}"#.to_owned(),
            r#"{"a": "pä ss\/\"w\\o&rd+\n4711"}"#.to_owned(),
            "<a>pä ss/&quot;w\\o&amp;rd+\n4711</a>".to_owned(),
        ] {
            assert!(found(&text), "{text}");
        }
        assert!(!found("pä ss 4711"));
    }

    #[test]
    fn short_values_have_no_forms_and_large_ones_no_encodings() {
        assert!(of(b"abc").is_empty());
        assert_eq!(of(&[b'x'; MAX_ENCODED + 1]).len(), 1);
        // No piece of base64 so short that it stands anywhere.
        assert!(of(b"abcd").iter().all(|form| form.len() >= SHORTEST));
    }
}
