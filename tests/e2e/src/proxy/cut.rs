//! The body of a watch, which ends when its time is over or when all are cut.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::watch;

use super::{Failure, failure};

type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body that ends early, in the midst of whatever it says.
pub(super) struct Cut<B> {
    body: Pin<Box<B>>,
    end: End,
}

impl<B> Cut<B> {
    /// Ends after `lasts`, and when `cut` changes.
    pub(super) fn new(body: B, lasts: Option<Duration>, mut cut: watch::Receiver<u64>) -> Self {
        cut.mark_unchanged();
        let end = async move {
            let over = async {
                match lasts {
                    Some(lasts) => tokio::time::sleep(lasts).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                // An error: nobody will cut any more.
                changed = cut.changed() => if changed.is_err() { std::future::pending::<()>().await },
            }
        };
        Self { body: Box::pin(body), end: Box::pin(end) }
    }
}

impl<B: Body<Data = Bytes, Error: std::fmt::Display>> Body for Cut<B> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(failure("the watch is cut"))));
        }
        self.body.as_mut().poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(failure)))
    }
}
