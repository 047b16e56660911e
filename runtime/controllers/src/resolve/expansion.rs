//! `$(VAR)` in values, commands and arguments.
//!
//! `$(NAME)` is replaced if there is a variable of this name, else it stays; `$$` is a `$`, so that `$$(NAME)` stays as
//! `$(NAME)` (Kubernetes, "Define Dependent Environment Variables"). Pieces keep where they came from.

use std::sync::Arc;

use provider::{Text, TextPart, TextValue};

/// Expands a string. `variable` gives a variable's value.
pub(super) fn expand<'a>(input: &str, variable: impl Fn(&str) -> Option<&'a Text>) -> Text {
    let mut out = Builder::default();
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.characters(before);
        let after = from.get(1..).unwrap_or_default();
        if let Some(after) = after.strip_prefix('$') {
            out.characters("$");
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inside| inside.split_once(')')) {
            match variable(name) {
                Some(value) => out.text(value),
                None => {
                    out.characters("$(");
                    out.characters(name);
                    out.characters(")");
                }
            }
            rest = after;
        } else {
            out.characters("$");
            rest = after;
        }
    }
    out.characters(rest);
    out.finish()
}

#[derive(Default)]
struct Builder {
    parts: Vec<TextPart>,
}

impl Builder {
    fn characters(&mut self, characters: &str) {
        if characters.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(TextPart { value: TextValue::Literal(last), origin: None }) => last.push_str(characters),
            _ => self.parts.push(TextPart::literal(characters)),
        }
    }

    fn text(&mut self, text: &Text) {
        for part in &text.0 {
            match part {
                TextPart { value: TextValue::Literal(characters), origin: None } => self.characters(characters),
                other => self.parts.push(other.clone()),
            }
        }
    }

    fn finish(self) -> Text {
        Text(self.parts)
    }
}

/// The characters of a text, if it waits for nothing.
pub(super) fn plain(text: &Text) -> Option<String> {
    text.0
        .iter()
        .map(|part| match &part.value {
            TextValue::Literal(characters) => Some(characters.as_str()),
            TextValue::Late(_) => None,
        })
        .collect()
}

/// A text of one piece that came from somewhere.
pub(super) fn from(origin: Arc<provider::Origin>, characters: impl Into<String>) -> Text {
    Text(vec![TextPart { value: TextValue::Literal(characters.into()), origin: Some(origin) }])
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use provider::{Origin, OriginKind};

    use super::*;

    fn expanded(input: &str) -> String {
        let variables: HashMap<&str, Text> =
            [("A", Text::literal("1")), ("B", Text::literal("two")), ("EMPTY", Text::default())].into();
        plain(&expand(input, |name| variables.get(name))).unwrap()
    }

    #[test]
    fn the_cases_of_the_documentation() {
        for (input, output) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "1"),
            ("$(A)$(B)", "1two"),
            ("x-$(A)-y", "x-1-y"),
            ("$(EMPTY)", ""),
            ("$(MISSING)", "$(MISSING)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$A", "$A"),
            ("$", "$"),
            ("end$", "end$"),
            ("$(", "$("),
            ("$(A", "$(A"),
            ("$()", "$()"),
            ("$(A)$(", "1$("),
            ("$($(A))", "$($(A))"),
            ("größe $(A) €", "größe 1 €"),
        ] {
            assert_eq!(expanded(input), output, "{input}");
        }
    }

    #[test]
    fn pieces_keep_their_origin() {
        let secret = from(Arc::new(Origin::new(OriginKind::Secret, "db", "password")), "canary");
        let text = expand("user:$(P)@host", |_| Some(&secret));
        assert_eq!(text.0.len(), 3);
        assert!(text.is_sensitive());
        assert!(!format!("{text:?}").contains("canary"));
    }
}
