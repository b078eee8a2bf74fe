//! The ends of connections and of bodies: requests that are repeated and those that are not, encodings, and
//! bodies that were cut short.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use engineio::{Client, Error, Reason};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::{Polling, WebSocket, by};
use common::scripted::{OPEN, OPEN_UPGRADE, Scripted};
use common::{PATIENCE, Watch, abort, connected};

/// The connection is closed as the second poll arrives on it, in several ways.
#[test]
fn a_poll_on_a_connection_that_closes_under_it_is_repeated() {
    for reset in [false, true] {
        let server = Scripted::start(move |exchange| match (exchange.request.is_poll(), exchange.polls()) {
            (true, 1) => exchange.payload("4first"),
            (true, 2) if reset => exchange.reset(),
            (true, 2) => exchange.close(),
            (true, 3) => exchange.payload("4second"),
            (true, _) => exchange.hold(),
            _ => exchange.answer(OPEN),
        });
        let (client, watch) = connected(server.url(), by(&[Polling]));
        assert_eq!(watch.message().as_text(), Some("first"));
        assert_eq!(watch.message().as_text(), Some("second"));
        abort(&client);
    }
}

#[test]
fn a_poll_is_repeated_once_and_only_if_nothing_came() {
    for (answer, polls) in [("", 3), ("H", 2)] {
        let server = Scripted::start(move |exchange| match (exchange.request.is_poll(), exchange.polls()) {
            (true, 1) => exchange.payload("4first"),
            (true, _) => {
                exchange.raw(answer)?;
                exchange.close()
            }
            _ => exchange.answer(OPEN),
        });
        let (client, watch) = connected(server.url(), by(&[Polling]));
        assert_eq!(watch.message().as_text(), Some("first"));
        assert_eq!(watch.disconnected(), Reason::TransportError);
        client.wait();
        assert_eq!(server.requests().iter().filter(|request| request.is_poll()).count(), polls);
    }
}

#[test]
fn the_request_for_a_websocket_is_repeated() {
    let count = AtomicUsize::new(0);
    let server = Scripted::start(move |exchange| {
        if !exchange.request.is_websocket() {
            return exchange.answer(OPEN_UPGRADE);
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => exchange.close(),
            _ => super::serve(exchange, ""),
        }
    });
    let client = Client::new();
    client.connect_with(server.url(), by(&[Polling, WebSocket])).unwrap();
    assert_eq!(client.transport().unwrap(), WebSocket);
    abort(&client);
}

#[test]
fn a_post_is_never_repeated() {
    let posts = AtomicUsize::new(0);
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_poll() => exchange.hold(),
        request if request.is_post() && posts.fetch_add(1, Ordering::SeqCst) == 1 => exchange.close(),
        _ => exchange.answer(OPEN),
    });
    let (client, watch) = connected(server.url(), by(&[Polling]));
    client.send("first").unwrap();
    client.flush(PATIENCE).unwrap();
    client.send("second").unwrap();
    assert_eq!(watch.disconnected(), Reason::TransportError);
    client.wait();
    let sent: Vec<_> = server.requests().into_iter().filter(|request| request.is_post()).collect();
    assert_eq!(sent.iter().map(|post| post.text()).collect::<Vec<_>>(), ["4first", "4second"]);
}

/// A server that closes each connection behind its answer, without a word in the head: uvicorn with
/// `--timeout-keep-alive 0`.
#[test]
fn a_server_that_keeps_no_connection() {
    let server = Scripted::start(|exchange| {
        match exchange.request.is_poll() {
            true => exchange.payload(format!("4{}", exchange.polls()))?,
            false => exchange.answer(OPEN)?,
        }
        // The client may send the next request before it sees the end.
        exchange.close()
    });
    let (client, watch) = connected(server.url(), by(&[Polling]));
    for _ in 0..100 {
        client.send("hello").unwrap();
        client.flush(PATIENCE).unwrap();
        watch.message();
    }
    abort(&client);
}

#[test]
fn polls_keep_a_connection_of_their_own() {
    let server = Scripted::start(|exchange| match exchange.request.is_poll() {
        true if exchange.polls() < 20 => exchange.payload(format!("4{}", exchange.polls())),
        true => exchange.hold(),
        false => exchange.answer(OPEN),
    });
    let (client, watch) = connected(server.url(), by(&[Polling]));
    for _ in 1..20 {
        watch.message();
        client.send("hello").unwrap();
        client.flush(PATIENCE).unwrap();
    }
    assert_eq!(server.connections(), 2);
    abort(&client);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn encoded_bodies_are_read_and_empty_ones_are_empty() {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(b"4zlib").unwrap();
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
    raw.write_all(b"4raw").unwrap();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("gzip", Vec::new()),
        ("gzip", gzip("4gzip")),
        ("deflate", Vec::new()),
        ("GZIP", [gzip("4mem"), gzip("bers")].concat()),
        ("br", Vec::new()),
        ("deflate", zlib.finish().unwrap()),
        ("identity", b"4identity".to_vec()),
        ("deflate", raw.finish().unwrap()),
    ];
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_poll() => match bodies.get(exchange.polls() - 1) {
            Some((encoding, body)) => {
                exchange.respond_with("200 OK", &format!("Content-Encoding: {encoding}\r\n"), body)
            }
            None => exchange.hold(),
        },
        request if request.is_post() => exchange.respond_with("200 OK", "Content-Encoding: gzip\r\n", ""),
        _ => exchange.respond_with("200 OK", "Content-Encoding: gzip\r\n", gzip(OPEN)),
    });
    let (client, watch) = connected(server.url(), by(&[Polling]));
    for expected in ["gzip", "members", "zlib", "identity", "raw"] {
        assert_eq!(watch.message().as_text(), Some(expected));
    }
    client.send("hello").unwrap();
    client.flush(PATIENCE).unwrap();
    abort(&client);
    assert_eq!(client.stats().unsent, 0);
    assert!(server.requests().iter().all(|request| request.header("accept-encoding") == ["gzip, deflate"]));
}

#[test]
fn an_unknown_or_broken_encoding_is_named() {
    for (encoding, body, told) in [
        ("br", "4x", "\"br\""),
        ("zstd", "4x", "\"zstd\""),
        ("gzip", "4this is not gzip at all", "gzip"),
        ("deflate", "x", "deflate"),
    ] {
        let server = Scripted::polling(move |exchange| {
            exchange.respond_with("200 OK", &format!("Content-Encoding: {encoding}\r\n"), body)
        });
        let (client, watch) = connected(server.url(), by(&[Polling]));
        assert_eq!(watch.disconnected(), Reason::TransportError);
        client.wait();
        let error = client.last_error().unwrap();
        assert!(matches!(&*error, Error::Protocol { .. }), "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
    }
}

/// A body without a length ends with its connection, and is whole only after a clean end.
#[test]
fn a_reset_is_not_the_end_of_a_body() {
    // Wine reports a reset as a clean end.
    let ends = if cfg!(windows) { &[true][..] } else { &[true, false] };
    for &clean in ends {
        let server = Scripted::polling(move |exchange| match exchange.polls() {
            1 => {
                exchange.raw("HTTP/1.1 200 OK\r\n\r\n4pay 10")?;
                if clean {
                    return exchange.close();
                }
                // The client is to have read the bytes before the reset.
                thread::sleep(Duration::from_millis(100));
                exchange.reset()
            }
            _ => exchange.hold(),
        });
        let client = Client::new();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), by(&[Polling])).unwrap();
        watch.connected();
        if clean {
            assert_eq!(watch.message().as_text(), Some("pay 10"));
            abort(&client);
        } else {
            assert_eq!(watch.disconnected(), Reason::TransportError);
            client.wait();
            assert!(matches!(&*client.last_error().unwrap(), Error::Connection { .. }));
        }
    }
}
