//! The settings and cookies that the user's ureq agent lends to a connection. A connection has an agent of
//! its own, because closing the connection shuts that agent down for good.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::header::SET_COOKIE;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body, Cookie};

use crate::error::{Error, Result};
use crate::guarded::guarded;

/// The source of the user's agent for a connection.
#[derive(Clone)]
pub(crate) enum AgentSource {
    /// The same agent for all connections.
    Shared(Agent),
    /// A function that makes a fresh agent for each connection.
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

/// Hides the agent, which holds cookies and keys.
impl fmt::Debug for AgentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AgentSource::Shared(_) => "Shared",
            AgentSource::Factory(_) => "Factory",
        })
    }
}

/// True if the user's agent has no `User-Agent` setting of its own, so this crate sends its name.
pub(super) fn wants_default_user_agent(config: &Config) -> bool {
    matches!(config.user_agent(), AutoHeaderValue::Default)
}

/// The client's timeout for a whole request, or the agent's if that is shorter.
pub(super) fn shorter(timeout: Duration, config: &Config) -> Duration {
    config.timeouts().global.map_or(timeout, |global| global.min(timeout))
}

/// A cookie of a jar, with the keys under which the jar holds it.
#[derive(PartialEq, Eq)]
pub(super) struct StoredCookie {
    domain: String,
    name: String,
    path: String,
    /// The cookie as a `Set-Cookie` header writes it.
    text: String,
}

impl StoredCookie {
    fn has_same_key(&self, other: &StoredCookie) -> bool {
        (&self.domain, &self.path, &self.name) == (&other.domain, &other.path, &other.name)
    }
}

/// The cookies that the agent would send to `uri`.
///
/// A jar lists its cookies without their domain and path, but finds a cookie by both: so this function tries
/// every domain and path that matches the URL.
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
                // A cookie without a `Domain` is only for the host that set it (RFC 6265, section 5.4).
                let text = text.filter(|text| domain == host || names_domain(text));
                let stored = |text| StoredCookie {
                    domain: domain.into(),
                    name: name.clone(),
                    path: path.into(),
                    text,
                };
                found.extend(text.map(stored));
            }
        }
    }
    found
}

fn names_domain(cookie: &str) -> bool {
    cookie.split(';').skip(1).any(|attribute| attribute.trim().to_ascii_lowercase().starts_with("domain="))
}

/// Copies the cookies that the lender would send to `uri`.
pub(super) fn copy_cookies(lender: &Agent, agent: &Agent, uri: &Uri) {
    for cookie in matching(lender, uri) {
        insert(agent, cookie, uri);
    }
}

fn insert(agent: &Agent, cookie: StoredCookie, uri: &Uri) {
    let (Some(host), Some(scheme)) = (uri.host(), uri.scheme_str()) else { return };
    // A cookie without a `Path` takes the path of the URL that set it, up to the last slash.
    let source = format!("{scheme}://{host}{}/", cookie.path.trim_end_matches('/'));
    let Ok(source) = source.parse::<Uri>() else { return };
    if let Ok(cookie) = Cookie::parse(cookie.text, &source) {
        // A cookie that the jar refuses would not be sent either.
        let _ = agent.cookie_jar_lock().insert(cookie, &source);
    }
}

/// The host and its parent domains (RFC 6265, section 5.1.3).
fn domains(host: &str) -> impl Iterator<Item = &str> {
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    std::iter::successors(Some(host), move |domain: &&str| match domain.split_once('.') {
        Some((_, above)) if !is_address => Some(above),
        _ => None,
    })
}

/// The path and its parents (RFC 6265, section 5.1.4), each with and without a slash at its end.
fn paths(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').flat_map(|(at, _)| [at, at + 1]);
    ends.chain([path.len()]).filter(|end| *end > 0).map(|end| &path[..end])
}

/// Copies the cookies of a response to the user's agent. `before` holds the cookies that the connection's
/// agent had for the request.
pub(super) fn return_cookies(
    lender: &Agent,
    agent: &Agent,
    before: &[StoredCookie],
    response: &Response<Body>,
    uri: &Uri,
) {
    return_changes(lender, agent, before, uri);
    let mut jar = lender.cookie_jar_lock();
    for cookie in response.headers().get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
        if let Ok(cookie) = Cookie::parse(cookie.to_owned(), uri) {
            // A cookie that the jar refuses is expired, or for another host.
            let _ = jar.insert(cookie, uri);
        }
    }
}

/// Copies the changes among the cookies for `uri` to the user's agent.
fn return_changes(lender: &Agent, agent: &Agent, before: &[StoredCookie], uri: &Uri) {
    let now = matching(agent, uri);
    let lent = matching(lender, uri);
    let removed = |cookie: &&StoredCookie| !now.iter().any(|other| other.has_same_key(cookie));
    // A cookie that the user has changed in the meantime stays.
    for gone in before.iter().filter(removed).filter(|cookie| lent.contains(cookie)) {
        lender.cookie_jar_lock().remove(&gone.domain, &gone.path, &gone.name);
    }
    for cookie in now.into_iter().filter(|cookie| !before.contains(cookie)) {
        insert(lender, cookie, uri);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cookies that are copied for requests to `target`, of those that the lender has been given.
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
        // The jar itself keeps a `Secure` cookie out of plain requests.
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
        // An empty `Domain` counts as none.
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
