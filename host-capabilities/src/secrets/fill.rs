//! Puts secrets in the place of their placeholders on the way out.
//!
//! In a body that comes in pieces a placeholder is found across their borders; at most its length is held back. Bound: 4 MiB
//! of values in one request. Cost: one pass over what is sent, and none if the call has no placeholder for that destination.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use memchr::memmem;
use provider::{ByteStream, Code, Error};

use super::placeholder::{LENGTH, PREFIX, Placeholder};

const MAX_FILLED: usize = 4 << 20;

/// What may be filled in towards one destination, by one request.
pub(crate) struct Filling {
    placeholders: Vec<Arc<Placeholder>>,
    filled: AtomicUsize,
}

impl Filling {
    pub(super) const fn new(placeholders: Vec<Arc<Placeholder>>) -> Self {
        Self { placeholders, filled: AtomicUsize::new(0) }
    }

    /// Whether there is nothing to fill in.
    pub(crate) const fn is_empty(&self) -> bool {
        self.placeholders.is_empty()
    }

    /// The bytes with what they stand for; none if nothing stands in them. Errors: `limit`.
    pub(crate) fn fill(&self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let found: Vec<(usize, &Placeholder)> = memmem::find_iter(bytes, PREFIX)
            .filter_map(|at| Some((at, self.named(bytes.get(at..at + LENGTH)?)?)))
            .collect();
        if found.is_empty() {
            return Ok(None);
        }
        let more: usize = found.iter().map(|(_, own)| own.value.len()).sum();
        if self.filled.fetch_add(more, Ordering::Relaxed) + more > MAX_FILLED {
            let message = format!("secrets: over {MAX_FILLED} bytes of values in one request, which is the limit");
            return Err(Error::new(Code::Limit, message));
        }
        // In one piece, since a buffer that grows leaves copies behind.
        let mut filled = Vec::with_capacity(bytes.len() + more);
        let mut from = 0;
        for (at, own) in found {
            filled.extend_from_slice(bytes.get(from..at).unwrap_or_default());
            filled.extend_from_slice(&own.value);
            from = at + LENGTH;
        }
        filled.extend_from_slice(bytes.get(from..).unwrap_or_default());
        Ok(Some(filled))
    }

    fn named(&self, text: &[u8]) -> Option<&Placeholder> {
        self.placeholders.iter().find(|own| own.text.as_bytes() == text).map(|own| &**own)
    }

    /// As [`Filling::fill`], for bytes that need not change.
    pub(crate) fn bytes(&self, bytes: Bytes) -> Result<Bytes, Error> {
        if self.is_empty() {
            return Ok(bytes);
        }
        Ok(self.fill(&bytes)?.map_or(bytes, Bytes::from))
    }

    /// As [`Filling::fill`], piece by piece.
    pub(crate) fn stream(self: &Arc<Self>, pieces: ByteStream) -> ByteStream {
        if self.is_empty() {
            return pieces;
        }
        let state = (Some(pieces), BytesMut::new(), self.clone());
        Box::pin(futures::stream::unfold(state, |(pieces, mut held, filling)| async move {
            let mut pieces = pieces?;
            loop {
                let ready = match pieces.next().await {
                    Some(Err(failure)) => return Some((Err(failure), (None, held, filling))),
                    Some(Ok(piece)) => {
                        held.extend_from_slice(&piece);
                        held.split_to(held.len() - unfinished(&held))
                    }
                    None if held.is_empty() => return None,
                    None => {
                        let rest = filling.bytes(held.split().freeze());
                        return Some((rest, (None, held, filling)));
                    }
                };
                if !ready.is_empty() {
                    let filled = filling.bytes(ready.freeze());
                    let pieces = filled.is_ok().then_some(pieces);
                    return Some((filled, (pieces, held, filling)));
                }
            }
        }))
    }
}

/// How many bytes at the end may be the beginning of a placeholder.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = bytes.get(bytes.len().saturating_sub(LENGTH - 1)..).unwrap_or_default();
    (0..tail.len())
        .filter_map(|at| tail.get(at..))
        .find(|rest| {
            let head = rest.len().min(PREFIX.len());
            rest.get(..head) == PREFIX.get(..head)
        })
        .map_or(0, <[u8]>::len)
}
