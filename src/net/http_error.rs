//! What a failed request means to a user.

use std::io::ErrorKind;

use serde_json::Value;
use ureq::http::Uri;
use ureq::{Body, ResponseExt};

use super::tls_error;
use crate::error::Error;

/// How much of an error's body is read, in bytes: enough for any JSON that explains a refusal.
pub(super) const ERROR_BODY: usize = 64 * 1024;

/// How much of what the server says is quoted, in characters.
const QUOTED: usize = 200;

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct HttpError {
    pub(crate) error: Error,
    /// A connection to the server was made, and another transport may do better with it.
    pub(crate) reached: bool,
}

impl HttpError {
    pub(crate) fn reached(error: Error) -> Self {
        HttpError { error, reached: true }
    }
}

/// The error for an unexpected status. Servers differ in the body they send with it: any JSON is kept.
pub(super) fn refused(response: ureq::http::Response<Body>) -> HttpError {
    let status = response.status();
    let (path, query) =
        (response.get_uri().path().to_owned(), response.get_uri().query().unwrap_or_default());
    let sid = query.split('&').find_map(|pair| pair.strip_prefix("sid=")).unwrap_or_default().to_owned();
    let body = response.into_body().with_config().limit(ERROR_BODY as u64).read_to_vec().unwrap_or_default();
    let body: Option<Value> = serde_json::from_slice(&body).ok();
    // engine.io and engineioxide send an object with a message, python-engineio a string.
    let said = body.as_ref().and_then(|body| body.get("message").unwrap_or(body).as_str());
    // Who reads it in a log could take the session over.
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

/// What to try.
fn advice(status: u16, said: &str) -> &'static str {
    let said = said.to_ascii_lowercase();
    match status {
        200 => "; it does not know websockets here, or something in between does not",
        400 if said.contains("session") => {
            "; if it has several workers, a session must stay with one of them (sticky sessions)"
        }
        401 | 403 => "; it may want credentials, in a header or as user:password@ in the URL",
        404 => {
            "; is that the path of its Engine.IO endpoint? `ConnectOptions::path` sets it, a Socket.IO server's is \"socket.io\""
        }
        _ => "",
    }
}

/// The error for a first request, which tells whether the URL is that of an Engine.IO server.
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

/// Servers that are not Engine.IO's at this path may leave the request unanswered: node's do.
const PATH: &str = "is the path right? `ConnectOptions::path` sets it, a Socket.IO server's is \"socket.io\"";
const NO_ANSWER: &str = "waiting for the server's HTTP response; is the path right? `ConnectOptions::path` sets it, \
     a Socket.IO server's is \"socket.io\"";

pub(super) fn failed(error: ureq::Error) -> HttpError {
    let late = || Error::Timeout { what: "waiting for the server's HTTP response" };
    HttpError::reached(match error {
        // The dialer's errors, and nothing else, travel through ureq like this.
        ureq::Error::Other(other) => match other.downcast::<Error>() {
            Ok(own) => return HttpError { error: *own, reached: false },
            Err(other) => Error::connection_from("the HTTP request failed", other),
        },
        ureq::Error::Timeout(_) => late(),
        ureq::Error::Io(e) if e.kind() == ErrorKind::TimedOut => late(),
        ureq::Error::BodyExceedsLimit(limit) => {
            Error::protocol(format!("the server's response is above the limit of {limit} bytes"))
        }
        ureq::Error::Io(e) => match tls_error::refusal(&e.to_string()) {
            // Late news of the handshake.
            Some(refusal) => {
                return HttpError { error: Error::connection_from(refusal, e), reached: false };
            }
            None => Error::connection_from("the connection to the server broke", e),
        },
        // It has the whole URL, whose query may be secret.
        ureq::Error::RequireHttpsOnly(url) => {
            let place = url.parse().map_or_else(|_| "a server".into(), |uri| redacted(&uri));
            let what = format!("ureq's agent is for https only, and {place} is not");
            return HttpError { error: Error::connection(what), reached: false };
        }
        ureq::Error::LargeResponseHeader(_, limit) => {
            Error::protocol(format!("the head of the server's response is above the limit of {limit} bytes"))
        }
        // The type of these errors has no public name.
        ureq::Error::Protocol(e) if format!("{e:?}") == "OutputOverflow" => {
            let what =
                "a header of the request, or its URL, is above the `output_buffer_size` of ureq's agent";
            return HttpError { error: Error::connection_from(what, e), reached: false };
        }
        ureq::Error::Protocol(e) => Error::connection_from(
            "the server's answer is not HTTP; does it speak TLS on this port? then it is https:// or wss://",
            e,
        ),
        other => Error::connection_from("the HTTP request failed", other),
    })
}

/// The URL without its credentials and query, which may be secret.
pub(super) fn redacted(uri: &Uri) -> String {
    let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
    let port =
        uri.port_u16().filter(|port| (scheme, *port) != ("http", 80) && (scheme, *port) != ("https", 443));
    format!("{scheme}://{host}{}{}", port.map_or(String::new(), |port| format!(":{port}")), uri.path())
}
