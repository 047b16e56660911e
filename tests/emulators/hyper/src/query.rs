//! Query parameters, held to what a call takes: an unknown one, a missing one and a value of another type are refused by name.

use std::collections::BTreeMap;

use crate::answer::Refusal;

/// What a parameter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any text.
    Text,
    /// `1`, `0`, `true` or `false`.
    Flag,
    /// A whole number.
    Number,
    /// `all` or a whole number.
    Tail,
    /// JSON.
    Filters,
}

/// A parameter that a call takes.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub of: Type,
    /// Whether it must be there.
    pub required: bool,
}

/// One that may be there.
pub const fn may(name: &'static str, of: Type) -> Parameter {
    Parameter { name, of, required: false }
}

/// One that must be there.
pub const fn must(name: &'static str, of: Type) -> Parameter {
    Parameter { name, of, required: true }
}

/// The parameters of one request.
#[derive(Debug)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads them.
    pub fn parse(query: &str, takes: &[Parameter]) -> Result<Self, Refusal> {
        let mut values = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(known) = takes.iter().find(|known| known.name == name) else {
                return Err(Refusal::bad(format!("Bad parameter: there is no query parameter `{name}`")));
            };
            if !fits(known.of, &value) {
                return Err(Refusal::bad(format!("Bad parameter: `{value}` is no value for `{name}`")));
            }
            if values.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Refusal::bad(format!("Bad parameter: `{}` is there twice", known.name)));
            }
        }
        match takes.iter().find(|known| known.required && !values.contains_key(known.name)) {
            Some(missing) => Err(Refusal::bad(format!("Bad parameter: `{}` is missing", missing.name))),
            None => Ok(Self(values)),
        }
    }

    /// A parameter's value; empty if it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether a flag is set.
    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), "1" | "true")
    }

    /// As a query of Docker's API.
    pub fn to_text(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

fn fits(of: Type, value: &str) -> bool {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match of {
        Type::Text => !value.is_empty(),
        Type::Flag => matches!(value, "1" | "0" | "true" | "false"),
        Type::Number => is_number,
        Type::Tail => is_number || value == "all",
        Type::Filters => serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(value).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_call_takes_is_taken() {
        let takes = [must("ip", Type::Text), may("count", Type::Number), may("all", Type::Flag)];
        let query = Query::parse("ip=1.2.3.4&all=1", &takes).unwrap();
        assert_eq!((query.get("ip"), query.is_set("all"), query.get("count")), ("1.2.3.4", true, ""));
        for (text, says) in [
            ("", "`ip` is missing"),
            ("ip=a&force=1", "no query parameter `force`"),
            ("ip=a&count=x", "`x` is no value for `count`"),
            ("ip=a&all=yes", "`yes` is no value for `all`"),
            ("ip=a&ip=b", "`ip` is there twice"),
        ] {
            let refusal = Query::parse(text, &takes).unwrap_err();
            assert!(refusal.status == 400 && refusal.text.contains(says), "{text}: {}", refusal.text);
        }
    }
}
