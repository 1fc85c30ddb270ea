//! A hook that is a web address: events are sent there with POST, as JSON.
//!
//! Promises: one request over a connection of its own, all within one time limit; any 2xx is success, every other answer
//! a failure whose status and first words are kept for the message. Follows no redirect and looks up no name.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::event::Event;
use crate::config::hooks::Url;

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 10;
/// How much of it stands in a message.
const KEPT: usize = 200;

/// What is sent.
#[derive(Serialize)]
struct Call<'a> {
    hook: &'a str,
    events: &'a [Event],
}

/// Sends these events.
pub(super) async fn post(url: &Url, hook: &str, events: &[Event], limit: Duration) -> Result<(), String> {
    let body = serde_json::to_vec(&Call { hook, events }).map_err(|error| error.to_string())?;
    let request = hyper::Request::post(&url.path)
        .header(HOST, &url.host)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("gipam/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let answered = timeout(limit, exchange(url, request)).await;
    match answered.map_err(|_| format!("{} did not answer within {limit:?}", url.text))?? {
        (200..=299, _) => Ok(()),
        (status, text) => {
            let text: String = text.trim().chars().take(KEPT).collect();
            Err(format!("{} answered {status}: {}", url.text, text.escape_debug()))
        }
    }
}

async fn exchange(url: &Url, request: hyper::Request<Full<Bytes>>) -> Result<(u16, String), String> {
    let broken = |error: hyper::Error| format!("{} gave no proper answer: {}", url.text, root(&error));
    let stream = TcpStream::connect(url.address);
    let stream = stream.await.map_err(|error| format!("{} cannot be reached: {error}", url.address))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status().as_u16();
        // The status says it all; a body that is too long or cut off is only words.
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let text =
            body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        Ok((status, text))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

/// What is at the bottom of an error.
fn root(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
