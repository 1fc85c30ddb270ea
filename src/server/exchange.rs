//! One request and its answer, converted between the HTTP library's types and ours.
//!
//! Promises: a handler sees only complete requests; the answer is marked as given in the same step in which
//! the library receives it; the owner of the listener writes every refusal. Does not write to the connection
//! itself.

use super::delivery::Delivery;
use super::message::{CutOff, DoorRefusal, Handler, HttpRequest, Later, Limits, Peer, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What all requests of one connection share.
pub(super) struct Exchange<H> {
    /// The owner of the listener.
    pub(super) handler: Arc<H>,
    /// The limits of the listener.
    pub(super) limits: Arc<Limits>,
    /// The client at the other end.
    pub(super) peer: Peer,
    /// The state of the connection.
    pub(super) delivery: Arc<Delivery>,
}

impl<H: Handler> Exchange<H> {
    /// Serves one request whose head has arrived.
    pub(super) async fn answer(&self, request: hyper::Request<Incoming>) -> hyper::Response<AnswerBody> {
        let (head, body) = request.into_parts();
        let bare = head.method == Method::HEAD;
        match self.read(body).await {
            Ok(body) => {
                self.delivery.whole();
                let (method, uri, fields) = (head.method, head.uri, head.headers);
                let request = HttpRequest { method, uri, fields, body, peer: self.peer };
                let response = self.handler.handle(request).await;
                // From here until the return, this future cannot be dropped.
                // The answer to HEAD does not have a body, so its later part is dropped.
                self.give(if bare { Response { later: None, ..response } } else { response }, false)
            }
            Err(why) => {
                let response = self.handler.refuse(why);
                self.delivery.refused();
                self.give(response, true)
            }
        }
    }

    /// Marks the answer as given and passes it to the library.
    fn give(&self, response: Response, close: bool) -> hyper::Response<AnswerBody> {
        let close = self.delivery.answered(response.undelivered, response.later.is_some()) || close;
        let now = Some(Bytes::from(response.body)).filter(|body| !body.is_empty());
        let mut answer =
            hyper::Response::new(AnswerBody { now, later: response.later, delivery: self.delivery.clone() });
        *answer.status_mut() = status(response.status);
        fill(answer.headers_mut(), response.fields, response.content_type, close);
        answer
    }

    /// Reads a whole body, within the limits.
    async fn read(&self, body: Incoming) -> Result<Vec<u8>, DoorRefusal> {
        if body.is_end_stream() {
            return Ok(Vec::new());
        }
        let limit = self.limits.body;
        tokio::time::timeout(limit, collect(body, self.limits.max_body))
            .await
            .unwrap_or_else(|_| Err(DoorRefusal::late("body", limit)))
    }
}

/// The body of an answer: the part that is ready, and the part that follows later.
pub(super) struct AnswerBody {
    now: Option<Bytes>,
    later: Option<Later>,
    delivery: Arc<Delivery>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if let Some(now) = self.now.take() {
            return Poll::Ready(Some(Ok(Frame::data(now))));
        }
        let Some(later) = self.later.as_mut() else { return Poll::Ready(None) };
        let piece = ready!(later.poll_recv(context));
        if piece.is_none() {
            self.later = None;
            self.delivery.completed();
        }
        Poll::Ready(piece.map(|piece| piece.map(|piece| Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.now.is_none() && self.later.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.later {
            None => SizeHint::with_exact(self.now.as_ref().map_or(0, |now| now.len() as u64)),
            Some(_) => SizeHint::default(),
        }
    }
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Vec<u8>, DoorRefusal> {
    let too_large =
        || DoorRefusal::new(413, format!("the request body is larger than {limit} bytes; send less"));
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(too_large());
    }
    // `announced` is at most `limit` here, so it fits.
    let mut whole = Vec::with_capacity(announced as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            DoorRefusal::new(400, format!("the request body is broken ({}); send it whole", root(&error)))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(too_large());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

/// A status code, or 500 if the number is invalid or informational (1xx).
pub(super) fn status(code: u16) -> StatusCode {
    match StatusCode::from_u16(code) {
        Ok(status) if !status.is_informational() => status,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn fill(
    headers: &mut HeaderMap,
    fields: &[(&'static str, &'static str)],
    content_type: &'static str,
    close: bool,
) {
    // Does not copy the text.
    let value = |text: &'static str| HeaderValue::from_maybe_shared(Bytes::from_static(text.as_bytes()));
    for (name, text) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value(text)) {
            headers.insert(name, value);
        }
    }
    if !content_type.is_empty()
        && let Ok(value) = value(content_type)
    {
        headers.insert(CONTENT_TYPE, value);
    }
    if close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The innermost message of an error, which says what was wrong.
pub fn root(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
