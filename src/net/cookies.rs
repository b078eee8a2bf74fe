use ureq::http::Uri;
use ureq::{Agent, Cookie};

/// A cookie of the user's own `Cookie` header.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OwnCookie(String);

/// Hides the cookie, which may be a credential.
impl std::fmt::Debug for OwnCookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnCookie")
    }
}

/// Parses a `Cookie` header (RFC 6265, section 4.2). The error says what is wrong with the header.
pub(crate) fn parse(header: &str) -> Result<Vec<OwnCookie>, String> {
    let pairs = header.split(';').map(str::trim).filter(|pair| !pair.is_empty());
    pairs.map(parse_pair).collect()
}

fn parse_pair(pair: &str) -> Result<OwnCookie, String> {
    let Some((name, value)) = pair.split_once('=') else {
        return Err("a cookie has no =".into());
    };
    // The jar silently leaves a cookie with any other character out of requests.
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let sendable = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | ',' | '\\');
    if name.is_empty() || !name.chars().all(is_token) {
        return Err("a cookie has an invalid name".into());
    }
    if !inner.chars().all(sendable) {
        return Err(format!("the cookie {name:?} has a character in its value that no cookie may have"));
    }
    Ok(OwnCookie(pair.into()))
}

/// True for the characters of a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// Puts the user's cookies into the agent's jar, for the host of the URL only. In the jar they merge with the
/// server's cookies, so that a request carries one `Cookie` header. Cookies for an https URL are `Secure`: a
/// redirect to http does not reveal them.
pub(super) fn insert(agent: &Agent, cookies: &[OwnCookie], uri: &Uri) {
    let secure = if uri.scheme_str() == Some("https") { "; Secure" } else { "" };
    let mut jar = agent.cookie_jar_lock();
    for cookie in cookies {
        if let Ok(cookie) = Cookie::parse(format!("{}; Path=/{secure}", cookie.0), uri) {
            // The jar refuses only cookies for another host, and these are for the host of the URL.
            let _ = jar.insert(cookie, uri);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_headers() {
        let table = [
            ("a=1", Some(vec!["a=1"])),
            ("a=1; b=2;c=", Some(vec!["a=1", "b=2", "c="])),
            ("a=\"x\"; ; b==/=", Some(vec!["a=\"x\"", "b==/="])),
            ("", Some(vec![])),
            ("a", None),
            ("=1", None),
            ("a b=1", None),
            ("a=1 2", None),
            ("a=ü", None),
            ("a=1,2", None),
        ];
        for (header, expected) in table {
            let parsed = parse(header).ok();
            let expected = expected.map(|pairs| pairs.into_iter().map(|p| OwnCookie(p.into())).collect());
            assert_eq!(parsed, expected, "{header:?}");
        }
    }

    #[test]
    fn what_is_for_https_is_not_for_http() {
        for (url, held) in [("https://h/", "a=1; Secure; Path=/"), ("http://h/", "a=1; Path=/")] {
            let agent = Agent::new_with_defaults();
            insert(&agent, &parse("a=1").unwrap(), &url.parse().unwrap());
            assert_eq!(agent.cookie_jar_lock().get("h", "/", "a").unwrap().to_string(), held);
        }
    }

    #[test]
    fn errors_and_debug_do_not_show_values() {
        assert!(!parse("a=secret value").unwrap_err().contains("secret"));
        assert!(!format!("{:?}", parse("a=secret").unwrap()).contains("secret"));
    }
}
