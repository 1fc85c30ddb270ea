//! The gate between the HTTP library and a connection: it sees every byte, end and error that passes.
//!
//! Promises that nothing is lost on the way to [`Delivery`]: an end of file or an error on read is seen even
//! when the library swallows it; a failed write takes the answer back; after that no byte is written. It keeps
//! back the library's own bare error pages (the owner's are sent instead), and it closes idle connections in
//! the one order that loses no request: stop taking, read what came, and only then report the end.

use super::delivery::{Delivery, Ending, Outlet};
use super::stream::Stream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the top of this file. Generic only so that tests can put a scripted stream below it.
pub(super) struct Gate<S = Stream> {
    stream: S,
    delivery: Arc<Delivery>,
}

/// What the gate needs of a stream besides reading and writing.
pub(super) trait Kernel {
    /// Tells the kernel to accept nothing more from the client, if it can do that, so that the client's next
    /// write fails before a byte of it is sent and can safely be repeated elsewhere. What has already come
    /// can still be read.
    fn go_deaf(&self);

    /// Whether bytes have come that were not read yet. Asks the kernel itself: what the runtime knows is as
    /// old as its last look.
    fn has_more(&self) -> bool;
}

impl<S> Gate<S> {
    /// Puts a gate before `stream`.
    pub(super) fn new(stream: S, delivery: Arc<Delivery>) -> Gate<S> {
        Gate { stream, delivery }
    }

    /// The stream again, when the HTTP library is done with it.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Kernel + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let closing = self.delivery.closing();
        if closing && self.delivery.go_deaf() {
            self.stream.go_deaf();
        }
        let before = buf.filled().len();
        let room = buf.remaining() > 0;
        let result = match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                self.delivery.received();
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(())) if !room => return Poll::Ready(Ok(())),
            Poll::Ready(result) => result,
            // Nothing has come and nothing is to come: for the library that is the end.
            Poll::Pending if closing && !self.stream.has_more() => Ok(()),
            Poll::Pending => return Poll::Pending,
        };
        match self.delivery.ended() {
            Ending::Tell => Poll::Ready(result),
            Ending::HoldBack => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ending::OurOwn => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.delivery.outlet() {
            Outlet::Open => {}
            Outlet::Unasked => return Poll::Ready(Ok(bytes.len())),
            Outlet::Dead => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Err(_)) = result {
            self.delivery.died();
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        match result {
            Poll::Ready(Ok(())) if self.delivery.flushed() => cx.waker().wake_by_ref(),
            Poll::Ready(Err(_)) => self.delivery.died(),
            _ => {}
        }
        result
    }

    /// Does nothing: the connection's task shuts down by itself, after a last word if there is one.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
