//! A small HTTP/1.1 client, for commands that talk to a running daemon and for the daemon itself (Docker's
//! Engine, webhooks).
//!
//! Promises: one request and one answer on one connection, which is closed when the answer is dropped; an
//! error that distinguishes "no listener" from "no answer". Does not follow redirects, and does not retry.

pub use super::exchange::root;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The largest answer that is accepted, in bytes: an export of a million leases fits.
const MAX_ANSWER: usize = 1 << 30;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    pub body: Vec<u8>,
}

/// An answer whose head has arrived.
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    body: Incoming,
    /// The task that drives the connection; it ends when the answer is dropped.
    _connection: JoinSet<hyper::Result<()>>,
}

/// Why there was no answer from a UNIX socket.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket does not exist or has no listener.
    #[error("no daemon is listening on {}: {error}", path.display())]
    Unreachable {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// Access was denied, or the daemon did not send a complete answer in time. It may still have carried out
    /// the request.
    #[error("{0}")]
    NoAnswer(String),
}

impl ClientError {
    fn broken(socket: &Path, why: impl std::fmt::Display) -> Self {
        let socket = socket.display();
        Self::NoAnswer(format!(
            "the daemon on {socket} gave an invalid answer ({why}); it may have carried out the request"
        ))
    }
}

/// Sends one request over an open connection. The answer must be read, or dropped, on the same runtime.
///
/// # Errors
/// If the connection breaks before the answer begins, or the answer is not HTTP.
pub async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: hyper::Request<Full<Bytes>>,
) -> hyper::Result<HttpAnswer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driven = JoinSet::new();
    driven.spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(HttpAnswer { status: head.status.as_u16(), body, _connection: driven })
}

impl HttpAnswer {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// If the connection breaks before the end.
    pub async fn piece(&mut self) -> hyper::Result<Option<Bytes>> {
        let frame = self.body.frame().await.transpose()?;
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }
}

/// Sends one request to the daemon that listens on `socket`. A body that is not empty is sent as JSON.
///
/// # Errors
/// See [`ClientError`]. Any status code is an answer, not an error.
pub async fn open(socket: &Path, method: &str, path: &str, body: Vec<u8>) -> Result<HttpAnswer, ClientError> {
    let mut request = hyper::Request::builder().method(method).uri(path).header(HOST, "localhost");
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| ClientError::NoAnswer(format!("cannot request {path:?}: {}", root(&error))))?;
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ClientError::NoAnswer(format!(
            "not allowed to use {}: {error}; try again as root, or as its owner",
            socket.display()
        )),
        _ => ClientError::Unreachable { path: socket.to_owned(), error },
    })?;
    send(stream, request).await.map_err(|error| ClientError::broken(socket, root(&error)))
}

/// The next piece of an answer from `socket`; `None` at its end.
///
/// # Errors
/// If the connection breaks before the end.
pub async fn piece(socket: &Path, answer: &mut HttpAnswer) -> Result<Option<Bytes>, ClientError> {
    answer.piece().await.map_err(|error| ClientError::broken(socket, root(&error)))
}

/// Does `work`, but gives up after `limit`.
///
/// # Errors
/// Those of `work`, or if `limit` has passed.
pub async fn within<T>(
    socket: &Path,
    limit: Duration,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let socket = socket.display();
        Err(ClientError::NoAnswer(format!(
            "the daemon on {socket} did not answer within {limit:?}; it may have carried out the request"
        )))
    })
}

/// Reads an answer from `socket` to its end.
///
/// # Errors
/// If the connection breaks before that, or the answer is longer than 1 GiB.
pub async fn whole(socket: &Path, mut answer: HttpAnswer) -> Result<HttpReply, ClientError> {
    let mut body = Vec::new();
    while let Some(piece) = piece(socket, &mut answer).await? {
        if body.len() + piece.len() > MAX_ANSWER {
            return Err(ClientError::broken(socket, "it is too long"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(HttpReply { status: answer.status, body })
}

/// Sends one request to the daemon that listens on `socket` and reads its whole answer, all within `limit`.
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
    within(socket, limit, async { whole(socket, open(socket, method, path, body).await?).await }).await
}

/// Runs `work` to its end, for callers without a runtime; must not be called from within one.
///
/// # Errors
/// Those of `work`, or if a runtime cannot be created.
pub fn blocking<T, E: From<ClientError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.map_err(|error| ClientError::NoAnswer(format!("cannot start a runtime: {error}")))?.block_on(work)
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
    blocking(request(socket, method, path, body, limit))
}

/// Encodes a text for use in a query.
pub fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
