//! The listeners: HTTP/1.1 over UNIX sockets, TCP, TLS and sockets inherited from systemd.
//!
//! What this module promises:
//!
//! * **It knows nothing about IP address management.** It turns bytes into [`HttpRequest`]s, passes them to a
//!   [`Handler`], and turns [`Response`]s into bytes. The only other module that it uses is `processes`.
//! * **Undo happens at the connection.** If a client goes away while its request is being handled, the
//!   handler's future is dropped at once. If it goes away after the handler answered, but before the first
//!   byte of that answer was passed to the kernel, [`Response::undelivered`] is called exactly once. After
//!   the first byte it is dropped unused. There is no other case; the tests named `undo_*` check this.
//! * **Closing a connection never harms dockerd** (facts P6 and P8: dockerd repeats a request that was lost
//!   with its connection, but with an empty body). We close a connection only when no request can be on its
//!   way: see [`Limits::idle`] and [`Server::serve`].
//! * **It accepts what dockerd sends** (P6): no Content-Type, an empty `Host`, `Content-Length: 0`; and what
//!   other clients send: chunked bodies, `Expect: 100-continue`, pipelined requests.
//! * **Everything is bounded.** Every connection has a bounded head, body and time; every listener a bounded
//!   number of connections. After an error of `accept` it waits and tries again.
//! * **It never touches other processes' files.** It replaces the socket file of a dead process, refuses that
//!   of a live one, and on exit removes only the very file that it created. It never unlinks an inherited
//!   socket.
//!
//! What it does not do: HTTP/2 (HTTP/1.0 is answered, but the connection is closed after each answer),
//! upgrades, routing, compression, authentication beyond file modes and client certificates.
//!
//! ```text
//!   Listener::unix, ::tcp ──▶ Server::add(listener, handler, limits) ──▶ Server::serve(shutdown, deadline)
//! ```
//!
//! A listener may be opened before the runtime is up; clients then queue in the kernel until `serve` runs.
//! One server can have any number of listeners, each with its own handler.

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
pub use door::{DoorError, Listener, LocalAddress};
pub use inherited::inherited;
pub use message::{CutOff, DoorRefusal, Handler, HttpRequest, Limits, Peer, Response, Undelivered};
pub use unix::knock;
