//! The cookie jar of one connection: RFC 6265, section 5, with the prefixes and the rules for `Secure` of its
//! successor (draft-ietf-httpbis-rfc6265bis).
//!
//! The jar of the `cookie_store` crate keeps no time of creation or use, so it can neither sort cookies of
//! equal paths nor choose which one to drop, and it reads dates and values more strictly than section 5 does.

mod date;
#[cfg(any(test, fuzz))]
#[cfg_attr(test, allow(unreachable_pub, reason = "the fuzz package reaches it"))]
pub(super) mod fuzz;
mod set_cookie;

use std::time::SystemTime;

use ureq::http::HeaderValue;
use url::{Host, Url};

use set_cookie::SetCookie;

/// The most cookies of one domain (RFC 6265, section 6.1, as the next two).
const MOST_OF_DOMAIN: usize = 50;
const MOST: usize = 3000;

/// A cookie of the user's own `Cookie` header: the text between two semicolons.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OwnCookie(String);

/// Hides the cookie, which may be a credential.
impl std::fmt::Debug for OwnCookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnCookie")
    }
}

/// Splits a `Cookie` header. The user may send what no server would set, so the parts are not judged.
pub(crate) fn parse(header: &str) -> Vec<OwnCookie> {
    let parts = header.split(';').map(|part| part.trim_matches([' ', '\t']));
    parts.filter(|part| !part.is_empty()).map(|part| OwnCookie(part.into())).collect()
}

/// True for the characters of a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// The one who gave a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The user, in a `Cookie` header. It is for the user's own origin only.
    Own,
    /// The user's ureq agent.
    Lent,
    Server,
}

/// A cookie in the jar.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StoredCookie {
    pub(super) name: Vec<u8>,
    /// The cookie as a request carries it: `name=value`, or an own cookie as the user wrote it.
    pair: Vec<u8>,
    pub(super) domain: String,
    pub(super) host_only: bool,
    pub(super) path: String,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    pub(super) expires: Option<SystemTime>,
    source: Source,
    /// The jar's clock when the cookie was created, and when a request last carried it.
    created: u64,
    used: u64,
}

impl StoredCookie {
    pub(super) fn value(&self) -> &[u8] {
        self.pair.get(self.name.len() + 1..).unwrap_or_default()
    }

    pub(super) fn pair(&self) -> &[u8] {
        &self.pair
    }

    fn has_key_of(&self, other: &StoredCookie) -> bool {
        (&self.name, &self.domain, &self.path) == (&other.name, &other.domain, &other.path)
    }

    fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn is_for(&self, url: &Url, host: &str) -> bool {
        (host == self.domain || !self.host_only && is_below(host, &self.domain))
            && path_matches(url.path(), &self.path)
            && (!self.secure || is_secure(url))
    }
}

/// A change of the jar that the user's ureq agent is told.
pub(super) enum Change {
    Stored(StoredCookie),
    Removed(StoredCookie),
}

/// The cookies of one connection.
#[derive(Default)]
pub(super) struct Jar {
    cookies: Vec<StoredCookie>,
    clock: u64,
}

impl Jar {
    /// Adds the cookies of the user's own header, for the host of the URL. They take the place of lent ones.
    pub(super) fn add_own(&mut self, cookies: &[OwnCookie], home: &Url) {
        let Some(domain) = home.host_str() else { return };
        for OwnCookie(text) in cookies {
            let name = text.split_once('=').map_or(text.as_str(), |(name, _)| name);
            self.clock += 1;
            let own = StoredCookie {
                name: name.into(),
                pair: text.clone().into(),
                domain: domain.into(),
                host_only: true,
                path: "/".into(),
                secure: false,
                http_only: false,
                expires: None,
                source: Source::Own,
                created: self.clock,
                used: self.clock,
            };
            self.cookies.retain(|cookie| cookie.source == Source::Own || !cookie.has_key_of(&own));
            self.cookies.push(own);
        }
    }

    /// Adds a cookie of the user's agent, in the form of a `Set-Cookie` header. Its path is given if the text
    /// has none.
    pub(super) fn lend(&mut self, text: &str, path: &str, url: &Url, now: SystemTime) {
        let Some(mut set) = SetCookie::parse(text.as_bytes(), now) else { return };
        set.path.get_or_insert_with(|| path.into());
        // The user may have put a `Secure` cookie there, for a request that a redirect sends to https.
        let mut url = url.clone();
        let _ = url.set_scheme("https");
        if let Some(cookie) = self.accept(set, &url, Source::Lent) {
            self.store(cookie, now);
        }
    }

    /// Reads the value of a `Set-Cookie` header of a response from `url` (RFC 6265, section 5.3).
    pub(super) fn receive(&mut self, header: &[u8], url: &Url, now: SystemTime) -> Vec<Change> {
        let set = SetCookie::parse(header, now);
        let cookie = set.and_then(|set| self.accept(set, url, Source::Server));
        cookie.map_or_else(Vec::new, |cookie| self.store(cookie, now))
    }

    /// The cookie to store, unless a rule forbids it.
    fn accept(&mut self, set: SetCookie, url: &Url, source: Source) -> Option<StoredCookie> {
        let host = url.host_str()?;
        let (domain, host_only) = match &set.domain {
            None => (host.to_owned(), true),
            Some(domain) if domain == host => (host.to_owned(), !is_name(host) || !domain.contains('.')),
            // A domain of one label is a public suffix, or might as well be one.
            Some(domain) if domain.contains('.') && is_below(host, domain) => (domain.clone(), false),
            Some(_) => return None,
        };
        self.clock += 1;
        let cookie = StoredCookie {
            pair: [&set.name, &b"="[..], &set.value].concat(),
            domain,
            host_only,
            path: set.path.clone().unwrap_or_else(|| default_path(url.path()).into()),
            secure: set.secure,
            http_only: set.http_only,
            expires: set.expires,
            source,
            created: self.clock,
            used: self.clock,
            name: set.name,
        };
        let secure_place = is_secure(url);
        let prefixed = |prefix: &str| {
            cookie.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        let is_host_prefix_kept =
            cookie.host_only && set.domain.is_none() && set.path.as_deref() == Some("/");
        let allowed = (secure_place || !cookie.secure)
            && (!prefixed("__Secure-") || cookie.secure)
            && (!prefixed("__Host-") || cookie.secure && is_host_prefix_kept)
            && (secure_place || !self.cookies.iter().any(|old| shadows(old, &cookie)));
        allowed.then_some(cookie)
    }

    /// Stores the cookie in place of the one with the same key, and drops what is too much.
    fn store(&mut self, mut cookie: StoredCookie, now: SystemTime) -> Vec<Change> {
        let mut changes = Vec::new();
        let (old, kept) =
            std::mem::take(&mut self.cookies).into_iter().partition(|old| old.has_key_of(&cookie));
        self.cookies = kept;
        let old: Vec<StoredCookie> = old;
        if let Some(first) = old.iter().map(|old| old.created).min() {
            cookie.created = first;
        }
        if cookie.is_expired(now) {
            changes.extend(old.into_iter().filter(|old| old.source != Source::Own).map(Change::Removed));
            return changes;
        }
        changes.push(Change::Stored(cookie.clone()));
        let domain = cookie.domain.clone();
        self.cookies.push(cookie);
        let of_domain = |cookie: &StoredCookie| cookie.domain == domain;
        self.bound(MOST_OF_DOMAIN, of_domain, now, &mut changes);
        self.bound(MOST, |_| true, now, &mut changes);
        changes
    }

    /// Drops cookies until at most `most` of those that `counts` holds for are left: first what has expired,
    /// then what is not `Secure`, so that no server without TLS drives those out, and then what no request
    /// has carried for the longest time. The user's own cookies neither count nor go.
    fn bound(
        &mut self,
        most: usize,
        counts: impl Fn(&StoredCookie) -> bool,
        now: SystemTime,
        changes: &mut Vec<Change>,
    ) {
        let counts = |cookie: &StoredCookie| cookie.source != Source::Own && counts(cookie);
        while self.cookies.iter().filter(|cookie| counts(cookie)).count() > most {
            let candidates = self.cookies.iter().enumerate().filter(|(_, cookie)| counts(cookie));
            let worth =
                |cookie: &StoredCookie| (!cookie.is_expired(now), cookie.secure, cookie.used, cookie.created);
            let Some((oldest, _)) = candidates.min_by_key(|(_, cookie)| worth(cookie)) else { return };
            changes.push(Change::Removed(self.cookies.remove(oldest)));
        }
    }

    /// The `Cookie` header of a request to `url` (RFC 6265, section 5.4), and the user's own cookies in it if
    /// the request is to the user's own origin.
    pub(super) fn header(&mut self, url: &Url, at_home: bool, now: SystemTime) -> Option<HeaderValue> {
        if self.cookies.is_empty() {
            return None;
        }
        let host = url.host_str()?;
        self.clock += 1;
        let clock = self.clock;
        let sent = |cookie: &&mut StoredCookie| {
            cookie.is_for(url, host) && !cookie.is_expired(now) && (at_home || cookie.source != Source::Own)
        };
        let mut matching: Vec<_> = self.cookies.iter_mut().filter(sent).collect();
        matching.sort_by_key(|cookie| (std::cmp::Reverse(cookie.path.len()), cookie.created));
        matching.iter_mut().for_each(|cookie| cookie.used = clock);
        let pairs: Vec<&[u8]> = matching.iter().map(|cookie| cookie.pair()).collect();
        let mut header =
            HeaderValue::from_bytes(&pairs.join(&b"; "[..])).ok().filter(|_| !pairs.is_empty())?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// True if `old` is a `Secure` cookie that `new`, which came without TLS, would replace or hide.
fn shadows(old: &StoredCookie, new: &StoredCookie) -> bool {
    let (a, b) = (&old.domain, &new.domain);
    let same_domain = a == b || is_below(a, b) || is_below(b, a);
    old.secure && old.name == new.name && same_domain && path_matches(&new.path, &old.path)
}

/// True for `https`, and for a connection to this machine itself, as in browsers.
fn is_secure(url: &Url) -> bool {
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || is_local
}

/// True for a host that is a name and not an address.
fn is_name(host: &str) -> bool {
    !host.starts_with('[') && host.parse::<std::net::Ipv4Addr>().is_err()
}

/// True if the host is a subdomain (RFC 6265, section 5.1.3).
fn is_below(host: &str, domain: &str) -> bool {
    is_name(host) && host.strip_suffix(domain).is_some_and(|labels| labels.ends_with('.'))
}

/// RFC 6265, section 5.1.4.
fn path_matches(path: &str, cookie: &str) -> bool {
    let rest = path.strip_prefix(cookie);
    rest.is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

/// The path of a cookie without one, from the path of the URL that set it (RFC 6265, section 5.1.4).
fn default_path(path: &str) -> &str {
    path.rfind('/').filter(|at| *at > 0).map_or("/", |at| &path[..at])
}

#[cfg(test)]
mod tests;
