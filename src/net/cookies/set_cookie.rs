use std::time::{Duration, SystemTime};

use url::Host;

use super::date;

/// The most bytes of a name and a value together. A server's larger cookie is ignored, as by browsers.
const LARGEST: usize = 4096;

/// The most bytes of an attribute's value. A larger attribute is ignored.
const LARGEST_ATTRIBUTE: usize = 1024;

/// The longest life of a cookie: 400 days, as in browsers.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The content of a `Set-Cookie` header.
pub(super) struct SetCookie {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// In lower case, as a URL writes it, without a dot in front.
    pub(super) domain: Option<String>,
    pub(super) path: Option<String>,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    pub(super) expires: Option<SystemTime>,
}

impl SetCookie {
    /// Parses a header as user agents do (RFC 6265, section 5.2): any byte but a semicolon may stand in a
    /// value.
    pub(super) fn parse(header: &[u8], now: SystemTime) -> Option<Self> {
        let mut parts = header.split(|byte| *byte == b';');
        let (name, value) = split(parts.next()?);
        let (name, value) = (name.to_vec(), value?.to_vec());
        if name.is_empty() || name.len() + value.len() > LARGEST || !is_text(&name) || !is_text(&value) {
            return None;
        }
        let mut cookie = SetCookie {
            name,
            value,
            domain: None,
            path: None,
            secure: false,
            http_only: false,
            expires: None,
        };
        let (mut expires, mut max_age) = (None, None);
        for part in parts {
            let (name, value) = split(part);
            let value = String::from_utf8_lossy(value.unwrap_or_default());
            if value.len() > LARGEST_ATTRIBUTE {
                continue;
            }
            match name.to_ascii_lowercase().as_slice() {
                b"expires" => expires = date::parse(&value).or(expires),
                b"max-age" => max_age = max_age_of(&value, now).or(max_age),
                b"domain" => cookie.domain = domain(&value)?,
                b"path" => cookie.path = value.starts_with('/').then(|| value.into_owned()),
                b"secure" => cookie.secure = true,
                b"httponly" => cookie.http_only = true,
                _ => {}
            }
        }
        cookie.expires = max_age.or(expires).map(|at| at.min(now + LONGEST));
        Some(cookie)
    }
}

/// Splits at the first `=`, and trims both sides.
fn split(part: &[u8]) -> (&[u8], Option<&[u8]>) {
    match part.iter().position(|byte| *byte == b'=') {
        Some(at) => (part[..at].trim_ascii(), Some(part[at + 1..].trim_ascii())),
        None => (part.trim_ascii(), None),
    }
}

/// True if the bytes can be sent in a header.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f)
}

/// RFC 6265, section 5.2.2. `None` for a value that is to be ignored.
fn max_age_of(value: &str, now: SystemTime) -> Option<SystemTime> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if value.starts_with('-') {
        return Some(SystemTime::UNIX_EPOCH);
    }
    let seconds = digits.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST);
    Some(if seconds.is_zero() { SystemTime::UNIX_EPOCH } else { now + seconds })
}

/// The domain in the form of a URL's host, or `Some(None)` for an empty one, which counts as none. `None` if
/// no host has that name: the cookie is ignored then.
fn domain(value: &str) -> Option<Option<String>> {
    let name = value.strip_prefix('.').unwrap_or(value);
    if name.is_empty() {
        return Some(None);
    }
    Host::parse(name).ok().map(|host| Some(host.to_string()))
}
