//! How a command asks the daemon: one HTTP/1.1 request over the admin socket.
//!
//! Promises: a daemon that is down, one that may not be asked and one that does not answer in time are told apart;
//! a refusal comes back with its kind; nothing is tried twice. Does not read or print answers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::error::{AdminError, Kind};

/// Time for a view.
pub const VIEW: Duration = Duration::from_secs(15);
/// Time for what changes the books.
pub const CHANGE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there.
    #[error("no daemon answers at {}; start it with gipam serve, or name another with --admin PATH", socket.display())]
    Down {
        /// The admin socket.
        socket: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The socket is there and may not be opened, or is no socket.
    #[error("the admin socket {} cannot be opened; try as root, or as its owner", socket.display())]
    Closed {
        /// The admin socket.
        socket: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It takes too long.
    #[error("the daemon at {} gave no answer within {} s; its log may say why", socket.display(), after.as_secs())]
    Slow {
        /// The admin socket.
        socket: PathBuf,
        /// How long we waited.
        after: Duration,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the connection to the daemon at {} broke; ask again, and look at its log", socket.display())]
    Broken {
        /// The admin socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// This process cannot ask at all.
    #[error("the request to {path} cannot be made")]
    Request {
        /// The path with its query.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon refused.
    #[error(transparent)]
    Refused(AdminError),
}

/// `GET` of a path with its query.
pub fn get(socket: &Path, path: &str, limit: Duration) -> Result<Vec<u8>, Error> {
    ask(socket, Method::GET, path, Bytes::new(), limit)
}

/// `POST` of JSON to a path.
pub fn post(socket: &Path, path: &str, body: &serde_json::Value, limit: Duration) -> Result<Vec<u8>, Error> {
    ask(socket, Method::POST, path, body.to_string().into(), limit)
}

/// One request on a runtime of its own: a command line has nothing else to do meanwhile.
fn ask(socket: &Path, method: Method, path: &str, body: Bytes, limit: Duration) -> Result<Vec<u8>, Error> {
    let impossible =
        |source: Box<dyn std::error::Error + Send + Sync>| Error::Request { path: path.to_owned(), source };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "gipam")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .map_err(|error| impossible(error.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| impossible(error.into()))?;
    let answer = runtime.block_on(async { tokio::time::timeout(limit, exchange(socket, request)).await });
    let (status, content) = match answer {
        Ok(answer) => answer?,
        Err(_) => return Err(Error::Slow { socket: socket.to_owned(), after: limit }),
    };
    if status.is_success() { Ok(content) } else { Err(Error::Refused(refusal(status, &content))) }
}

async fn exchange(socket: &Path, request: Request<Full<Bytes>>) -> Result<(StatusCode, Vec<u8>), Error> {
    let stream = UnixStream::connect(socket).await.map_err(|source| {
        let socket = socket.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::Down { socket, source },
            _ => Error::Closed { socket, source },
        }
    })?;
    let broken = |source| Error::Broken { socket: socket.to_owned(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the connection; what goes wrong there, the request below sees.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let content = response.into_body().collect().await.map_err(broken)?;
    Ok((status, content.to_bytes().to_vec()))
}

/// The refusal in an answer, or one that quotes it.
fn refusal(status: StatusCode, content: &[u8]) -> AdminError {
    serde_json::from_slice(content).unwrap_or_else(|_| {
        let quoted: String = String::from_utf8_lossy(content).chars().take(200).collect();
        AdminError::new(Kind::Failed, format!("the daemon answered {status}: {}", quoted.escape_debug()))
    })
}

/// A text as part of a query.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

impl From<Error> for AdminError {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Refused(refused) => return refused.clone(),
            Error::Request { .. } => Kind::Failed,
            Error::Down { .. } | Error::Closed { .. } | Error::Slow { .. } | Error::Broken { .. } => {
                Kind::Unreachable
            }
        };
        let text = match &error {
            Error::Closed { source, .. } => format!("{error}: {source}"),
            Error::Broken { source, .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        };
        Self::new(kind, text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Answers one request with these bytes and returns what was asked.
    fn daemon(answer: &'static str) -> (tempfile::TempDir, PathBuf, std::thread::JoinHandle<String>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        (directory, socket, thread)
    }

    #[test]
    fn a_view_is_one_get() {
        let (_directory, socket, thread) = daemon("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]");
        assert_eq!(get(&socket, "/v1/leases?all=true", VIEW).unwrap(), b"[]");
        assert!(thread.join().unwrap().starts_with("GET /v1/leases?all=true HTTP/1.1\r\n"));
    }

    #[test]
    fn a_refusal_keeps_its_kind_and_text() {
        let (_directory, socket, _thread) = daemon(
            "HTTP/1.1 404 Not Found\r\ncontent-length: 34\r\n\r\n{\"Err\":\"no such\",\"kind\":\"missing\"}",
        );
        let body = serde_json::json!({"subnet": "10.0.0.0/24"});
        let error = AdminError::from(post(&socket, "/v1/release", &body, CHANGE).unwrap_err());
        assert_eq!(error, AdminError::new(Kind::Missing, "no such"));
    }

    #[test]
    fn an_answer_of_somebody_else_is_quoted() {
        let (_directory, socket, _thread) = daemon("HTTP/1.1 400 Bad\r\ncontent-length: 4\r\n\r\nwhat");
        let error = AdminError::from(get(&socket, "/", VIEW).unwrap_err());
        assert_eq!(error.text, "the daemon answered 400 Bad Request: what");
    }

    #[test]
    fn nobody_listening_is_down_and_unreachable() {
        let error = get(Path::new("/nowhere/admin.sock"), "/", VIEW).unwrap_err();
        assert!(matches!(error, Error::Down { .. }), "{error}");
        assert_eq!(AdminError::from(error).kind, Kind::Unreachable);
    }

    #[test]
    fn a_silent_daemon_is_slow_not_down() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let error = get(&socket, "/", Duration::from_millis(30)).unwrap_err();
        assert!(matches!(error, Error::Slow { .. }), "{error}");
    }

    #[test]
    fn a_closed_connection_is_broken_not_down() {
        let (_directory, socket, _thread) = daemon("");
        let error = get(&socket, "/", VIEW).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
    }

    #[test]
    fn a_query_is_encoded() {
        assert_eq!(encoded("2001:db8::1 é&x"), "2001%3Adb8%3A%3A1%20%C3%A9%26x");
    }
}
