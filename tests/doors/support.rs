//! A handler that reports what happens to it, a server around it, and clients that send raw bytes.

use gipam::server::{
    DoorRefusal, Drained, Handler, HttpRequest, Limits, Listener, LocalAddress, Response, Server,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A timeout that only a bug reaches.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An event that a [`Desk`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A request reached the handler.
    Began(Box<HttpRequest>),
    /// Its future was dropped before it answered.
    Dropped(String),
    /// Its answer was undone.
    Undone(String),
    /// Its answer can no longer be undone.
    Kept(String),
}

/// A handler: `/wait...` waits for a permit, `/never...` waits forever, `/big` answers with 8 MiB; every
/// other path answers at once with its own body.
pub struct Desk {
    events: mpsc::UnboundedSender<Event>,
    /// Each permit lets one `/wait` continue.
    pub permits: Semaphore,
}

impl Handler for Desk {
    async fn handle(&self, request: HttpRequest) -> Response {
        let path = request.path().to_owned();
        let mut unanswered = Last(Some((self.events.clone(), Event::Dropped(path.clone()))));
        let body = request.body.clone();
        let _ = self.events.send(Event::Began(Box::new(request)));
        if path.starts_with("/wait") {
            self.permits.acquire().await.unwrap().forget();
        } else if path.starts_with("/never") {
            std::future::pending::<()>().await;
        }
        unanswered.0 = None;
        let mut kept = Last(Some((self.events.clone(), Event::Kept(path.clone()))));
        let body = if path == "/big" { vec![b'x'; 8 << 20] } else { body };
        Response::new(200, "text/plain", body).or_undo(move || {
            let (events, _) = kept.0.take().unwrap();
            let _ = events.send(Event::Undone(path));
        })
    }

    fn refuse(&self, why: DoorRefusal) -> Response {
        Response::new(why.status, "application/json", format!("{{\"Err\":\"{why}\"}}"))
    }
}

/// Sends its event when dropped, unless disarmed.
struct Last(Option<(mpsc::UnboundedSender<Event>, Event)>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some((events, event)) = self.0.take() {
            let _ = events.send(event);
        }
    }
}

/// A running server with one listener.
pub struct Running {
    pub desk: Arc<Desk>,
    pub address: LocalAddress,
    pub events: mpsc::UnboundedReceiver<Event>,
    /// Kept until the end, because the socket file is in it.
    pub _directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<std::io::Result<Drained>>,
}

impl Running {
    /// Serves `listener`.
    pub fn on(listener: Listener, directory: TempDir, limits: Limits, deadline: Duration) -> Running {
        let (sender, events) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk { events: sender, permits: Semaphore::new(0) });
        let address = listener.local_address();
        let (stop, stopped) = oneshot::channel();
        let mut server = Server::new();
        server.add(listener, desk.clone(), limits);
        let shutdown = async {
            let _ = stopped.await;
        };
        let server = tokio::spawn(server.serve(shutdown, deadline));
        Running { desk, address, events, _directory: directory, stop: Some(stop), server }
    }

    /// Serves a UNIX socket in a fresh directory.
    pub fn unix() -> Running {
        Running::unix_with(Limits::default(), PATIENCE)
    }

    pub fn unix_with(limits: Limits, deadline: Duration) -> Running {
        let directory = TempDir::new().unwrap();
        let listener = Listener::unix(&directory.path().join("d.sock"), 0o600, None, None).unwrap();
        Running::on(listener, directory, limits, deadline)
    }

    /// Serves a loopback port.
    pub fn tcp() -> Running {
        let listener = Listener::tcp(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Running::on(listener, TempDir::new().unwrap(), Limits::default(), PATIENCE)
    }

    pub fn path(&self) -> PathBuf {
        match &self.address {
            LocalAddress::Unix(path) => path.clone(),
            LocalAddress::Tcp(_) => panic!("not a UNIX socket"),
        }
    }

    pub fn port(&self) -> SocketAddr {
        match &self.address {
            LocalAddress::Tcp(address) => *address,
            LocalAddress::Unix(_) => panic!("not TCP"),
        }
    }

    pub async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.unwrap()
    }

    pub async fn connect_tcp(&self) -> TcpStream {
        TcpStream::connect(self.port()).await.unwrap()
    }

    /// The next event.
    pub async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv()).await.expect("an event").expect("a desk")
    }

    /// The next event, which must be the arrival of a request for `path`.
    pub async fn began(&mut self, path: &str) -> HttpRequest {
        match self.event().await {
            Event::Began(request) if request.path() == path => *request,
            other => panic!("{path} should have arrived, not {other:?}"),
        }
    }

    /// Lets one `/wait` continue.
    pub fn permit(&self) {
        self.desk.permits.add_permits(1);
    }

    /// Begins the shutdown.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the server has ended.
    pub async fn ended(self) -> Drained {
        timeout(PATIENCE, self.server).await.expect("the end").unwrap().unwrap()
    }
}

/// A request as dockerd sends it.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: plugin.moby.localhost\r\nUser-Agent: Go-http-client/1.1\r\n\
         Content-Length: {length}\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n\r\n{body}"
    )
    .into_bytes()
}

/// An answer as it was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Sends bytes and reads one answer.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Answer {
    timeout(PATIENCE, stream.write_all(bytes)).await.expect("room to write").unwrap();
    answer(stream).await
}

/// Reads one answer with a `Content-Length`, and not a byte more.
pub async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = timeout(PATIENCE, stream.read_u8()).await.expect("an answer");
        head.push(byte.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&head))));
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let status = head[9..12].parse().unwrap();
    let length = match head.split("content-length: ").nth(1) {
        Some(rest) => rest.split("\r\n").next().unwrap().parse().unwrap(),
        None => 0,
    };
    let mut body = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut body)).await.expect("a body").unwrap();
    Answer { status, head, body: String::from_utf8(body).unwrap() }
}

/// Waits until the server closes this connection, and returns the bytes received until then.
pub async fn rest<S: AsyncRead + Unpin>(stream: &mut S) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset counts as the end, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end");
    rest
}

/// The permission bits of a file.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}
