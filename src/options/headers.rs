//! The check and the conversion of headers that users add.

use ureq::http::header::{COOKIE, HeaderName, HeaderValue};

use crate::error::{Error, Result};
use crate::net::{Headers, cookies};

/// Converts headers into the form in which they are sent, and takes the cookies out of them.
pub(super) fn parse_headers(option: &'static str, headers: &[(String, String)]) -> Result<Headers> {
    let mut parsed = Headers::default();
    for (name, value) in headers {
        let invalid = |what: &str| Error::option(option, format!("{name:?} {what}"));
        let header = name.parse::<HeaderName>().map_err(|_| invalid("is not a valid header name"))?;
        let mut header_value: HeaderValue = value.parse().map_err(|_| invalid(what_is_wrong(value)))?;
        if RESERVED_HEADERS.contains(&header.as_str()) {
            return Err(invalid("is set by the client itself"));
        }
        if header == COOKIE {
            parsed.cookies.extend(cookies::parse(value));
        } else {
            // Headers may have credentials, so their values are hidden in `Debug` output.
            header_value.set_sensitive(true);
            parsed.plain.push((header, header_value));
        }
    }
    Ok(parsed)
}

fn what_is_wrong(value: &str) -> &'static str {
    if value.contains(['\r', '\n']) {
        "has a line break in its value; text that is read from a file may end with one"
    } else {
        "has a control character in its value"
    }
}

/// The headers that users cannot set: they frame a request or its answer, or the websocket's handshake needs
/// them as they are.
const RESERVED_HEADERS: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "range",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn header_names(headers: &[(String, String)]) -> Vec<&str> {
    headers.iter().map(|(name, _)| name.as_str()).collect()
}
