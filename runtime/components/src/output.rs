//! Streams that a guest hands back: spliced where they are the host's, pumped where they are its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, ready};
use host_capabilities::bindings::vk::host::types::Error as WitError;
use host_capabilities::error::to_provider;
use host_capabilities::log::Logger;
use host_capabilities::stream;
use provider::{ByteStream, Code, Error, Framing, Output, Result};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, FutureConsumer, Source};

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
pub(crate) fn take(accessor: &Accessor<State>, output: wit::Output, logger: &Logger) -> wasmtime::Result<Handed> {
    accessor.with(|mut access| {
        let framing = Framing::parse(&output.framing);
        // An error of a stream of the host's travels in the stream itself; one of the guest's ends it.
        match stream::take(output.content, &mut access) {
            Ok(own) => Ok(Handed::Spliced(Output { content: own.into_stream(), framing })),
            Err(reader) => {
                let content = stream::receive(reader, &mut access)?;
                let end = match output.end {
                    Some(end) => {
                        let (teller, told) = oneshot::channel();
                        end.pipe(&mut access, Ending(Some(teller)))?;
                        Some((told, logger.clone()))
                    }
                    None => None,
                };
                let (done, ended) = oneshot::channel();
                let content: ByteStream = Box::pin(Watched { content, end, _done: done });
                Ok(Handed::Pumped(Output { content, framing }, ended))
            }
        }
    })
}

/// Takes what a guest tells of the end of its stream.
struct Ending(Option<oneshot::Sender<std::result::Result<(), WitError>>>);

impl<D> FutureConsumer<D> for Ending {
    type Item = std::result::Result<(), WitError>;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        mut source: Source<'_, Self::Item>,
        _: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut how = None;
        source.read(store, &mut how)?;
        if let Some((teller, how)) = self.0.take().zip(how) {
            // Nobody reads the stream any more.
            let _ = teller.send(how);
        }
        Poll::Ready(Ok(()))
    }
}

/// A stream whose end, or whose reader's leaving, is noticed.
struct Watched {
    content: ByteStream,
    /// How it ended, where the guest tells.
    end: Option<(oneshot::Receiver<std::result::Result<(), WitError>>, Logger)>,
    _done: oneshot::Sender<()>,
}

impl Stream for Watched {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(chunk) = ready!(self.content.poll_next_unpin(cx)) {
            return Poll::Ready(Some(chunk));
        }
        let Some((told, logger)) = &mut self.end else { return Poll::Ready(None) };
        let how = ready!(told.poll_unpin(cx));
        let error = match how {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(to_provider(error, |text| logger.mask(text))),
            Err(_) => Some(Error::new(Code::Internal, "the provider did not tell how its stream ended")),
        };
        self.end = None;
        Poll::Ready(error.map(Err))
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
