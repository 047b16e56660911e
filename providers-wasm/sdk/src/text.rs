//! Strings in pieces: what the host computed, with what is only known after the start still open.

use crate::types::{Text, TextPart, TextValue};
use crate::{Error, Result};

/// The string. `what` names it in the error: `invalid` if a piece is only known after the start, or is a Secret value
/// that this provider is not shown.
pub fn join(text: &[TextPart], what: &str) -> Result<String> {
    let mut joined = String::new();
    for part in text {
        match &part.value {
            TextValue::Literal(literal) => joined.push_str(literal),
            TextValue::Late(field) => {
                return Err(Error::invalid(format!("{what} needs {field}, which is not known before the start")));
            }
            TextValue::Secret(_) => {
                return Err(Error::invalid(format!("{what} holds a Secret's value, which this provider is not shown")));
            }
        }
    }
    Ok(joined)
}

/// Each of the strings.
pub fn join_all(texts: &[Text], what: &str) -> Result<Vec<String>> {
    texts.iter().map(|text| join(text, what)).collect()
}

/// Whether any piece must not be shown or logged.
pub fn is_sensitive(text: &[TextPart]) -> bool {
    text.iter().any(|part| {
        matches!(part.value, TextValue::Secret(_)) || part.origin.as_ref().is_some_and(|origin| origin.sensitive)
    })
}

/// A string of one piece, as if written in the manifest: for tests.
pub fn literal(text: &str) -> Text {
    vec![TextPart { value: TextValue::Literal(text.to_owned()), origin: None }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Origin;

    fn late(field: &str) -> TextPart {
        TextPart { value: TextValue::Late(field.to_owned()), origin: None }
    }

    #[test]
    fn pieces_join_in_order_and_nothing_is_the_empty_string() {
        let text: Vec<_> = [literal("--a="), literal("x"), literal(":80")].into_iter().flatten().collect();
        assert_eq!(join(&text, "argument").unwrap(), "--a=x:80");
        assert_eq!(join(&[], "argument").unwrap(), "");
    }

    #[test]
    fn a_late_piece_is_refused_by_name() {
        let error = join(&[late("status.podIP")], "the variable `A`").unwrap_err();
        assert!(error.is("invalid"));
        assert_eq!(error.message, "the variable `A` needs status.podIP, which is not known before the start");
    }

    #[test]
    fn one_sensitive_piece_makes_the_string_sensitive() {
        let origin = Origin { kind: "secret".into(), name: "db".into(), key: "password".into(), sensitive: true };
        let secret = TextPart { value: TextValue::Literal("hunter2".into()), origin: Some(origin) };
        assert!(is_sensitive(&[literal("a").remove(0), secret]));
        assert!(!is_sensitive(&literal("a")));
    }
}
