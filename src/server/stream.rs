//! One accepted connection, over UNIX, TCP or TLS.
//!
//! Promises: one type for UNIX, TCP and TLS streams, which tells [`Delivery`] whenever the *kernel* accepted bytes:
//! for TLS, that is the encrypted stream underneath, not what the TLS library buffered. It makes no decisions.

use super::delivery::Delivery;
use super::gate::Kernel;
use rustix::net::RecvFlags;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// An accepted connection.
pub(super) type Stream = Box<dyn KernelStream>;

/// What every accepted connection can do, whatever its type.
pub(super) trait KernelStream: AsyncRead + AsyncWrite + Kernel + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Kernel + Send + Unpin> KernelStream for S {}

impl Kernel for CountedStream<UnixStream> {
    fn go_deaf(&self) {
        // This fails only if the connection is already broken, and then it does not matter.
        let _ = rustix::net::shutdown(&self.inner, rustix::net::Shutdown::Read);
    }

    fn has_more(&self) -> bool {
        peek(&self.inner)
    }
}

// After shutting down reading, TCP would still accept bytes, so it does not help there.
impl Kernel for CountedStream<TcpStream> {
    fn go_deaf(&self) {}

    fn has_more(&self) -> bool {
        peek(&self.inner)
    }
}

impl Kernel for TlsStream<CountedStream<TcpStream>> {
    fn go_deaf(&self) {}

    fn has_more(&self) -> bool {
        self.get_ref().0.has_more()
    }
}

impl Kernel for Stream {
    fn go_deaf(&self) {
        self.as_ref().go_deaf();
    }

    fn has_more(&self) -> bool {
        self.as_ref().has_more()
    }
}

fn peek(socket: impl AsFd) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(rustix::net::recv(socket, &mut [0u8; 1], flags), Ok((_, 1..)))
}

/// A kernel stream that reports when bytes were written.
pub(super) struct CountedStream<S> {
    inner: S,
    delivery: Arc<Delivery>,
}

impl<S> CountedStream<S> {
    /// Wraps `inner`.
    pub(super) fn new(inner: S, delivery: Arc<Delivery>) -> CountedStream<S> {
        CountedStream { inner, delivery }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = result
            && n > 0
        {
            self.delivery.wrote();
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
