//! One request and its answer, between the HTTP library's types and ours.
//!
//! Promises that a handler sees only whole requests, that the answer is marked as given in the same step in
//! which the library receives it, and that what is refused is worded by the owner. It writes nothing.

use super::delivery::Delivery;
use super::message::{Handler, Limits, Peer, Refusal, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use std::sync::Arc;

/// What every request of one connection shares.
pub(super) struct Exchange<H> {
    /// The owner of the door.
    pub(super) handler: Arc<H>,
    /// The limits of the door.
    pub(super) limits: Arc<Limits>,
    /// Who is at the other end.
    pub(super) peer: Peer,
    /// Where the connection stands.
    pub(super) delivery: Arc<Delivery>,
}

impl<H: Handler> Exchange<H> {
    /// Serves one request whose head has arrived.
    pub(super) async fn answer(&self, request: hyper::Request<Incoming>) -> hyper::Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        match self.read(body).await {
            Ok(body) => {
                self.delivery.whole();
                let request = Request {
                    method: head.method.as_str().to_owned(),
                    path: head.uri.path().to_owned(),
                    query: head.uri.query().map(str::to_owned),
                    body,
                    peer: self.peer,
                    fields: wanted(&head.headers, H::FIELDS),
                };
                let response = self.handler.handle(request).await;
                // From here to the return there is no point at which this future could be dropped.
                self.give(response, false)
            }
            Err(why) => {
                let response = self.handler.refuse(why);
                self.delivery.refused();
                self.give(response, true)
            }
        }
    }

    /// Marks the answer as given and hands it to the library.
    fn give(&self, response: Response, close: bool) -> hyper::Response<Full<Bytes>> {
        let close = self.delivery.answered(response.undelivered) || close;
        let mut answer = hyper::Response::new(Full::new(Bytes::from(response.body)));
        *answer.status_mut() = status(response.status);
        fill(answer.headers_mut(), response.fields, response.content_type, close);
        answer
    }

    /// Reads a whole body, within the limits.
    async fn read(&self, body: Incoming) -> Result<Vec<u8>, Refusal> {
        if body.is_end_stream() {
            return Ok(Vec::new());
        }
        let limit = self.limits.body;
        tokio::time::timeout(limit, collect(body, self.limits.max_body))
            .await
            .unwrap_or(Err(Refusal::BodyTimeout { limit }))
    }
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Vec<u8>, Refusal> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(Refusal::BodyTooLarge { limit });
    }
    // `announced` is at most `limit` here, so it fits.
    let mut whole = Vec::with_capacity(announced as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::BrokenBody(root(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

/// A status code, or 500 for a number that is none.
pub(super) fn status(code: u16) -> StatusCode {
    match StatusCode::from_u16(code) {
        Ok(status) if !status.is_informational() => status,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The fields of a head that a handler wants, with those of their values that are text.
fn wanted(head: &HeaderMap, names: &'static [&'static str]) -> Vec<(&'static str, String)> {
    let value = |name: &&'static str| Some((*name, head.get(*name)?.to_str().ok()?.to_owned()));
    names.iter().filter_map(value).collect()
}

fn fill(
    headers: &mut HeaderMap,
    fields: &[(&'static str, &'static str)],
    content_type: &'static str,
    close: bool,
) {
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.insert(name, value);
        }
    }
    if !content_type.is_empty()
        && let Ok(value) = HeaderValue::from_str(content_type)
    {
        headers.insert(CONTENT_TYPE, value);
    }
    if close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The innermost text of an error, which says what was wrong.
pub(super) fn root(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
