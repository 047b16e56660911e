//! A socket whose bytes count, and which has a place among the open connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::{Held, Quotas, Throughput};

/// Debts of less time than this wait for the next bytes: a timer for each would cost more than it is worth.
const SHORTEST: Duration = Duration::from_millis(2);

/// Bytes of one write: who is limited is so in small steps.
const STEP: usize = 256 << 10;

/// A socket under the limits `bytes-out`, `bytes-in` and `connections`.
pub struct Metered<S> {
    socket: S,
    quotas: Arc<Quotas>,
    reading: Pause,
    writing: Pause,
    counted: Arc<Counted>,
    _place: Held,
}

/// What went through a socket.
#[derive(Debug, Default)]
pub struct Counted {
    /// Bytes sent.
    pub sent: AtomicU64,
    /// Bytes received.
    pub received: AtomicU64,
}

/// The time that one direction waits.
#[derive(Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            ready!(sleep.as_mut().poll(cx));
            self.0 = None;
        }
        Poll::Ready(())
    }

    fn charge(&mut self, rate: &Throughput, bytes: usize) {
        let wait = rate.charge(bytes as u64);
        if wait >= SHORTEST {
            self.0 = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}

impl<S> Metered<S> {
    /// A socket in its place.
    pub fn new(socket: S, quotas: Arc<Quotas>, place: Held) -> Self {
        Self {
            socket,
            quotas,
            reading: Pause::default(),
            writing: Pause::default(),
            counted: Arc::default(),
            _place: place,
        }
    }

    /// What went through it.
    pub fn counted(&self) -> Arc<Counted> {
        self.counted.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let own = &mut *self;
        ready!(own.reading.poll(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut own.socket).poll_read(cx, buf))?;
        let bytes = buf.filled().len().saturating_sub(before);
        if bytes > 0 {
            own.counted.received.fetch_add(bytes as u64, Ordering::Relaxed);
            own.reading.charge(&own.quotas.bytes_in, bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = &mut *self;
        ready!(own.writing.poll(cx));
        let step = bytes.get(..STEP).unwrap_or(bytes);
        let written = ready!(Pin::new(&mut own.socket).poll_write(cx, step))?;
        if written > 0 {
            own.counted.sent.fetch_add(written as u64, Ordering::Relaxed);
            own.writing.charge(&own.quotas.bytes_out, written);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
