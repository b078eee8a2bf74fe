//! Control characters of a server: they are in no error, no `Debug` and no log line.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use common::scripted::{Exchange, OPEN, OPEN_UPGRADE, Scripted};
use common::{Lines, Watch, by, in_full, only};
use engineio::{Client, ConnectOptions, Error, Message, TransportKind};

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Map;

use TransportKind::{Polling, WebSocket};

/// An escape sequence in C0 and in C1, a forged line in three ways, and text from right to left.
const HOSTILE: &str = "x\u{1b}[31m\u{9b}31m\r\n\u{85}\u{2028}fake line\u{202e}\u{2066}\u{200f}\u{61c}";

fn assert_printable(what: &str, text: &str) {
    let bad = |c: char| c.is_control() || "\u{2028}\u{202e}\u{2066}\u{200f}\u{61c}".contains(c);
    assert!(!text.contains(bad), "{what}: {text:?}");
}

/// Connects, waits for the end of the connection, and checks everything that was told. Returns the error.
fn meet(what: &str, url: &str, options: ConnectOptions) -> Arc<Error> {
    let lines = Lines::default();
    let client = Client::builder().logger(lines.clone()).no_proxy().build().unwrap();
    let watch = Watch::new(&client);
    let error = match client.connect_with(url, options) {
        Ok(()) => {
            watch.connected();
            watch.disconnected();
            client.wait();
            client.last_error().unwrap()
        }
        Err(error) => Arc::new(error),
    };
    for line in lines.all().lines() {
        assert!(
            line.split(' ').next().is_some_and(|level| level.ends_with(':')),
            "{what}: a forged line {line:?}"
        );
        assert_printable(what, line);
    }
    assert_printable(what, &error.to_string());
    assert_printable(what, &in_full(&error));
    assert_printable(what, &format!("{error:?} {client:?}"));
    error
}

type Script = fn(&mut Exchange) -> io::Result<()>;

#[test]
fn of_a_close_frame() {
    let server = Scripted::websocket(|exchange| {
        exchange.ws_frame(0x88, &[&4000_u16.to_be_bytes(), HOSTILE.as_bytes()].concat())?;
        exchange.hold()
    });
    let error = meet("close frame", server.url(), only(WebSocket));
    let Error::WebSocketClosed { code: Some(4000), reason, .. } = &*error else { panic!("{error:?}") };
    assert_printable("reason", reason);
    assert!(reason.contains("fake line"), "{reason}");
}

#[test]
fn of_packets_that_cannot_be_decoded() {
    let scripts: [(&str, Script); 3] = [
        ("type", |exchange| exchange.payload(format!("{HOSTILE}7"))),
        ("base64", |exchange| exchange.payload(format!("b{HOSTILE}"))),
        ("handshake", |exchange| exchange.payload(format!("0{HOSTILE}"))),
    ];
    for (what, script) in scripts {
        let server = Scripted::start(script);
        meet(what, server.url(), only(Polling));
        let server = Scripted::start(move |exchange| match exchange.request.is_poll() {
            true => script(exchange),
            false => exchange.payload(OPEN),
        });
        if what != "handshake" {
            meet(what, server.url(), only(Polling));
        }
    }
    let server = Scripted::websocket(|exchange| {
        exchange.ws_text(HOSTILE)?;
        exchange.hold()
    });
    meet("frame", server.url(), only(WebSocket));
}

#[test]
fn of_a_refusal_whose_body_stays_as_it_is() {
    for body in [serde_json::json!({ "code": 1, "message": HOSTILE }), HOSTILE.into()] {
        let sent = body.to_string();
        let server = Scripted::start(move |exchange| exchange.respond("400 Bad Request", &sent));
        for way in [Polling, WebSocket] {
            let error = meet("refusal", server.url(), only(way));
            let Error::Connection { body: Some(kept), message, .. } = &*error else { panic!("{error:?}") };
            assert!(message.contains("fake line"), "{message}");
            assert_eq!(**kept, body);
        }
    }
}

#[test]
fn of_a_location() {
    for location in ["/\u{9b}31m\u{85}fake line", "/\u{9b}31m\u{85}fake\u{202e}", "http://\u{9b}:99999/"] {
        let server = Scripted::start(move |exchange| {
            if exchange.request.path.contains("31m") || exchange.request.path.contains("%9B") {
                return exchange.payload(OPEN);
            }
            exchange.raw(
                format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
            )
        });
        meet(location, server.url(), only(Polling));
        meet(location, server.url(), only(WebSocket));
    }
}

#[test]
fn of_the_probe_and_the_session_id() {
    let open = OPEN_UPGRADE.replace("abc", "a\u{202e}bc");
    let server = Scripted::start(move |exchange| match () {
        () if exchange.request.is_websocket() => {
            exchange.respond("403 Forbidden", format!("\"{}\"", "\u{9b}no"))
        }
        () if exchange.request.is_poll() => exchange.payload("1"),
        () => exchange.payload(&open),
    });
    let lines = Lines::default();
    let client = Client::builder().logger(lines.clone()).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), by(&[Polling, WebSocket])).unwrap();
    watch.connected();
    watch.disconnected();
    client.wait();
    assert!(lines.all().contains("upgrade to websocket failed"), "{}", lines.all());
    assert_printable("lines", &lines.all().replace('\n', ""));
}

#[test]
fn of_a_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let answer = format!("HTTP/1.1 502 {HOSTILE}\r\nProxy-Authenticate: {HOSTILE}\r\n\r\n");
        io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
    });
    let client = Client::builder().proxy(format!("http://{proxy}")).build().unwrap();
    let error = client.connect("http://example.invalid").unwrap_err();
    thread.join().unwrap();
    assert_printable("proxy", &format!("{error} {} {error:?}", in_full(&error)));
}

#[test]
fn of_json_that_does_not_fit() {
    #[derive(Debug)]
    struct Empty;

    impl<'de> Deserialize<'de> for Empty {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let fields = Map::deserialize(deserializer)?;
            fields.keys().next().map_or(Ok(Empty), |name| Err(D::Error::unknown_field(name, &[])))
        }
    }

    let message = Message::from(serde_json::json!({ HOSTILE: 1 }).to_string());
    let error = message.json::<Empty>().unwrap_err();
    assert!(in_full(&error).contains("fake line"), "{error:?}");
    assert_printable("json", &format!("{error} {} {error:?}", in_full(&error)));
}
