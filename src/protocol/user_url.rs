//! The parts of the URL that the user gave, and its form for error messages.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::{Url, form_urlencoded};

/// Query parameters with a meaning in the protocol. The user's own values would contradict ours, or ask for
/// answers that this client cannot read (`j` for JSONP, `b64` for binary messages in websocket text). The
/// parameter `t` is not among them: servers ignore it, and without timestamps the user may set it.
const RESERVED: [&str; 5] = ["EIO", "transport", "sid", "j", "b64"];

/// Reads the scheme. Returns whether it asks for TLS, and the rest of the URL behind `://`.
pub(super) fn read_scheme(url: &str) -> Result<(bool, &str), String> {
    let Some((scheme, rest)) = split_scheme(url) else {
        // The url crate reads "localhost:5000" as a URL with the scheme "localhost".
        return Err(match misspelt_scheme(url) {
            Some(scheme) => format!("there must be a colon and two slashes after {scheme}: {scheme}://"),
            None => "it has no scheme: add http:// or https:// in front".into(),
        });
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Ok((false, rest)),
        "https" | "wss" => Ok((true, rest)),
        other => Err(format!("the scheme is {other}: use http, https, ws, wss or unix")),
    }
}

/// Splits the URL of a Unix socket into the path of the socket, and the URL of a server behind it. The forms
/// are `unix:///run/app.sock` and, as in other HTTP clients, `http+unix://%2Frun%2Fapp.sock/path`. Returns
/// `None` for any other URL.
pub(super) fn split_socket(url: &str) -> Result<Option<(PathBuf, String)>, String> {
    let Some((scheme, rest)) = url.split_once(':') else { return Ok(None) };
    match scheme.to_ascii_lowercase().as_str() {
        "unix" => {
            let (path, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
            let path = path.strip_prefix("//").unwrap_or(path);
            let wrong = "the path of the socket is not absolute: write unix:///run/app.sock";
            let socket = decoded_path(path).ok_or(wrong)?;
            Ok(Some((socket, format!("http://localhost/{query}"))))
        }
        "http+unix" | "ws+unix" if rest.starts_with("//") => {
            let rest = &rest[2..];
            let (authority, rest) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
            let host = authority.rfind('@').map_or(0, |at| at + 1);
            let wrong = "the path of the socket is not absolute, with its slashes as %2F";
            let socket = decoded_path(&authority[host..]).ok_or(wrong)?;
            Ok(Some((socket, format!("http://{}localhost{rest}", &authority[..host]))))
        }
        "https+unix" | "wss+unix" => {
            Err("TLS is not supported on Unix sockets: use unix:// or http+unix://".into())
        }
        _ => Ok(None),
    }
}

/// The percent-decoded path of a socket, which must be absolute.
fn decoded_path(path: &str) -> Option<PathBuf> {
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    bytes.starts_with(b"/").then(|| path_of(bytes))
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// The scheme of a URL such as `http:/host` or `https//host`. A host may have the name of a scheme: `http`
/// and `http:8080` are hosts without a scheme.
fn misspelt_scheme(url: &str) -> Option<&'static str> {
    let lower = url.get(..url.len().min(8)).unwrap_or(url).to_ascii_lowercase();
    // The longer names come first, as `http` is the beginning of `https`.
    ["https", "http", "wss", "ws"].into_iter().find(|scheme| {
        let rest = lower.strip_prefix(scheme).unwrap_or_default();
        let behind_colon = rest.strip_prefix(':').unwrap_or_default();
        rest.starts_with("//") || behind_colon.starts_with(|c: char| !c.is_ascii_digit())
    })
}

/// Splits at the first `://`, if the text in front of it is a valid scheme (RFC 3986, section 3.1).
fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then_some((scheme, rest))
}

/// Takes the zone out of the authority of a URL with an IPv6 host, such as `[fe80::1%25eth0]` (RFC 6874).
/// `rest` is the URL behind its scheme. The zone is for this machine alone, and the URL of no request has
/// it.
pub(super) fn split_zone(rest: &str) -> Result<(String, Option<String>), String> {
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
    let host = &rest[start..end];
    let bracket = host.find(']').filter(|_| host.starts_with('[')).unwrap_or(0);
    // People write the percent sign as it is, too.
    let Some(percent) = host[..bracket].find('%') else { return Ok((rest.to_owned(), None)) };
    let zone = &host[percent + 1..bracket];
    let zone = zone.strip_prefix("25").unwrap_or(zone);
    if zone.is_empty() || !zone.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c)) {
        return Err("the zone of its IPv6 address is not the name or the number of an interface".into());
    }
    let without = format!("{}{}", &rest[..start + percent], &rest[start + bracket..]);
    Ok((without, Some(zone.to_owned())))
}

/// The user's query without the reserved parameters, as it was written. It is empty or ends in `&`.
pub(super) fn own_query(url: &Url) -> String {
    let is_own = |pair: &&str| {
        // The name is decoded, as the server does it.
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
        name.is_some_and(|name| !RESERVED.contains(&name.as_ref()))
    };
    let pairs = url.query().unwrap_or_default().split('&').filter(is_own);
    pairs.flat_map(|pair| [pair, "&"]).collect()
}

/// The user and the password, percent-decoded (RFC 3986, section 2.1).
pub(super) fn credentials(url: &Url) -> Result<Option<(String, String)>, String> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decode = |text| match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err("its user or password is not UTF-8"),
    };
    Ok(Some((decode(url.username())?, decode(url.password().unwrap_or_default())?)))
}

/// The URL for an error message, with `***` in place of the user, the password and the query.
///
/// The URL may be malformed: the end of a password with a `/`, `?` or `@` is then unclear. In case of doubt
/// more is hidden.
pub(super) fn redacted(url: &str) -> String {
    let (scheme, rest) =
        split_scheme(url).map_or(("", url), |(scheme, rest)| (&url[..scheme.len() + 3], rest));
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (address, query) = rest.split_at(end);
    if query.contains('@') {
        return format!("{scheme}***");
    }
    let hidden_query = if query.is_empty() { "" } else { "?***" };
    match address.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}***@{host}{hidden_query}"),
        None => format!("{scheme}{address}{hidden_query}"),
    }
}
