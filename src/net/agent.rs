//! What a ureq agent of the user's lends to a connection. The connection has an agent of its own, as closing it ends
//! that for good.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::header::SET_COOKIE;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body, Cookie, ResponseExt};

use crate::error::{Error, Result};
use crate::guarded::guarded;

/// Where a connection gets the user's agent from.
#[derive(Clone)]
pub(crate) enum AgentSource {
    /// One for all connections.
    Shared(Agent),
    /// A fresh one for each.
    Factory(Arc<dyn Fn() -> Agent + Send + Sync>),
}

impl AgentSource {
    pub(crate) fn agent(&self) -> Result<Agent> {
        match self {
            AgentSource::Shared(agent) => Ok(agent.clone()),
            AgentSource::Factory(make) => {
                guarded(|| make()).map_err(|e| Error::option("http_agent_factory", e))
            }
        }
    }
}

/// An agent holds cookies and keys.
impl fmt::Debug for AgentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AgentSource::Shared(_) => "Shared",
            AgentSource::Factory(_) => "Factory",
        })
    }
}

/// True if requests are to be sent under the crate's own name.
pub(super) fn wants_default_user_agent(config: &Config) -> bool {
    matches!(config.user_agent(), AutoHeaderValue::Default)
}

/// The shorter one of the client's timeout and the agent's for a request as a whole.
pub(super) fn shorter(timeout: Duration, config: &Config) -> Duration {
    config.timeouts().global.map_or(timeout, |agents| agents.min(timeout))
}

/// A cookie in a jar.
#[derive(PartialEq, Eq)]
pub(super) struct StoredCookie {
    domain: String,
    name: String,
    path: String,
    /// As in a `Set-Cookie` header.
    text: String,
}

impl StoredCookie {
    fn is_in_place_of(&self, other: &StoredCookie) -> bool {
        (&self.domain, &self.path, &self.name) == (&other.domain, &other.path, &other.name)
    }
}

/// The cookies that the agent would send to that URL.
///
/// A jar does not tell the domain and the path of a cookie that it lists, but finds one by them: all that can
/// match the URL are tried.
pub(super) fn matching(agent: &Agent, uri: &Uri) -> Vec<StoredCookie> {
    let Some(host) = uri.host() else { return Vec::new() };
    let jar = agent.cookie_jar_lock();
    let mut names: Vec<String> = jar.iter().map(|cookie| cookie.name().to_owned()).collect();
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    for name in &names {
        for domain in domains(host) {
            for path in paths(uri.path()) {
                let text = jar.get(domain, path, name).map(|cookie| cookie.to_string());
                // Without a domain of its own a cookie is for the host that set it alone (RFC 6265, section 5.4).
                let text = text.filter(|text| domain == host || names_domain(text));
                let held = |text| StoredCookie {
                    domain: domain.into(),
                    name: name.clone(),
                    path: path.into(),
                    text,
                };
                found.extend(text.map(held));
            }
        }
    }
    found
}

fn names_domain(cookie: &str) -> bool {
    cookie.split(';').skip(1).any(|attribute| attribute.trim().to_ascii_lowercase().starts_with("domain="))
}

/// Copies the cookies that the lender would send to that URL.
pub(super) fn copy_cookies(lender: &Agent, agent: &Agent, uri: &Uri) {
    for cookie in matching(lender, uri) {
        insert(agent, cookie, uri);
    }
}

fn insert(agent: &Agent, cookie: StoredCookie, uri: &Uri) {
    let (Some(host), Some(scheme)) = (uri.host(), uri.scheme_str()) else { return };
    // A cookie without a path of its own takes that of the URL it comes from, up to the last slash.
    let source = format!("{scheme}://{host}{}/", cookie.path.trim_end_matches('/'));
    let Ok(source) = source.parse::<Uri>() else { return };
    if let Ok(cookie) = Cookie::parse(cookie.text, &source) {
        // What the jar refuses would not be sent either.
        let _ = agent.cookie_jar_lock().insert(cookie, &source);
    }
}

/// The host, and the domains above it (RFC 6265, section 5.1.3).
fn domains(host: &str) -> impl Iterator<Item = &str> {
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    std::iter::successors(Some(host), move |domain: &&str| match domain.split_once('.') {
        Some((_, above)) if !is_address => Some(above),
        _ => None,
    })
}

/// The path, and those above it (RFC 6265, section 5.1.4), with and without a slash at the end.
fn paths(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').flat_map(|(at, _)| [at, at + 1]);
    ends.chain([path.len()]).filter(|end| *end > 0).map(|end| &path[..end])
}

/// Gives the cookies of an answer to the user's agent too. `before` are those that the connection's had for the request.
pub(super) fn return_cookies(
    lender: &Agent,
    agent: &Agent,
    before: &[StoredCookie],
    response: &Response<Body>,
) {
    // ureq follows redirects by itself: what they set, it has put into the connection's jar alone.
    let history = response.get_redirect_history().unwrap_or_default();
    if let [hops @ .., _] = history {
        hops.iter().for_each(|uri| return_changes(lender, agent, before, uri));
    }
    let mut jar = lender.cookie_jar_lock();
    let uri = response.get_uri();
    for cookie in response.headers().get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
        if let Ok(cookie) = Cookie::parse(cookie.to_owned(), uri) {
            // What is refused is for other hosts, or expired.
            let _ = jar.insert(cookie, uri);
        }
    }
}

/// Gives what changed of the cookies for a URL to the user's agent.
fn return_changes(lender: &Agent, agent: &Agent, before: &[StoredCookie], uri: &Uri) {
    let now = matching(agent, uri);
    let lent = matching(lender, uri);
    let removed = |held: &&StoredCookie| !now.iter().any(|other| other.is_in_place_of(held));
    // One that the user has set meanwhile stays.
    for gone in before.iter().filter(removed).filter(|held| lent.contains(held)) {
        lender.cookie_jar_lock().remove(&gone.domain, &gone.path, &gone.name);
    }
    for cookie in now.into_iter().filter(|held| !before.contains(held)) {
        insert(lender, cookie, uri);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cookies of the lender's jar that its copy has, for requests to `http://a.example.org/engine.io/`.
    fn copied(cookies: &[(&str, &str)], target: &str) -> Vec<String> {
        let lender = Agent::new_with_defaults();
        for (cookie, from) in cookies {
            let from: Uri = from.parse().unwrap();
            let cookie = Cookie::parse((*cookie).to_owned(), &from).unwrap();
            lender.cookie_jar_lock().insert(cookie, &from).unwrap();
        }
        let agent = Agent::new_with_defaults();
        copy_cookies(&lender, &agent, &target.parse().unwrap());
        let jar = agent.cookie_jar_lock();
        let mut copied: Vec<_> = jar.iter().map(|c| format!("{}={}", c.name(), c.value())).collect();
        copied.sort();
        copied
    }

    #[test]
    fn cookies_for_the_url_are_copied_and_no_others() {
        let cookies = [
            ("host=1; Path=/", "http://a.example.org/"),
            ("path=2; Path=/engine.io", "http://a.example.org/"),
            ("slash=3; Path=/engine.io/", "http://a.example.org/"),
            ("implied=4", "http://a.example.org/engine.io/login"),
            ("domain=5; Domain=example.org; Path=/", "http://b.example.org/"),
            ("other=6; Path=/", "http://b.example.org/"),
            ("elsewhere=7; Path=/admin", "http://a.example.org/"),
            ("secure=8; Path=/; Secure", "https://a.example.org/"),
        ];
        let plain = copied(&cookies, "http://a.example.org/engine.io/?EIO=4");
        let expected = ["domain=5", "host=1", "implied=4", "path=2", "slash=3"];
        // The jar itself keeps those from plain requests that are for TLS only.
        assert_eq!(plain.iter().filter(|c| *c != "secure=8").collect::<Vec<_>>(), expected);
        let secure = copied(&cookies, "https://a.example.org/engine.io/");
        assert_eq!(secure, ["domain=5", "host=1", "implied=4", "path=2", "secure=8", "slash=3"]);
        assert_eq!(copied(&[("a=1; Path=/", "http://[::1]:80/")], "http://[::1]:80/engine.io/"), ["a=1"]);
        assert_eq!(copied(&[("a=1", "http://127.0.0.1/")], "http://127.0.0.1:5000/engine.io/"), ["a=1"]);
    }

    #[test]
    fn a_cookie_for_one_host_is_not_for_those_below_it() {
        let parents = ("session=parents; Path=/", "http://example.org/");
        assert_eq!(copied(&[parents], "http://a.example.org/engine.io/"), [""; 0]);
        let own = ("session=own; Path=/", "http://a.example.org/");
        assert_eq!(copied(&[own, parents], "http://a.example.org/engine.io/"), ["session=own"]);
        // An empty domain is none.
        let empty = ("session=empty; Path=/; Domain=", "http://example.org/");
        assert_eq!(copied(&[empty], "http://a.example.org/engine.io/"), [""; 0]);
        let shared = ("session=shared; Path=/; domain=.Example.org", "http://example.org/");
        assert_eq!(copied(&[shared], "http://a.example.org/engine.io/"), ["session=shared"]);
    }

    #[test]
    fn a_factory_that_panics_is_an_error() {
        let source = AgentSource::Factory(Arc::new(|| panic!("no agent today")));
        let error = source.agent().unwrap_err().to_string();
        assert!(error.contains("http_agent_factory") && error.contains("no agent today"), "{error}");
    }
}
