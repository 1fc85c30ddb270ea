//! The values that pass through a listener: requests, answers, the caller's identity, and refusals made
//! before a handler is called.
//!
//! Promises: these types own their data, so that handlers can be tested without sockets. Times are
//! [`Duration`]s, sizes are bytes.

use std::borrow::Cow;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::{HeaderMap, Method, Uri};
use tokio::sync::mpsc;

/// The client at the other end of a connection, as the kernel identifies it, not by the client's own claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The process that connected to a UNIX socket (`SO_PEERCRED`, taken when it connected).
    Unix {
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its process, if it has an id in our PID namespace.
        pid: Option<i32>,
        /// When that process was started (see [`crate::processes::started`]).
        started: Option<u64>,
    },
    /// The address from which a TCP or TLS connection came.
    Tcp(SocketAddr),
}

/// One whole request. Its body has arrived completely: a truncated request never reaches a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    pub method: Method,
    pub uri: Uri,
    pub fields: HeaderMap,
    /// The body, at most [`Limits::max_body`] bytes; empty if none was sent.
    pub body: Vec<u8>,
    /// The client.
    pub peer: Peer,
}

impl HttpRequest {
    /// The path without the query, as sent (not decoded): `/IpamDriver.RequestPool`.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// All values of a header field, by its name in lower case. Bytes of a value that are not text are
    /// replaced, so that such a field is never mistaken for an absent one.
    pub fn values(&self, name: &str) -> impl Iterator<Item = Cow<'_, str>> {
        self.fields.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()))
    }

    /// The value of a field that was sent exactly once; `None` if it was not sent, or was sent several times.
    pub fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }
}

/// Called exactly once if the connection dies before the first byte of this answer was passed to the kernel,
/// and never otherwise. It runs on the thread that serves the connections, so it must not block.
pub type Undelivered = Box<dyn FnOnce() + Send>;

/// The rest of a body, sent in pieces as they become known. [`CutOff`] ends the connection in the middle of
/// the answer, so that the client does not take it for complete. When the client disconnects, the receiver is
/// dropped.
pub type Later = mpsc::Receiver<Result<Vec<u8>, CutOff>>;

/// The rest of an answer could not be obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rest of the answer was lost")]
pub struct CutOff;

/// One answer.
pub struct Response {
    /// The status code; a code that HTTP does not allow is sent as 500.
    pub status: u16,
    /// The `Content-Type`; none is sent if this is empty.
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// Further header fields; those that HTTP does not allow are left out.
    pub fields: &'static [(&'static str, &'static str)],
    /// The action to run if this answer cannot have reached the client.
    pub undelivered: Option<Undelivered>,
    /// The part that follows the body later; head and body are sent at once.
    pub later: Option<Later>,
}

impl Response {
    /// An answer to a request that changed nothing, so it needs no undo if it is lost.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
        Response { status, content_type, body: body.into(), fields: &[], undelivered: None, later: None }
    }

    /// The same answer, followed by `rest`: head and body are sent at once, and `rest` as it becomes known.
    pub fn and_later(mut self, rest: Later) -> Response {
        self.later = Some(rest);
        self
    }

    /// The same answer with these header fields.
    pub fn with_fields(mut self, fields: &'static [(&'static str, &'static str)]) -> Response {
        self.fields = fields;
        self
    }

    /// The same answer, with an action to run if it cannot be delivered.
    pub fn or_undo(mut self, undo: impl FnOnce() + Send + 'static) -> Response {
        self.undelivered = Some(Box::new(undo));
        self
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("body", &String::from_utf8_lossy(&self.body))
            .field("undelivered", &self.undelivered.is_some())
            .finish()
    }
}

/// Why a request was refused before any handler saw it. The connection is closed after the answer. What the
/// client still sends is read and discarded for a short time, so that the client can read that answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct DoorRefusal {
    /// The HTTP status code.
    pub status: u16,
    text: String,
}

impl DoorRefusal {
    pub(super) fn new(status: u16, text: String) -> DoorRefusal {
        DoorRefusal { status, text }
    }

    /// A part of the request did not arrive in time.
    pub(super) fn late(part: &str, limit: Duration) -> DoorRefusal {
        DoorRefusal::new(408, format!("the request {part} did not arrive within {limit:?}; send it whole"))
    }
}

/// The owner of a listener: it answers requests, and writes the error answers for requests that never arrived
/// whole.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. The future is dropped, at any await point, as soon as the client is known to have
    /// gone; work that must survive this belongs in a queue that the owner keeps. Every request that arrived
    /// whole is passed to this method and polled at least once, even if its client has already gone: put a
    /// release into that queue during the first poll. (A request is lost with its connection only if it was
    /// pipelined behind one that could not be answered; dockerd never pipelines.)
    fn handle(&self, request: HttpRequest) -> impl Future<Output = Response> + Send;

    /// Writes the answer to a refused request. Its status should be that of the refusal.
    fn refuse(&self, why: DoorRefusal) -> Response;
}

/// The limits of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, in bytes. Default 64 KiB.
    pub max_body: usize,
    /// The largest head, in bytes; values under 8 KiB count as 8 KiB. Default 16 KiB.
    pub max_head: usize,
    /// Time for the head of a request (and for a TLS handshake), from its first byte. Default 10 s.
    pub head: Duration,
    /// Time for the body, from the end of the head. Default 10 s.
    pub body: Duration,
    /// How long the client may take to read an answer without any progress. Default 30 s. The time that a
    /// handler takes is not limited (P4: dockerd sets no limit).
    pub answer: Duration,
    /// How long a connection may stay open without a request. Default 5 min. dockerd itself closes after
    /// 30 s, so it never uses a connection that we are just closing. Over a UNIX socket no request could be
    /// lost even then: the kernel refuses a request that comes too late before a byte of it is sent, and one
    /// that came in time is served. Over TCP, a window of microseconds remains.
    pub idle: Duration,
    /// How many connections one listener serves at once. Default 512; dockerd uses a few dozen. Further ones
    /// wait in the kernel's queue and are not refused; at the limit, idle connections are closed for them,
    /// longest silent first.
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_body: 64 * 1024,
            max_head: 16 * 1024,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            max_connections: 512,
        }
    }
}
