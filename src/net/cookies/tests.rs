use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn url(url: &str) -> Url {
    Url::parse(url).unwrap()
}

/// The `Cookie` header for `target`, after these pairs of a `Set-Cookie` header and its URL.
fn sent(set: &[(&str, &str)], target: &str) -> String {
    let (mut jar, now) = (Jar::default(), SystemTime::now());
    for (header, from) in set {
        jar.receive(header.as_bytes(), &url(from), now);
    }
    header(&mut jar, target, now)
}

fn header(jar: &mut Jar, target: &str, now: SystemTime) -> String {
    let header = jar.header(&url(target), true, now);
    header.map_or(String::new(), |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

const HERE: &str = "http://a.example.org/engine.io/";

#[test]
fn values_are_sent_as_they_came() {
    for pair in [
        "srv=node one",
        "json={\"a\":[1,2],\"b\":\"c d\"}",
        "quoted=\"x\"",
        "io:sid=abc",
        "a[b]=c=d",
        "ü=é",
        "empty=",
        "a b=1",
        "percent=%20",
    ] {
        assert_eq!(sent(&[(&format!("{pair} ; Path=/"), HERE)], HERE), pair);
    }
    let mut jar = Jar::default();
    jar.receive(b"raw=\xff\xfe", &url(HERE), SystemTime::now());
    assert_eq!(jar.header(&url(HERE), true, SystemTime::now()).unwrap().as_bytes(), b"raw=\xff\xfe");
    for none in ["", "a", "=1", "; Path=/", "a=\u{1}"] {
        assert_eq!(sent(&[(none, HERE)], HERE), "", "{none:?}");
    }
}

#[test]
fn paths() {
    for (set, from, target, expected) in [
        ("a=1; Path=/", HERE, "http://a.example.org/other", "a=1"),
        ("a=1; Path=/engine.io", HERE, HERE, "a=1"),
        ("a=1; Path=/engine", HERE, HERE, ""),
        ("a=1; Path=/engine.io/", HERE, "http://a.example.org/engine.io", ""),
        ("a=1", HERE, "http://a.example.org/engine.io", "a=1"),
        ("a=1", HERE, "http://a.example.org/", ""),
        ("a=1; Path=", HERE, HERE, "a=1"),
        ("a=1; Path=relative", HERE, HERE, "a=1"),
        ("a=1; Path=/x; Path=/", HERE, "http://a.example.org/", "a=1"),
        ("a=1", "http://a.example.org/x", "http://a.example.org/", "a=1"),
    ] {
        assert_eq!(sent(&[(set, from)], target), expected, "{set} for {target}");
    }
}

#[test]
fn longer_paths_come_first_and_then_older_cookies() {
    let set = [
        ("b=new; Path=/", HERE),
        ("a=root; Path=/", HERE),
        ("a=deep; Path=/engine.io", HERE),
        ("c=3; Path=/engine.io/", HERE),
        ("b=newer; Path=/", HERE),
    ];
    assert_eq!(sent(&set, HERE), "c=3; a=deep; b=newer; a=root");
}

#[test]
fn domains() {
    for (set, from, target, expected) in [
        ("a=1", HERE, "http://b.a.example.org/engine.io/", ""),
        ("a=1; Domain=", HERE, "http://b.a.example.org/engine.io/", ""),
        ("a=1; Domain=a.example.org", HERE, "http://b.a.example.org/engine.io/", "a=1"),
        ("a=1; Domain=.Example.ORG", HERE, "http://b.example.org/engine.io/", "a=1"),
        ("a=1; Domain=xample.org", HERE, HERE, ""),
        ("a=1; Domain=b.example.org", HERE, HERE, ""),
        ("a=1; Domain=org", HERE, HERE, ""),
        ("a=1; Domain=a b", HERE, HERE, ""),
        ("a=1; Domain=localhost", "http://localhost/", "http://localhost/", "a=1"),
        ("a=1; Domain=localhost", "http://localhost/", "http://x.localhost/", ""),
        ("a=1; Domain=127.0.0.1", "http://127.0.0.1/", "http://127.0.0.1:81/", "a=1"),
        ("a=1; Domain=0.0.1", "http://127.0.0.1/", "http://127.0.0.1/", ""),
        (
            "a=1; Domain=bücher.example",
            "http://www.xn--bcher-kva.example/",
            "http://xn--bcher-kva.example/",
            "a=1",
        ),
        ("a=1", "http://[::1]/", "http://[::1]:8080/", "a=1"),
    ] {
        assert_eq!(sent(&[(set, from)], target), expected, "{set} for {target}");
    }
}

#[test]
fn secure_cookies_stay_in_tls() {
    const SECURE: &str = "https://a.example.org/engine.io/";
    assert_eq!(sent(&[("a=1; Secure", SECURE)], SECURE), "a=1");
    assert_eq!(sent(&[("a=1; Secure", SECURE)], HERE), "");
    assert_eq!(sent(&[("a=1; Secure", HERE)], SECURE), "", "set without TLS");
    for replacing in ["a=2", "a=2; Path=/engine.io/below", "a=2; Domain=example.org", "a=; Max-Age=0"] {
        assert_eq!(sent(&[("a=1; Secure", SECURE), (replacing, HERE)], SECURE), "a=1", "{replacing}");
    }
    // A cookie for another path hides nothing.
    assert_eq!(sent(&[("a=1; Secure", SECURE), ("a=2; Path=/", HERE)], HERE), "a=2");
    assert_eq!(sent(&[("a=1; Secure", SECURE), ("a=2", SECURE)], SECURE), "a=2");
    // Requests to this machine itself do not leave it.
    for local in ["http://127.0.0.1/", "http://localhost/", "http://[::1]/"] {
        assert_eq!(sent(&[("a=1; Secure", local)], local), "a=1");
    }
}

#[test]
fn prefixes() {
    const SECURE: &str = "https://a.example.org/engine.io/";
    for (set, from, kept) in [
        ("__Secure-a=1; Secure", SECURE, true),
        ("__Secure-a=1", SECURE, false),
        ("__secure-a=1", SECURE, false),
        ("__Secure-a=1; Secure", HERE, false),
        ("__Host-a=1; Secure; Path=/", SECURE, true),
        ("__Host-a=1; Secure", SECURE, false),
        ("__Host-a=1; Path=/", SECURE, false),
        ("__Host-a=1; Secure; Path=/; Domain=a.example.org", SECURE, false),
        ("__HOST-a=1; Secure; Path=/engine.io", SECURE, false),
    ] {
        assert_eq!(!sent(&[(set, from)], SECURE).is_empty(), kept, "{set}");
    }
}

#[test]
fn expiry() {
    for (end, sent_now, sent_later) in [
        ("", true, true),
        ("; Max-Age=100", true, false),
        ("; Max-Age=0", false, false),
        ("; Max-Age=-5", false, false),
        ("; Max-Age=x", true, true),
        ("; Max-Age=99999999999999999999", true, true),
        ("; Expires=Thu, 01 Jan 1970 00:00:00 GMT", false, false),
        ("; Expires=Thu, 01-Jan-70 0:00:00", false, false),
        ("; Expires=nonsense", true, true),
        ("; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=100", true, false),
    ] {
        let (mut jar, now) = (Jar::default(), SystemTime::now());
        jar.receive(b"a=0", &url(HERE), now);
        jar.receive(format!("a=1{end}").as_bytes(), &url(HERE), now);
        assert_eq!(header(&mut jar, HERE, now) == "a=1", sent_now, "{end}");
        assert!(sent_now || header(&mut jar, HERE, now).is_empty(), "{end} removes the cookie");
        let later = now + Duration::from_secs(101);
        assert_eq!(header(&mut jar, HERE, later) == "a=1", sent_later, "{end}");
    }
}

#[test]
fn the_users_own_cookies_are_not_judged_and_stay_at_home() {
    let now = SystemTime::now();
    let mut jar = Jar::default();
    jar.lend("a=lent", "/", &url(HERE), now);
    jar.lend("other=lent", "/", &url(HERE), now);
    jar.add_own(&parse("a=1; a=2;b;\t{\"x\", y} ; =z; c=own"), &url(HERE));
    assert_eq!(header(&mut jar, HERE, now), "other=lent; a=1; a=2; b; {\"x\", y}; =z; c=own");
    jar.receive(b"a=server; Path=/", &url(HERE), now);
    jar.receive(b"c=; Path=/; Max-Age=0", &url(HERE), now);
    assert_eq!(header(&mut jar, HERE, now), "other=lent; a=server; b; {\"x\", y}; =z");
    let away = jar.header(&url(HERE), false, now).unwrap();
    assert_eq!(away, "other=lent; a=server");
    assert!(away.is_sensitive() && !format!("{:?}", parse("a=secret")).contains("secret"));
}

#[test]
fn the_jar_is_bounded() {
    let now = SystemTime::now();
    let mut jar = Jar::default();
    jar.receive(b"sticky=1; Path=/", &url(HERE), now);
    for n in 0..10_000 {
        // The user sends what the jar holds in between.
        assert!(header(&mut jar, HERE, now).contains("sticky=1"));
        jar.receive(format!("c{n}={}; Path=/x", "v".repeat(480)).as_bytes(), &url(HERE), now);
        assert!(jar.cookies.len() <= MOST_OF_DOMAIN);
    }
    for n in 0..MOST + 100 {
        jar.receive(b"a=1; Path=/", &url(&format!("http://h{n}.example/")), now);
    }
    assert_eq!(jar.cookies.len(), MOST);
    let large = format!("large={}", "v".repeat(4091));
    assert_eq!(sent(&[(&large, HERE)], HERE), large);
    assert_eq!(sent(&[(&format!("{large}v"), HERE)], HERE), "");
    assert_eq!(sent(&[(&format!("a=1; Path=/{}", "x".repeat(2000)), HERE)], HERE), "a=1");
}

#[test]
fn a_flood_without_tls_drops_no_secure_cookie() {
    let (mut jar, now) = (Jar::default(), SystemTime::now());
    let secure = "https://a.example.org/engine.io/";
    jar.receive(b"safe=1; Secure; Path=/", &url(secure), now);
    for n in 0..200 {
        jar.receive(format!("c{n}=1; Path=/").as_bytes(), &url(HERE), now);
    }
    assert!(header(&mut jar, secure, now).starts_with("safe=1; "));
    assert_eq!(jar.cookies.len(), MOST_OF_DOMAIN);
}

proptest! {
    #[test]
    fn any_header_is_stored_or_ignored(
        header in any::<Vec<u8>>(),
        text in "[a=;, ]{0,6}(Path|Domain|Expires|Max-Age|Secure|__Host-)?[a-z0-9=;./ -]{0,20}",
    ) {
        let (mut jar, now) = (Jar::default(), SystemTime::now());
        for header in [&header, text.as_bytes()] {
            jar.receive(header, &url(HERE), now);
        }
        let some = jar.cookies.iter().any(|cookie| cookie.is_for(&url(HERE), "a.example.org"));
        prop_assert_eq!(jar.header(&url(HERE), true, now).is_some(), some);
    }
}
