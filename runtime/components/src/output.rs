//! Streams that a guest hands back: spliced where they are the host's, pumped where they are its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use host_capabilities::stream;
use provider::{ByteStream, Framing, Output, Result};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use wasmtime::component::Accessor;

use crate::bindings::vk::provider::types as wit;
use crate::state::State;

/// What became of a stream that a guest handed back.
pub(crate) enum Handed {
    /// It was the host's: the guest is needed no more.
    Spliced(Output),
    /// It is the guest's: its instance must live until the second part is done.
    Pumped(Output, oneshot::Receiver<()>),
}

/// Takes over a stream that a guest handed back.
pub(crate) fn take(accessor: &Accessor<State>, output: wit::Output) -> wasmtime::Result<Handed> {
    accessor.with(|mut access| {
        let framing = Framing::parse(&output.framing);
        // An error of a stream of the host's travels in the stream itself; one of the guest's ends it.
        match stream::take(output.content, &mut access) {
            Ok(own) => Ok(Handed::Spliced(Output { content: own.into_stream(), framing })),
            Err(reader) => {
                let content = stream::receive(reader, &mut access)?;
                let (done, ended) = oneshot::channel();
                let content: ByteStream = Box::pin(Watched { content, _done: done });
                Ok(Handed::Pumped(Output { content, framing }, ended))
            }
        }
    })
}

/// A stream whose end, or whose reader's leaving, is noticed.
struct Watched {
    content: ByteStream,
    _done: oneshot::Sender<()>,
}

impl Stream for Watched {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.content.poll_next_unpin(cx)
    }
}

/// A stream that holds its slot.
pub(crate) fn hold(mut output: Output, slot: OwnedSemaphorePermit) -> Output {
    output.content = Box::pin(Held { content: output.content, _slot: slot });
    output
}

struct Held {
    content: ByteStream,
    _slot: OwnedSemaphorePermit,
}

impl Stream for Held {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.content.poll_next_unpin(cx)
    }
}
