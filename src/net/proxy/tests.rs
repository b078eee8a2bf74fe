use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::*;

/// A proxy whose answer is already there.
struct Answered {
    answer: io::Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Answered {
    fn new(answer: &[u8]) -> Self {
        Answered { answer: io::Cursor::new(answer.to_vec()), written: Vec::new() }
    }

    fn left(&self) -> &[u8] {
        &self.answer.get_ref()[self.answer.position() as usize..]
    }
}

impl Read for Answered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.answer.read(buf)
    }
}

impl Write for Answered {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ask(url: &str, host: &str, answer: &[u8]) -> (Result<()>, Answered) {
    let mut stream = Answered::new(answer);
    let opened = Proxy::parse(url, OPTION).unwrap().open_tunnel(&mut stream, host, 443, None);
    (opened, stream)
}

fn refusal(url: &str, answer: &[u8]) -> (String, Option<u16>) {
    match ask(url, "a.example", answer).0.unwrap_err() {
        Error::Connection { message, status, .. } => (message, status),
        other => panic!("{other:?}"),
    }
}

#[test]
fn connect_on_the_wire() {
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\nrest",
        "HTTP/1.0 200\r\nContent-Length: 100\r\n\r\nrest",
        "HTTP/1.1 204 x\n\nrest",
    ] {
        let (opened, stream) = ask("http://us%40er:p%3Ass@proxy:3128", "a.example", answer.as_bytes());
        opened.unwrap();
        assert_eq!(stream.left(), b"rest", "{answer:?}");
        let written = String::from_utf8(stream.written).unwrap();
        assert!(
            written.starts_with("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n"),
            "{written}"
        );
        // `us@er:p:ss`
        assert!(written.ends_with("Proxy-Authorization: Basic dXNAZXI6cDpzcw==\r\n\r\n"), "{written}");
    }
    let (_, stream) = ask("proxy:3128", "::1", b"");
    let written = String::from_utf8(stream.written).unwrap();
    assert!(written.starts_with("CONNECT [::1]:443 "), "{written}");
    assert!(!written.contains("Proxy-Authorization"), "{written}");
}

#[test]
fn connect_refused() {
    const PLAIN: &str = "http://proxy";
    const LOGIN: &str = "http://user:secret@proxy";
    let head = |rest: &str| format!("HTTP/1.1 {rest}\r\n\r\n").into_bytes();
    for (url, answer, expected, status) in [
        (PLAIN, head("407 No"), "put them into its URL", Some(407)),
        (PLAIN, head("407 No\r\nProxy-Authenticate: Basic realm=x"), "put them into its URL", Some(407)),
        (PLAIN, head("407 No\r\nProxy-authenticate: Negotiate"), "does not know", Some(407)),
        (LOGIN, head("407 No"), "did not accept the credentials", Some(407)),
        (PLAIN, head("403 No"), "refused a tunnel to a.example:443 (403 Forbidden)", Some(403)),
        (PLAIN, head("502 No"), "no tunnel to a.example:443 (502 Bad Gateway)", Some(502)),
        (PLAIN, head("100 Continue"), "no tunnel", Some(100)),
        (PLAIN, head("20 OK"), "does not answer in HTTP", None),
        (PLAIN, b"SSH-2.0-x".to_vec(), "does not answer in HTTP", None),
        (PLAIN, b"HTTP/1.1 200 OK\r\n".to_vec(), "closed the connection", None),
        (PLAIN, b"".to_vec(), "closed the connection", None),
        (PLAIN, head(&format!("200 OK\r\nx: {}", "x".repeat(16 * 1024))), "more headers", None),
    ] {
        let (told, code) = refusal(url, &answer);
        assert!(told.starts_with("the proxy proxy:80 (set by `proxy`) "), "{told}");
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("secret"), "{told}");
        assert_eq!(code, status, "{told}");
    }
    let large = head(&format!("200 OK\r\nx: {}", "x".repeat(16 * 1024 - 24)));
    assert_eq!(large.len(), 16 * 1024);
    ask(PLAIN, "a.example", &large).0.unwrap();
}

#[test]
fn socks_on_the_wire() {
    let answer = b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34rest";
    let targets: [(&str, &[u8]); 3] = [
        ("a.example", b"\x03\x09a.example"),
        ("10.1.2.3", b"\x01\x0a\x01\x02\x03"),
        ("::1", b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"),
    ];
    for (host, address) in targets {
        let (opened, stream) = ask("socks5://proxy", host, answer);
        opened.unwrap();
        assert_eq!(stream.left(), b"rest");
        assert_eq!(stream.written, [b"\x05\x01\x00\x05\x01\x00", address, &[1, 187]].concat());
    }
    for answer in [
        &b"\x05\x02\x01\x00\x05\x00\x00\x03\x03abc\x12\x34rest"[..],
        b"\x05\x02\x01\x00\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x34rest",
    ] {
        let (opened, stream) = ask("socks5h://user:p%20w@proxy", "a.example", answer);
        opened.unwrap();
        assert_eq!(stream.left(), b"rest");
        assert!(stream.written.starts_with(b"\x05\x02\x00\x02\x01\x04user\x03p w\x05\x01\x00"));
    }
}

#[test]
fn socks_refused() {
    const PLAIN: &str = "socks5://proxy";
    const LOGIN: &str = "socks5://user:secret@proxy";
    let cases: [(&str, &[u8], &str); 9] = [
        (PLAIN, b"\x05\xff", "put them into its URL"),
        (LOGIN, b"\x05\xff", "by user name and password"),
        (LOGIN, b"\x05\x02\x01\x01", "did not accept the user name"),
        (PLAIN, b"\x05\x02", "does not answer in SOCKS5"),
        (PLAIN, b"H", "does not answer in SOCKS5"),
        (PLAIN, b"\x05\x00\x05\x05\x00\x01", "opened no tunnel: the connection was refused"),
        (PLAIN, b"\x05\x00\x05\x63\x00\x01", "opened no tunnel: code 99"),
        (PLAIN, b"\x05\x00\x05\x00\x00\x07", "does not answer in SOCKS5"),
        (PLAIN, b"\x05\x00\x05\x00\x00\x03", "closed the connection"),
    ];
    for (url, answer, expected) in cases {
        let (told, status) = refusal(url, answer);
        assert!(told.starts_with("the proxy proxy:1080 (set by `proxy`) "), "{told}");
        assert!(told.contains(expected) && !told.contains("secret"), "{told}");
        assert_eq!(status, None);
    }
    let (opened, stream) = ask(PLAIN, &"x".repeat(256), b"");
    assert!(opened.unwrap_err().to_string().contains("up to 255 bytes"));
    assert_eq!(stream.written, b"");
}

proptest! {
    #[test]
    fn no_answer_does_harm(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in 0_usize..40) {
        let http = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        let socks = b"\x05\x02\x01\x00\x05\x00\x00\x03\x03abc\x12\x34";
        for start in [&http[..cut.min(http.len())], &socks[..cut.min(socks.len())], b""] {
            let answer = [start, &bytes[..]].concat();
            for url in ["http://proxy", "http://u:p@proxy", "socks5://proxy", "socks5://u:p@proxy"] {
                let _ = ask(url, "a.example", &answer);
            }
        }
    }

    #[test]
    fn no_url_does_harm(
        url in "[a-z5]{0,6}(:|/|@|\\[|\\]|%|\\.|[0-9a-zü])*",
        list in "([0-9a-zü]|[.*/:, \\[])*",
    ) {
        for url in [url.clone(), format!("http://{url}")] {
            let get = |name: &str| Some(if name == "no_proxy" { &list } else { &url }.clone());
            let _ = ProxySettings::Url(url.clone()).check();
            let _ = Environment::from(get, false).find(&"http://a.example".parse().unwrap());
            let _ = Environment::from(get, false).find(&"https://[::1]:80".parse().unwrap());
        }
    }
}

#[test]
fn urls() {
    for (url, host, port) in [
        ("http://proxy", "proxy", 80),
        ("https://proxy", "proxy", 443),
        ("socks5://proxy", "proxy", 1080),
        ("socks5h://user:pass@proxy:99", "proxy", 99),
        (" proxy:3128 ", "proxy", 3128),
        ("user:pass@proxy:3128", "proxy", 3128),
        ("http://[::1]:3128/", "::1", 3128),
    ] {
        let proxy = Proxy::parse(url, OPTION).unwrap_or_else(|e| panic!("{url}: {e}"));
        assert_eq!((proxy.host(), proxy.port()), (host, port), "{url}");
        assert!(!format!("{proxy:?} {:?}", ProxySettings::Url(url.into())).contains("pass"), "{url}");
    }
    for (url, expected) in [
        ("", "not the URL of a proxy"),
        ("ftp://user:secret@proxy", "not the URL of a proxy"),
        ("http://user:sec ret@proxy", "not the URL of a proxy"),
        ("/secret", "not the URL of a proxy"),
        ("http://user:secret@:80", "no"),
        ("http://user:secret@proxy:99999", "invalid port"),
        ("http://user:secret@proxy:0", "invalid port"),
        ("socks4://user:secret@proxy", "SOCKS4 is not supported"),
        ("socks4a://user:secret@proxy", "SOCKS4 is not supported"),
        (&format!("socks5://user:secret{}@proxy", "x".repeat(255)), "up to 255 bytes"),
    ] {
        let error = Proxy::parse(url, OPTION).expect_err(url);
        assert!(matches!(error, Error::InvalidOption { option: "proxy", .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{url}: {error}");
        assert!(
            !format!("{error} {error:?} {:?}", ProxySettings::Url(url.into())).contains("secret"),
            "{url}"
        );
    }
}

/// The proxy that is found for a URL in an environment with these variables.
fn found(variables: &[(&str, &str)], url: &str) -> Result<Option<String>> {
    let get = |wanted: &str| {
        variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
    };
    let found = Environment::from(get, false).find(&url.parse().unwrap())?;
    Ok(found.map(|proxy| proxy.host().to_owned()))
}

#[test]
fn each_scheme_has_its_variable() {
    let all = [("http_proxy", "plain"), ("https_proxy", "secure"), ("all_proxy", "any")];
    let upper = [("HTTP_PROXY", "plain"), ("HTTPS_PROXY", "secure"), ("ALL_PROXY", "any")];
    for variables in [all, upper] {
        assert_eq!(found(&variables, "http://a").unwrap().as_deref(), Some("plain"));
        assert_eq!(found(&variables, "https://a").unwrap().as_deref(), Some("secure"));
        assert_eq!(found(&variables[1..], "http://a").unwrap().as_deref(), Some("any"));
        assert_eq!(found(&variables[2..], "https://a").unwrap().as_deref(), Some("any"));
        assert_eq!(found(&variables[..1], "https://a").unwrap(), None);
        assert_eq!(found(&variables[1..2], "http://a").unwrap(), None);
    }
    assert_eq!(found(&[("HTTP_PROXY", ""), ("ALL_PROXY", "b")], "http://a").unwrap().as_deref(), Some("b"));
    assert_eq!(found(&[("HTTP_PROXY", "b"), ("REQUEST_METHOD", "GET")], "http://a").unwrap(), None);
}

/// On Windows the lower-case name finds the variable that a request's header has set.
#[test]
fn names_that_ignore_case_let_no_request_set_a_proxy() {
    let target = "http://a".parse().unwrap();
    for (in_cgi, expected) in [(false, Some("b")), (true, None)] {
        let get = |wanted: &str| match wanted.to_ascii_uppercase().as_str() {
            "HTTP_PROXY" => Some("b".to_owned()),
            "REQUEST_METHOD" if in_cgi => Some("GET".to_owned()),
            _ => None,
        };
        let found = Environment::from(get, true).find(&target).unwrap();
        assert_eq!(found.as_ref().map(|proxy| proxy.host()), expected);
    }
}

#[test]
fn an_empty_lower_case_variable_turns_the_proxy_off() {
    for empty in ["", " "] {
        let variables = [("http_proxy", empty), ("HTTP_PROXY", "b"), ("all_proxy", "c")];
        assert_eq!(found(&variables, "http://a").unwrap(), None);
        assert_eq!(found(&variables, "https://a").unwrap().as_deref(), Some("c"));
        let exceptions = [("http_proxy", "b"), ("no_proxy", empty), ("NO_PROXY", "a")];
        assert_eq!(found(&exceptions, "http://a").unwrap().as_deref(), Some("b"));
    }
}

#[test]
fn a_bad_variable_is_named_when_it_is_needed() {
    let bad = [("HTTPS_PROXY", "ftp://user:secret@proxy"), ("NO_PROXY", "b.example")];
    assert_eq!(found(&bad, "http://a").unwrap(), None);
    assert_eq!(found(&bad, "https://b.example").unwrap(), None);
    let error = found(&bad, "https://a").unwrap_err().to_string();
    assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{error}");
}

#[test]
fn exceptions() {
    for (list, host, excepted) in [
        ("", "a.example", false),
        ("*", "a.example", true),
        ("b.example, a.example", "a.example", true),
        ("b.example a.example", "a.example", true),
        ("A.Example", "a.example", true),
        ("example", "a.example", true),
        ("xample", "a.example", false),
        (".example", "a.example", true),
        ("*.example", "a.example", true),
        (".a.example", "a.example", false),
        ("localhost", "localhost", true),
        ("b.example", "localhost", false),
        ("b.example", "127.0.0.1", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.0/8", "127.1.2.3", true),
        ("127.0.0.0/8", "128.0.0.1", false),
        ("0.0.0.0/0", "128.0.0.1", true),
        ("0.0.0.0/33", "128.0.0.1", false),
        ("0.0.0.0/0", "[::1]", false),
        ("::1", "[::1]", true),
        ("[::1]", "[::1]", true),
        ("fe80::/10", "[fe80::1]", true),
        ("fe80::/10", "[ff80::1]", false),
        ("::/0", "[ff80::1]", true),
        ("a.example:5000", "a.example", true),
        ("example:5000", "a.example", true),
        (".example:5000", "a.example", true),
        ("a.example:5001", "a.example", false),
        ("a.example:5001,a.example:5000", "a.example", true),
        ("a.example:", "a.example", false),
        ("a.example:x", "a.example", false),
        ("*:5000", "a.example", true),
        ("*:5001", "a.example", false),
        ("127.0.0.1:5000", "127.0.0.1", true),
        ("127.0.0.1:5001", "127.0.0.1", false),
        ("[::1]:5000", "[::1]", true),
        ("[::1]:5001", "[::1]", false),
        // This is an address, not a port.
        ("::1:5001", "[::1]", false),
        ("a.example.", "a.example", true),
        ("a.example.:5000", "a.example", true),
        ("a.example", "a.example.", true),
        ("a.example.", "a.example.", true),
        (".example.", "a.example", true),
        (".example", "a.example.", true),
        ("127.0.0.1", "127.0.0.1.", true),
        ("b.example.", "b.example.evil.com", false),
        ("b.example", "b.example.evil.com", false),
        (".", "a.example.", false),
        ("*.", "a.example", false),
        ("0.0.1", "127.0.0.1", false),
        (".0.1", "127.0.0.1", false),
        ("127.0.*", "127.0.0.1", true),
        ("a.*", "a.example", true),
    ] {
        let variables = [("http_proxy", "proxy"), ("no_proxy", list)];
        let found = found(&variables, &format!("http://{host}:5000/x")).unwrap();
        assert_eq!(found.is_none(), excepted, "{list:?} {host}");
    }
    // A URL without a port has the default port.
    for (list, url, excepted) in [
        ("a:80", "http://a", true),
        ("a:80", "https://a", false),
        ("a:443", "https://a", true),
        ("a:443", "http://a:443", true),
    ] {
        let variables = [("http_proxy", "proxy"), ("https_proxy", "proxy"), ("no_proxy", list)];
        assert_eq!(found(&variables, url).unwrap().is_none(), excepted, "{list:?} {url}");
    }
}

#[test]
fn who_decides() {
    let agent = |url: &str| {
        let proxy = ureq::Proxy::new(url).unwrap();
        Agent::config_builder().proxy(Some(proxy)).build().new_agent()
    };
    let direct = Agent::config_builder().proxy(None).build().new_agent();
    let target: Uri = "http://a.example".parse().unwrap();
    let found = |settings: &ProxySettings, agent: Option<&Agent>| {
        let proxy = Routes::new(settings, agent)?.find(&target)?;
        Ok::<_, Error>(proxy.map(|proxy| proxy.to_string()))
    };
    let given = ProxySettings::Url("b".into());
    let of_option = Some("the proxy b:80 (set by `proxy`)".to_owned());
    assert_eq!(found(&given, None).unwrap(), of_option);
    assert_eq!(found(&given, Some(&agent("http://c"))).unwrap(), of_option);
    assert_eq!(found(&ProxySettings::Off, Some(&agent("http://c"))).unwrap(), None);
    assert_eq!(found(&ProxySettings::Default, Some(&direct)).unwrap(), None);
    let of_agent = Some("the proxy c:80 (set by `http_agent`)".to_owned());
    assert_eq!(found(&ProxySettings::Default, Some(&agent("http://c"))).unwrap(), of_agent);
    let error = found(&ProxySettings::Default, Some(&agent("socks4://c"))).unwrap_err().to_string();
    assert!(error.contains("invalid http_agent: SOCKS4"), "{error}");
}
