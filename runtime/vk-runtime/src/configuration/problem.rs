//! What is wrong with a configuration: all of it, each with its place.

use std::collections::BTreeMap;
use std::fmt;

use super::flags;

/// Where a value stands in the configuration: `providers[0].allow.http[1]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(String);

impl Place {
    /// A key of what stands here.
    pub fn key(&self, key: &str) -> Self {
        let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        Self(match (plain, self.0.is_empty()) {
            (true, true) => key.to_owned(),
            (true, false) => format!("{}.{key}", self.0),
            (false, _) => format!("{}[{key:?}]", self.0),
        })
    }

    /// An item of what stands here.
    pub fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Line and column in a file, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
}

/// Where the values of a file stand.
pub type Positions = BTreeMap<Place, Position>;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; the flags of the command line map onto the same places.
    pub place: Place,
    /// What.
    pub message: String,
}

/// All that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    found: Vec<Problem>,
    file: Option<String>,
    positions: Positions,
}

impl Problems {
    /// Of a file, with the positions of its values.
    pub const fn in_file(file: String, positions: Positions) -> Self {
        Self { found: Vec::new(), file: Some(file), positions }
    }

    /// One more.
    pub fn add(&mut self, place: &Place, message: impl Into<String>) {
        let problem = Problem { place: place.clone(), message: message.into() };
        // What several nodes have of one provider is found for each.
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// Fails if something was found.
    pub fn into_result(self) -> Result<(), Self> {
        if self.found.is_empty() { Ok(()) } else { Err(self) }
    }

    /// One line for each, in the order of the file.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.found.iter().map(|one| (self.position(&one.place), self.line(one))).collect();
        lines.sort_by_key(|(position, _)| *position);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    fn line(&self, problem: &Problem) -> String {
        let Problem { place, message } = problem;
        let Some(file) = &self.file else {
            return flags::flag(place).map_or_else(|| message.clone(), |flag| format!("{flag}: {message}"));
        };
        let at = self.position(place).map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column));
        if place.0.is_empty() { format!("{file}{at}: {message}") } else { format!("{file}{at}: {place}: {message}") }
    }

    /// Of the value, or of the nearest thing around it that is written.
    fn position(&self, place: &Place) -> Option<Position> {
        let mut text = place.0.as_str();
        loop {
            if let Some(position) = self.positions.get(&Place(text.to_owned())) {
                return Some(*position);
            }
            if text.is_empty() {
                return None;
            }
            text = &text[..text.rfind(['.', '[']).unwrap_or(0)];
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for Problems {}
