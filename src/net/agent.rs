//! The settings and cookies that the user's ureq agent lends to a connection. A connection has an agent of
//! its own, because closing the connection shuts that agent down for good.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ureq::Agent;
use ureq::config::{AutoHeaderValue, Config};
use ureq::http::Uri;
use url::Url;

use super::cookies::{Change, StoredCookie};
#[allow(unused_imports, reason = "ureq's own are used if they exist")]
use super::no_jar::{Cookie, WithoutJar};
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

/// The most default paths that are tried for a lent cookie that names no path.
const MOST_PATHS: usize = 32;

/// The cookies that the user's agent has for the host of `url`, each with its path.
///
/// A ureq jar lists its cookies without the domain and path under which it holds them, but finds a cookie by
/// both. A cookie that names no path belongs to the directory of a URL that set it: those above `url` are
/// tried.
pub(super) fn cookies_for(lender: &Agent, url: &Url) -> Vec<(String, String)> {
    let Some(host) = url.host_str() else { return Vec::new() };
    let mut cookies = Vec::new();
    let held = lender.cookie_jar_lock();
    for cookie in held.iter() {
        let text = cookie.to_string();
        let domain = attribute(&text, "domain").map(str::to_ascii_lowercase);
        let domain = domain.as_deref().map_or(host, |domain| domain.trim_start_matches('.'));
        let path = attribute(&text, "path").filter(|path| path.starts_with('/'));
        let paths = path.map_or_else(|| directories(url.path()), |path| vec![path]);
        for path in paths {
            if let Some(found) = held.get(domain, path, cookie.name()) {
                cookies.push((found.to_string(), path.to_owned()));
            }
        }
    }
    cookies
}

/// The last attribute of that name, if its value is not empty.
fn attribute<'a>(cookie: &'a str, name: &str) -> Option<&'a str> {
    let pairs = cookie.split(';').skip(1).filter_map(|part| part.split_once('='));
    let values =
        pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    values.last().filter(|value| !value.is_empty())
}

/// The directories above a path, each without a slash at its end, except for the first.
fn directories(path: &str) -> Vec<&str> {
    let ends = path.match_indices('/').map(|(at, _)| at.max(1));
    ends.take(MOST_PATHS).map(|end| &path[..end]).collect()
}

/// Tells the user's agent a change of the connection's jar, made by a response from `url`.
pub(super) fn give_back(lender: &Agent, change: &Change, url: &Url) {
    let (Change::Stored(cookie) | Change::Removed(cookie)) = change;
    // The cookie names its path, but for one with a semicolon: that is the default path of a request there.
    let path = if cookie.path.contains(';') { &*cookie.path } else { "" };
    let Ok(uri) = format!("{}{path}/", url.origin().ascii_serialization()).parse::<Uri>() else { return };
    let mut held = lender.cookie_jar_lock();
    match change {
        Change::Stored(cookie) => {
            let parsed = as_text(cookie).and_then(|text| {
                #[allow(unused_imports, reason = "brings in ureq's `Cookie` if it exists")]
                use ureq::*;
                Cookie::parse(text, &uri).ok()
            });
            let is_kept = parsed.is_some_and(|cookie| held.insert(cookie, &uri).is_ok());
            // A cookie that this jar cannot hold still replaces an older one of its name.
            if let (false, Ok(name)) = (is_kept, std::str::from_utf8(&cookie.name)) {
                held.remove(&cookie.domain, &cookie.path, name);
            }
        }
        Change::Removed(cookie) => {
            let Ok(name) = std::str::from_utf8(&cookie.name) else { return };
            // A cookie that the user has changed in the meantime stays.
            let same = held.get(&cookie.domain, &cookie.path, name);
            if same.is_some_and(|held| held.value().as_bytes() == cookie.value()) {
                held.remove(&cookie.domain, &cookie.path, name);
            }
        }
    }
}

/// The cookie as a `Set-Cookie` header. `None` if it is not UTF-8, which ureq's jar cannot hold.
fn as_text(cookie: &StoredCookie) -> Option<String> {
    let mut text = std::str::from_utf8(cookie.pair()).ok()?.to_owned();
    if !cookie.path.contains(';') {
        text.push_str(&format!("; Path={}", cookie.path));
    }
    if !cookie.host_only {
        text.push_str(&format!("; Domain={}", cookie.domain));
    }
    if let Some(expires) = cookie.expires {
        let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
        text.push_str(&format!("; Max-Age={}", left.as_secs()));
    }
    for (name, is_set) in [("Secure", cookie.secure), ("HttpOnly", cookie.http_only)] {
        if is_set {
            text.push_str(&format!("; {name}"));
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use ureq::Cookie;

    use super::*;
    use crate::net::cookies::Jar;

    fn lend(lender: &Agent, jar: &mut Jar, url: &Url) {
        for (cookie, path) in cookies_for(lender, url) {
            jar.lend(&cookie, &path, url, SystemTime::now());
        }
    }

    fn lender(cookies: &[(&str, &str)]) -> Agent {
        let lender = Agent::new_with_defaults();
        for (cookie, from) in cookies {
            let from: Uri = from.parse().unwrap();
            let cookie = Cookie::parse((*cookie).to_owned(), &from).unwrap();
            lender.cookie_jar_lock().insert(cookie, &from).unwrap();
        }
        lender
    }

    /// The cookies that a request to `target` carries, of those that the lender has been given.
    fn copied(cookies: &[(&str, &str)], target: &str) -> Vec<String> {
        let mut jar = Jar::default();
        let target = Url::parse(target).unwrap();
        lend(&lender(cookies), &mut jar, &target);
        let header = jar.header(&target, true, SystemTime::now());
        let header = header.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let mut copied: Vec<_> = header.split("; ").map(str::to_owned).collect();
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
        assert_eq!(plain, expected);
        let secure = copied(&cookies, "https://a.example.org/engine.io/");
        assert_eq!(secure, ["domain=5", "host=1", "implied=4", "path=2", "secure=8", "slash=3"]);
        assert_eq!(copied(&[("a=1; Path=/", "http://[::1]:80/")], "http://[::1]:80/engine.io/"), ["a=1"]);
        assert_eq!(copied(&[("a=1", "http://127.0.0.1/")], "http://127.0.0.1:5000/engine.io/"), ["a=1"]);
    }

    #[test]
    fn a_cookie_for_one_host_is_not_for_those_below_it() {
        let parents = ("session=parents; Path=/", "http://example.org/");
        assert_eq!(copied(&[parents], "http://a.example.org/engine.io/"), [""]);
        let own = ("session=own; Path=/", "http://a.example.org/");
        assert_eq!(copied(&[own, parents], "http://a.example.org/engine.io/"), ["session=own"]);
        // An empty `Domain` counts as none.
        let empty = ("session=empty; Path=/; Domain=", "http://example.org/");
        assert_eq!(copied(&[empty], "http://a.example.org/engine.io/"), [""]);
        let shared = ("session=shared; Path=/; domain=.Example.org", "http://example.org/");
        assert_eq!(copied(&[shared], "http://a.example.org/engine.io/"), ["session=shared"]);
    }

    #[test]
    fn changes_go_back() {
        let url = Url::parse("https://a.example.org/engine.io/").unwrap();
        let lender = lender(&[
            ("kept=0; Path=/", url.as_str()),
            ("gone=0; Path=/", url.as_str()),
            ("changed=0; Path=/", url.as_str()),
        ]);
        let (mut jar, now) = (Jar::default(), SystemTime::now());
        lend(&lender, &mut jar, &url);
        let uri: Uri = url.as_str().parse().unwrap();
        let cookie = Cookie::parse("changed=by-user; Path=/", &uri).unwrap();
        lender.cookie_jar_lock().insert(cookie, &uri).unwrap();
        for header in [
            "gone=; Path=/; Max-Age=0",
            "changed=; Path=/; Max-Age=0",
            "implied=1; HttpOnly",
            "shared=a b; Domain=example.org; Secure; Max-Age=100",
            "refused=1; Domain=org",
        ] {
            let changes = jar.receive(header.as_bytes(), &url, now);
            changes.iter().for_each(|change| give_back(&lender, change, &url));
        }
        let held = lender.cookie_jar_lock();
        let text = |domain, path, name| held.get(domain, path, name).map(|cookie| cookie.to_string());
        assert_eq!(held.iter().count(), 4);
        assert_eq!(text("a.example.org", "/", "changed").unwrap(), "changed=by-user; Path=/");
        assert_eq!(
            text("a.example.org", "/engine.io", "implied").unwrap(),
            "implied=1; HttpOnly; Path=/engine.io"
        );
        let shared = text("example.org", "/engine.io", "shared").unwrap();
        assert!(
            shared.starts_with("shared=a b; Secure; Path=/engine.io; Domain=example.org; Max-Age="),
            "{shared}"
        );
    }

    #[test]
    fn what_the_jar_drops_is_dropped_from_the_users_agent() {
        let lender = Agent::new_with_defaults();
        let (mut jar, url) = (Jar::default(), Url::parse("http://h/").unwrap());
        for n in 0..1000 {
            let changes = jar.receive(format!("c{n}=1; Path=/x").as_bytes(), &url, SystemTime::now());
            changes.iter().for_each(|change| give_back(&lender, change, &url));
        }
        assert_eq!(lender.cookie_jar_lock().iter().count(), 50);
    }

    /// The time does not depend on the length of a path.
    #[test]
    fn a_long_path_costs_no_more_than_a_short_one() {
        let cookies: Vec<_> = (0..20).map(|n| format!("c{n}=1; Path=/")).collect();
        let cookies: Vec<_> = cookies.iter().map(|text| (text.as_str(), "http://h/")).collect();
        let (lender, mut jar) = (lender(&cookies), Jar::default());
        let long = Url::parse(&format!("http://h/{}", "x/".repeat(30_000))).unwrap();
        let start = std::time::Instant::now();
        lend(&lender, &mut jar, &long);
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        assert_eq!(directories(long.path()).len(), MOST_PATHS);
    }

    #[test]
    fn a_factory_that_panics_is_an_error() {
        let source = AgentSource::Factory(Arc::new(|| panic!("no agent today")));
        let error = source.agent().unwrap_err().to_string();
        assert!(error.contains("http_agent_factory") && error.contains("no agent today"), "{error}");
    }
}
