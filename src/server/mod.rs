//! The listeners: HTTP/1.1 over UNIX sockets, TCP, TLS and sockets inherited from systemd.
//!
//! What this room promises:
//!
//! * **It does not know addresses.** It turns bytes into [`HttpRequest`]s, hands them to a [`Handler`], and
//!   turns [`Response`]s into bytes. It imports no other room of this program.
//! * **Undo lives at the connection.** A client that goes away while its request is being handled drops the
//!   handler's future at once. When it goes away after the handler answered, but before the first byte of
//!   that answer went to the kernel, [`Response::undelivered`] is called, exactly once. After the first byte
//!   it is dropped unused. Nothing else can happen; the tests named `undo_*` hold it.
//! * **dockerd is never hurt by our closing** (facts P6 and P8: a request lost with its connection is repeated
//!   with an empty body). A connection is closed by us only when no request can be on its way: see
//!   [`Limits::idle`] and [`Server::serve`].
//! * **What dockerd sends is accepted** (P6): no Content-Type, an empty `Host`, `Content-Length: 0`; and what
//!   others send: chunked bodies, `Expect: 100-continue`, pipelined requests.
//! * **Bounded.** Every connection has a bounded head, body and time; every door a bounded number of
//!   connections. Errors of `accept` are waited out.
//! * **Files are ours or untouched.** A socket file of a dead process is replaced, a live one is refused, and
//!   on exit only the very file that was made here is removed. An inherited socket is never unlinked.
//!
//! What it does not do: HTTP/2 (HTTP/1.0 is answered, and closed after each answer), upgrades, routing, compression, authentication beyond file modes and client
//! certificates.
//!
//! ```text
//!   Door ──open──▶ Listener ──▶ Server::add(listener, handler, limits) ──▶ Server::serve(shutdown, deadline)
//! ```
//!
//! `Door::open` binds and may be called before the runtime is up; clients then queue in the kernel until
//! `serve` runs. Any number of doors, each with its own handler, live in one server.

mod accept;
pub mod client;
mod connection;
mod delivery;
mod door;
mod exchange;
mod gate;
mod inherited;
mod message;
mod stream;
mod tls;
mod unix;

pub use accept::{Drained, Server};
pub use door::{Door, DoorError, Listener, LocalAddress};
pub use inherited::inherited;
pub use message::{CutOff, DoorRefusal, Handler, HttpRequest, Limits, Peer, Response, Undelivered};
pub use unix::knock;
