//! Redirects: where a response leads, and what may follow there. Nothing in this file does I/O.

use url::Url;

use super::excerpt::quotation;
use crate::error::{Error, Result};

/// The most redirects that one request follows.
pub(super) const MOST: u32 = 10;

/// The longest URL that a request is sent to, in bytes. It is the limit of the `http` crate.
const LONGEST_URL: usize = 65_534;

/// True for a status that asks for the request to be sent to another place.
pub(super) fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// True for a redirect that repeats the method and the body of the request (RFC 9110, section 15.4).
fn keeps_method(status: u16) -> bool {
    matches!(status, 307 | 308)
}

/// Decides where the redirect of a request, which may be a POST, leads.
///
/// # Errors
///
/// The redirect must not be followed, or leads nowhere.
pub(super) fn target(status: u16, is_post: bool, from: &Url, location: &[u8]) -> Result<Url> {
    let here = redacted(from);
    let to = match resolve(from, location) {
        Ok(to) => to,
        Err(reason) => {
            let shown = quoted(location);
            let what = format!("{here} redirects to the invalid location {shown:?}: {reason}");
            return Err(Error::protocol(what));
        }
    };
    let there = redacted(&to);
    if is_downgrade(from, &to) {
        let what = format!(
            "{here} redirects to {there}, which is without encryption; the client does not follow that"
        );
        return Err(refused(status, what));
    }
    if is_post && !keeps_method(status) {
        let what = "which turns the POST into a GET and would lose its messages";
        return Err(refused(status, format!("{here} redirects to {there} with status {status}, {what}")));
    }
    Ok(to)
}

/// Builds the error for a redirect that is not followed.
pub(super) fn refused(status: u16, message: String) -> Error {
    Error::refused(message, Some(status), None)
}

/// Resolves the value of a `Location` header against the URL that answered. The error says what is wrong.
fn resolve(from: &Url, location: &[u8]) -> Result<Url, String> {
    let location = std::str::from_utf8(location).map_err(|_| "it is not UTF-8")?;
    // The url crate would skip control characters.
    if location.contains(char::is_control) {
        return Err("it has a control character".into());
    }
    let mut to = from.join(location).map_err(|e| e.to_string())?;
    if !matches!(to.scheme(), "http" | "https") {
        return Err("it is neither http nor https".into());
    }
    to.set_fragment(None);
    // Credentials that a server puts into a URL are not sent: browsers drop them too, except in a page's
    // address.
    let cleared = to.set_username("").and_then(|()| to.set_password(None));
    cleared.map_err(|()| "it has no host")?;
    if to.as_str().len() > LONGEST_URL {
        return Err("it is too long".into());
    }
    // The url crate accepts hosts that the http crate does not, and ureq parses with both.
    match to.as_str().parse::<ureq::http::Uri>() {
        Ok(uri) if uri.host().is_some() && Url::parse(&uri.to_string()).is_ok() => Ok(to),
        _ => Err("no request can be sent there".into()),
    }
}

/// The start of a `Location`, for an error message: without credentials and query, which may be secret. The
/// location may be one that no parser takes.
fn quoted(location: &[u8]) -> String {
    let location = String::from_utf8_lossy(location);
    let (address, query) = location.split_at(location.find(['?', '#']).unwrap_or(location.len()));
    // The url crate takes any number of slashes of both kinds, and skips what no URL may have.
    let is_slash = |c: char| matches!(c, '/' | '\\') || c <= ' ';
    let scheme = address.find(':').filter(|at| !address[..*at].contains(['/', '\\', '@']));
    let rest = &address[scheme.map_or(0, |at| at + 1)..];
    let authority = rest.trim_start_matches(is_slash);
    let before = &address[..address.len() - authority.len()];
    let end = authority.find(['/', '\\']).unwrap_or(authority.len());
    let (hidden, shown) = match authority[..end].rfind('@') {
        Some(at) => ("***", &authority[at..]),
        None => ("", authority),
    };
    let query = if query.is_empty() { "" } else { "?***" };
    quotation(&format!("{before}{hidden}{shown}{query}"))
}

/// The start of the URL, for a message: without its query, which may be secret.
pub(super) fn redacted(url: &Url) -> String {
    quotation(&format!("{}{}", url.origin().ascii_serialization(), url.path()))
}

/// True if a request to `to` may carry what the user gave for `home`: headers, cookies and certificates. That
/// holds for the same origin, and for the same host by https in place of http.
pub(super) fn is_at_home(home: &Url, to: &Url) -> bool {
    let same_host = home.host() == to.host();
    let same_origin =
        home.scheme() == to.scheme() && home.port_or_known_default() == to.port_or_known_default();
    same_host && (same_origin || (home.scheme(), to.scheme()) == ("http", "https"))
}

/// True if following the redirect would give up encryption.
fn is_downgrade(from: &Url, to: &Url) -> bool {
    (from.scheme(), to.scheme()) == ("https", "http")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(url: &str) -> Url {
        Url::parse(url).unwrap()
    }

    #[test]
    fn locations() {
        let from = url("http://h:5000/engine.io/?EIO=4&sid=x");
        for (location, expected) in [
            ("/other", Ok("http://h:5000/other")),
            ("other?a=1#f", Ok("http://h:5000/engine.io/other?a=1")),
            ("?a=1", Ok("http://h:5000/engine.io/?a=1")),
            ("//elsewhere/x", Ok("http://elsewhere/x")),
            ("https://h/", Ok("https://h/")),
            ("HTTP://u:p@H:80/a b/é", Ok("http://h/a%20b/%C3%A9")),
            ("http://h:99999/", Err("invalid port number")),
            ("http://[::g]/", Err("invalid IPv6 address")),
            ("http://1.2.3.4.5/", Err("invalid IPv4 address")),
            ("http://xn--/", Err("invalid international domain name")),
            ("http://", Err("empty host")),
            ("http://a{b/", Err("no request can be sent there")),
            ("ftp://h/", Err("it is neither http nor https")),
            ("javascript:alert(1)", Err("it is neither http nor https")),
            ("/a\tb", Err("it has a control character")),
            ("/\u{9b}31m", Err("it has a control character")),
        ] {
            let resolved = resolve(&from, location.as_bytes());
            let resolved = resolved.as_ref().map(Url::as_str).map_err(String::as_str);
            assert_eq!(resolved, expected, "{location:?}");
        }
        assert_eq!(resolve(&from, b"/\xff").unwrap_err(), "it is not UTF-8");
        let long = format!("/{}", "x".repeat(70_000));
        assert_eq!(resolve(&from, long.as_bytes()).unwrap_err(), "it is too long");
    }

    #[test]
    fn quotations_have_no_secrets() {
        for (location, expected) in [
            ("http://h:99999/", "http://h:99999/"),
            ("http://u:p@h:99999/a@b?t=secret", "http://***@h:99999/a@b?***"),
            ("/path#secret", "/path?***"),
            ("http:\\\\u:p@h:99999\\a", "http:\\\\***@h:99999\\a"),
            (" http:u:p@a@[::g]", " http:***@[::g]"),
            ("/\t/u:p@h/", "/\t/***@h/"),
            ("u:p@h", "u:***@h"),
        ] {
            assert_eq!(quoted(location.as_bytes()), expected);
        }
        assert_eq!(quoted(&[b'x'; 1000]).len(), 200);
        assert_eq!(redacted(&url("http://u:p@h:99/a@b?t=secret#secret")), "http://h:99/a@b");
        assert_eq!(redacted(&url(&format!("http://h/{}", "x".repeat(1000)))).len(), 200);
    }

    #[test]
    fn the_home_is_an_origin_and_the_same_host_by_https() {
        for (home, to, at_home, downgrade) in [
            ("http://h/", "http://h/other", true, false),
            ("http://h:80/", "http://h/", true, false),
            ("http://h/", "https://h/", true, false),
            ("http://h:5000/", "https://h:5001/", true, false),
            ("http://h:5000/", "http://h:5001/", false, false),
            ("https://h/", "https://h:444/", false, false),
            ("https://h/", "http://h/", false, true),
            ("http://h/", "http://a.h/", false, false),
        ] {
            assert_eq!(is_at_home(&url(home), &url(to)), at_home, "{home} {to}");
            assert_eq!(is_downgrade(&url(home), &url(to)), downgrade, "{home} {to}");
        }
    }

    proptest! {
        #[test]
        fn any_location_is_resolved_or_refused(
            location in prop_oneof![
                any::<Vec<u8>>(),
                "(https?:)?//[-a-z0-9.:@\\[\\]{}%é]{0,12}/?.{0,8}".prop_map(String::into_bytes),
            ],
        ) {
            quoted(&location);
            if let Ok(to) = resolve(&url("http://h/engine.io/"), &location) {
                let uri: ureq::http::Uri = to.as_str().parse().unwrap();
                prop_assert_eq!(Url::parse(&uri.to_string()).unwrap(), to);
            }
        }
    }
}
