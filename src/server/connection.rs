//! The life of one connection: one request after another, until the client leaves, a limit is reached, or we
//! shut down.
//!
//! Promises: if a client goes away while its request is being handled, the handler's future is dropped at
//! once (a half-closed client counts as gone: dockerd never half-closes); no connection lives beyond its
//! limits; and a refused client can read why. It does not accept or bind sockets.

use super::accept::{Stop, stopped};
use super::delivery::{Delivery, NO_HURRY, Overdue};
use super::exchange::{Exchange, root, status};
use super::gate::Gate;
use super::message::{DoorRefusal, Handler, Limits, Peer, Response};
use super::stream::Stream;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

/// How long, and up to how many bytes, a refused client's input is read and discarded, so that the client can
/// read the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// The smallest buffer size that the HTTP library accepts.
const SMALLEST_HEAD: usize = 8 * 1024;

/// How the HTTP part of a connection ended.
enum End {
    /// Normally: the client closed, or the last answer was sent.
    Over,
    /// Because of bytes that were not a request.
    Refused(DoorRefusal),
    /// The connection can no longer be used.
    Dropped,
}

/// Serves one connection until it ends. `stop` ends it after the current request.
pub(super) async fn serve<H: Handler>(
    stream: Stream,
    peer: Peer,
    delivery: Arc<Delivery>,
    handler: Arc<H>,
    limits: Arc<Limits>,
    stop: Stop,
) {
    let gate = TokioIo::new(Gate::new(stream, delivery.clone()));
    let exchange = Arc::new(Exchange {
        handler: handler.clone(),
        limits: limits.clone(),
        peer,
        delivery: delivery.clone(),
    });
    let service = service_fn(move |request| {
        let exchange = exchange.clone();
        exchange.delivery.request();
        async move { Ok::<_, Infallible>(exchange.answer(request).await) }
    });
    let mut http = http1::Builder::new()
        .half_close(false)
        .header_read_timeout(None)
        .max_buf_size(limits.max_head.max(SMALLEST_HEAD))
        .writev(false)
        .serve_connection(gate, service);
    let end = run(Pin::new(&mut http), &delivery, &limits, stop).await;
    // Taking `http` apart drops the future of a handler that is still working.
    let mut stream = http.into_parts().io.into_inner().into_inner();
    match end {
        End::Over => hang_up(stream, &delivery, delivery.lingers()).await,
        End::Refused(why) => {
            let bytes = raw(handler.refuse(why));
            let sent = timeout(limits.answer, stream.write_all(&bytes)).await;
            // If other connections wait, they need not also wait until a slow client has read its answer.
            hang_up(stream, &delivery, matches!(sent, Ok(Ok(()))) && !delivery.is_hurried()).await;
        }
        End::Dropped => {}
    }
}

/// Drives the HTTP library, the clock and the shutdown.
async fn run(
    mut http: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    delivery: &Delivery,
    limits: &Limits,
    mut stop: Stop,
) -> End {
    let mut clock = std::pin::pin!(sleep_until(Instant::now() + limits.idle));
    let mut stopping = false;
    loop {
        let next = tokio::select! {
            biased;
            event = poll_fn(|cx| match http.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending if delivery.take_alarm() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }) => match event {
                Some(result) => return ended(result, limits),
                None => delivery.overdue(limits),
            },
            _ = stopped(&mut stop), if !stopping => {
                stopping = true;
                delivery.retire();
                delivery.overdue(limits)
            }
            () = delivery.nudged() => delivery.overdue(limits),
            () = &mut clock => delivery.overdue(limits),
        };
        match next {
            Overdue::LookAgain(then) => clock.as_mut().reset(then),
            Overdue::Refuse(why) => return End::Refused(why),
            Overdue::Drop => return End::Dropped,
            Overdue::Retire => {
                // The library tries once more to read a request, and then ends.
                delivery.retire();
                clock.as_mut().reset(Instant::now() + NO_HURRY);
            }
        }
    }
}

fn ended(result: hyper::Result<()>, limits: &Limits) -> End {
    match result {
        Err(error) if error.is_parse_too_large() => {
            let limit = limits.max_head.max(SMALLEST_HEAD);
            let text = format!("the request head is larger than {limit} bytes; send less");
            End::Refused(DoorRefusal::new(431, text))
        }
        Err(error) if error.is_parse() => {
            let why = root(&error);
            let text = format!("this is not an HTTP/1.1 request ({why}); use HTTP/1.1 without TLS here");
            End::Refused(DoorRefusal::new(400, text))
        }
        Ok(()) => End::Over,
        Err(error) => {
            tracing::debug!(%error, "connection ended");
            End::Over
        }
    }
}

/// Closes a connection; with `linger`, only after reading what the client still sends, because otherwise the
/// kernel would reset the connection before the client has read the answer.
async fn hang_up(mut stream: Stream, delivery: &Delivery, linger: bool) {
    if delivery.is_dead() {
        return;
    }
    let goodbye = async {
        stream.shutdown().await.ok()?;
        if !linger {
            return Some(());
        }
        let mut scratch = [0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut scratch).await.ok()? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        Some(())
    };
    // Whatever the result, dropping the stream closes the connection.
    let _ = timeout(LINGER, goodbye).await;
}

/// A complete answer as bytes, for requests that the HTTP library could not read.
fn raw(response: Response) -> Vec<u8> {
    let status = status(response.status);
    let mut head = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or(""));
    if !response.content_type.is_empty() {
        head.push_str(&format!("content-type: {}\r\n", response.content_type));
    }
    for (name, value) in response.fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", response.body.len()));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&response.body);
    bytes
}
