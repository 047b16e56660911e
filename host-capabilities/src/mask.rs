//! Replaces secret values in text that people may read: log lines, Events, errors.
//!
//! A value of fewer than four bytes is not looked for: it would mask everything and hide nothing. A provider that is
//! granted `reveal` can still encode a value before it writes it; only `sign`, `inject` and `handle` keep it out of reach.

use std::sync::Arc;

use zeroize::Zeroizing;

/// Shorter values are left alone.
const SHORTEST: usize = 4;

/// Secret values, and the means to take them out of a text.
#[derive(Clone, Default)]
pub struct Mask {
    values: Vec<Arc<Zeroizing<String>>>,
}

impl Mask {
    /// Adds a value, and its lines if it has several.
    pub fn add(&mut self, value: &str) {
        for piece in std::iter::once(value).chain(value.lines().filter(|line| *line != value)) {
            let known = self.values.iter().any(|own| own.as_str() == piece);
            if piece.len() >= SHORTEST && !known {
                self.values.push(Arc::new(Zeroizing::new(piece.to_owned())));
            }
        }
        // A longer value may contain a shorter one.
        self.values.sort_by_key(|own| std::cmp::Reverse(own.len()));
    }

    /// Adds the values of another.
    pub fn merge(&mut self, other: Self) {
        for value in other.values {
            if !self.values.contains(&value) {
                self.values.push(value);
            }
        }
        self.values.sort_by_key(|own| std::cmp::Reverse(own.len()));
    }

    /// The text with stars for each of the values.
    pub fn apply(&self, text: String) -> String {
        self.values.iter().fold(text, |text, value| {
            if text.contains(value.as_str()) { text.replace(value.as_str(), "***") } else { text }
        })
    }

    /// Whether there is nothing to mask.
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
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
}
