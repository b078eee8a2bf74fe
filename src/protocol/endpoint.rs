use std::fmt;

use ureq::http::Uri;
use url::{Url, form_urlencoded};

use super::user_url::{credentials, own_query, read_scheme, redacted, split_zone};

/// The address of the server, from which the URL of each request is made.
///
/// The path comes from the path option alone, as in python-engineio. The path of the user's URL is dropped.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The origin, such as `http://host:port`. A default port is left out.
    origin: String,
    /// The path, with a slash at both ends unless a redirect led to another one.
    path: String,
    /// The query of the user's URL. It is empty or ends in `&`.
    query: String,
    credentials: Option<(String, String)>,
    /// The zone of a link-local IPv6 address.
    zone: Option<String>,
    drops_path: bool,
}

/// The URL or the path option is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("invalid URL {url:?}: {reason}")]
    Url {
        /// The URL without its user, password and query, which may be secret.
        url: String,
        reason: String,
    },
    #[error("invalid path: {reason}")]
    Path { reason: String },
}

impl Endpoint {
    /// Parses the user's URL. The schemes are `http`, `https`, and the synonyms `ws` and `wss`.
    pub(crate) fn parse(url: &str, engineio_path: &str) -> Result<Endpoint, EndpointError> {
        let path =
            clean_path(engineio_path).map_err(|reason| EndpointError::Path { reason: reason.into() })?;
        Endpoint::from_parts(url.trim(), path)
            .map_err(|reason| EndpointError::Url { url: redacted(url.trim()), reason })
    }

    fn from_parts(url: &str, path: &str) -> Result<Endpoint, String> {
        let (secure, rest) = read_scheme(url)?;
        // The url crate would skip control characters, and would find a host in `http:///host`.
        if url.contains(char::is_control) {
            return Err("it has a control character".into());
        }
        if rest.starts_with(['/', '\\']) {
            return Err("it has no host".into());
        }
        let scheme = if secure { "https" } else { "http" };
        let (rest, zone) = split_zone(rest)?;
        let mut url = Url::parse(&format!("{scheme}://{rest}")).map_err(|e| e.to_string())?;
        let own_path = url.path().trim_matches('/').to_owned();
        url.set_path(&format!("/{path}/"));
        if url.host().is_none() {
            return Err("it has no host".into());
        }
        let endpoint = Endpoint {
            origin: url.origin().ascii_serialization(),
            path: url.path().to_owned(),
            query: own_query(&url),
            credentials: credentials(&url)?,
            zone,
            drops_path: !own_path.is_empty() && own_path != url.path().trim_matches('/'),
        };
        // The url crate accepts hosts such as `a{b`, and URLs of any length. ureq refuses both.
        if endpoint.origin.parse::<Uri>().is_err() {
            return Err("its host has a character that no host's name has".into());
        }
        endpoint.request_url("", None, None).parse::<Uri>().map_err(|e| e.to_string())?;
        Ok(endpoint)
    }

    /// The endpoint of a session whose handshake a redirect led to `place`: its path, and its query without
    /// the parameters that every request sets by itself. With `timestamps` the parameter `t` is one of those.
    pub(crate) fn moved_to(&self, place: &Url, timestamps: bool) -> Endpoint {
        let query = own_query(place);
        let is_kept = |pair: &&str| !timestamps || (*pair != "t" && !pair.starts_with("t="));
        Endpoint {
            origin: place.origin().ascii_serialization(),
            path: place.path().to_owned(),
            query: query.split_terminator('&').filter(is_kept).flat_map(|pair| [pair, "&"]).collect(),
            ..self.clone()
        }
    }

    /// The URL of a request of either transport, with the scheme `http` or `https`. The URL ends in a query
    /// parameter, so more can be appended with `&`.
    pub(crate) fn request_url(&self, transport: &str, sid: Option<&str>, timestamp: Option<&str>) -> String {
        let mut url = format!("{}{}?{}EIO=4", self.origin, self.path, self.query);
        let parameters = [("transport", Some(transport)), ("sid", sid), ("t", timestamp)];
        for (name, value) in parameters {
            if let Some(value) = value {
                url.push('&');
                url.push_str(name);
                url.push('=');
                // A space becomes `%20`, because not every server reads `+` as a space.
                let encoded = form_urlencoded::byte_serialize(value.as_bytes());
                url.extend(encoded.map(|part| if part == "+" { "%20" } else { part }));
            }
        }
        url
    }

    /// The user and the password of the URL, percent-decoded.
    pub(crate) fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// The zone of the URL's IPv6 address: the name or the number of a network interface.
    pub(crate) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// True if the user's URL has a path that is dropped.
    pub(crate) fn drops_path(&self) -> bool {
        self.drops_path
    }
}

/// Shows the origin and the path, which hold no secrets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// Checks the path option, and removes the slashes around it.
fn clean_path(path: &str) -> Result<&str, &'static str> {
    let forbidden = |c: char| matches!(c, '?' | '#' | '\\') || c.is_control() || c.is_whitespace();
    // The URL standard treats `%2e` like a dot.
    let is_dots =
        |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    let path = path.trim_matches('/');
    if path.is_empty() {
        Err("it is empty")
    } else if path.contains(forbidden) {
        Err("it has a '?', '#', '\\', space or control character")
    } else if path.split('/').any(is_dots) {
        Err("it has a '.' or '..' segment")
    } else {
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::parse(url, "engine.io").unwrap()
    }

    #[test]
    fn urls() {
        let table = [
            // Each row is a URL and its endpoint.
            ("http://localhost:5000", "http://localhost:5000/engine.io/"),
            ("http://localhost", "http://localhost/engine.io/"),
            ("http://localhost:80/", "http://localhost/engine.io/"),
            ("https://localhost", "https://localhost/engine.io/"),
            ("https://localhost:80", "https://localhost:80/engine.io/"),
            ("ws://localhost", "http://localhost/engine.io/"),
            ("wss://localhost", "https://localhost/engine.io/"),
            ("WSS://LocalHost:443", "https://localhost/engine.io/"),
            ("  http://localhost\n", "http://localhost/engine.io/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/engine.io/"),
            ("http://[::1]:5000", "http://[::1]:5000/engine.io/"),
            ("https://[2001:DB8::1]", "https://[2001:db8::1]/engine.io/"),
            ("http://bücher.example", "http://xn--bcher-kva.example/engine.io/"),
            // The path of the URL is dropped.
            ("http://h/some/path/", "http://h/engine.io/"),
            ("http://u:p@h/path?a=1#f", "http://h/engine.io/"),
        ];
        for (url, shown) in table {
            let endpoint = endpoint(url);
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(format!("{endpoint:?}"), format!("Endpoint({shown})"));
        }
    }

    #[test]
    fn request_urls() {
        let plain = endpoint("http://h:1");
        assert_eq!(plain.request_url("polling", None, None), "http://h:1/engine.io/?EIO=4&transport=polling");
        assert_eq!(
            endpoint("wss://h/?a=1&b=%20x").request_url("websocket", Some("Ab-_9"), Some("17.5")),
            "https://h/engine.io/?a=1&b=%20x&EIO=4&transport=websocket&sid=Ab-_9&t=17.5"
        );
        assert_eq!(
            plain.request_url("polling", Some("a b&c=d+é#?%"), None),
            "http://h:1/engine.io/?EIO=4&transport=polling&sid=a%20b%26c%3Dd%2B%C3%A9%23%3F%25"
        );
    }

    #[test]
    fn the_users_query_is_kept_but_for_reserved_names() {
        let table = [
            ("?", ""),
            ("?a", "a&"),
            ("?a=1&a=2&&b=", "a=1&a=2&b=&"),
            ("?EIO=3&transport=x&sid=y&j=0&b64=1&t=5", "t=5&"),
            ("?%45IO=3&eio=3&sid&side=1&a=sid", "eio=3&side=1&a=sid&"),
            ("?a=ä b'\"<>{|}#fragment", "a=%C3%A4%20b%27%22%3C%3E{|}&"),
            ("#fragment?a=1", ""),
        ];
        for (query, kept) in table {
            for url in [format!("http://h{query}"), format!("http://h/path{query}")] {
                let expected = format!("http://h/engine.io/?{kept}EIO=4&transport=polling");
                assert_eq!(endpoint(&url).request_url("polling", None, None), expected);
            }
        }
    }

    #[test]
    fn a_session_moves_with_its_handshake() {
        let table = [
            (
                "https://other:1/x?EIO=4&transport=polling&t=1.5",
                true,
                "https://other:1/x?EIO=4&transport=ws&sid=s",
            ),
            ("http://h/?a=1&t=5&tt=6&sid=y", true, "http://h/?a=1&tt=6&EIO=4&transport=ws&sid=s"),
            ("http://h/x/?t=5", false, "http://h/x/?t=5&EIO=4&transport=ws&sid=s"),
        ];
        for (place, timestamps, expected) in table {
            let moved = endpoint("http://home?own=1").moved_to(&Url::parse(place).unwrap(), timestamps);
            assert_eq!(moved.request_url("ws", Some("s"), None), expected);
        }
    }

    #[test]
    fn credentials_are_apart_from_every_url() {
        let table = [
            ("http://h", None),
            ("http://@h", None),
            ("http://user@h", Some(("user", ""))),
            ("http://user:@h", Some(("user", ""))),
            ("http://user:secret@h", Some(("user", "secret"))),
            ("http://:secret@h", Some(("", "secret"))),
            ("http://us%40er:s%3Ae+c%25%zz%4@h", Some(("us@er", "s:e+c%%zz%4"))),
            ("http://%C3%BC:p@ss@h", Some(("ü", "p@ss"))),
        ];
        for (url, expected) in table {
            let endpoint = endpoint(url);
            assert_eq!(endpoint.credentials(), expected);
            assert_eq!(endpoint.request_url("x", None, None), "http://h/engine.io/?EIO=4&transport=x");
        }
    }

    #[test]
    fn zones_are_apart_from_every_url() {
        let table = [
            ("http://[fe80::1%25eth0]:5000/x", "http://[fe80::1]:5000/engine.io/", Some("eth0")),
            ("wss://u:p%25@[fe80::1%25en1.2~x]?a=[%25b]", "https://[fe80::1]/engine.io/", Some("en1.2~x")),
            ("http://[fe80::1%eth0]", "http://[fe80::1]/engine.io/", Some("eth0")),
            ("http://[fe80::1%253]", "http://[fe80::1]/engine.io/", Some("3")),
            ("http://[fe80::1]/[::2%25eth0]", "http://[fe80::1]/engine.io/", None),
            ("http://h?a=[::2%25eth0]", "http://h/engine.io/", None),
        ];
        for (url, shown, zone) in table {
            let endpoint = endpoint(url);
            assert_eq!((endpoint.to_string().as_str(), endpoint.zone()), (shown, zone), "{url}");
        }
        for url in
            ["http://[fe80::1%25]", "http://[fe80::1%]", "http://[fe80::1%25a b]", "http://[fe80::1%25%41]"]
        {
            let error = Endpoint::parse(url, "engine.io").unwrap_err();
            assert!(error.to_string().contains("the zone of its IPv6 address"), "{url}: {error}");
        }
    }

    #[test]
    fn paths() {
        let table = [
            ("engine.io", "/engine.io/"),
            ("/socket.io/", "/socket.io/"),
            ("//a/b//", "/a/b/"),
            ("a//b", "/a//b/"),
            ("é{}%20", "/%C3%A9%7B%7D%20/"),
            ("...", "/.../"),
        ];
        for (path, expected) in table {
            let endpoint = Endpoint::parse("http://h/dropped", path).unwrap();
            assert!(endpoint.drops_path());
            assert_eq!(endpoint.to_string(), format!("http://h{expected}"));
        }
    }

    #[test]
    fn malformed_paths() {
        let bad = [
            "", "/", "//", " ", "a b", "a?b", "a#b", "a\\b", "a\nb", "\0", "..", "a/../b", "./a", "a/%2E%2e",
            "a\u{a0}",
        ];
        for path in bad {
            let error = Endpoint::parse("http://h", path).unwrap_err();
            assert!(matches!(error, EndpointError::Path { .. }), "{path:?}: {error}");
        }
    }

    #[test]
    fn malformed_urls() {
        let no_scheme = "it has no scheme: add http:// or https:// in front";
        let table = [
            ("", "", no_scheme),
            ("localhost:5000", "localhost:5000", no_scheme),
            ("127.0.0.1:5000", "127.0.0.1:5000", no_scheme),
            ("//localhost", "//localhost", no_scheme),
            ("://localhost", "://localhost", no_scheme),
            (
                "http:localhost",
                "http:localhost",
                "there must be a colon and two slashes behind http: http://",
            ),
            (
                "https//localhost",
                "https//localhost",
                "there must be a colon and two slashes behind https: https://",
            ),
            ("http:8080", "http:8080", no_scheme),
            ("localhost/?to=http://h", "localhost/?***", no_scheme),
            ("ftp://h/@x", "ftp://***@x", "the scheme is ftp: use http, https, ws or wss"),
            ("http://", "http://", "empty host"),
            ("http:///h", "http:///h", "it has no host"),
            ("http://\\h", "http://\\h", "it has no host"),
            ("http://?a", "http://?***", "empty host"),
            ("http://:5000", "http://:5000", "empty host"),
            ("http://h:port", "http://h:port", "invalid port number"),
            ("http://h:65536", "http://h:65536", "invalid port number"),
            ("http://[::1", "http://[::1", "invalid IPv6 address"),
            ("http://[::g]", "http://[::g]", "invalid IPv6 address"),
            ("http://::1:5000", "http://::1:5000", "empty host"),
            ("http://a b", "http://a b", "invalid international domain name"),
            ("http://256.0.0.1", "http://256.0.0.1", "invalid IPv4 address"),
            ("http://a\tb", "http://a\tb", "it has a control character"),
            ("http://%ff@h", "http://***@h", "its user or password is not UTF-8"),
        ];
        for (url, shown, reason) in table {
            let error = Endpoint::parse(url, "engine.io").unwrap_err();
            assert_eq!(error, EndpointError::Url { url: shown.into(), reason: reason.into() });
        }
    }

    #[test]
    fn what_no_request_can_be_made_to_is_refused() {
        for host in ["a{b", "a}b", "a\"b", "a`b", "{}"] {
            for url in [format!("http://{host}/"), format!("wss://u:p@{host}:5000")] {
                let error = Endpoint::parse(&url, "engine.io").unwrap_err();
                assert!(error.to_string().contains("its host has a character"), "{url}: {error}");
            }
        }
        let error = Endpoint::parse(&format!("http://h?a={}", "x".repeat(70_000)), "engine.io").unwrap_err();
        assert_eq!(error.to_string(), "invalid URL \"http://h?***\": uri too long");
    }

    #[test]
    fn errors_show_no_secrets() {
        let urls = [
            "http://user:secret@h:port?token=secret",
            "http://user:secret@h:port#secret",
            "user:secret@h:5000",
            "http:user:secret@h",
            "ftp://secret@h",
            "http://user:x/secret@h",
            "http://user:x?secret@h",
            "http://user:x@secret:port?y@h",
            "http://user:x#secret/secret@h?",
            "h?secret://x",
        ];
        for url in urls {
            let error = Endpoint::parse(url, "engine.io").unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_parsed_or_refused(url in any::<String>(), path in any::<String>()) {
            let _ = Endpoint::parse(&url, "engine.io");
            let _ = Endpoint::parse("http://h", &path);
        }

        #[test]
        fn what_is_parsed_gives_urls(
            url in "(http|ws)s?://[a-z0-9%:@/?#&=. \\[\\]{}\"'`|^_~!$()*+,;é-]{1,30}",
            path in "[a-z%./é|^]{1,10}",
            sid in "\\PC+",
        ) {
            if let Ok(endpoint) = Endpoint::parse(&url, &path) {
                let url = endpoint.request_url("polling", Some(&sid), None);
                prop_assert!(url.parse::<Uri>().is_ok(), "{url}");
                let url = Url::parse(&url).unwrap();
                prop_assert_eq!(url.origin().ascii_serialization(), endpoint.origin);
                prop_assert!(url.username().is_empty() && url.password().is_none());
                prop_assert_eq!(url.fragment(), None);
                let (name, value) = url.query_pairs().last().unwrap();
                prop_assert_eq!((name.as_ref(), value.as_ref()), ("sid", sid.as_str()));
            }
        }
    }
}
