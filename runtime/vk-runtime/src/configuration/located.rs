//! A YAML document with the place of each of its values, and of each key.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use super::problem::{Place, Position, Positions};

/// A value as it was written.
pub struct Located {
    /// The value.
    pub value: Value,
    /// Where values stand: those of a mapping where their key stands.
    pub positions: Positions,
}

/// Reads a document; the error names line and column.
pub fn read(text: &str) -> Result<Located, String> {
    // As YAML 1.2 has it: `off`, `no` and `y` are texts.
    let options = serde_saphyr::options! { strict_booleans: true };
    let tree: Spanned<Tree> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.without_snippet().to_string())?;
    let mut positions = Positions::new();
    let position = position(&tree);
    positions.insert(Place::default(), position);
    let value = place(tree.value, &Place::default(), &mut positions);
    Ok(Located { value, positions })
}

fn position<T>(spanned: &Spanned<T>) -> Position {
    Position { line: spanned.referenced.line(), column: spanned.referenced.column() }
}

fn place(tree: Tree, at: &Place, positions: &mut Positions) -> Value {
    match tree {
        Tree::Scalar(value) => value,
        Tree::List(items) => {
            let item = |(index, item): (usize, Spanned<Tree>)| {
                let own = at.item(index);
                positions.insert(own.clone(), position(&item));
                place(item.value, &own, positions)
            };
            Value::Array(items.into_iter().enumerate().map(item).collect())
        }
        Tree::Mapping(entries) => {
            let mut mapping = Map::new();
            for (key, value) in entries {
                let own = at.key(&key.value);
                positions.insert(own.clone(), position(&key));
                let value = place(value, &own, positions);
                mapping.insert(key.value, value);
            }
            Value::Object(mapping)
        }
    }
}

enum Tree {
    Scalar(Value),
    List(Vec<Spanned<Tree>>),
    Mapping(Vec<(Spanned<String>, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut mapping = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            mapping.push(entry);
        }
        Ok(Tree::Mapping(mapping))
    }
}
