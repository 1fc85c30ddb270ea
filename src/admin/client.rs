//! How a command talks to the daemon: one HTTP/1.1 request over the admin socket.
//!
//! Promises: distinguishes a daemon that is down, one whose socket the user may not open, and one that does not answer in
//! time; a refusal keeps its kind; no request is retried. Does not parse or print answers.

use std::path::Path;
use std::time::Duration;

use crate::plan::error::{ErrorKind, Refusal};
pub use crate::server::client::encoded;
use crate::server::client::{ClientError, HttpReply, blocking, open, piece, request_blocking, whole, within};

/// Time limit for a view.
pub const VIEW: Duration = Duration::from_secs(15);
/// Time limit for changes.
pub const CHANGE: Duration = Duration::from_secs(120);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "no daemon answers at {socket}; start it with gipam serve, or give another socket with --admin PATH"
    )]
    Down { socket: String },
    /// The daemon listens, but did not answer.
    #[error(transparent)]
    NoAnswer(ClientError),
    /// The daemon refused.
    #[error(transparent)]
    Refused(Refusal),
}

/// Sends a `GET` for a path with its query.
pub fn get(socket: &Path, path: &str, limit: Duration) -> Result<Vec<u8>, AskError> {
    ask(socket, "GET", path, Vec::new(), limit)
}

/// Sends a `GET` whose answer may be long, and passes each piece to `take` as it arrives; `limit` applies to each piece.
pub fn get_pieces<E>(
    socket: &Path,
    path: &str,
    limit: Duration,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Result<(), E>, AskError> {
    blocking(async {
        let mut answer = within(socket, limit, open(socket, "GET", path, Vec::new())).await?;
        if !(200..300).contains(&answer.status) {
            return Err(AskError::Refused(refusal(&within(socket, limit, whole(socket, answer)).await?)));
        }
        while let Some(piece) = within(socket, limit, piece(socket, &mut answer)).await? {
            if let Err(error) = take(&piece) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    })
}

impl From<ClientError> for AskError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable { path, .. } => Self::Down { socket: path.display().to_string() },
            other => Self::NoAnswer(other),
        }
    }
}

/// Sends a `POST` with JSON to a path.
pub fn post(
    socket: &Path,
    path: &str,
    body: &serde_json::Value,
    limit: Duration,
) -> Result<Vec<u8>, AskError> {
    ask(socket, "POST", path, body.to_string().into_bytes(), limit)
}

fn ask(socket: &Path, method: &str, path: &str, body: Vec<u8>, limit: Duration) -> Result<Vec<u8>, AskError> {
    let reply = request_blocking(socket, method, path, body, limit)?;
    if (200..300).contains(&reply.status) { Ok(reply.body) } else { Err(AskError::Refused(refusal(&reply))) }
}

/// The refusal in an answer; if the answer cannot be parsed, a refusal that quotes it.
fn refusal(reply: &HttpReply) -> Refusal {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| {
        let quoted: String = String::from_utf8_lossy(&reply.body).chars().take(200).collect();
        Refusal::new(
            ErrorKind::Failed,
            format!("the daemon answered {}: {}", reply.status, quoted.escape_debug()),
        )
    })
}

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(refused) => refused,
            error => Self::new(ErrorKind::Unreachable, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    /// Answers one request with these bytes and returns the request.
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
        let error = Refusal::from(post(&socket, "/v1/release", &body, CHANGE).unwrap_err());
        assert_eq!(error, Refusal::new(ErrorKind::Missing, "no such"));
    }

    #[test]
    fn an_answer_of_another_program_is_quoted() {
        let (_directory, socket, _thread) = daemon("HTTP/1.1 400 Bad\r\ncontent-length: 4\r\n\r\nwhat");
        let error = Refusal::from(get(&socket, "/", VIEW).unwrap_err());
        assert_eq!(error.text, "the daemon answered 400: what");
    }

    #[test]
    fn without_a_listener_the_daemon_is_down_and_unreachable() {
        let error = get(Path::new("/nowhere/admin.sock"), "/", VIEW).unwrap_err();
        assert!(matches!(error, AskError::Down { .. }), "{error}");
        assert_eq!(Refusal::from(error).kind, ErrorKind::Unreachable);
    }

    #[test]
    fn a_silent_daemon_is_slow_not_down() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let error = get(&socket, "/", Duration::from_millis(30)).unwrap_err();
        assert!(matches!(error, AskError::NoAnswer(_)), "{error}");
        assert!(error.to_string().contains("did not answer within 30ms"), "{error}");
    }

    #[test]
    fn a_closed_connection_is_broken_not_down() {
        let (_directory, socket, _thread) = daemon("");
        let error = get(&socket, "/", VIEW).unwrap_err();
        assert!(matches!(error, AskError::NoAnswer(_)), "{error}");
        assert!(error.to_string().contains("gave an invalid answer"), "{error}");
    }

    #[test]
    fn a_query_is_encoded() {
        assert_eq!(encoded("2001:db8::1 é&x"), "2001%3Adb8%3A%3A1+%C3%A9%26x");
    }
}
