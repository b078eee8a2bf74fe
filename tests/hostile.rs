//! A server that means ill: whatever it sends, the client says what was wrong, in time, takes no more memory than its
//! limits allow, and can connect again.

mod common;

use std::io;
use std::time::{Duration, Instant};

use common::hang::resident;
use common::scripted::{Exchange, OPEN, Scripted};
use common::{PATIENCE, Seen, Watch, within};
use engineio::{Client, ClientBuilder, ConnectOptions, Error, Message, Reason, State, TransportKind};
use proptest::prelude::*;

use TransportKind::{Polling, WebSocket};

const MIB: usize = 1 << 20;

fn only(transport: TransportKind) -> ConnectOptions {
    ConnectOptions::new().transports([transport])
}

/// Impatient, and takes messages of 1 MiB at most.
fn strict() -> ClientBuilder {
    Client::builder().request_timeout(Duration::from_millis(500)).max_message_size(MIB)
}

/// Answers the first request as `open` does; `poll` answers polls, POSTs are taken.
fn polling(poll: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |exchange| match exchange.request.method.as_str() {
        "POST" => exchange.respond("200 OK", "ok"),
        _ if exchange.request.is_poll() => poll(exchange),
        _ => exchange.payload(OPEN),
    })
}

fn websocket(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |exchange| {
        exchange.open_websocket(OPEN)?;
        exchange.raw(bytes.as_ref())?;
        exchange.hold()
    })
}

/// Connects, and is disconnected by what the server sends. The messages that came before it, and the error.
fn broken(server: &Scripted, transport: TransportKind) -> (Vec<Message>, String) {
    let client = strict().build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(transport)).unwrap();
    watch.connected();
    let mut messages = Vec::new();
    let reason = loop {
        match watch.next() {
            Seen::Message(message) => messages.push(message),
            Seen::Disconnect(reason) => break reason,
            Seen::Connect => panic!("connected twice"),
        }
    };
    assert_eq!(reason, Reason::TransportError);
    client.wait();
    watch.nothing_more();
    assert_eq!(client.state(), State::Disconnected);
    let error = client.last_error().expect("it says why");
    // And can connect again.
    client.connect_with(server.url(), only(transport)).unwrap();
    client.wait();
    (messages, error.to_string())
}

#[test]
fn packets_that_are_none() {
    for (packet, told) in
        [("9hello", "unknown packet type"), ("", "empty"), ("\u{1f980}", "unknown packet type")]
    {
        let server = Scripted::start(move |exchange| {
            exchange.open_websocket(OPEN)?;
            exchange.ws_text("4before")?;
            exchange.ws_text(packet)?;
            exchange.ws_text("4after")?;
            exchange.hold()
        });
        let (messages, error) = broken(&server, WebSocket);
        assert_eq!(messages, [Message::from("before")], "{packet:?}");
        assert!(error.contains(told), "{packet:?}: {error}");
    }
    for (payload, told) in [
        (&b"4a\x1e9hello"[..], "unknown packet type"),
        (b"4a\x1e", "empty"),
        (b"\x1e", "empty"),
        (b"bnot base64!", "base64"),
        (b"4\xff\xfe", "UTF-8"),
        (b"4a\x1e\x1e4b", "empty"),
    ] {
        let server = polling(move |exchange| exchange.payload(payload));
        let (messages, error) = broken(&server, Polling);
        // What stands before it is delivered.
        let before: &[_] = if payload.starts_with(b"4a") { &[Message::from("a")] } else { &[] };
        assert!(messages == before && error.contains(told), "{payload:?}: {messages:?}, {error}");
    }
}

#[test]
fn packets_at_the_wrong_time_do_no_harm() {
    let server = polling(|exchange| {
        exchange.payload(format!("{OPEN}\u{1e}5\u{1e}3\u{1e}6\u{1e}b\u{1e}4last\u{1e}1\u{1e}4late"))
    });
    let client = strict().build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(Polling)).unwrap();
    watch.connected();
    assert_eq!(watch.message(), Message::Binary(Vec::new().into()));
    assert_eq!(watch.message(), Message::from("last"));
    assert_eq!(watch.disconnected(), Reason::ServerDisconnect);
    watch.nothing_more();
}

#[test]
fn frames_that_are_none() {
    let big = [&[0x82, 127][..], &(1u64 << 62).to_be_bytes()].concat();
    // A text has a byte more, for its type.
    let much = [&[0x82, 127][..], &(MIB as u64 + 2).to_be_bytes()].concat();
    let fragments = [&[0x02, 127][..], &(MIB as u64 / 2).to_be_bytes(), &vec![0; MIB / 2]].concat();
    let more = [&[0x00, 127][..], &(MIB as u64).to_be_bytes(), &vec![0; MIB]].concat();
    let table: [(&str, Vec<u8>); 12] = [
        ("a reserved opcode", vec![0x83, 0]),
        ("a reserved bit", vec![0x91, 1, b'6']),
        ("compressed, which nobody asked for", vec![0xc1, 1, b'6']),
        ("a message of 2^62 bytes", big),
        ("a message above the limit", much),
        ("fragments above the limit", [fragments, more].concat()),
        ("a fragmented ping", vec![0x09, 0]),
        ("a ping above 125 bytes", [&[0x89, 126, 0, 126][..], &[0; 126]].concat()),
        ("masked by the server", vec![0x81, 0x81, 1, 2, 3, 4, b'6' ^ 1]),
        ("a continuation of nothing", vec![0x80, 1, b'6']),
        ("a text in the midst of another", vec![0x01, 1, b'4', 0x81, 1, b'6']),
        ("no UTF-8", vec![0x81, 2, b'4', 0xff]),
    ];
    for (what, bytes) in table {
        let before = resident();
        let (messages, error) = broken(&websocket(bytes), WebSocket);
        assert!(messages.is_empty() && !error.is_empty(), "{what}: {messages:?}");
        assert!(resident() < before + 64 * MIB, "{what}");
    }
    for close in [vec![0x88, 1, 3], vec![0x88, 2, 0, 7], vec![0x88, 4, 3, 0xf3, 0xff, 0xfe]] {
        broken(&websocket(close), WebSocket);
    }
}

#[test]
fn a_flood_of_websocket_pings_holds_nobody_up() {
    let server = Scripted::start(|exchange| {
        exchange.open_websocket(OPEN)?;
        let pings = [0x89, 0].repeat(10_000);
        loop {
            exchange.raw(&pings)?;
        }
    });
    let client = strict().build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    for _ in 0..100 {
        let sender = client.clone();
        within(PATIENCE, "a message is taken", move || sender.send("hello")).unwrap();
    }
    let closer = client.clone();
    // The server does not listen, so that some may be left.
    let _ = within(PATIENCE, "disconnect returns", move || closer.disconnect());
    assert_eq!(client.state(), State::Disconnected);
}

#[test]
fn a_million_packets_in_a_payload() {
    const COUNT: usize = 1_000_000;
    let payload = ["4x"; COUNT].join("\u{1e}");
    let server = polling(move |exchange| {
        exchange.payload(&payload)?;
        exchange.wait_closed()
    });
    let client = Client::builder().inbox_limit(64 * 1024).build().unwrap();
    let (sender, all) = std::sync::mpsc::channel();
    let mut seen = 0;
    client.on_message(move |_, _| {
        seen += 1;
        if seen == COUNT {
            sender.send(()).unwrap();
        }
    });
    let before = resident();
    client.connect_with(server.url(), only(Polling)).unwrap();
    all.recv_timeout(PATIENCE * 3).unwrap();
    assert!(resident() < before + 512 * MIB);
    client.disconnect_with(engineio::Disconnect::new().abort(true)).unwrap();
}

/// A response of 1 GiB of zeros, in 1 MiB.
fn bomb() -> Vec<u8> {
    // One stored gzip member of 1 MiB of zeros, compressed once and repeated: members are concatenated.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    io::Write::write_all(&mut encoder, &vec![b'0'; 64 * MIB]).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bodies_without_end() {
    let compressed = bomb();
    type Answer = Box<dyn Fn(&mut Exchange) -> io::Result<()> + Send + Sync>;
    let answers: [(&str, Answer); 5] = [
        (
            "a gzip bomb",
            Box::new(move |e| e.respond_with("200 OK", "Content-Encoding: gzip\r\n", &compressed)),
        ),
        (
            "a length of 2^63",
            Box::new(|e| flood(e, "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n", b"4x")),
        ),
        (
            "endless chunks",
            Box::new(|e| flood(e, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\n4xxx\r\n")),
        ),
        ("endless headers", Box::new(|e| flood(e, "HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"))),
        ("an endless line", Box::new(|e| flood(e, "HTTP/1.1 200 OK\r\nX-Long: ", b"and so on"))),
    ];
    for (what, answer) in answers {
        let server = Scripted::start(answer);
        let before = resident();
        let client = strict().build().unwrap();
        let url = server.url().to_owned();
        let started = Instant::now();
        let error = within(PATIENCE, what, move || client.connect_with(url, only(Polling)).unwrap_err());
        assert!(started.elapsed() < PATIENCE / 2, "{what}");
        assert!(
            matches!(error, Error::Connection { .. } | Error::Protocol { .. } | Error::Timeout { .. }),
            "{what}: {error:?}"
        );
        assert!(resident() < before + 64 * MIB, "{what}: {} MiB", (resident() - before) / MIB);
    }
}

fn flood(exchange: &mut Exchange, head: &str, more: &[u8]) -> io::Result<()> {
    exchange.raw(head)?;
    let more = more.repeat(1000);
    loop {
        exchange.raw(&more)?;
    }
}

#[test]
fn a_redirect_to_itself_ends() {
    for transport in [Polling, WebSocket] {
        let server =
            Scripted::start(|exchange| exchange.respond_with("302 Found", "Location: /again\r\n", ""));
        let client = strict().build().unwrap();
        let url = server.url().to_owned();
        let error =
            within(PATIENCE, "an error", move || client.connect_with(url, only(transport)).unwrap_err());
        assert!(matches!(error, Error::Connection { .. }), "{error:?}");
        assert!(server.requests().len() < 50);
    }
}

#[test]
fn many_cookies() {
    let cookies: String =
        (0..100).map(|i| format!("Set-Cookie: c{i}={}; Path=/\r\n", "x".repeat(50))).collect();
    let server = Scripted::start(move |exchange| match exchange.request.is_poll() {
        true => exchange.payload("1"),
        false => exchange.respond_with("200 OK", &cookies, OPEN),
    });
    let client = strict().build().unwrap();
    // What a request can carry is the server's own affair; it must not harm us.
    if client.connect_with(server.url(), only(Polling)).is_ok() {
        client.wait();
    }
    assert_eq!(client.state(), State::Disconnected);
}

#[test]
fn a_session_id_cannot_forge_a_request() {
    for sid in ["a b&x=1#y", "a\\r\\nX-Forged: 1\\r\\n", "../../\u{fc}%0d%0a"] {
        let open = format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000}}"#);
        let server = Scripted::start(move |exchange| match exchange.request.is_poll() {
            true => exchange.payload("1"),
            false => exchange.payload(&open),
        });
        let client = strict().build().unwrap();
        let Ok(()) = client.connect_with(server.url(), only(Polling)) else { continue };
        client.wait();
        for request in server.requests() {
            assert_eq!(request.path, "/engine.io/", "{sid:?}");
            assert!(request.header("x-forged").is_empty() && !request.query.contains_key("x"), "{sid:?}");
        }
    }
}

#[test]
fn json_that_is_nested_too_deep() {
    let deep = format!("0{}", "[".repeat(200_000));
    for body in [deep.clone(), deep[1..].to_owned()] {
        let server = Scripted::start(move |exchange| {
            let status = if body.starts_with('0') { "200 OK" } else { "400 Bad Request" };
            exchange.respond(status, &body)
        });
        let error = strict().build().unwrap().connect_with(server.url(), only(Polling)).unwrap_err();
        assert!(matches!(error, Error::Connection { body: None, .. }), "{error:?}");
    }
}

/// Where the server's own bytes end and chance begins.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Head,
    Handshake,
    Poll,
    Frames,
}

fn chance(exchange: &mut Exchange, stage: Stage, bytes: &[u8]) -> io::Result<()> {
    match stage {
        Stage::Head => exchange.raw(bytes)?,
        Stage::Handshake => exchange.payload(bytes)?,
        Stage::Poll if exchange.request.method == "POST" => return exchange.respond("200 OK", "ok"),
        Stage::Poll if exchange.request.is_poll() => exchange.payload(bytes)?,
        Stage::Poll => return exchange.payload(OPEN),
        Stage::Frames => {
            exchange.open_websocket(OPEN)?;
            exchange.raw(bytes)?;
        }
    }
    exchange.close()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_end_in_order(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[0-6b]?[ -~\u{1e}]{0,40}".prop_map(String::into_bytes),
            "HTTP/1.[01] [12345]0[0-9] [ -~\r\n]{0,60}".prop_map(String::into_bytes),
            proptest::collection::vec(prop_oneof![Just(0x81u8), Just(0x82), Just(0x89), Just(0x88), Just(1), Just(b'4'), Just(b'2')], 0..60),
        ],
        stage in prop_oneof![Just(Stage::Head), Just(Stage::Handshake), Just(Stage::Poll), Just(Stage::Frames)],
    ) {
        let server = Scripted::start(move |exchange| chance(exchange, stage, &bytes));
        let url = server.url().to_owned();
        let state = within(PATIENCE, "the end", move || {
            let client = strict().build().unwrap();
            let by = if matches!(stage, Stage::Frames) { WebSocket } else { Polling };
            // Chance may have made a session, even one that goes on: polls that bring nothing are none of its end.
            if client.connect_with(url, only(by)).is_ok() && !client.wait_timeout(Duration::from_millis(100)) {
                // What is left unsent is of no interest here.
                let _ = client.disconnect();
            }
            client.state()
        });
        prop_assert_eq!(state, State::Disconnected);
    }
}
