//! The ways in which a connection ends: the reason and the error of each, and the messages before the end.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::{Script, polling};
use common::scripted::{Exchange, Scripted};
use common::{PATIENCE, Seen, Watch, connected, only};
use engineio::{Client, Error, Message, Reason, State, TransportKind};

use Reason::{ServerDisconnect, TransportError};
use TransportKind::{Polling, WebSocket};

/// Redirects to a path that answers GETs with a handshake.
fn moved(exchange: &mut Exchange, status: &str) -> io::Result<()> {
    exchange.respond_with(status, "Location: /elsewhere\r\n", "")
}

/// A short description of the last error.
fn in_words(error: Option<Arc<Error>>) -> String {
    match error.as_deref() {
        None => "none".into(),
        Some(Error::WebSocketClosed { code, reason, .. }) => format!("closed {code:?} {reason}"),
        Some(Error::Connection { status: Some(status), body, .. }) => format!("status {status} {body:?}"),
        Some(Error::Connection { .. }) => "connection".into(),
        Some(Error::Protocol { .. }) => "protocol".into(),
        Some(other) => format!("{other:?}"),
    }
}

fn ends(what: &str, server: &Scripted, transport: TransportKind, reason: Reason, error: &str) {
    let (client, watch) = connected(server.url(), only(transport));
    // By polling, this causes a POST that can fail.
    let _ = client.send("x");
    assert_eq!(watch.disconnected(), reason, "{what}");
    client.wait();
    assert_eq!(in_words(client.last_error()), error, "{what}");
    assert_eq!((client.state(), client.sid(), client.handshake()), (State::Disconnected, None, None));
    assert!(matches!(client.transport(), Err(Error::NotConnected)));
    assert!(matches!(client.send("late"), Err(Error::SocketIsClosed)));
    assert!(matches!(client.try_send("late"), Err(Error::SocketIsClosed)));
    assert!(matches!(client.flush(PATIENCE), Err(Error::SocketIsClosed)));
    match client.disconnect() {
        Ok(()) => assert_eq!(client.stats().unsent, 0, "{what}"),
        Err(Error::Unsent { messages, .. }) => {
            assert_eq!((messages, client.stats().unsent), (1, 1), "{what}")
        }
        Err(e) => panic!("{what}: {e}"),
    }
    watch.nothing_more();
}

#[test]
fn endings_by_websocket() {
    // The client's "x" is read first, because an unread byte would turn every FIN into a RST.
    let table: [(&str, Script, Reason, &str); 15] = [
        ("packet 1", |exchange| exchange.ws_text("1"), ServerDisconnect, "none"),
        ("1000", |x| x.ws_frame(0x88, b"\x03\xe8bye"), ServerDisconnect, "closed Some(1000) bye"),
        ("1001", |x| x.ws_frame(0x88, b"\x03\xe9"), ServerDisconnect, "closed Some(1001) "),
        ("no code", |x| x.ws_frame(0x88, b""), ServerDisconnect, "closed None "),
        ("4000", |x| x.ws_frame(0x88, b"\x0f\xa0go \xc3\xbc"), TransportError, "closed Some(4000) go ü"),
        ("1011", |x| x.ws_frame(0x88, b"\x03\xf3oops"), TransportError, "closed Some(1011) oops"),
        ("half a code", |x| x.ws_frame(0x88, b"\x03"), TransportError, "protocol"),
        ("FIN", Exchange::close, TransportError, "connection"),
        ("RST", Exchange::reset, TransportError, "connection"),
        ("reserved bits", |x| x.ws_frame(0xf1, b"4x"), TransportError, "protocol"),
        ("an unknown opcode", |x| x.ws_frame(0x83, b"4x"), TransportError, "protocol"),
        ("not a frame", |x| x.raw([b'H'; 100]), TransportError, "protocol"),
        ("an unknown packet", |x| x.ws_text("9x"), TransportError, "protocol"),
        ("an empty packet", |x| x.ws_text(""), TransportError, "protocol"),
        ("not UTF-8", |x| x.ws_frame(0x81, b"4\xff"), TransportError, "protocol"),
    ];
    for (what, end, reason, error) in table {
        let server = Scripted::websocket(move |exchange| {
            exchange.ws_read_text()?;
            end(exchange)?;
            if what == "FIN" { Ok(()) } else { exchange.hold() }
        });
        ends(what, &server, WebSocket, reason, error);
    }
}

#[test]
fn endings_by_polling() {
    let ok: Script = |exchange| exchange.payload("ok");
    let hold: Script = Exchange::hold;
    let table: [(&str, Script, Script, Reason, &str); 16] = [
        ("packet 1", |x| x.payload("1"), ok, ServerDisconnect, "none"),
        (
            "400",
            |x| x.respond("400 Bad Request", r#"{"code":1}"#),
            ok,
            TransportError,
            r#"status 400 Some(Object {"code": Number(1)})"#,
        ),
        ("502", |x| x.respond("502 Bad Gateway", "<html>"), ok, TransportError, "status 502 None"),
        ("HTML", |x| x.payload("<html>"), ok, TransportError, "protocol"),
        ("an unknown packet", |x| x.payload("9x"), ok, TransportError, "protocol"),
        ("bad base64", |x| x.payload("b?"), ok, TransportError, "protocol"),
        ("not UTF-8", |x| x.payload(b"4\xff"), ok, TransportError, "protocol"),
        ("FIN", Exchange::close, ok, TransportError, "connection"),
        ("RST", Exchange::reset, ok, TransportError, "connection"),
        (
            "half a body",
            |x| {
                x.raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n4x")?;
                x.close()
            },
            ok,
            TransportError,
            "connection",
        ),
        ("POST: 400", hold, |x| x.respond("400 Bad Request", ""), TransportError, "status 400 None"),
        (
            "POST: 500",
            hold,
            |x| x.respond("500 Internal Server Error", "{}"),
            TransportError,
            "status 500 Some(Object {})",
        ),
        ("POST: 302", hold, |x| moved(x, "302 Found"), TransportError, "status 302 None"),
        ("POST: 307 in a loop", hold, |x| moved(x, "307 Moved"), TransportError, "status 307 None"),
        ("POST: FIN", hold, Exchange::close, TransportError, "connection"),
        ("POST: RST", hold, Exchange::reset, TransportError, "connection"),
    ];
    for (what, poll, post, reason, error) in table {
        let server = polling(poll, post);
        ends(what, &server, Polling, reason, error);
        // A 307 asks for the POST at another place (RFC 9110, section 15.4.8).
        let posts = server.requests().into_iter();
        let posts = posts.filter(|post| post.body.starts_with(b"4x") && post.path == "/engine.io/").count();
        assert!(posts <= 1, "{what}: a POST must not be sent twice");
    }
}

#[test]
fn what_came_before_the_servers_end_is_delivered() {
    let by_websocket: [Script; 2] = [
        |exchange| {
            ["4a", "4b", "1", "4c"].iter().try_for_each(|text| exchange.ws_text(text))?;
            exchange.hold()
        },
        |exchange| {
            ["4a", "4b"].iter().try_for_each(|text| exchange.ws_text(text))?;
            exchange.ws_frame(0x88, b"\x03\xe8")?;
            exchange.hold()
        },
    ];
    let polling = Scripted::polling(|exchange| exchange.payload("4a\u{1e}4b\u{1e}1\u{1e}4c"));
    let servers = by_websocket.map(|script| (WebSocket, Scripted::websocket(script)));
    for (transport, server) in servers.into_iter().chain([(Polling, polling)]) {
        let client = Client::new();
        // The handler is slower than the end.
        let watch = Watch::after(&client, |_, _| thread::sleep(Duration::from_millis(50)));
        client.connect_with(server.url(), only(transport)).unwrap();
        client.wait();
        let expected = [
            Seen::Connect,
            Seen::Message("a".into()),
            Seen::Message("b".into()),
            Seen::Disconnect(ServerDisconnect),
        ];
        assert_eq!(watch.0.try_iter().collect::<Vec<_>>(), expected, "{transport}");
    }
}

#[test]
fn what_was_not_delivered_before_the_clients_end_is_dropped() {
    let server = Scripted::polling(|exchange| exchange.payload("4a\u{1e}4b"));
    let client = Client::new();
    let (sender, seen) = mpsc::channel();
    client.on_message(move |client, message| {
        sender.send(message).unwrap();
        client.disconnect()
    });
    client.connect_with(server.url(), only(Polling)).unwrap();
    client.wait();
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [Message::from("a")]);
}

/// The pong meets a closed websocket: the server closes it right after its ping.
#[test]
fn a_close_behind_a_ping_is_told_as_the_servers() {
    let server = Scripted::websocket(|exchange| {
        // These are a ping, a message, and a close frame.
        exchange.raw([&b"\x81\x012\x81\x064hello"[..], b"\x88\x02\x03\xe8"].concat())?;
        exchange.hold()
    });
    for _ in 0..50 {
        let (_client, watch) = connected(server.url(), only(WebSocket));
        assert_eq!(watch.message(), Message::from("hello"));
        assert_eq!(watch.disconnected(), Reason::ServerDisconnect);
    }
}
