use ureq::http::header::{COOKIE, HeaderName, HeaderValue};

use crate::error::{Error, Result};
use crate::net::{Headers, cookies};

/// The headers in the form that goes on the wire, and the cookies among them.
pub(super) fn parse_headers(option: &'static str, headers: &[(String, String)]) -> Result<Headers> {
    let mut parsed = Headers::default();
    for (name, value) in headers {
        let invalid = |what: &str| Error::option(option, format!("{name:?} {what}"));
        let header = name.parse::<HeaderName>().map_err(|_| invalid("is not a header's name"))?;
        let mut header_value: HeaderValue = value.parse().map_err(|_| invalid(what_is_wrong(value)))?;
        if RESERVED_HEADERS.contains(&header.as_str()) {
            return Err(invalid("is set by the client itself"));
        }
        if header == COOKIE {
            parsed.cookies.extend(cookies::parse(value));
        } else {
            // Headers may carry credentials: no `Debug` shows them.
            header_value.set_sensitive(true);
            parsed.plain.push((header, header_value));
        }
    }
    Ok(parsed)
}

fn what_is_wrong(value: &str) -> &'static str {
    if value.contains(['\r', '\n']) {
        "has a line break in its value, as what is read from a file may have at its end"
    } else {
        "has a control character in its value"
    }
}

/// Headers that say how a request or its answer is framed, or that the websocket's handshake needs as they are.
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
