//! One accepted connection, over UNIX, TCP or TLS.
//!
//! Promises one type for UNIX, TCP and TLS streams, and to tell [`Delivery`] of every byte that the *kernel*
//! took: for TLS that is the encrypted stream below, not what the TLS library buffered. It decides nothing.

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
pub(super) enum Stream {
    /// Over a UNIX socket.
    Unix(CountedStream<UnixStream>),
    /// Over TCP.
    Tcp(CountedStream<TcpStream>),
    /// Over TLS, its handshake done.
    Tls(Box<TlsStream<CountedStream<TcpStream>>>),
}

impl Kernel for Stream {
    fn go_deaf(&self) {
        // TCP would go on accepting bytes, so shutting down reading does not help.
        if let Stream::Unix(stream) = self {
            // A connection that is already broken needs no telling.
            let _ = rustix::net::shutdown(&stream.inner, rustix::net::Shutdown::Read);
        }
    }

    fn has_more(&self) -> bool {
        let descriptor = match self {
            Stream::Unix(stream) => stream.inner.as_fd(),
            Stream::Tcp(stream) => stream.inner.as_fd(),
            Stream::Tls(stream) => stream.get_ref().0.inner.as_fd(),
        };
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(descriptor, &mut [0u8; 1], flags), Ok((_, 1..)))
    }
}

/// A kernel stream that reports written bytes.
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

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
