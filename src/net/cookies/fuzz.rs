//! The target for cookies.

use std::time::{Duration, SystemTime};

use ureq::Agent;
use ureq::http::HeaderValue;
use url::Url;

use super::{Change, Jar, MOST, MOST_OF_DOMAIN, Source, StoredCookie, parse};
use crate::net::agent;
use crate::testing::fuzz::SECRET;

/// The place that the user gave cookies for.
const HOME: &str = "http://a.example.org/engine.io/";

/// A jar that only a longer input than a fuzzer makes could fill.
const NEARLY_FULL: usize = MOST - 100;

/// Lines: the user's own `Cookie` header, and one `Set-Cookie` after the other, each behind the place that it
/// comes from, which is a URL, or a host, and a space. Without a space the line is a request to that place.
/// With a `*` in front it stands for a hundred cookies with numbers in their names.
pub fn cookies(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let home = Url::parse(HOME).expect("it is valid");
    let (mut jar, lender) = (Jar::default(), Agent::new_with_defaults());
    add_own(&mut jar, lines.next().unwrap_or_default(), &home);
    let mut now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut places = vec![home.clone()];
    for line in lines {
        now += Duration::from_secs(60);
        let (is_many, line) = line.strip_prefix(b"*").map_or((false, line), |line| (true, line));
        let space = line.iter().position(|byte| *byte == b' ');
        let Some(url) = place(&line[..space.unwrap_or(line.len())]) else { continue };
        if let Some(space) = space {
            for number in 0..if is_many { 100 } else { 1 } {
                let header = numbered(&line[space + 1..], number);
                receive(&mut jar, &header, &url, now, &lender);
            }
        }
        request(&mut jar, &url, now);
        places.push(url);
    }
    places.iter().for_each(|url| request(&mut jar, url, now));
}

/// Adds what a user may set: the options refuse anything that is no header.
fn add_own(jar: &mut Jar, line: &[u8], home: &Url) {
    let text = String::from_utf8_lossy(line);
    if text.parse::<HeaderValue>().is_ok() {
        let own = parse(&text);
        assert!(!format!("{own:?}").contains(SECRET));
        jar.add_own(&own, home);
    }
}

fn place(text: &[u8]) -> Option<Url> {
    let text = std::str::from_utf8(text).ok()?;
    let url = if text.contains("://") { text.into() } else { format!("http://{text}/engine.io/") };
    Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

fn numbered(header: &[u8], number: usize) -> Vec<u8> {
    let at = header.iter().position(|byte| *byte == b'=').filter(|_| number > 0);
    let (name, rest) = header.split_at(at.unwrap_or(0));
    match at {
        Some(_) => [name, number.to_string().as_bytes(), rest].concat(),
        None => header.to_vec(),
    }
}

fn receive(jar: &mut Jar, header: &[u8], url: &Url, now: SystemTime, lender: &Agent) {
    let is_safe = |cookie: &&StoredCookie| cookie.secure && !cookie.is_expired(now);
    let secure: Vec<StoredCookie> = jar.cookies.iter().filter(is_safe).cloned().collect();
    let changes = jar.receive(header, url, now);
    if !is_trusted(url) && jar.cookies.len() < NEARLY_FULL {
        assert!(secure.iter().all(|cookie| jar.cookies.contains(cookie)), "http has changed a Secure cookie");
    }
    for change in &changes {
        agent::give_back(lender, change, url);
        if let Change::Stored(cookie) = change {
            stored(cookie, url, now);
        }
    }
    let of_servers = || jar.cookies.iter().filter(|cookie| cookie.source != Source::Own);
    assert!(of_servers().count() <= MOST);
    assert!(lender.cookie_jar_lock().iter().count() <= of_servers().count());
    let same = |cookie: &&StoredCookie| Some(&cookie.domain) == changed(&changes);
    assert!(of_servers().filter(same).count() <= MOST_OF_DOMAIN);
}

fn changed(changes: &[Change]) -> Option<&String> {
    changes.iter().map(|(Change::Stored(cookie) | Change::Removed(cookie))| &cookie.domain).next()
}

/// The cookie is one that this place may set.
fn stored(cookie: &StoredCookie, url: &Url, now: SystemTime) {
    let host = url.host_str().expect("http has a host");
    assert!(cookie.name.len() + cookie.value().len() <= 4096 && !cookie.name.is_empty());
    let above = host.strip_suffix(&cookie.domain).is_some_and(|rest| rest.ends_with('.'));
    let is_shared = !cookie.host_only && cookie.domain.contains('.');
    assert!(cookie.domain == host || above && is_shared, "{host} has set a cookie for {}", cookie.domain);
    assert!(cookie.path.starts_with('/'), "{}", cookie.path);
    assert!(is_trusted(url) || !cookie.secure);
    let longest = now + Duration::from_secs(400 * 86_400);
    assert!(cookie.expires.is_none_or(|expires| expires > now && expires <= longest));
    let name = cookie.name.to_ascii_lowercase();
    assert!(!name.starts_with(b"__secure-") || cookie.secure);
    let is_locked = cookie.secure && cookie.host_only && cookie.path == "/";
    assert!(!name.starts_with(b"__host-") || is_locked);
}

/// The request carries the cookies of its place, and no others, with those of longer paths first.
fn request(jar: &mut Jar, url: &Url, now: SystemTime) {
    let at_home = url.as_str() == HOME;
    let header = jar.header(url, at_home, now);
    let header = header.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    assert!(header.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f), "{header:?}");
    let matching = jar.cookies.iter().filter(|cookie| {
        belongs(cookie, url) && !cookie.is_expired(now) && (at_home || cookie.source != Source::Own)
    });
    let mut matching: Vec<&StoredCookie> = matching.collect();
    let pairs = header.split(|byte| *byte == b';').map(|pair| pair.strip_prefix(b" ").unwrap_or(pair));
    let mut longest = usize::MAX;
    for pair in pairs.filter(|_| !header.is_empty()) {
        let mine =
            |(_, cookie): &(usize, &&StoredCookie)| cookie.pair() == pair && cookie.path.len() <= longest;
        let found = matching.iter().enumerate().filter(mine).max_by_key(|(_, cookie)| cookie.path.len());
        let (index, cookie) = found.expect("every pair is a cookie of this place, in order");
        longest = cookie.path.len();
        matching.remove(index);
    }
    assert!(matching.is_empty(), "a cookie was left out");
}

/// RFC 6265, section 5.4.
fn belongs(cookie: &StoredCookie, url: &Url) -> bool {
    let (host, path) = (url.host_str().unwrap_or_default(), url.path());
    let below = !cookie.host_only && host.ends_with(&format!(".{}", cookie.domain));
    let end = path.as_bytes().get(cookie.path.len()).copied();
    let at_end = end.is_none_or(|byte| byte == b'/') || cookie.path.ends_with('/');
    (host == cookie.domain || below)
        && path.starts_with(&cookie.path)
        && at_end
        && (!cookie.secure || is_trusted(url))
}

/// True for https, and for this machine itself.
fn is_trusted(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    url.scheme() == "https"
        || host.starts_with("127.") && host.parse::<std::net::Ipv4Addr>().is_ok()
        || matches!(host, "localhost" | "[::1]")
        || host.ends_with(".localhost")
}
