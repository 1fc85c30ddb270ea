//! Accepts connections, and stops without losing any.
//!
//! Promises: an error of `accept` neither ends the daemon nor makes it spin. If a listener has as many
//! connections as it may, it closes those that do not send a request, the longest silent first, each when no
//! request can be on its way; meanwhile, new connections wait in the kernel. The shutdown is orderly: the
//! socket file is removed first, so that no new client connects; clients that have already connected are
//! served; then each connection is closed when no request can be on its way. Requests that are still being
//! handled after the deadline are dropped, and undone if possible.

use super::connection;
use super::delivery::Delivery;
use super::door::Listener;
use super::message::{Handler, Limits, Peer};
use super::stream::CountedStream;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

/// Time between two checks for silent connections while a listener is full.
const CROWDED: Duration = Duration::from_millis(50);
/// One in this many of a listener's connections is closed at a time. That is more than a few hundred slow
/// clients can reopen before an honest client is served.
const SHARE: usize = 4;

/// Time between two attempts when the system lacks a descriptor or memory for a connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// `None` while running; at shutdown, the deadline for requests in flight.
pub(super) type Stop = watch::Receiver<Option<Instant>>;

type Serving = Pin<Box<dyn Future<Output = Drained> + Send>>;
type Room = Box<dyn FnOnce(Stop) -> io::Result<Serving> + Send>;

/// The outcome of a shutdown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still working at the deadline and were dropped.
    pub cut_off: usize,
}

/// Any number of listeners, each with its own handler and limits.
#[derive(Default)]
pub struct Server {
    rooms: Vec<Room>,
}

impl Server {
    /// A server without listeners.
    pub fn new() -> Server {
        Server::default()
    }

    /// Adds an open listener.
    pub fn add<H: Handler>(&mut self, listener: Listener, handler: Arc<H>, limits: Limits) {
        self.rooms.push(Box::new(move |stop| {
            let room = Accepting::new(listener, handler, limits)?;
            Ok(Box::pin(room.run(stop)))
        }));
    }

    /// Serves all listeners until `shutdown` is ready, then waits at most `deadline` for requests in flight
    /// to finish: no further connection is accepted, answers say `Connection: close`, idle connections are
    /// closed and socket files are removed. Runs on the current runtime, of either kind, which must have time
    /// and I/O enabled.
    ///
    /// # Errors
    /// If a listener cannot be registered with the runtime. In that case, no listener is served.
    pub async fn serve(self, shutdown: impl Future<Output = ()>, deadline: Duration) -> io::Result<Drained> {
        let (stop, stopped) = watch::channel(None);
        let serving: Vec<Serving> =
            self.rooms.into_iter().map(|room| room(stopped.clone())).collect::<io::Result<_>>()?;
        let mut rooms: JoinSet<Drained> = serving.into_iter().collect();
        shutdown.await;
        stop.send_replace(Some(Instant::now() + deadline));
        let mut drained = Drained::default();
        while let Some(room) = rooms.join_next().await {
            drained.cut_off += room.map(|room| room.cut_off).unwrap_or_default();
        }
        Ok(drained)
    }
}

/// One listener being served.
struct Accepting<H> {
    /// The listener's socket, only for waiting: the runtime's own listener types support one socket family
    /// each, but the runtime can wait for any descriptor.
    ready: UnixStream,
    listener: Listener,
    handler: Arc<H>,
    limits: Arc<Limits>,
    connections: JoinSet<()>,
    /// The states of these connections; some may have ended.
    open: Vec<Weak<Delivery>>,
}

/// A connection, and the address that it came from; none over a UNIX socket.
type Accepted = (OwnedFd, Option<SocketAddr>);

/// Accepts a connection that waits in the kernel; `WouldBlock` if there is none.
fn accept(listener: &OwnedFd) -> io::Result<Accepted> {
    let (stream, from) = acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    Ok((stream, from.and_then(|from| from.try_into().ok())))
}

impl<H: Handler> Accepting<H> {
    fn new(listener: Listener, handler: Arc<H>, limits: Limits) -> io::Result<Accepting<H>> {
        let ready = UnixStream::from_std(listener.socket.try_clone()?.into())?;
        Ok(Accepting {
            ready,
            listener,
            handler,
            limits: Arc::new(limits),
            connections: JoinSet::new(),
            open: Vec::new(),
        })
    }

    async fn run(mut self, mut stop: Stop) -> Drained {
        let mut failing = false;
        loop {
            let full = self.connections.len() >= self.limits.max_connections;
            let accepted = tokio::select! {
                biased;
                until = stopped(&mut stop) => return self.close(&stop, until).await,
                Some(ended) = self.connections.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = self.ready.async_io(Interest::READABLE, || accept(&self.listener.socket)), if !full => accepted,
                () = sleep(CROWDED), if full => {
                    self.make_room();
                    continue;
                }
            };
            match accepted {
                Ok(accepted) => {
                    failing = false;
                    self.welcome(accepted, &stop);
                    if self.connections.len() >= self.limits.max_connections {
                        self.make_room();
                    }
                }
                Err(error) if harmless(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot accept connections; trying again");
                    }
                    // A shutdown ends this wait early; the loop checks for it first.
                    let _ = timeout(BACK_OFF, stopped(&mut stop)).await;
                }
            }
        }
    }

    /// Asks connections without a request to give way: those that never sent a whole request or, if there are
    /// none, only the one that has been silent longest. Connections that are working stay.
    fn make_room(&mut self) {
        self.open.retain(|open| open.strong_count() > 0);
        let open = self.open.iter().filter_map(Weak::upgrade);
        let mut slow: Vec<_> = open.filter_map(|open| Some((open.waits()?, open))).collect();
        slow.sort_by_key(|(waits, _)| *waits);
        let (new, known): (Vec<_>, Vec<_>) = slow.into_iter().partition(|((has_asked, _), _)| !has_asked);
        let most = (self.limits.max_connections / SHARE).max(1);
        let longest = usize::from(new.is_empty());
        for (_, open) in new.into_iter().take(most).chain(known.into_iter().take(longest)) {
            open.give_way();
        }
    }

    /// The orderly shutdown; see the top of this file.
    async fn close(mut self, stop: &Stop, until: Instant) -> Drained {
        if let Some(file) = self.listener.file.take() {
            file.remove();
        }
        if !self.listener.inherited {
            while let Ok(accepted) = accept(&self.listener.socket) {
                self.welcome(accepted, stop);
            }
        }
        let Accepting { ready, listener, mut connections, .. } = self;
        drop((ready, listener));
        let finish = async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        };
        let _ = timeout_at(until, finish).await;
        let cut_off = connections.len();
        connections.shutdown().await;
        Drained { cut_off }
    }

    /// Starts serving a connection in its own task.
    fn welcome(&mut self, (stream, from): Accepted, stop: &Stop) {
        // This type also reads and writes TCP sockets.
        let Ok(stream) = UnixStream::from_std(stream.into()) else { return };
        let Some(peer) = peer(&stream, from) else { return };
        let (handler, limits, stop) = (self.handler.clone(), self.limits.clone(), stop.clone());
        let delivery = Arc::new(Delivery::new());
        if self.open.len() > 2 * self.limits.max_connections {
            self.open.retain(|open| open.strong_count() > 0);
        }
        self.open.push(Arc::downgrade(&delivery));
        let stream = CountedStream::new(stream, from.is_none(), delivery.clone());
        let Some(tls) = self.listener.tls.clone() else {
            let stream = Box::new(stream);
            self.connections.spawn(connection::serve(stream, peer, delivery, handler, limits, stop));
            return;
        };
        self.connections.spawn(async move {
            let shaking = timeout(limits.head, TlsAcceptor::from(tls).accept(stream));
            let shaken = tokio::select! {
                biased;
                shaken = shaking => shaken,
                // Other connections are waiting, and this one has not sent a request yet.
                () = delivery.nudged() => return,
            };
            match shaken {
                Ok(Ok(stream)) => {
                    connection::serve(Box::new(stream), peer, delivery, handler, limits, stop).await;
                }
                Ok(Err(error)) => tracing::info!(address = ?from, %error, "TLS handshake failed"),
                Err(_) => tracing::info!(address = ?from, limit = ?limits.head, "TLS handshake too slow"),
            }
        });
    }
}

/// The client at the other end; `None` if the kernel does not identify it.
fn peer(stream: &UnixStream, from: Option<SocketAddr>) -> Option<Peer> {
    if let Some(address) = from {
        // Both are optimisations; the socket works without them.
        let _ = rustix::net::sockopt::set_tcp_nodelay(stream, true);
        let _ = rustix::net::sockopt::set_socket_keepalive(stream, true);
        return Some(Peer::Tcp(address));
    }
    let credentials = stream.peer_cred().ok()?;
    let pid = credentials.pid().filter(|pid| *pid > 0);
    let started = pid.and_then(crate::processes::started);
    Some(Peer::Unix { uid: credentials.uid(), gid: credentials.gid(), pid, started })
}

/// Errors of `accept` that concern only one connection, which is already gone.
fn harmless(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a bug ended a connection");
    }
}

/// Waits for the shutdown and returns its deadline; the deadline of a dropped server is now.
pub(super) async fn stopped(stop: &mut Stop) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(until) => until.unwrap_or_else(Instant::now),
        Err(_) => Instant::now(),
    }
}
