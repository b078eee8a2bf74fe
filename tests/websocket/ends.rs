//! The server's last words, and its close frames.

use std::thread;
use std::time::Duration;

use engineio::TransportKind::WebSocket;
use engineio::{Client, Error, Message, Reason};

use common::scripted::Scripted;
use common::{Watch, connected, in_full, only};

/// A close frame with this payload.
fn close(payload: &[u8]) -> Vec<u8> {
    [&[0x88, payload.len() as u8][..], payload].concat()
}

/// The answers to pings cannot be written, because the server is gone.
#[test]
fn last_words_stand_behind_pings() {
    for pings in [0, 1, 2, 3, 100, 20_000] {
        let server = Scripted::websocket(move |exchange| {
            let ping = b"\x89\x04ping".repeat(pings);
            exchange
                .raw([b"\x81\x064first", &ping[..], b"\x81\x0b4last words", &close(&[3, 0xe8])].concat())?;
            exchange.close()
        });
        let client = Client::new();
        let watch = Watch::after(&client, |_, message| {
            if message.as_text() == Some("first") {
                thread::sleep(Duration::from_millis(200));
            }
        });
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        watch.connected();
        assert_eq!(watch.message(), Message::from("first"), "{pings} pings");
        assert_eq!(watch.message(), Message::from("last words"), "{pings} pings");
        assert_eq!(watch.disconnected(), Reason::ServerDisconnect, "{pings} pings");
    }
}

/// The connection is reset while the client answers pings. What came before is delivered.
#[test]
fn a_reset_takes_nothing_away_that_was_read() {
    let server = Scripted::websocket(|exchange| {
        exchange.raw([b"\x81\x064first", &b"\x89\x00".repeat(10)[..], b"\x81\x0b4last words"].concat())?;
        // The client has read all of this when its message comes, behind the pongs.
        while exchange.ws_read()?.0 != 1 {}
        exchange.reset()
    });
    let client = Client::new();
    let watch = Watch::after(&client, |client, message| {
        if message.as_text() == Some("first") {
            client.send("read").unwrap();
            thread::sleep(Duration::from_millis(200));
        }
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    watch.connected();
    assert_eq!(watch.message(), Message::from("first"));
    assert_eq!(watch.message(), Message::from("last words"));
    assert_eq!(watch.disconnected(), Reason::TransportError);
}

/// Each ping is answered, also by a client that sends nothing else.
#[test]
fn pings_are_answered() {
    let server = Scripted::websocket(|exchange| {
        exchange.raw(b"\x89\x01a\x89\x01b\x89\x00")?;
        for answer in [&b"a"[..], b"b", b""] {
            assert_eq!(exchange.ws_read()?, (0x0a, answer.to_vec()));
        }
        // A ping within a fragmented message.
        exchange.raw(b"\x01\x034o\x6e\x89\x01c\x80\x01e")?;
        assert_eq!(exchange.ws_read()?, (0x0a, b"c".to_vec()));
        exchange.raw(close(&[3, 0xe8]))?;
        assert_eq!(exchange.ws_read()?, (0x08, vec![3, 0xe8]), "the close is answered with its code");
        exchange.ws_text("4done").or(Ok(()))
    });
    let (_client, watch) = connected(server.url(), only(WebSocket));
    assert_eq!(watch.message(), Message::from("one"));
    assert_eq!(watch.disconnected(), Reason::ServerDisconnect);
}

fn end_by(payload: Vec<u8>) -> (Reason, std::sync::Arc<Error>) {
    let server = Scripted::websocket(move |exchange| {
        exchange.raw(close(&payload))?;
        exchange.hold()
    });
    let (client, watch) = connected(server.url(), only(WebSocket));
    let reason = watch.disconnected();
    client.wait();
    (reason, client.last_error().expect("a close frame is told"))
}

#[test]
fn codes_of_the_server_are_told_as_they_are() {
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999] {
        let (reason, error) = end_by([&code.to_be_bytes()[..], "bé".as_bytes()].concat());
        let in_order = matches!(code, 1000 | 1001);
        assert_eq!(reason == Reason::ServerDisconnect, in_order, "{code}: {reason:?}");
        match &*error {
            Error::WebSocketClosed { code: told, reason, .. } => {
                assert_eq!((*told, reason.as_str()), (Some(code), "bé"));
            }
            other => panic!("{code}: {}", in_full(other)),
        }
    }
}

/// Codes that no server may send are the server's fault, and not its words.
#[test]
fn reserved_codes_break_the_protocol() {
    let codes = [0_u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535];
    let mut payloads: Vec<Vec<u8>> = codes.iter().map(|code| code.to_be_bytes().to_vec()).collect();
    payloads.push(vec![3]);
    payloads.push(vec![3, 0xe8, 0xc3]);
    payloads.push(vec![3, 0xe8, 0xff, 0xff]);
    for payload in payloads {
        let (reason, error) = end_by(payload.clone());
        assert_eq!(reason, Reason::TransportError, "{payload:?}");
        assert!(matches!(&*error, Error::Protocol { .. }), "{payload:?}: {}", in_full(&error));
        assert!(error.to_string().contains("close frame"), "{payload:?}: {}", in_full(&error));
    }
}

/// The server is told what it did wrong.
#[test]
fn a_violation_is_answered_with_a_code() {
    let table: [(&[u8], u16); 4] = [
        (b"\x83\x00", 1002),
        (b"\x81\x02\xff\xff", 1007),
        (b"\x88\x02\x03\xed", 1002),
        (b"\x82\x7f\x7f\x00\x00\x00\x00\x00\x00\x00", 1009),
    ];
    for (frame, code) in table {
        let server = Scripted::websocket(move |exchange| {
            exchange.raw(frame)?;
            assert_eq!(exchange.ws_read()?, (0x08, code.to_be_bytes().to_vec()), "{frame:?}");
            exchange.hold()
        });
        let (_client, watch) = connected(server.url(), only(WebSocket));
        assert_eq!(watch.disconnected(), Reason::TransportError);
    }
}
