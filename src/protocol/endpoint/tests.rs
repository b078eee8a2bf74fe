use proptest::prelude::*;

use super::*;

fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(url, "engine.io", true).unwrap()
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
    assert_eq!(
        plain.request_url("polling", None, None).as_str(),
        "http://h:1/engine.io/?EIO=4&transport=polling"
    );
    assert_eq!(
        endpoint("wss://h/?a=1&b=%20x").request_url("websocket", Some("Ab-_9"), Some("17.5")).as_str(),
        "https://h/engine.io/?a=1&b=%20x&EIO=4&transport=websocket&sid=Ab-_9&t=17.5"
    );
    assert_eq!(
        plain.request_url("polling", Some("a b&c=d+é#?%"), None).as_str(),
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
            assert_eq!(endpoint(&url).request_url("polling", None, None).as_str(), expected);
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
        assert_eq!(moved.request_url("ws", Some("s"), None).as_str(), expected);
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
        assert_eq!(endpoint.request_url("x", None, None).as_str(), "http://h/engine.io/?EIO=4&transport=x");
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
        let error = Endpoint::parse(url, "engine.io", true).unwrap_err();
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
        ("/", "/"),
        ("//", "/"),
        ("a%2Fb", "/a%2Fb/"),
        ("%7euser/x%00", "/%7euser/x%00/"),
    ];
    for (path, expected) in table {
        let endpoint = Endpoint::parse("http://h/dropped", path, true).unwrap();
        assert!(endpoint.drops_path());
        assert_eq!(endpoint.to_string(), format!("http://h{expected}"));
        let endpoint = Endpoint::parse("http://h/dropped", path, false).unwrap();
        let expected = match expected {
            "/" => "/",
            other => other.strip_suffix('/').unwrap(),
        };
        assert_eq!(endpoint.to_string(), format!("http://h{expected}"));
        let url = endpoint.request_url("x", None, None);
        assert_eq!(url.as_str(), format!("http://h{expected}?EIO=4&transport=x"));
    }
}

#[test]
fn unix_sockets() {
    let table = [
        ("unix:///run/app.sock", "/run/app.sock", ""),
        ("unix:/run/app.sock", "/run/app.sock", ""),
        ("UNIX:///run/my%20app.sock?a=1&EIO=3#x", "/run/my app.sock", "a=1&"),
        ("unix:///a:b@c", "/a:b@c", ""),
        ("http+unix://%2Frun%2fapp.sock", "/run/app.sock", ""),
        ("http+unix://%2Frun%2Fapp.sock/dropped?a=1", "/run/app.sock", "a=1&"),
        ("ws+unix://user:secret@%2Frun%2Fa%3Fb", "/run/a?b", ""),
    ];
    for (url, socket, query) in table {
        let endpoint = endpoint(url);
        assert_eq!(endpoint.socket(), Some(Path::new(socket)), "{url}");
        assert_eq!(endpoint.to_string(), format!("unix://{socket} (/engine.io/)"));
        assert_eq!(endpoint.base().as_str(), "http://localhost/engine.io/");
        let expected = format!("http://localhost/engine.io/?{query}EIO=4&transport=x");
        assert_eq!(endpoint.request_url("x", None, None).as_str(), expected);
    }
    assert_eq!(endpoint("ws+unix://user:secret@%2Fa").credentials(), Some(("user", "secret")));
    assert!(endpoint("http+unix://%2Fa/dropped").drops_path());
    assert_eq!(endpoint("http://localhost").socket(), None);
    let absolute = "the path of the socket is not absolute: write unix:///run/app.sock";
    let encoded = "the path of the socket is not absolute, with its slashes as %2F";
    let no_tls = "TLS is not supported on Unix sockets: use unix:// or http+unix://";
    for (url, reason) in [
        ("unix://run/app.sock", absolute),
        ("unix:app.sock", absolute),
        ("unix://", absolute),
        ("http+unix:///run/app.sock", encoded),
        ("http+unix://app.sock/x", encoded),
        ("https+unix://%2Frun%2Fapp.sock", no_tls),
        ("WSS+unix://%2Frun%2Fapp.sock", no_tls),
        ("unix:///a\tb", "it has a control character"),
    ] {
        let error = Endpoint::parse(url, "engine.io", true).unwrap_err();
        assert!(error.to_string().ends_with(reason), "{url}: {error}");
    }
}

#[test]
fn malformed_paths() {
    let bad = [
        "", " ", "/ ", "a b", "a?b", "a#b", "a\\b", "a\nb", "\0", "..", "a/../b", "./a", "a/%2E%2e",
        "a\u{a0}",
    ];
    for path in bad {
        let error = Endpoint::parse("http://h", path, true).unwrap_err();
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
        ("http:localhost", "http:localhost", "there must be a colon and two slashes after http: http://"),
        (
            "https//localhost",
            "https//localhost",
            "there must be a colon and two slashes after https: https://",
        ),
        ("http:8080", "http:8080", no_scheme),
        ("localhost/?to=http://h", "localhost/?***", no_scheme),
        ("ftp://h/@x", "ftp://***@x", "the scheme is ftp: use http, https, ws, wss or unix"),
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
        let error = Endpoint::parse(url, "engine.io", true).unwrap_err();
        assert_eq!(error, EndpointError::Url { url: shown.into(), reason: reason.into() });
    }
}

#[test]
fn what_no_request_can_be_made_to_is_refused() {
    for host in ["a{b", "a}b", "a\"b", "a`b", "{}"] {
        for url in [format!("http://{host}/"), format!("wss://u:p@{host}:5000")] {
            let error = Endpoint::parse(&url, "engine.io", true).unwrap_err();
            assert!(error.to_string().contains("its host has a character"), "{url}: {error}");
        }
    }
    let error =
        Endpoint::parse(&format!("http://h?a={}", "x".repeat(70_000)), "engine.io", true).unwrap_err();
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
        let error = Endpoint::parse(url, "engine.io", true).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}

proptest! {
    #[test]
    fn anything_is_parsed_or_refused(url in any::<String>(), path in any::<String>()) {
        let _ = Endpoint::parse(&url, "engine.io", true);
        let _ = Endpoint::parse("http://h", &path, true);
    }

    #[test]
    fn what_is_parsed_gives_urls(
        url in "(http|ws)s?://[a-z0-9%:@/?#&=. \\[\\]{}\"'`|^_~!$()*+,;é-]{1,30}",
        path in "[a-z%./é|^]{1,10}",
        sid in "\\PC+",
    ) {
        if let Ok(endpoint) = Endpoint::parse(&url, &path, true) {
            let url = endpoint.request_url("polling", Some(&sid), None);
            prop_assert!(url.as_str().parse::<Uri>().is_ok(), "{url}");
            prop_assert_eq!(&Url::parse(url.as_str()).unwrap(), &url);
            prop_assert_eq!(url.origin(), endpoint.base.origin());
            prop_assert!(url.username().is_empty() && url.password().is_none());
            prop_assert_eq!(url.fragment(), None);
            let (name, value) = url.query_pairs().last().unwrap();
            prop_assert_eq!((name.as_ref(), value.as_ref()), ("sid", sid.as_str()));
        }
    }
}
