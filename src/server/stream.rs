//! One accepted connection, over UNIX, TCP or TLS.
//!
//! Promises: one type for UNIX, TCP and TLS streams, which tells [`Delivery`] whenever the *kernel* accepted
//! bytes: for TLS, that is the encrypted stream underneath, not what the TLS library buffered. It makes no
//! decisions.

use super::delivery::Delivery;
use super::gate::Kernel;
use rustix::net::RecvFlags;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_rustls::server::TlsStream;

/// An accepted connection.
pub(super) type Stream = Box<dyn KernelStream>;

/// The operations of every accepted connection, whatever its type.
pub(super) trait KernelStream: AsyncRead + AsyncWrite + Kernel + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Kernel + Send + Unpin> KernelStream for S {}

impl Kernel for CountedStream {
    fn go_deaf(&self) {
        // A TCP socket would accept bytes even after this.
        if self.is_unix {
            // This fails only if the connection is already broken, and then it does not matter.
            let _ = rustix::net::shutdown(&self.inner, rustix::net::Shutdown::Read);
        }
    }

    fn has_more(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(&self.inner, &mut [0u8; 1], flags), Ok((_, 1..)))
    }
}

impl Kernel for TlsStream<CountedStream> {
    fn go_deaf(&self) {
        self.get_ref().0.go_deaf();
    }

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

/// A kernel stream that reports when bytes were written.
pub(super) struct CountedStream {
    inner: UnixStream,
    is_unix: bool,
    delivery: Arc<Delivery>,
}

impl CountedStream {
    pub(super) fn new(inner: UnixStream, is_unix: bool, delivery: Arc<Delivery>) -> CountedStream {
        CountedStream { inner, is_unix, delivery }
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for CountedStream {
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
