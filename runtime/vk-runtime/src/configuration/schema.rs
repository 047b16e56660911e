//! The JSON Schema of the configuration, made from its types, and what a document says that it does not allow.
//!
//! The keywords that are checked are those that schemas of such types have: `$ref`, `type`, `properties`, `required`,
//! `additionalProperties`, `items`, `enum`, `const`, `anyOf`, `oneOf`, `minimum`, `maximum`.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::Configuration;
use super::problem::{Place, Problems};

/// The schema, as it is shipped.
pub fn schema_text() -> String {
    format!("{:#}\n", *SCHEMA)
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let mut schema = settings.into_generator().into_root_schema_for::<Configuration>().to_value();
    if let Some(own) = schema.as_object_mut() {
        own.insert("title".to_owned(), "Configuration of vk-runtime".into());
    }
    schema
});

/// What the document says that the schema does not allow.
pub fn check(document: &Value, problems: &mut Problems) {
    Checker { root: &SCHEMA, problems }.check(&SCHEMA, document, &Place::default());
}

/// The known name that is most like this one, if one is like it.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let own = plain(name);
    let far = |known: &str| strsim::damerau_levenshtein(&own, &plain(known));
    let near = known.into_iter().map(|known| (far(known), known)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, known)| *distance <= 1.max(own.len().min(known.len()) / 3)).map(|(_, known)| known)
}

/// Says that a name is none of the known ones.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let all = known.join(", ");
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("`{name}` is no {what}; did you mean `{near}`? There are: {all}"),
        None => format!("`{name}` is no {what}; there are: {all}"),
    }
}

struct Checker<'a> {
    root: &'a Value,
    problems: &'a mut Problems,
}

impl<'a> Checker<'a> {
    fn check(&mut self, schema: &'a Value, value: &Value, at: &Place) {
        let schema = self.resolved(schema);
        if let Some(choices) = alternatives(schema) {
            return self.one_of(choices, value, at);
        }
        let fits = match types(schema).as_slice() {
            [] => true,
            types => types.iter().any(|own| is_of(own, value)),
        };
        if !fits {
            return self.wrong_type(&types(schema), value, at);
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            self.enumerated(allowed.iter(), value, at);
        }
        match value {
            Value::Object(own) => self.mapping(schema, own, at),
            Value::Array(items) => {
                if let Some(each) = schema.get("items") {
                    items.iter().enumerate().for_each(|(index, item)| self.check(each, item, &at.item(index)));
                }
            }
            Value::Number(number) => self.bounds(schema, number.as_f64().unwrap_or_default(), at),
            _ => {}
        }
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
        name.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema)
    }

    fn one_of(&mut self, choices: &'a [Value], value: &Value, at: &Place) {
        let choices: Vec<&Value> = choices.iter().map(|choice| self.resolved(choice)).collect();
        let constants: Vec<&Value> = choices.iter().flat_map(|choice| constants(choice)).collect();
        if !constants.is_empty() && !value.is_null() {
            return self.enumerated(constants.into_iter(), value, at);
        }
        // Of several, that which has the value's type says best what is wrong.
        let typed = choices.iter().find(|choice| types(choice).iter().any(|own| is_of(own, value)));
        let wanted: Vec<&str> = choices.iter().flat_map(|choice| types(choice)).filter(|own| *own != "null").collect();
        match typed {
            Some(choice) => self.check(choice, value, at),
            None => self.wrong_type(&wanted, value, at),
        }
    }

    fn wrong_type(&mut self, wanted: &[&str], value: &Value, at: &Place) {
        let wanted = wanted.iter().map(|own| called(own)).collect::<Vec<_>>().join(" or ");
        self.problems.add(at, format!("{wanted} is wanted here, not {}", shown(value)));
    }

    fn enumerated<'v>(&mut self, allowed: impl Iterator<Item = &'v Value>, value: &Value, at: &Place) {
        let allowed: Vec<&Value> = allowed.collect();
        if allowed.contains(&value) {
            return;
        }
        let names: Vec<&str> = allowed.iter().filter_map(|one| one.as_str()).collect();
        match value.as_str() {
            Some(text) => self.problems.add(at, unknown("value of this", text, &names)),
            None => self.problems.add(at, format!("one of {} is wanted here, not {}", names.join(", "), shown(value))),
        }
    }

    fn mapping(&mut self, schema: &'a Value, own: &Map<String, Value>, at: &Place) {
        let nothing = Map::new();
        let known = schema.get("properties").and_then(Value::as_object);
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|name| !own.contains_key(*name)) {
            self.problems.add(at, format!("the key `{name}` is missing"));
        }
        for (key, value) in own {
            let place = at.key(key);
            match (known.and_then(|known| known.get(key)), schema.get("additionalProperties")) {
                (Some(schema), _) => self.check(schema, value, &place),
                (None, Some(Value::Bool(false))) => {
                    let names: Vec<&str> = known.unwrap_or(&nothing).keys().map(String::as_str).collect();
                    self.problems.add(&place, unknown("key here", key, &names));
                }
                (None, Some(schema @ Value::Object(_))) => self.check(schema, value, &place),
                (None, _) => {}
            }
        }
    }

    fn bounds(&mut self, schema: &Value, number: f64, at: &Place) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        if let Some(least) = bound("minimum").filter(|least| number < *least) {
            self.problems.add(at, format!("{number} is less than {least}, the least that this may be"));
        }
        if let Some(most) = bound("maximum").filter(|most| number > *most) {
            self.problems.add(at, format!("{number} is more than {most}, the most that this may be"));
        }
    }
}

fn alternatives(schema: &Value) -> Option<&[Value]> {
    let list = schema.get("anyOf").or_else(|| schema.get("oneOf"))?;
    list.as_array().map(Vec::as_slice)
}

fn constants(schema: &Value) -> Vec<&Value> {
    match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
        (Some(one), _) => vec![one],
        (None, Some(several)) => several.iter().collect(),
        (None, None) => alternatives(schema).into_iter().flatten().flat_map(constants).collect(),
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn called(name: &str) -> &str {
    match name {
        "object" => "a mapping (keys with values)",
        "array" => "a list",
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "null" => "nothing",
        other => other,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "a mapping".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null => "nothing".to_owned(),
        Value::Number(number) => format!("the number {number} (in quotes it is a text)"),
        Value::Bool(value) => format!("{value} (in quotes it is a text)"),
        Value::String(text) => format!("`{text}`"),
    }
}
