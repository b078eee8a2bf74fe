//! Redirects: where they lead, and what follows there.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::http::header::{AUTHORIZATION, COOKIE, HOST, SEC_WEBSOCKET_PROTOCOL};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use url::Url;

use crate::logger::Logger;
use crate::net::cookies;
use crate::net::dial::DialSettings;
use crate::net::http::HttpClient;
use crate::net::proxy::Routes;
use crate::net::settings::{Headers, HttpSettings};
use crate::net::tls::TlsSettings;
use crate::net::user_agent::{Request, UserAgent};
use crate::testing::fuzz::{SECRET, shown};

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// A byte of options, and lines: the URL that the user gave, and one `Location` after the other, each of them
/// from the place that the one before has led to.
pub fn redirects(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    let mut lines = rest.split(|byte| *byte == b'\n');
    let Some(home) = lines.next().and_then(home) else { return };
    let Ok(http) = HttpClient::new(settings(), &home) else { return };
    let status = STATUSES[usize::from(options % 5)];
    let post = (options & 0x80 != 0).then_some(("text/plain", &b"4message"[..]));
    let own = [(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SECRET))];
    let request = Request { post, own: &own, ..Request::default() };
    let (ureqs, mut from) = (Agent::new_with_defaults(), home.clone());
    for location in lines {
        match http.agent().follow(&request, status, &from, location) {
            Ok(to) => {
                assert!(post.is_none() || status >= 307, "a POST became a GET");
                leads_to(&from, &to);
                carries(http.agent(), &request, &home, &to, &ureqs);
                from = to;
            }
            Err(error) => {
                shown(&error);
                let text = format!("{error} {error:?}");
                assert!(!hides_secret(&from, location) || !text.contains(SECRET), "{text}");
            }
        }
    }
}

/// The URL of a server as [`Endpoint`](crate::protocol::Endpoint) gives it: without credentials.
fn home(line: &[u8]) -> Option<Url> {
    let mut home = Url::parse(std::str::from_utf8(line).ok()?).ok()?;
    home.set_username("").and_then(|()| home.set_password(None)).ok()?;
    let uri: Uri = home.as_str().parse().ok()?;
    (matches!(home.scheme(), "http" | "https") && uri.host() == home.host_str()).then_some(home)
}

fn settings() -> HttpSettings {
    let secret = || HeaderValue::from_static(SECRET);
    let plain =
        vec![(AUTHORIZATION, secret()), (HOST, secret()), (HeaderName::from_static("x-key"), secret())];
    HttpSettings {
        tls: TlsSettings::default(),
        proxy_tls: TlsSettings::default(),
        timeout: Duration::from_secs(1),
        headers: Headers { plain, cookies: cookies::parse(&format!("own={SECRET}")) },
        agent: None,
        routes: Routes::Direct,
        answered: Arc::default(),
        dial: DialSettings::default(),
        zone: None,
        known: false,
        logger: Logger::default(),
    }
}

/// The url crate, which decides, and the http crate, by which ureq connects, mean the same place.
fn leads_to(from: &Url, to: &Url) {
    assert!(matches!(to.scheme(), "http" | "https"), "{to}");
    assert!(from.scheme() == "http" || to.scheme() == "https", "{from} to {to} gives up encryption");
    assert!(to.username().is_empty() && to.password().is_none() && to.fragment().is_none(), "{to}");
    assert!(!to.as_str().contains(|c: char| c.is_control() || c.is_whitespace()), "{to:?}");
    let uri: Uri = to.as_str().parse().expect("ureq can send a request there");
    assert_eq!(uri.host(), to.host_str());
    assert_eq!(uri.port_u16(), to.port());
    assert_eq!(uri.scheme_str(), Some(to.scheme()));
    assert_eq!((uri.path(), uri.query()), (to.path(), to.query()));
}

/// The user's headers and cookies go to the user's origin, and to the same host by https.
fn carries(agent: &UserAgent, request: &Request<'_>, home: &Url, to: &Url, ureqs: &Agent) {
    let uri: Uri = to.as_str().parse().expect("it is valid");
    let builder = agent.prepare(ureqs.get(&uri), request, (to, &uri), None).expect("there is no deadline");
    let headers: &HeaderMap = builder.headers_ref().expect("the headers are valid");
    let port = |url: &Url| url.port_or_known_default();
    let same_origin = home.scheme() == to.scheme() && port(home) == port(to);
    let may_follow = home.host_str() == to.host_str()
        && (same_origin || home.scheme() == "http" && to.scheme() == "https");
    for name in ["authorization", "host", "x-key", "sec-websocket-protocol"] {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values, vec![SECRET; usize::from(may_follow)], "{name} from {home} to {to}");
    }
    let cookie = headers.get(COOKIE).map(HeaderValue::as_bytes);
    let own = format!("own={SECRET}");
    assert_eq!(cookie, may_follow.then_some(own.as_bytes()), "from {home} to {to}");
}

/// True if the secret stands in the location's credentials or its query, and nowhere else.
fn hides_secret(from: &Url, location: &[u8]) -> bool {
    let text = String::from_utf8_lossy(location);
    if text.matches(SECRET).count() != 1 || from.as_str().contains(SECRET) {
        return false;
    }
    let (address, query) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    let address = address.trim_start_matches(|c| c <= ' ');
    let rest = match address.split_once(':') {
        Some((scheme, rest)) if scheme.chars().all(|c| c.is_ascii_alphabetic()) => rest,
        _ => address,
    };
    let authority = rest.trim_start_matches(['/', '\\']);
    let before = authority.split_once(&format!("{SECRET}@")).map(|(before, _)| before);
    let in_credentials = rest.len() - authority.len() >= 2
        && before.is_some_and(|before| before.chars().all(|c| c.is_ascii_alphanumeric() || c == ':'));
    in_credentials || query.contains(SECRET)
}
