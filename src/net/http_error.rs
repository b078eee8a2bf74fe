//! Errors of HTTP requests, in words that tell a user what to try next.

use std::io::{self, ErrorKind};

use super::body;
use super::redirect::redacted;
use super::tls_error;
use super::user_agent::{Answer, Failure, Place};
use crate::error::Error;
use serde_json::Value;

/// The limit for the body of an error response, in bytes: enough for any JSON that explains a refusal.
pub(super) const ERROR_BODY: usize = 64 * 1024;

/// The limit for a quotation of the server's text, in characters.
const QUOTED: usize = 200;

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
}

/// Builds the error for an unexpected status. Servers send different bodies with it: any JSON is kept.
pub(super) fn refused(answer: Answer) -> HttpError {
    let Answer { response, place } = answer;
    let status = response.status();
    let (path, query) = (place.shown(), place.url.query().unwrap_or_default());
    let sid = query.split('&').find_map(|pair| pair.strip_prefix("sid=")).unwrap_or_default().to_owned();
    let body = body::read_some(response, ERROR_BODY);
    let body: Option<Value> = serde_json::from_slice(&body).ok();
    // engine.io and engineioxide send an object with a `message`, python-engineio sends a string.
    let said = body.as_ref().and_then(|body| body.get("message").unwrap_or(body).as_str());
    // The session id is hidden: anybody who reads it in a log can take over the session.
    let said = said.map(|said| if sid.is_empty() { said.to_owned() } else { said.replace(&sid, "***") });
    let quote = |said: &str| format!(": {:?}", said.chars().take(QUOTED).collect::<String>());
    let quoted = said.as_deref().map_or(String::new(), quote);
    let advice = advice(status.as_u16(), &said.unwrap_or_default());
    HttpError::reached(Error::Connection {
        message: format!("the server answered the request for {path} with status {status}{quoted}{advice}"),
        status: Some(status.as_u16()),
        body: body.map(Box::new),
        source: None,
    })
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
}

impl Failure {
    /// Builds the error, with `translate` for an error of ureq's. It names the place that a redirect led to.
    pub(super) fn told(self, translate: impl FnOnce(ureq::Error) -> HttpError) -> HttpError {
        let (mut told, place) = match self {
            Failure::Redirect(error) => return HttpError::reached(error),
            Failure::Body { error, place } => (HttpError::reached(error), place),
            Failure::Exchange { error, place } => (translate(error), place),
        };
        if let (true, Error::Connection { message, .. } | Error::Protocol { message, .. }) =
            (place.redirected, &mut told.error)
        {
            message.push_str(&format!("; a redirect led to {}", redacted(&place.url)));
        }
        told
    }
}

/// A hint for the user, as the end of the error's text.
fn advice(status: u16, said: &str) -> &'static str {
    let said = said.to_ascii_lowercase();
    match status {
        200 => "; the server, or a proxy in front of it, does not support websockets here",
        400 if said.contains("session") => {
            "; if it has several workers, a session must stay with one of them (sticky sessions)"
        }
        401 | 403 => "; the server may require credentials, in a header or as user:password@ in the URL",
        404 => {
            "; is this the path of the Engine.IO endpoint? `ConnectOptions::path` sets it; \
             for a Socket.IO server it is \"socket.io\""
        }
        _ => "",
    }
}

/// Builds the error for a connection's first request, which fails if the URL is not that of an Engine.IO
/// server.
pub(super) fn unanswered(error: ureq::Error, url: &str) -> HttpError {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    let gone = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    match error {
        ureq::Error::Timeout(_) => HttpError::reached(Error::Timeout { what: NO_ANSWER }),
        ureq::Error::Io(e) if e.kind() == TimedOut => HttpError::reached(Error::Timeout { what: NO_ANSWER }),
        ureq::Error::Io(e) if gone.contains(&e.kind()) && tls_error::refusal(&e.to_string()).is_none() => {
            let scheme =
                if url.starts_with("http://") { "; is it https:// or wss:// on this port?" } else { "" };
            let what = format!("the server closed the connection without an answer{scheme}; {PATH}");
            HttpError::reached(Error::connection_from(what, e))
        }
        other => failed(other),
    }
}

/// A server without an Engine.IO endpoint at this path may leave the request unanswered, as servers in Node
/// do.
const PATH: &str =
    "is the path right? `ConnectOptions::path` sets it; for a Socket.IO server it is \"socket.io\"";
const NO_ANSWER: &str = "waiting for the server's HTTP response; is the path right? \
     `ConnectOptions::path` sets it; for a Socket.IO server it is \"socket.io\"";

/// Builds the error for a request that got no response, or none that could be read.
pub(super) fn failed(error: ureq::Error) -> HttpError {
    HttpError::reached(match error {
        // Only errors of our own connector pass through ureq as `Other`.
        ureq::Error::Other(other) => match other.downcast::<Error>() {
            Ok(own) => return HttpError { error: *own, reached: false },
            Err(other) => Error::connection_from("the HTTP request failed", other),
        },
        ureq::Error::Timeout(_) => timed_out(),
        ureq::Error::Io(e) => return io_failed(e),
        ureq::Error::BodyExceedsLimit(limit) => {
            Error::protocol(format!("the server's response exceeds the limit of {limit} bytes"))
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
        ureq::Error::Protocol(e) => Error::connection_from(
            "the server's response is not HTTP; if the server speaks TLS on this port, use https:// or wss://",
            e,
        ),
        other => Error::connection_from("the HTTP request failed", other),
    })
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
