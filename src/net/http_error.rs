//! Errors of HTTP requests, in words that tell a user what to try next.

use std::borrow::Cow;
use std::io::{self, ErrorKind};

use serde_json::Value;
use url::Url;

use super::body;
use super::excerpt;
use super::redirect::redacted;
use super::tls_error;
use super::user_agent::{Answer, Failure, Place};
use crate::error::Error;

/// The limit for the body of an error response, in bytes: enough for any JSON that explains a refusal.
const ERROR_BODY: usize = 64 * 1024;

/// A request that failed.
#[derive(Debug)]
pub(crate) struct HttpError {
    pub(crate) error: Error,
    /// True if a connection to the server was made. Only then may another transport succeed.
    pub(crate) reached: bool,
}

impl HttpError {
    pub(crate) fn reached(error: Error) -> Self {
        HttpError { error, reached: true }
    }

    /// Names the place that the answer came from, if a redirect led there.
    pub(crate) fn at(self, place: &Place) -> Self {
        HttpError { error: place.named_in(self.error), ..self }
    }

    /// Hides the session id of the request to `url`.
    pub(super) fn without_sid(self, url: &Url) -> Self {
        HttpError { error: without_sid(self.error, url), ..self }
    }
}

/// Builds the error for an unexpected status. Servers send different bodies with it: any JSON is kept.
pub(super) fn refused(answer: Answer) -> HttpError {
    let Answer { response, place } = answer;
    let status = response.status();
    let place = place.shown();
    let body = body::read_some(response, ERROR_BODY);
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    // engine.io and engineioxide send an object with a `message`, python-engineio sends a string.
    let said = match &json {
        Some(json) => json.get("message").unwrap_or(json).as_str().map(excerpt::quotation),
        None => excerpt::of_body(&body),
    };
    let quoted = said.as_deref().map_or(String::new(), |said| format!(": {said:?}"));
    let advice = advice(status.as_u16(), &said.unwrap_or_default());
    let message = format!("the server answered the request for {place} with status {status}{quoted}{advice}");
    HttpError::reached(Error::refused(message, Some(status.as_u16()), json))
}

/// The session id in the URL of a request. Whoever reads it in a log can take over the session.
fn sid(url: &Url) -> Cow<'_, str> {
    url.query_pairs().find(|(name, _)| name == "sid").map(|(_, sid)| sid).unwrap_or_default()
}

/// Hides the session id of the request to `url` in the text of an error and in the server's JSON.
pub(crate) fn without_sid(mut error: Error, url: &Url) -> Error {
    let sid = sid(url);
    // Texts have control characters, which an id may have too, as escapes.
    let escaped = sid.escape_debug().to_string();
    let hide = |text: &mut String| {
        for id in [&*sid, &*escaped] {
            if let Cow::Owned(hidden) = excerpt::without(text, id) {
                *text = hidden;
            }
        }
    };
    match &mut error {
        Error::Connection { message, body, .. } => {
            hide(message);
            if let Some(body) = body {
                hide_in(body, &hide);
            }
        }
        Error::Protocol { message } => hide(message),
        _ => {}
    }
    error
}

/// Changes all strings in a JSON value. serde_json bounds its depth.
fn hide_in(value: &mut Value, hide: &impl Fn(&mut String)) {
    match value {
        Value::String(text) => hide(text),
        Value::Array(values) => values.iter_mut().for_each(|value| hide_in(value, hide)),
        Value::Object(fields) => fields.values_mut().for_each(|value| hide_in(value, hide)),
        _ => {}
    }
}

impl Place {
    /// The path, or all of a place that a redirect led to. The query may be secret.
    fn shown(&self) -> String {
        if self.redirected {
            format!("{} (after a redirect)", redacted(&self.url))
        } else {
            self.url.path().into()
        }
    }

    /// The error with the name of this place, if a redirect led here.
    pub(crate) fn named_in(&self, mut error: Error) -> Error {
        if let (true, Error::Connection { message, .. } | Error::Protocol { message, .. }) =
            (self.redirected, &mut error)
        {
            message.push_str(&format!("; a redirect led to {}", redacted(&self.url)));
        }
        error
    }
}

impl Failure {
    /// Builds the error, with `translate` for an error of ureq's and the first bytes of the response. It
    /// names the place that a redirect led to.
    pub(super) fn told(self, translate: impl FnOnce(ureq::Error, &[u8]) -> HttpError) -> HttpError {
        match self {
            Failure::Redirect(error) => HttpError::reached(error),
            Failure::Body { error, place } => HttpError::reached(error).at(&place),
            Failure::Exchange { error, start, place } => translate(error, &start).at(&place),
        }
    }
}

/// A hint for the user, as the end of the error's text.
fn advice(status: u16, said: &str) -> &'static str {
    let said = said.to_ascii_lowercase();
    match status {
        200 => "; there is no websocket at this path, or a proxy in front of the server refuses websockets",
        400 if said.contains("session") => {
            "; if it has several workers, a session must stay with one of them (sticky sessions)"
        }
        401 | 403 => "; the server may require credentials, in a header or as user:password@ in the URL",
        404 | 501 => {
            "; `ConnectOptions::path` sets the path of the Engine.IO endpoint, \
             which is \"socket.io\" for a Socket.IO server"
        }
        _ => "",
    }
}

/// Builds the error for a connection's first request, which fails if the URL is not that of an Engine.IO
/// server, or if the server requires a client certificate.
pub(super) fn unanswered(error: ureq::Error, start: &[u8], url: &Url, has_identity: bool) -> HttpError {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    let gone = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    match error {
        ureq::Error::Timeout(_) => HttpError::reached(Error::Timeout { what: NO_ANSWER }),
        ureq::Error::Io(e) if e.kind() == TimedOut => HttpError::reached(Error::Timeout { what: NO_ANSWER }),
        ureq::Error::Io(e) if gone.contains(&e.kind()) && tls_error::refusal(&e.to_string()).is_none() => {
            let (question, certificate) = match url.scheme() == "http" {
                true => ("does this port expect https:// or wss://, or is the path wrong?", ""),
                false if has_identity => ("is the path right?", REFUSED),
                false => ("is the path right?", CERTIFICATE),
            };
            let what = format!(
                "the server closed the connection without an answer ({question} {PATH}{certificate})"
            );
            HttpError::reached(Error::connection_from(what, e))
        }
        other => failed(other, start),
    }
}

/// A server without an Engine.IO endpoint at this path may leave the request unanswered, as servers in Node
/// do.
const PATH: &str = "`ConnectOptions::path` sets it; it is \"socket.io\" for a Socket.IO server";
/// The system may discard the server's TLS alert, which says so, when the connection is reset.
const CERTIFICATE: &str = "; or the server requires a client certificate: `client_certificate` sets it";
const REFUSED: &str = "; or the server refused the client certificate";
const NO_ANSWER: &str = "waiting for the server's HTTP response (is the path right? \
     `ConnectOptions::path` sets it; it is \"socket.io\" for a Socket.IO server)";

/// Builds the error for a request that got no response, or none that could be read.
pub(super) fn failed(error: ureq::Error, start: &[u8]) -> HttpError {
    HttpError::reached(match error {
        // Only errors of our own connector pass through ureq as `Other`.
        ureq::Error::Other(other) => match other.downcast::<Error>() {
            Ok(own) => return HttpError { error: *own, reached: false },
            Err(other) => Error::connection_from("the HTTP request failed", other),
        },
        ureq::Error::Timeout(_) => timed_out(),
        ureq::Error::Io(e) => return io_failed(e),
        ureq::Error::BodyExceedsLimit(limit) => {
            let what =
                "; for an answer to a poll, the limit is 1.5 times the size that `max_message_size` sets";
            Error::protocol(format!("the server's response exceeds the limit of {limit} bytes{what}"))
        }
        // ureq's own text shows the whole URL, whose query may be secret.
        ureq::Error::RequireHttpsOnly(url) => {
            let location = url.parse().map_or_else(|_| "a server".into(), |url| redacted(&url));
            let what = format!("ureq's agent allows https only, and {location} is not https");
            return HttpError { error: Error::connection(what), reached: false };
        }
        ureq::Error::LargeResponseHeader(_, limit) => {
            Error::protocol(format!("the head of the server's response exceeds the limit of {limit} bytes"))
        }
        // The type of `e` has no public name, so only its text tells the variants apart.
        ureq::Error::Protocol(e) if format!("{e:?}") == "OutputOverflow" => {
            let what =
                "a header of the request, or its URL, exceeds the `output_buffer_size` of ureq's agent";
            return HttpError { error: Error::connection_from(what, e), reached: false };
        }
        ureq::Error::Protocol(e) => match malformed(&e.to_string(), start) {
            Some(what) => Error::connection_from(what, e),
            // The cause says what is wrong.
            None => Error::connection_from("the server's response is not valid HTTP", e),
        },
        other => Error::connection_from("the HTTP request failed", other),
    })
}

/// Says what is wrong with a response, from ureq's text and the first bytes, if it is known in better words.
fn malformed(text: &str, start: &[u8]) -> Option<String> {
    // An alert, or another record of TLS (RFC 8446, section 5.1).
    if matches!(start, [20..=23, 3, 0..=4, ..]) {
        return Some("the server speaks TLS on this port: use https:// or wss://".into());
    }
    if !start.is_empty() && !start.starts_with(b"HTTP/") {
        let shown = excerpt::quotation(&String::from_utf8_lossy(&start[..start.len().min(20)]));
        return Some(format!("the server's response is not HTTP: it starts with {shown:?}"));
    }
    let what = match text.trim_start_matches("http parse fail: ") {
        "invalid header name" => {
            "a header has a line without a name, such as a folded one, or a space or another invalid \
             character in front of its colon"
        }
        "invalid header value" => "a header's value has an invalid character",
        "http parse resulted in too many headers" => "it has more than 128 headers",
        "content-length header not a number" => "its content-length is not a number",
        "conflicting content-length headers" => "it has two values of content-length",
        _ => return None,
    };
    Some(format!("the server's response is not valid HTTP: {what}"))
}

fn io_failed(error: io::Error) -> HttpError {
    if error.kind() == ErrorKind::TimedOut {
        return HttpError::reached(timed_out());
    }
    match tls_error::refusal(&error.to_string()) {
        // With TLS 1.3 the server's refusal of the handshake arrives after the handshake.
        Some(refusal) => HttpError { error: Error::connection_from(refusal, error), reached: false },
        None => HttpError::reached(Error::connection_from("the connection to the server broke", error)),
    }
}

fn timed_out() -> Error {
    Error::Timeout { what: "waiting for the server's HTTP response" }
}
