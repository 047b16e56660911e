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

/// Takes over a stream that a guest handed back. What the guest dies of is told by `died`.
pub(crate) fn take(
    accessor: &Accessor<State>,
    output: wit::Output,
    died: oneshot::Receiver<Error>,
    logger: &Logger,
) -> wasmtime::Result<Handed> {
    accessor.with(|mut access| {
        let framing = Framing::parse(&output.framing);
        match stream::take(output.content, &mut access) {
            Ok(own) => Ok(Handed::Spliced(Output { content: own.into_stream(), framing })),
            Err(reader) => {
                let content = stream::receive(reader, &mut access)?;
                let told = match output.end {
                    Some(end) => Some(stream::told(end, &mut access)?),
                    None => None,
                };
                let (reading, ended) = oneshot::channel();
                let watched = Watched {
                    content,
                    logger: logger.clone(),
                    told,
                    died: Some(died),
                    wrong: None,
                    reading: Some(reading),
                };
                Ok(Handed::Pumped(Output { content: Box::pin(watched), framing }, ended))
            }
        }
    })
}

/// A stream of the guest's, which keeps its instance until its end, or until its reader leaves.
struct Watched {
    content: ByteStream,
    logger: Logger,
    /// How it ended, where the guest tells.
    told: Option<oneshot::Receiver<std::result::Result<(), WitError>>>,
    /// What the guest died of, if it did.
    died: Option<oneshot::Receiver<Error>>,
    /// What is wrong, if it did not die.
    wrong: Option<Error>,
    reading: Option<oneshot::Sender<()>>,
}

impl Stream for Watched {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(chunk) = ready!(self.content.poll_next_unpin(cx)) {
            return Poll::Ready(Some(chunk));
        }
        let error = ready!(self.poll_error(cx));
        Poll::Ready(error.map(Err))
    }
}

impl Watched {
    /// What was wrong with a stream of which no more comes, said once.
    fn poll_error(&mut self, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        if let Some(told) = &mut self.told {
            let how = ready!(told.poll_unpin(cx));
            self.told = None;
            match how {
                // Whatever the guest does now is nobody's concern.
                Ok(Ok(())) => self.died = None,
                Ok(Err(error)) => {
                    self.died = None;
                    self.wrong = Some(to_provider(error, |text| self.logger.mask(text)));
                }
                Err(_) => {
                    let said = "the provider did not tell how its stream ended";
                    self.wrong = Some(Error::new(Code::Internal, said));
                }
            }
        }
        self.reading = None;
        let error = match &mut self.died {
            Some(died) => ready!(died.poll_unpin(cx)).ok(),
            None => None,
        };
        self.died = None;
        Poll::Ready(error.or(self.wrong.take()))
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
