//! Cuts a stream of bytes into lines.
//!
//! Bound: a line that is longer than [`MAX_LINE`] ends the stream, for what follows can't be understood any more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures::{Stream, StreamExt};
use provider::ByteStream;

/// Longest line.
const MAX_LINE: usize = 1 << 20;

/// The lines of a stream, without their ends; empty ones are left out. An error of the stream is its end.
pub(crate) struct Lines {
    content: ByteStream,
    rest: BytesMut,
    searched: usize,
    ended: bool,
}

impl Lines {
    pub(crate) fn new(content: ByteStream) -> Self {
        Self { content, rest: BytesMut::new(), searched: 0, ended: false }
    }

    fn next_line(&mut self) -> Option<Vec<u8>> {
        let found = self.rest.get(self.searched..)?.iter().position(|byte| *byte == b'\n');
        match found {
            Some(at) => {
                let line = self.rest.split_to(self.searched + at + 1);
                self.searched = 0;
                Some(line.get(..line.len() - 1).unwrap_or_default().to_vec())
            }
            None => {
                self.searched = self.rest.len();
                None
            }
        }
    }
}

impl Stream for Lines {
    type Item = Vec<u8>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        loop {
            while let Some(line) = self.next_line() {
                if !line.is_empty() {
                    return Poll::Ready(Some(line));
                }
            }
            if self.ended || self.rest.len() > MAX_LINE {
                let last = std::mem::take(&mut self.rest);
                return Poll::Ready((!last.is_empty() && last.len() <= MAX_LINE).then(|| last.to_vec()));
            }
            match ready!(self.content.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => self.rest.extend_from_slice(&chunk),
                Some(Err(_)) | None => self.ended = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    async fn lines(chunks: &[&str]) -> Vec<String> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::copy_from_slice(chunk.as_bytes()))).collect();
        let lines = Lines::new(Box::pin(futures::stream::iter(chunks)));
        lines.map(|line| String::from_utf8(line).unwrap()).collect().await
    }

    #[tokio::test]
    async fn lines_are_whole_wherever_the_chunks_end() {
        assert_eq!(lines(&["a\nb", "c\n\n", "d"]).await, ["a", "bc", "d"]);
        assert_eq!(lines(&["a", "b", "\n"]).await, ["ab"]);
        assert!(lines(&[]).await.is_empty());
    }

    #[tokio::test]
    async fn a_line_without_end_ends_the_stream() {
        let long = "x".repeat(MAX_LINE + 1);
        assert_eq!(lines(&["a\n", &long, "\nb\n"]).await, ["a"]);
    }
}
