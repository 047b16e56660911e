//! Replaces secret values in text that people may read: log lines, Events, errors.
//!
//! A value is found as it is and in its usual encodings ([`crate::forms`]); its lines are found as they are. A value of fewer
//! than four bytes is not looked for: it would mask everything and hide nothing. A provider that is granted `reveal` can
//! still transform a value before it writes it; only `sign` and `inject` keep it out of reach.

use std::cmp::Reverse;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::forms;

type Pattern = Arc<Zeroizing<String>>;

/// Secret values, and the means to take them out of a text.
#[derive(Clone, Default)]
pub struct Mask {
    /// The longest first, since a longer one may contain a shorter one; each once.
    patterns: Vec<Pattern>,
}

impl Mask {
    /// Adds a value, and its lines if it has several.
    pub fn add(&mut self, value: &str) {
        for mut form in forms::of(value.as_bytes()) {
            if let Ok(text) = String::from_utf8(std::mem::take(&mut *form)) {
                self.insert(Arc::new(Zeroizing::new(text)));
            }
        }
        for line in value.lines().filter(|line| *line != value && line.len() >= forms::SHORTEST) {
            self.insert(Arc::new(Zeroizing::new(line.to_owned())));
        }
    }

    fn insert(&mut self, pattern: Pattern) {
        let order = |own: &Pattern| {
            Reverse(own.len()).cmp(&Reverse(pattern.len())).then_with(|| own.as_str().cmp(pattern.as_str()))
        };
        if let Err(at) = self.patterns.binary_search_by(order) {
            self.patterns.insert(at, pattern);
        }
    }

    /// Adds the values of another.
    pub fn merge(&mut self, other: Self) {
        other.patterns.into_iter().for_each(|pattern| self.insert(pattern));
    }

    /// The text with stars for each of the values.
    pub fn apply(&self, text: String) -> String {
        self.patterns.iter().fold(text, |text, pattern| {
            if text.contains(pattern.as_str()) { text.replace(pattern.as_str(), "***") } else { text }
        })
    }

    /// Whether there is nothing to mask.
    pub const fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_their_lines_are_replaced() {
        let mut mask = Mask::default();
        mask.add("hunter2hunter2");
        mask.add("-----BEGIN-----\nabcdefgh\n");
        mask.add("abc");
        assert_eq!(mask.apply("a hunter2hunter2 b".into()), "a *** b");
        assert_eq!(mask.apply("line abcdefgh".into()), "line ***");
        assert_eq!(mask.apply("abc".into()), "abc");
    }

    #[test]
    fn the_longer_value_goes_first() {
        let mut mask = Mask::default();
        mask.add("token");
        mask.add("token-and-more");
        assert_eq!(mask.apply("token-and-more".into()), "***");
    }

    #[test]
    fn encoded_values_are_replaced() {
        let mut mask = Mask::default();
        mask.add("p ss/w\"rd");
        for text in ["p%20ss%2Fw%22rd", "p+ss%2fw%22rd", "cCBzcy93InJk", "702073732f77227264", "p ss/w\\\"rd"] {
            assert_eq!(mask.apply(format!("it is {text}!")), "it is ***!");
        }
        // As Basic authentication has it: the user before it decides how it looks.
        assert!(mask.apply("dXNlcjpwIHNzL3cicmQ=".into()).contains("***"));
    }

    #[test]
    fn what_was_merged_is_masked_once() {
        let mut mask = Mask::default();
        mask.add("token-a");
        let mut other = mask.clone();
        other.add("token-b");
        let count = other.patterns.len();
        mask.merge(other);
        assert_eq!(mask.patterns.len(), count);
        assert_eq!(mask.apply("token-a token-b".into()), "*** ***");
    }
}
