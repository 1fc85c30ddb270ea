//! A minimal HTTP/1.1 server over UNIX sockets for dockerd's plugin client: for the proxy and the old
//! driver's stand-in. It serves one request per connection, so that no kept-alive connection hides the next
//! server.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Call {
    /// Without the slash: "IpamDriver.RequestPool".
    pub method: String,
    pub body: String,
}

/// The answer; `None` closes the connection without an answer.
pub type Answer = Option<(u16, String)>;

pub struct Server {
    path: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(path: &Path, answer: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (seen, answer) = (over.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let answer = answer.clone();
                std::thread::spawn(move || serve(stream.unwrap(), answer.as_ref()));
            }
        });
        Self { path: path.to_owned(), over, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path); // wakes the listener
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(mut stream: UnixStream, answer: &dyn Fn(&Call) -> Answer) {
    let Some((first, body)) = read(&mut stream) else { return };
    let method = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    if let Some((status, text)) = answer(&Call { method, body }) {
        let length = text.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}"
        );
    }
}

/// Forwards a call and returns status and body; `None` if the other side does not listen or closes the
/// connection.
pub fn forward(path: &Path, call: &Call) -> Answer {
    let mut stream = UnixStream::connect(path).ok()?;
    let (method, length) = (&call.method, call.body.len());
    write!(
        stream,
        "POST /{method} HTTP/1.1\r\nHost: plugin\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{}",
        call.body
    )
    .ok()?;
    let (first, body) = read(&mut stream)?;
    Some((first.split(' ').nth(1)?.parse().ok()?, body))
}

/// First line and body of a message with a Content-Length.
fn read(stream: &mut UnixStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let whole = end + 4 + length.unwrap_or(0);
            if bytes.len() >= whole {
                let body = String::from_utf8_lossy(&bytes[end + 4..whole]).into_owned();
                return Some((head.lines().next()?.to_owned(), body));
            }
        }
        match stream.read(&mut part).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&part[..n]),
        }
    }
}
