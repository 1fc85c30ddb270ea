//! A hook that is a URL: it gets events with POST, as JSON.
//!
//! Promises: one request over a connection of its own, all within one time limit. Any 2xx is success; 413 and 422 mean that
//! the service will never take these events; every other answer is a failure, whose status and first words are kept for the
//! message. Of a successful answer only the head is read. With `https://` nothing is sent before [`secure`] has checked the
//! server. Follows no redirect and looks up no name.

use std::error::Error;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::event::Event;
use super::{Failure, secure};
use crate::config::hooks::{HookTls, Url};
use crate::server::client::{converse, root};
use crate::text;

/// How much of a refusal's words a message shows.
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

/// The status, and of a refusal its first words.
async fn call(
    url: &Url,
    tls: Option<&HookTls>,
    request: hyper::Request<Full<Bytes>>,
) -> Result<(u16, String), String> {
    if let Some(Err(why)) = tls.map(|tls| &tls.client) {
        return Err(secure::unusable(why));
    }
    let stream = TcpStream::connect(url.address).await;
    let stream = stream.map_err(|error| format!("cannot reach {}: {error}", url.address))?;
    let answer = match tls {
        None => converse(stream, request, answer).await,
        Some(tls) => {
            let stream = secure::shake(stream, url, tls).await?;
            converse(stream, request, answer).await
        }
    };
    answer.map_err(|error| broken(&error, url, tls))
}

async fn answer(answer: hyper::Response<Incoming>) -> (u16, String) {
    let (status, mut body, mut said) = (answer.status(), answer.into_body(), Vec::new());
    if !status.is_success() {
        let reading = async {
            while let Some(Ok(frame)) = body.frame().await {
                said.extend(frame.into_data().unwrap_or_default());
                if said.len() >= KEPT {
                    break;
                }
            }
        };
        let _ = timeout(WORDS, reading).await;
    }
    (status.as_u16(), String::from_utf8_lossy(&said).trim().chars().take(KEPT).collect())
}

/// Why there was no answer: the other side may refuse what it was shown after the handshake, too.
fn broken(error: &hyper::Error, url: &Url, tls: Option<&HookTls>) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let lost = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).next();
    if let Some(failure) = lost.zip(tls).and_then(|(lost, tls)| secure::failure(lost, url, tls)) {
        return failure;
    }
    // The latter is a TLS connection that ended without close_notify.
    let early =
        error.is_incomplete_message() || lost.is_some_and(|lost| lost.kind() == io::ErrorKind::UnexpectedEof);
    let why = if early { EARLY.to_owned() } else { root(error) };
    format!("{} gave an invalid answer: {why}", url.shown())
}
