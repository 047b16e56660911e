//! Reading streams of the host's inside the guest: where only the guest knows what they mean. What is only passed on is
//! handed back or on as it is, and never enters the guest.

use wit_bindgen::StreamResult;

use crate::host::types::Source;
use crate::{Error, Result};

pub use wit_bindgen::{FutureReader, StreamReader};

/// Bytes asked for at once.
const STEP: usize = 64 * 1024;

/// A stream read piece by piece.
pub struct Reader {
    source: Option<Source>,
}

impl Reader {
    /// Reads this stream from its beginning.
    pub const fn new(source: Source) -> Self {
        Self { source: Some(source) }
    }

    /// Some bytes; none at a good end. A stream that was cut short is an error.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(mut source) = self.source.take() else { return Ok(None) };
        loop {
            let (result, bytes) = source.content.read(Vec::with_capacity(STEP)).await;
            if !bytes.is_empty() {
                self.source = Some(source);
                return Ok(Some(bytes));
            }
            if !matches!(result, StreamResult::Complete(_)) {
                return source.end.await.map(|()| None);
            }
        }
    }

    /// All that is still to come, at most `max` bytes; more is the error `limit`.
    pub async fn rest(mut self, max: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > max {
                return Err(Error::new("limit", format!("the stream holds more than {max} bytes")));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// What there is up to `max` bytes, whether or not more would come or the stream fails: for messages.
    pub async fn beginning(mut self, max: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < max {
            match self.next().await {
                Ok(Some(piece)) => all.extend_from_slice(&piece),
                Ok(None) | Err(_) => break,
            }
        }
        all.truncate(max);
        all
    }
}

/// A stream read line by line.
pub struct Lines {
    reader: Reader,
    buffer: Vec<u8>,
}

impl Lines {
    /// Reads the lines of this stream.
    pub const fn new(source: Source) -> Self {
        Self { reader: Reader::new(source), buffer: Vec::new() }
    }

    /// The next line without its end; the last one need not have an end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let mut line = core::mem::replace(&mut self.buffer, rest);
                line.truncate(end);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            match self.reader.next().await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Ok(Some(core::mem::take(&mut self.buffer))),
            }
        }
    }
}
