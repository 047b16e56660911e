//! Reads a configuration file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::problem::{Positions, Problems};
use super::{Configuration, located, schema};

/// Bytes that a file may have.
const LONGEST: u64 = 4 << 20;

/// Where a configuration comes from: what problems are told with.
#[derive(Clone, Debug)]
pub enum Source {
    /// The flags of the command line.
    Flags,
    /// A file, and where its values stand.
    File {
        /// Its path.
        path: PathBuf,
        /// By place.
        positions: Positions,
    },
}

impl Source {
    /// Nothing is wrong yet.
    pub fn problems(&self) -> Problems {
        match self {
            Self::Flags => Problems::default(),
            Self::File { path, positions } => Problems::in_file(path.display().to_string(), positions.clone()),
        }
    }
}

/// Reads a file, as far as it can be judged by itself: what it names is not looked at.
pub fn read(path: &Path) -> Result<(Configuration, Source), Problems> {
    let fail = |message: String| {
        let mut problems = Problems::in_file(path.display().to_string(), Positions::new());
        problems.add(&super::Place::default(), message);
        problems
    };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|error| fail(format!("it can't be read: {error}")))?;
    if text.len() as u64 > LONGEST {
        return Err(fail(format!("it is longer than {LONGEST} bytes")));
    }
    let document = located::read(&text).map_err(fail)?;
    let source = Source::File { path: path.to_owned(), positions: document.positions };
    let mut problems = source.problems();
    schema::check(&document.value, &mut problems);
    problems.into_result()?;
    let configuration = serde_json::from_value(document.value).map_err(|error| fail(error.to_string()))?;
    Ok((configuration, source))
}
