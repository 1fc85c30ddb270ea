//! A hook that is a URL: it receives events by POST, as JSON.
//!
//! Promises: one request on its own connection, all within one time limit. Any 2xx is success; 413 and 422
//! mean that the service will never accept these events; any other status is a failure, and the message about
//! it contains the status and the start of the body. The body of a successful answer is not read. With
//! `https://`, the request is sent only after [`secure`] has verified the server. Does not follow redirects
//! or resolve names.

use std::error::Error;
use std::io;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::event::Event;
use super::{Failure, secure};
use crate::config::hooks::{HookTls, Url};
use crate::server::client::{root, send};
use crate::text;

/// How many characters of an error response's body a message shows.
const KEPT: usize = 200;
/// How long to wait for that body.
const WORDS: Duration = Duration::from_millis(200);
/// The error text if a connection ended without an answer.
pub(super) const EARLY: &str = "the connection ended early";

/// The body of a request.
#[derive(Serialize)]
struct Call<'a> {
    hook: &'a str,
    events: &'a [Event],
}

/// Sends events in one request.
pub(super) async fn post(
    url: &Url,
    tls: Option<&HookTls>,
    hook: &str,
    events: &[Event],
    limit: Duration,
) -> Result<(), Failure> {
    let later = Failure::Later;
    let body = serde_json::to_vec(&Call { hook, events }).map_err(|error| later(error.to_string()))?;
    let request = hyper::Request::post(&url.path)
        .header(HOST, &url.host)
        .header(USER_AGENT, concat!("gipam/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| later(error.to_string()))?;
    let answered = timeout(limit, call(url, tls, request)).await;
    let late = |_| later(format!("{} did not answer within {limit:?}", url.shown()));
    let (status, words) = answered.map_err(late)?.map_err(later)?;
    let failed = || format!("{} answered {status}: {}", url.shown(), text::line(&words));
    match status {
        200..=299 => Ok(()),
        413 | 422 => Err(Failure::Never(failed())),
        _ => Err(later(failed())),
    }
}

/// Returns the status and, if it is an error, the start of the body.
async fn call(
    url: &Url,
    tls: Option<&HookTls>,
    request: hyper::Request<Full<Bytes>>,
) -> Result<(u16, String), String> {
    if let Some(Err(why)) = tls.map(|tls| &tls.client) {
        return Err(secure::unusable(why));
    }
    let address = url.address.ok_or("its url has no address")?;
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| format!("cannot reach {address}: {error}"))?;
    let answer = match tls {
        None => send(stream, request).await,
        Some(tls) => send(secure::shake(stream, url, tls).await?, request).await,
    };
    let (mut answer, mut said) = (answer.map_err(|error| broken(&error, url, tls))?, Vec::new());
    if !(200..300).contains(&answer.status) {
        let reading = async {
            while let Ok(Some(piece)) = answer.piece().await
                && said.len() < KEPT
            {
                said.extend(piece);
            }
        };
        let _ = timeout(WORDS, reading).await;
    }
    Ok((answer.status, String::from_utf8_lossy(&said).trim().chars().take(KEPT).collect()))
}

/// Why there was no answer; the server may reject our certificate even after the handshake.
fn broken(error: &hyper::Error, url: &Url, tls: Option<&HookTls>) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let lost = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).next();
    if let Some(failure) = lost.zip(tls).and_then(|(lost, tls)| secure::failure(lost, url, tls)) {
        return failure;
    }
    // UnexpectedEof: a TLS connection that ended without close_notify.
    let early =
        error.is_incomplete_message() || lost.is_some_and(|lost| lost.kind() == io::ErrorKind::UnexpectedEof);
    let why = if early { EARLY.to_owned() } else { root(error) };
    format!("{} gave an invalid answer: {why}", url.shown())
}
