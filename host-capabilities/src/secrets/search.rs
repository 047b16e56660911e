//! Finds values that were filled into requests in what comes back, and writes stars over them.
//!
//! As many stars as there were bytes, so that lengths and frames inside a body stay right. A value is found in its usual
//! encodings ([`crate::forms`]) and across the borders of pieces; what may be the beginning of one is held back until the next
//! piece shows whether it is. Cost: one pass over a response's bytes, and none before the first placeholder was asked for.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use provider::ByteStream;

use crate::forms;

/// Values to look for.
pub(crate) struct Search {
    automaton: AhoCorasick,
    patterns: Vec<forms::Form>,
    longest: usize,
}

impl Search {
    /// Looks for these values. None: there is nothing to look for.
    pub(super) fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let patterns: Vec<_> = values.flat_map(forms::of).collect();
        let longest = patterns.iter().map(|form| form.len()).max()?;
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            // Of all kinds the smallest: values may be long.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(patterns.iter().map(|form| form.as_slice()))
            .ok()?;
        Some(Self { automaton, patterns, longest })
    }

    /// Whether one of them stands in these bytes.
    pub(crate) fn finds(&self, bytes: &[u8]) -> bool {
        self.automaton.is_match(bytes)
    }

    /// Writes stars over them.
    pub(crate) fn mask(&self, bytes: &mut [u8]) {
        // Found in a copy: values may overlap.
        let found: Vec<_> = self.automaton.find_overlapping_iter(&*bytes).map(|found| found.range()).collect();
        for range in found {
            if let Some(value) = bytes.get_mut(range) {
                value.fill(b'*');
            }
        }
    }

    /// The text with stars for them.
    pub(crate) fn mask_text(&self, text: String) -> String {
        if !self.finds(text.as_bytes()) {
            return text;
        }
        let mut bytes = text.into_bytes();
        self.mask(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many bytes at the end may be the beginning of a value.
    fn unfinished(&self, bytes: &[u8]) -> usize {
        let tail = bytes.get((bytes.len() + 1).saturating_sub(self.longest)..).unwrap_or_default();
        (0..tail.len())
            .filter_map(|at| tail.get(at..))
            .find(|rest| self.patterns.iter().any(|form| form.len() > rest.len() && form.starts_with(rest)))
            .map_or(0, <[u8]>::len)
    }
}

/// What came and was not handed out yet.
struct Held {
    raw: BytesMut,
    /// So many bytes at its front belong to a value that was found already.
    starred: usize,
}

impl Held {
    /// Takes out what is sure, masked.
    fn ready(&mut self, search: &Search, at_end: bool) -> Bytes {
        let keep = if at_end { 0 } else { search.unfinished(&self.raw) };
        let sure = self.raw.len() - keep;
        let mut reach = self.starred;
        let found: Vec<_> = search.automaton.find_overlapping_iter(&*self.raw).map(|found| found.range()).collect();
        let mut ready = self.raw.split_to(sure);
        if let Some(front) = ready.get_mut(..reach.min(sure)) {
            front.fill(b'*');
        }
        for range in found.into_iter().filter(|range| range.start < sure) {
            reach = reach.max(range.end);
            if let Some(value) = ready.get_mut(range.start..range.end.min(sure)) {
                value.fill(b'*');
            }
        }
        self.starred = reach.saturating_sub(sure);
        ready.freeze()
    }
}

/// The pieces with stars for the values.
pub(crate) fn masked(search: std::sync::Arc<Search>, pieces: ByteStream) -> ByteStream {
    let state = (Some(pieces), Held { raw: BytesMut::new(), starred: 0 }, search);
    Box::pin(futures::stream::unfold(state, |(pieces, mut held, search)| async move {
        let mut pieces = pieces?;
        loop {
            let ready = match pieces.next().await {
                Some(Err(failure)) => return Some((Err(failure), (None, held, search))),
                Some(Ok(piece)) => {
                    held.raw.extend_from_slice(&piece);
                    held.ready(&search, false)
                }
                None if held.raw.is_empty() => return None,
                None => return Some((Ok(held.ready(&search, true)), (None, held, search))),
            };
            if !ready.is_empty() {
                return Some((Ok(ready), (Some(pieces), held, search)));
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::guest::collect;

    fn search(values: &[&str]) -> Arc<Search> {
        Arc::new(Search::new(values.iter().map(|value| value.as_bytes())).unwrap())
    }

    async fn through(search: &Arc<Search>, text: &str, piece: usize) -> String {
        let pieces: Vec<_> = text.as_bytes().chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut masked = masked(search.clone(), Box::pin(futures::stream::iter(pieces)));
        String::from_utf8(collect(&mut masked).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn values_are_found_across_the_borders_of_pieces() {
        let own = search(&["hunter2hunter3", "hunter3hunter2x"]);
        for (text, masked) in [
            ("a hunter2hunter3 b", "a ************** b"),
            // One overlaps the other.
            ("a hunter2hunter3hunter2x b", "a ********************** b"),
            ("a hunter2hunter b", "a hunter2hunter b"),
            ("hunter2hunter3", "**************"),
            ("x aHVudGVyMmh1bnRlcjM= y", "x ******************** y"),
        ] {
            for piece in 1..text.len() + 1 {
                assert_eq!(through(&own, text, piece).await, masked, "in pieces of {piece}");
            }
        }
    }

    #[tokio::test]
    async fn a_value_that_another_begins_with_is_masked_with_the_other() {
        let own = search(&["token", "token-and-more"]);
        for piece in [1, 3, 5, 7, 30] {
            assert_eq!(through(&own, "a token-and-more token-and", piece).await, "a ************** *****-and");
        }
    }

    #[tokio::test]
    async fn only_what_may_be_a_value_is_held_back() {
        let (sender, receiver) = futures::channel::mpsc::unbounded();
        let mut masked = masked(search(&["hunter2"]), Box::pin(receiver));
        sender.unbounded_send(Ok(Bytes::from_static(b"a line\nhun"))).unwrap();
        assert_eq!(masked.next().await.unwrap().unwrap(), "a line\n");
        sender.unbounded_send(Ok(Bytes::from_static(b"dred"))).unwrap();
        assert_eq!(masked.next().await.unwrap().unwrap(), "hundred");
    }
}
