//! Bytes that the host holds and a guest may read, hand on, or hand back as the result of its call.
//!
//! A [`HostStream`] that a guest hands back, or passes on to another capability, is taken out of the guest's store
//! ([`take`]): from then on its bytes never enter the guest, and the call that made it may end. Only a stream of the
//! guest's own making has to be pumped through its instance ([`receive`]).
//!
//! Default: nothing is buffered but the chunk that arrived last; a pumped stream keeps at most [`PUMP_CHUNKS`] of
//! [`PUMP_CHUNK`] bytes, however much the guest writes at once.

use std::any::{Any, TypeId};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use provider::ByteStream;
use tokio::sync::{mpsc, oneshot};
use wasmtime::component::{
    Destination, FutureConsumer, FutureReader, Source, StreamConsumer, StreamProducer, StreamReader, StreamResult,
};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::bindings::vk::host::types::Source as WitSource;
use crate::error::{Error, from_provider};

/// Chunks of a pumped stream that wait for their reader; the guest then waits.
const PUMP_CHUNKS: usize = 4;
/// Bytes of a pumped stream that are taken out of the guest at once.
const PUMP_CHUNK: usize = 64 << 10;

/// A stream of the host's.
pub struct HostStream {
    content: ByteStream,
    /// What arrived and the guest had no room for.
    rest: Bytes,
    end: Option<oneshot::Sender<Result<(), Error>>>,
}

impl HostStream {
    /// A stream of these bytes.
    pub fn new(content: ByteStream) -> Self {
        Self { content, rest: Bytes::new(), end: None }
    }

    /// What is still to come of it.
    pub fn into_stream(self) -> ByteStream {
        if self.rest.is_empty() {
            self.content
        } else {
            Box::pin(futures::stream::iter([Ok(self.rest)]).chain(self.content))
        }
    }

    /// Gives it to the guest: the stream, and the future that tells how it ends.
    pub fn into_source(mut self, mut store: impl AsContextMut) -> wasmtime::Result<WitSource> {
        let (sender, receiver) = oneshot::channel();
        self.end = Some(sender);
        // A sender that is dropped without a word belongs to a stream that was taken back by the host: nobody asks then.
        let end = async move { Ok::<_, wasmtime::Error>(receiver.await.unwrap_or(Ok(()))) };
        Ok(WitSource { content: StreamReader::new(&mut store, self)?, end: FutureReader::new(&mut store, end)? })
    }

    fn ended(&mut self, how: Result<(), Error>) {
        if let Some(end) = self.end.take() {
            // The guest may have dropped its future.
            let _ = end.send(how);
        }
    }
}

impl<D> StreamProducer<D> for HostStream {
    type Item = u8;
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, Bytes>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if destination.remaining(&mut store) == Some(0) {
            // A readiness check: the next read may wait, and is told so then.
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        while self.rest.is_empty() {
            match self.content.as_mut().poll_next(cx) {
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(chunk))) => self.rest = chunk,
                Poll::Ready(Some(Err(error))) => {
                    self.ended(Err(from_provider(error)));
                    return Poll::Ready(Ok(StreamResult::Dropped));
                }
                Poll::Ready(None) => {
                    self.ended(Ok(()));
                    return Poll::Ready(Ok(StreamResult::Dropped));
                }
            }
        }
        // Written straight into the guest's memory and never more than fits: what is left stays here, where `take`
        // finds it.
        let mut direct = destination.as_direct(store, 64 * 1024);
        let room = direct.remaining();
        let count = room.len().min(self.rest.len());
        let chunk = self.rest.split_to(count);
        if let Some(room) = room.get_mut(..count) {
            room.copy_from_slice(&chunk);
        }
        direct.mark_written(count);
        Poll::Ready(Ok(StreamResult::Completed))
    }

    fn try_into(me: Pin<Box<Self>>, ty: TypeId) -> Result<Box<dyn Any>, Pin<Box<Self>>> {
        if ty != TypeId::of::<Self>() {
            return Err(me);
        }
        let own: Box<Self> = Pin::into_inner(me);
        Ok(own)
    }
}

/// Takes a stream back from the guest if it is one of the host's.
pub fn take(reader: StreamReader<u8>, store: impl AsContextMut) -> Result<HostStream, StreamReader<u8>> {
    reader.try_into::<HostStream>(store)
}

/// Reads a stream that the guest writes. It ends when the guest drops its end, or with the guest's instance.
pub fn receive(reader: StreamReader<u8>, mut store: impl AsContextMut) -> wasmtime::Result<ByteStream> {
    let (sender, receiver) = mpsc::channel(PUMP_CHUNKS);
    reader.pipe(&mut store, Receiver { sender: tokio_util::sync::PollSender::new(sender) })?;
    Ok(Box::pin(Chunks(receiver).map(Ok)))
}

/// What the guest tells of the end of a stream of its own. Dropped without a word: it tells nothing.
pub fn told(
    end: FutureReader<Result<(), Error>>,
    store: impl AsContextMut,
) -> wasmtime::Result<oneshot::Receiver<Result<(), Error>>> {
    let (teller, told) = oneshot::channel();
    end.pipe(store, Ending(Some(teller)))?;
    Ok(told)
}

struct Ending(Option<oneshot::Sender<Result<(), Error>>>);

impl<D> FutureConsumer<D> for Ending {
    type Item = Result<(), Error>;

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

struct Chunks(mpsc::Receiver<Bytes>);

impl Stream for Chunks {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.poll_recv(cx)
    }
}

struct Receiver {
    sender: tokio_util::sync::PollSender<Bytes>,
}

impl<D> StreamConsumer<D> for Receiver {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        match self.sender.poll_reserve(cx) {
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            reserved => {
                if ready!(reserved).is_err() {
                    return Poll::Ready(Ok(StreamResult::Dropped));
                }
            }
        }
        let mut source = source.as_direct(store);
        let written = source.remaining();
        let count = written.len().min(PUMP_CHUNK);
        let chunk = Bytes::copy_from_slice(written.get(..count).unwrap_or_default());
        if count > 0 && self.sender.send_item(chunk).is_err() {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        source.mark_read(count);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}
