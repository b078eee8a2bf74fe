//! Proxies that refuse or fail, and the error for each. After such an error no other transport is tried,
//! unless it was the tunnel for a websocket that was refused.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engineio::{Client, Error};

use crate::server::{Kind, Proxy};
use crate::{Polling, WAYS, WebSocket, builder, by, only};
use common::scripted::{OPEN_UPGRADE, Scripted};
use common::{PATIENCE, abort};

const SECRET: &str = "s3cr3t";

fn client(scheme: &str, port: u16) -> Client {
    builder().proxy(format!("{scheme}://user:{SECRET}@127.0.0.1:{port}")).build().unwrap()
}

/// Checks that every way of connecting fails with this status and this text, if it needs a tunnel.
fn assert_refused(client: &Client, port: u16, expected: &str, expected_status: Option<u16>) {
    assert_refused_at("https://127.0.0.1:9", client, port, expected, expected_status);
}

fn assert_refused_at(url: &str, client: &Client, port: u16, expected: &str, expected_status: Option<u16>) {
    for way in WAYS {
        let error = client.connect_with(url, by(way)).unwrap_err();
        let Error::Connection { message, status, .. } = &error else { panic!("{error:?}") };
        assert!(message.contains(&format!("the proxy 127.0.0.1:{port} (set by `proxy`)")), "{message}");
        assert!(message.contains(expected), "{message}");
        assert_eq!(*status, expected_status);
        assert!(!format!("{error:?} {client:?}").contains(SECRET), "{error:?}");
    }
}

#[test]
fn wrong_credentials() {
    for (kind, scheme, expected, status) in [
        (Kind::Http, "http", "did not accept the credentials", Some(407)),
        (Kind::Socks5, "socks5", "did not accept the user name and the password", None),
    ] {
        let proxy = Proxy::with_credentials(kind, "others");
        for url in ["https://127.0.0.1:9", "http://127.0.0.1:9"] {
            assert_refused_at(url, &client(scheme, proxy.port), proxy.port, expected, status);
        }
        // The proxy was asked once for each way, so no other transport was tried.
        assert_eq!(proxy.asked().len(), 2 * WAYS.len());
    }
}

#[test]
fn no_credentials() {
    for (kind, scheme, status) in [(Kind::Http, "http", Some(407)), (Kind::Socks5, "socks5", None)] {
        let proxy = Proxy::with_credentials(kind, "wanted");
        let client = builder().proxy(format!("{scheme}://127.0.0.1:{}", proxy.port)).build().unwrap();
        for url in ["https://127.0.0.1:9", "http://127.0.0.1:9"] {
            assert_refused_at(url, &client, proxy.port, "put them into its URL", status);
        }
    }
}

#[test]
fn answers_that_open_nothing() {
    let cases: [(&str, &[u8], &str, Option<u16>); 7] = [
        (
            "http",
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            "refused a tunnel to 127.0.0.1:9 (403 Forbidden)",
            Some(403),
        ),
        ("http", b"HTTP/1.1 502 x\r\nContent-Length: 4\r\n\r\noops", "(502 Bad Gateway)", Some(502)),
        ("http", b"\x15\x03\x01\x00\x02\x02\x46", "does not answer in HTTP", None),
        ("http", b"", "closed the connection", None),
        ("http", b"HTTP/1.1 200 OK\r\nA: b\r\n", "closed the connection", None),
        ("socks5", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer in SOCKS5", None),
        ("socks5", b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0", "not allowed by its rules", None),
    ];
    for (scheme, answer, expected, status) in cases {
        let proxy = Proxy::start(Kind::Answers(answer));
        assert_refused(&client(scheme, proxy.port), proxy.port, expected, status);
    }
}

#[test]
fn a_proxy_that_cannot_be_reached() {
    // The port was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for scheme in ["http", "https", "socks5"] {
        assert_refused(&client(scheme, port), port, "cannot connect to the proxy", None);
    }
    let client = builder().proxy("http://proxy.invalid").build().unwrap();
    let error = client.connect("http://127.0.0.1:9").unwrap_err();
    assert!(error.to_string().contains("cannot connect to the proxy proxy.invalid:80"), "{error}");
}

#[test]
fn a_silent_proxy() {
    let limit = Duration::from_millis(300);
    for scheme in ["http", "socks5"] {
        let proxy = Proxy::start(Kind::Silent);
        let url = format!("{scheme}://127.0.0.1:{}", proxy.port);
        let client = Client::builder().request_timeout(limit).proxy(url).build().unwrap();
        for transport in [Polling, WebSocket] {
            let start = Instant::now();
            let error = client.connect_with("http://127.0.0.1:9", only(transport)).unwrap_err();
            let took = start.elapsed();
            assert!(
                matches!(error, Error::Timeout { what: "waiting for the proxy's answer", .. }),
                "{error:?}"
            );
            assert!(took >= limit && took < PATIENCE / 2, "{took:?}");
        }
    }
}

/// A proxy that forwards polls may open no tunnel to a server without TLS. Polling works then, whether the
/// websocket came first by the user's choice or because an upgrade is remembered.
#[test]
fn polling_follows_a_websocket_without_a_tunnel() {
    let opens = Arc::new(AtomicBool::new(true));
    let proxy = Scripted::start({
        let opens = opens.clone();
        move |exchange| match &exchange.request {
            request if request.method == "CONNECT" && opens.load(Ordering::SeqCst) => {
                exchange.raw("HTTP/1.1 200 OK\r\n\r\n")
            }
            request if request.method == "CONNECT" => exchange.respond("403 Forbidden", ""),
            request if request.is_websocket() => {
                exchange.accept_websocket()?;
                assert_eq!(exchange.ws_read_text()?, "2probe");
                exchange.ws_text("3probe")?;
                exchange.hold()
            }
            request if request.is_poll() => exchange.hold(),
            _ => exchange.answer(OPEN_UPGRADE),
        }
    });
    let client = builder().proxy(proxy.url()).remember_upgrade(true).build().unwrap();
    for (open, transport) in [(true, WebSocket), (false, Polling)] {
        opens.store(open, Ordering::SeqCst);
        client.connect("http://server.example").unwrap();
        assert_eq!(client.transport().unwrap(), transport);
        abort(&client);
        client.wait();
    }
    client.connect_with("http://server.example", by(&[WebSocket, Polling])).unwrap();
    assert_eq!(client.transport().unwrap(), Polling);
    abort(&client);
}

#[test]
fn urls_that_cannot_be_used() {
    for url in ["ftp://user:s3cr3t@proxy", "http://user:s3cr3t@proxy:99999", "socks4://user:s3cr3t@proxy", ""]
    {
        let builder = Client::builder().proxy(url);
        assert!(!format!("{builder:?}").contains(SECRET));
        let error = builder.build().unwrap_err();
        assert!(matches!(error, Error::InvalidOption { option: "proxy", .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
    // The last call of the builder wins.
    Client::builder().proxy("ftp://proxy").no_proxy().build().unwrap();
}
