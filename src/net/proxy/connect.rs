//! The CONNECT method of HTTP (RFC 9110, section 9.3.6).

use std::io::{Read, Write};
use std::net::Ipv6Addr;

use ureq::http::{HeaderValue, StatusCode};

use super::Refusal;

/// The limit for the head of an answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;

pub(super) fn open_tunnel<S: Read + Write>(
    stream: &mut S,
    host: &str,
    port: u16,
    authorization: Option<&HeaderValue>,
) -> Result<(), Refusal> {
    let target = match host.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    };
    stream.write_all(&request(&target, authorization))?;
    stream.flush()?;
    let head = read_head(stream)?;
    let status = status(&head).ok_or_else(not_http)?;
    match status.as_u16() {
        // A successful answer has no body, whatever length it states (RFC 9110, section 9.3.6).
        200..=299 => Ok(()),
        407 => Err(refused(status, wants_login(&ways(&head), authorization.is_some()))),
        403 | 405 => Err(refused(
            status,
            format!("refused a tunnel to {target} ({status}); many proxies allow port 443 only"),
        )),
        _ => Err(refused(status, format!("opened no tunnel to {target} ({status})"))),
    }
}

fn request(target: &str, authorization: Option<&HeaderValue>) -> Vec<u8> {
    let agent = concat!("engineio/", env!("CARGO_PKG_VERSION"));
    let mut request =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {agent}\r\n").into_bytes();
    if let Some(authorization) = authorization {
        request.extend([b"Proxy-Authorization: ", authorization.as_bytes(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    request
}

/// Reads the head of the answer byte by byte: the bytes behind it come from the target, and cannot be put
/// back.
fn read_head(stream: &mut impl Read) -> Result<Vec<u8>, Refusal> {
    const START: &[u8] = b"HTTP/";
    let mut head = Vec::with_capacity(512);
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == MAX_HEAD {
            return Err(Refusal::answer("answered with more headers than this client accepts"));
        }
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        // The loop would not end with a protocol that has no lines.
        if head.len() <= START.len() && !START.starts_with(&head) {
            return Err(not_http());
        }
    }
    Ok(head)
}

/// The status in a line such as `HTTP/1.1 200 OK`.
fn status(head: &[u8]) -> Option<StatusCode> {
    let line = head.split(|byte| *byte == b'\n').next()?.trim_ascii_end();
    let mut words = line.split(|byte| *byte == b' ');
    words.next().filter(|version| version.starts_with(b"HTTP/1."))?;
    StatusCode::from_bytes(words.next()?).ok()
}

/// The values of `Proxy-Authenticate`.
fn ways(head: &[u8]) -> Vec<String> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.lines().filter_map(|line| line.strip_prefix("proxy-authenticate:")).map(str::to_owned).collect()
}

/// Explains a 407, whose `Proxy-Authenticate` headers name these ways to log in.
pub(super) fn wants_login(ways: &[String], logged_in: bool) -> String {
    if logged_in {
        return "did not accept the credentials".into();
    }
    if !ways.is_empty() && !ways.iter().any(|way| way.to_ascii_lowercase().contains("basic")) {
        return "requires an authentication scheme that this client does not know; it supports only Basic"
            .into();
    }
    "requires a user name and a password; put them into its URL, as in http://user:password@proxy:3128".into()
}

fn not_http() -> Refusal {
    Refusal::answer("does not answer in HTTP (is it another kind of proxy?)")
}

fn refused(status: StatusCode, what: String) -> Refusal {
    Refusal::Answer { status: Some(status.as_u16()), what }
}
