//! A small HTTP/1.1 client over a UNIX socket, for commands that talk to a running daemon.
//!
//! Promises: one request and one answer within one time limit, and an error that distinguishes "nothing listens",
//! "access denied" and "no answer". It keeps no connection open, follows no redirects, and does not retry.

pub use super::exchange::root;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The largest answer that is accepted, in bytes: an export of a million leases fits.
const MAX_ANSWER: usize = 1 << 30;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket does not exist, or nothing listens on it.
    #[error("no daemon is listening on {}: {error}", path.display())]
    Unreachable {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// This user may not use the socket.
    #[error("not allowed to use {}: {error}; try again as root, or as its owner", path.display())]
    Denied {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// The daemon does not answer in time. It may still have carried out the request.
    #[error("the daemon on {} did not answer within {limit:?}; what was asked for may have been done", path.display())]
    Timeout { path: PathBuf, limit: Duration },
    /// The connection broke, or the answer was not valid HTTP. The daemon may have carried out the request.
    #[error("the daemon on {} gave an invalid answer ({why}); what was asked for may have been done", path.display())]
    Broken { path: PathBuf, why: String },
    /// HTTP does not allow this path or method.
    #[error("cannot ask for {path:?}: {why}")]
    Request {
        path: String,
        /// The reason.
        why: String,
    },
}

/// Sends one request to the daemon that listens on `socket` and reads its answer, all within `limit`.
/// A body that is not empty is sent as JSON.
///
/// # Errors
/// See [`ClientError`]. Any status code is an answer, not an error.
pub async fn request(
    socket: &Path,
    method: &str,
    path: &str,
    body: Vec<u8>,
    limit: Duration,
) -> Result<HttpReply, ClientError> {
    let request = build(method, path, body)?;
    timeout(limit, exchange(socket, request))
        .await
        .unwrap_or_else(|_| Err(ClientError::Timeout { path: socket.to_owned(), limit }))
}

/// [`request`] for callers without a runtime; must not be called from within one.
///
/// # Errors
/// See [`request`].
pub fn request_blocking(
    socket: &Path,
    method: &str,
    path: &str,
    body: Vec<u8>,
    limit: Duration,
) -> Result<HttpReply, ClientError> {
    runtime(socket)?.block_on(request(socket, method, path, body, limit))
}

/// `GET` of a path with a possibly long answer: passes each piece and the status to `take`; `limit` applies to each piece.
///
/// # Errors
/// See [`request`]; `Ok(Err(_))` is an error of `take`, after which nothing more is read.
pub fn pieces_blocking<E>(
    socket: &Path,
    path: &str,
    limit: Duration,
    mut take: impl FnMut(u16, &[u8]) -> Result<(), E>,
) -> Result<Result<(), E>, ClientError> {
    let broken = |why| ClientError::Broken { path: socket.to_owned(), why };
    let slow = |_| ClientError::Timeout { path: socket.to_owned(), limit };
    let begun = std::cell::Cell::new(false);
    let read = async |answer: hyper::Response<Incoming>| {
        begun.set(true);
        let (status, mut body) = (answer.status().as_u16(), answer.into_body());
        while let Some(piece) = timeout(limit, body.frame()).await.map_err(slow)? {
            let piece = piece.map_err(|error| broken(root(&error)))?;
            if let Err(error) = take(status, piece.data_ref().map_or(&[], |piece| piece)) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    };
    let asked = async {
        let request = build("GET", path, Vec::new())?;
        let answered = converse(connect(socket).await?, request, read).await;
        answered.map_err(|error| broken(root(&error)))?
    };
    let late = async {
        tokio::time::sleep(limit).await;
        if begun.get() {
            std::future::pending::<()>().await;
        }
    };
    runtime(socket)?.block_on(async {
        tokio::select! {
            answered = asked => answered,
            () = late => Err(ClientError::Timeout { path: socket.to_owned(), limit }),
        }
    })
}

fn runtime(socket: &Path) -> Result<tokio::runtime::Runtime, ClientError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| ClientError::Broken { path: socket.to_owned(), why: error.to_string() })
}

fn build(method: &str, path: &str, body: Vec<u8>) -> Result<hyper::Request<Full<Bytes>>, ClientError> {
    let mut request = hyper::Request::builder().method(method).uri(path).header(HOST, "localhost");
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| ClientError::Request { path: path.to_owned(), why: root(&error) })
}

/// Encodes a text for use in a query.
pub fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Denied { path: socket.to_owned(), error },
        _ => ClientError::Unreachable { path: socket.to_owned(), error },
    })
}

/// Sends one request over an open connection and reads its answer with `read`.
///
/// # Errors
/// If the connection breaks before the answer begins, or the answer is not HTTP.
pub async fn converse<T>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: hyper::Request<Full<Bytes>>,
    read: impl AsyncFnOnce(hyper::Response<Incoming>) -> T,
) -> hyper::Result<T> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async { Ok(read(sender.send_request(request).await?).await) };
    let mut answer = std::pin::pin!(answer);
    // The result of the connection task adds nothing to the answer.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

/// Follows an answer that never ends, such as a stream of events: calls `part` when the answer
/// begins, and for each piece that arrives.
///
/// # Errors
/// If the connection cannot be opened or breaks; `Ok` when the answer ends.
pub async fn follow(socket: &Path, path: &str, mut part: impl FnMut()) -> Result<(), ClientError> {
    let broken = |why| ClientError::Broken { path: socket.to_owned(), why };
    let pieces = async |answer: hyper::Response<Incoming>| {
        if answer.status().as_u16() != 200 {
            return Err(broken(format!("status {}", answer.status().as_u16())));
        }
        // No piece reports what happened before the answer began.
        part();
        let mut body = answer.into_body();
        while let Some(piece) = body.frame().await {
            piece.map_err(|error| broken(root(&error)))?;
            part();
        }
        Ok(())
    };
    let request = build("GET", path, Vec::new())?;
    converse(connect(socket).await?, request, pieces).await.map_err(|error| broken(root(&error)))?
}

async fn exchange(socket: &Path, request: hyper::Request<Full<Bytes>>) -> Result<HttpReply, ClientError> {
    let broken = |why| ClientError::Broken { path: socket.to_owned(), why };
    let reply = async |answer: hyper::Response<Incoming>| {
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| broken(root(&*error)))?;
        Ok(HttpReply { status, body: Vec::from(body.to_bytes()) })
    };
    converse(connect(socket).await?, request, reply).await.map_err(|error| broken(root(&error)))?
}
