//! The gate between the HTTP library and a connection: every byte, end and error passes through it.
//!
//! Promises: it reports everything to [`Delivery`]: an end of file or a read error is noticed even if the
//! library ignores it, a failed write withdraws the answer, and no bytes are written after it. It holds back
//! the library's own bare error pages (the owner's are sent instead). It closes idle connections in the only
//! order in which requests are not lost: stop receiving, read what has arrived, and only then report the end.

use super::delivery::{Delivery, Ending, Outlet};
use super::stream::Stream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the top of this file. Generic only so that tests can put a scripted stream behind it.
pub(super) struct Gate<S = Stream> {
    stream: S,
    delivery: Arc<Delivery>,
}

/// What the gate needs from a stream besides reading and writing.
pub(super) trait Kernel {
    /// Tells the kernel, where possible, to stop accepting data from the client, so that the client's next
    /// write fails before a byte of it is sent, and can safely be repeated on another connection. Bytes that
    /// have already arrived can still be read.
    fn go_deaf(&self);

    /// Whether unread bytes have arrived. Asks the kernel directly, because the runtime's knowledge may be
    /// outdated.
    fn has_more(&self) -> bool;
}

impl<S> Gate<S> {
    /// Puts a gate in front of `stream`.
    pub(super) fn new(stream: S, delivery: Arc<Delivery>) -> Gate<S> {
        Gate { stream, delivery }
    }

    /// Returns the stream when the HTTP library has finished with it.
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
            // No bytes have arrived, and no more can arrive, so the library gets the end of the stream.
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

    /// Does nothing: the connection's task shuts the stream down itself, after sending a refusal if there is
    /// one.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
