//! A hook that is a URL: it gets events with POST, as JSON.
//!
//! Promises: one request over a connection of its own, all within one time limit. Any 2xx is success; 413 and 422 mean that
//! the service will never take these events; every other answer is a failure, whose status and first words are kept for the
//! message. Of a successful answer only the head is read. With `https://` nothing is sent before [`secure`] has checked the
//! server. Follows no redirect and looks up no name.

use std::io;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::event::Event;
use super::{Failure, secure};
use crate::config::hooks::{Tls, Url};
use crate::text;

/// The longest head of an answer.
const MAX_HEAD: usize = 16 << 10;
/// Most fields in it.
const MAX_FIELDS: usize = 64;
/// How much of a refusal's words stands in a message.
const KEPT: usize = 200;
/// And how long to wait for these.
const WORDS: Duration = Duration::from_millis(200);
/// Why a connection ended without an answer.
pub(super) const EARLY: &str = "it ended early";

/// The request.
#[derive(Serialize)]
struct Call<'a> {
    hook: &'a str,
    events: &'a [Event],
}

/// Sends these events.
pub(super) async fn post(
    url: &Url,
    tls: Option<&Tls>,
    hook: &str,
    events: &[Event],
    limit: Duration,
) -> Result<(), Failure> {
    let later = Failure::Later;
    let body = serde_json::to_vec(&Call { hook, events }).map_err(|error| later(error.to_string()))?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: gipam/{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        url.path,
        url.host,
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    let answered = timeout(limit, call(url, tls, &[head.into_bytes(), body].concat())).await;
    let late = |_| later(format!("{} did not answer within {limit:?}", url.shown()));
    let (status, words) = answered.map_err(late)?.map_err(later)?;
    let failed = || format!("{} answered {status}: {}", url.shown(), text::line(&words));
    match status {
        200..=299 => Ok(()),
        413 | 422 => Err(Failure::Never(failed())),
        _ => Err(later(failed())),
    }
}

/// The status, and of a refusal its first words.
async fn call(url: &Url, tls: Option<&Tls>, request: &[u8]) -> Result<(u16, String), String> {
    let broken = |error: io::Error| {
        let failure = tls.and_then(|tls| secure::failure(&error, url, tls));
        failure.map_or_else(
            || format!("{} gave an invalid answer: {error}", url.shown()),
            |failure| failure.to_string(),
        )
    };
    if let Some(Err(why)) = tls.map(|tls| &tls.client) {
        return Err(secure::Failure::Files(why.clone()).to_string());
    }
    let stream = TcpStream::connect(url.address).await;
    let stream = stream.map_err(|error| format!("cannot reach {}: {error}", url.address))?;
    match tls {
        None => exchange(stream, request).await.map_err(broken),
        Some(tls) => {
            let stream = secure::shake(stream, url, tls).await.map_err(|failure| failure.to_string())?;
            exchange(stream, request).await.map_err(broken)
        }
    }
}

/// Sends over an open connection, with or without TLS.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> io::Result<(u16, String)> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    loop {
        match status(&answer).map_err(io::Error::other)? {
            // An interim answer such as 100; the final one follows.
            Some((100..=199, length)) => drop(answer.drain(..length)),
            Some((status @ 200..=299, _)) => return Ok((status, String::new())),
            Some((status, length)) => {
                answer.drain(..length);
                let _ = timeout(WORDS, (&mut stream).take(KEPT as u64).read_to_end(&mut answer)).await;
                let text = String::from_utf8_lossy(&answer);
                return Ok((status, text.trim().chars().take(KEPT).collect()));
            }
            None if answer.len() > MAX_HEAD => return Err(io::Error::other("its head is too long")),
            None => match stream.read_buf(&mut answer).await {
                Ok(0) => return Err(io::Error::other(EARLY)),
                // A TLS connection that ended without close_notify.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(io::Error::other(EARLY));
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            },
        }
    }
}

/// The status in the head of an answer and the length of that head, when all of it is there.
fn status(answer: &[u8]) -> Result<Option<(u16, usize)>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    Ok(match head.parse(answer)? {
        httparse::Status::Complete(length) => head.code.map(|code| (code, length)),
        httparse::Status::Partial => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_when_the_head_is_whole_and_nonsense_is_refused() {
        let whole = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n";
        assert_eq!(status(whole), Ok(Some((204, whole.len()))));
        assert_eq!(status(b"HTTP/1.0 503\r\n\r\nbusy"), Ok(Some((503, 16))));
        for length in 0..whole.len() {
            assert_eq!(status(&whole[..length]), Ok(None), "{length}");
        }
        assert!(status(b"SSH-2.0-OpenSSH\r\n").is_err());
    }
}
