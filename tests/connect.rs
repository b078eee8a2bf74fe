//! Attempts to connect, and their failures: addresses, answers, silence, the fallback to another transport,
//! and the upgrade.

use std::io;
use std::time::{Duration, Instant};

use common::real::Server;
use common::scripted::{Exchange, OPEN, OPEN_UPGRADE, Request, Scripted};
use common::{Lines, PATIENCE, Watch, abort, by, only, unused_url, within};
use engineio::{Client, ConnectOptions, Error, Message, State, TransportKind, WebSocketOptions};
use log::Level;

use TransportKind::{Polling, WebSocket};

const TIMEOUT: Duration = Duration::from_millis(300);

/// The time limit for an attempt with [`TIMEOUT`] on a busy machine. It is below the default timeout.
const BOUND: Duration = Duration::from_secs(4);

/// A client with the request timeout [`TIMEOUT`], and its log.
fn impatient() -> (Client, Lines) {
    let lines = Lines::default();
    let client = Client::builder().request_timeout(TIMEOUT).logger(lines.clone()).build().unwrap();
    (client, lines)
}

fn refused(url: &str, options: ConnectOptions) -> Error {
    let (client, _) = impatient();
    let watch = Watch::new(&client);
    let error = client.connect_with(url, options).expect_err("no connection can be made");
    watch.nothing_more();
    assert_eq!(client.state(), State::Disconnected);
    error
}

/// The message of an [`Error::Connection`].
fn message_of(error: &Error) -> &str {
    match error {
        Error::Connection { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

/// Answers as a proper server does by any transport, with one message in the first poll or by websocket.
fn friendly(open: &str, exchange: &mut Exchange) -> io::Result<()> {
    let request = &exchange.request;
    match (request.is_websocket(), request.query.contains_key("sid")) {
        (true, false) => {
            exchange.open_websocket(open)?;
            exchange.ws_text("4welcome")?;
            exchange.hold()
        }
        (true, true) => {
            exchange.accept_websocket()?;
            assert_eq!(exchange.ws_read_text()?, "2probe");
            exchange.ws_text("3probe")?;
            assert_eq!(exchange.ws_read_text()?, "5");
            exchange.ws_text("4welcome")?;
            exchange.hold()
        }
        _ => friendly_polling(open, exchange),
    }
}

fn friendly_polling(open: &str, exchange: &mut Exchange) -> io::Result<()> {
    let polls = exchange.polls();
    match &exchange.request {
        request if request.is_poll() && polls == 1 => exchange.payload("4welcome"),
        request if request.is_poll() => exchange.hold(),
        _ => exchange.answer(open),
    }
}

/// Checks that both directions of a connection work.
fn works(client: &Client, watch: &Watch, server: &Scripted) {
    watch.connected();
    assert_eq!(watch.message(), Message::from("welcome"));
    if client.transport().unwrap() == Polling {
        client.send("by post").unwrap();
        server.wait_for("POST", |request| request.body == b"4by post");
    }
}

#[test]
fn nobody_listens() {
    for transport in [Polling, WebSocket] {
        let error = refused(&unused_url(), only(transport));
        assert!(message_of(&error).contains("connection refused"), "{error}");
        assert!(matches!(error, Error::Connection { status: None, .. }), "{error:?}");
    }
}

#[test]
fn the_host_does_not_exist() {
    let start = Instant::now();
    match refused("http://no-such-host.invalid:5000", ConnectOptions::new()) {
        Error::Connection { message, .. } => assert!(message.contains("no-such-host.invalid"), "{message}"),
        // The resolver may be slow.
        other => assert!(other.is_timeout(), "{other:?}"),
    }
    assert!(start.elapsed() < BOUND);
}

#[test]
fn silence_at_each_phase_is_a_timeout() {
    type Silence = fn(&mut Exchange) -> io::Result<()>;
    let half_a_head: Silence = |exchange| exchange.raw("HTTP/1.1 200 OK\r\nContent-Le");
    let phases: [(TransportKind, &str, Silence); 7] = [
        (Polling, "after the request", |_| Ok(())),
        (Polling, "in the head", half_a_head),
        (Polling, "in the body", |exchange| {
            exchange.raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0{\"sid\"")
        }),
        (WebSocket, "after the request", |_| Ok(())),
        (WebSocket, "in the head", half_a_head),
        (WebSocket, "after the 101", Exchange::accept_websocket),
        (WebSocket, "in the open packet", |exchange| {
            exchange.accept_websocket()?;
            exchange.raw([&[0x81, 100][..], b"0{\"sid\""].concat())
        }),
    ];
    for (transport, phase, silence) in phases {
        let server = Scripted::start(move |exchange| {
            silence(exchange)?;
            exchange.hold()
        });
        let start = Instant::now();
        let error = refused(server.url(), only(transport));
        assert!(error.is_timeout(), "{transport}, {phase}: {error:?}");
        assert!((TIMEOUT..BOUND).contains(&start.elapsed()), "{transport}, {phase}: {:?}", start.elapsed());
    }
}

#[test]
fn a_trickle_does_not_hold_an_attempt_up() {
    for transport in [Polling, WebSocket] {
        let server = Scripted::start(|exchange| {
            exchange.raw("HTTP/1.1 200 OK\r\nX-Long: ")?;
            // This ends when the client has gone.
            loop {
                exchange.raw("x")?;
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let start = Instant::now();
        assert!(refused(server.url(), only(transport)).is_timeout());
        assert!(start.elapsed() < BOUND, "{transport}: {:?}", start.elapsed());
    }
}

#[test]
fn a_status_is_told_with_its_body() {
    let table = [
        ("400 Bad Request", r#"{"code":0,"message":"Transport unknown"}"#),
        ("401 Unauthorized", r#""log in first""#),
        ("402 Payment Required", r#"{"code":1,"x":[null,"ü"]}"#),
        ("404 Not Found", "<html>no such page</html>"),
        ("500 Internal Server Error", ""),
    ];
    for transport in [Polling, WebSocket] {
        for (line, text) in table {
            let server = Scripted::start(move |exchange| exchange.respond(line, text));
            match refused(server.url(), only(transport)) {
                Error::Connection { message, status, body, .. } => {
                    assert_eq!(status.map(|status| status.to_string()).as_deref(), Some(&line[..3]));
                    assert_eq!(body.as_deref(), serde_json::from_str(text).ok().as_ref());
                    assert!(message.contains(line), "{message}");
                }
                other => panic!("{transport}, {line}: {other:?}"),
            }
        }
    }
}

#[test]
fn answers_that_are_no_handshake() {
    let table = [
        ("foo", "not the answer of an Engine.IO v4 server"),
        ("<html>hello</html>", "not the answer of an Engine.IO v4 server"),
        ("", "the answer is empty"),
        (r#"96:0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#, "v3"),
        ("4hello", "the first packet is message, not open"),
        ("2probe", "the first packet is ping, not open"),
        ("1", "the first packet is close, not open"),
        ("0{", "not JSON"),
        ("0[]", "not a JSON object"),
        (r#"0{"upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#, "no sid"),
        (r#"0{"sid":7,"pingInterval":25000,"pingTimeout":20000}"#, "sid"),
        (r#"0{"sid":"a","pingInterval":true,"pingTimeout":20000}"#, "pingInterval"),
        (r#"0{"sid":"a","pingInterval":1e999,"pingTimeout":20000}"#, "pingInterval"),
        (r#"0{"sid":"a","pingInterval":25000,"pingTimeout":"NaN"}"#, "pingTimeout"),
        (r#"0{"sid":"a","pingInterval":-1,"pingTimeout":20000}"#, "pingInterval"),
        (r#"0{"sid":"a","pingInterval":"soon","pingTimeout":20000}"#, "pingInterval"),
        (r#"0{"sid":"a","pingInterval":1e300,"pingTimeout":20000}"#, "pingInterval"),
        (r#"0{"sid":"a","pingInterval":25000}"#, "no pingTimeout"),
        (r#"0{"sid":"a","pingInterval":25000,"pingTimeout":20000,"upgrades":"websocket"}"#, "upgrades"),
    ];
    for (answer, told) in table {
        // The length in front of a v3 packet must be right.
        let answer = match answer.strip_prefix("96:") {
            Some(packet) => format!("{}:{packet}", packet.len()),
            None => answer.to_owned(),
        };
        let server = Scripted::start({
            let answer = answer.clone();
            move |exchange| exchange.payload(&answer)
        });
        let error = refused(server.url(), only(Polling));
        assert!(message_of(&error).contains(told), "{answer}: {error}");
    }
}

#[test]
fn the_open_packet_is_checked_by_websocket_too() {
    for (first, told) in [("4hello", "message, not open"), (r#"0{"pingInterval":1}"#, "no sid")] {
        let server = Scripted::start(move |exchange| {
            exchange.open_websocket(first)?;
            exchange.hold()
        });
        let error = refused(server.url(), only(WebSocket));
        assert!(message_of(&error).contains(told), "{error}");
    }
}

/// The open packet of npm's engine.io 3, which is the same as that of engine.io 4.0.
const OPEN_V3: &str = r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":5000}"#;

/// A server whose websocket opens with [`OPEN_V3`], and whose answer by polling is `answer`.
fn opens_like_v3(status: &'static str, answer: &'static str) -> Scripted {
    Scripted::start(move |exchange| match &exchange.request {
        request if request.is_websocket() => friendly(OPEN_V3, exchange),
        request if request.is_post() => exchange.payload("ok"),
        _ => exchange.respond(status, answer),
    })
}

#[test]
fn a_server_of_version_3_is_told_by_websocket_as_by_polling() {
    const V3: &str =
        concat!("68:", r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":5000}"#);
    let server = opens_like_v3("200 OK", V3);
    let told = message_of(&refused(server.url(), only(Polling))).to_owned();
    assert!(told.contains("the server speaks Engine.IO v3"), "{told}");
    for transports in [&[WebSocket][..], &[WebSocket, Polling], &[Polling, WebSocket]] {
        let before = server.requests().len();
        let error = refused(server.url(), by(transports));
        assert_eq!(message_of(&error), told);
        let requests = server.requests().len() - before;
        assert_eq!(requests, if transports[0] == WebSocket { 2 } else { 1 }, "no other transport is tried");
    }
    // A server that would send the whole payload in a frame is recognized as well.
    let server = Scripted::start(|exchange| {
        exchange.accept_websocket()?;
        exchange.ws_text(&format!("72:{}", OPEN_V3.replace("abc", "abcdefg")))?;
        exchange.hold()
    });
    let error = refused(server.url(), only(WebSocket)).to_string();
    assert!(error.contains("the server speaks Engine.IO v3"), "{error}");
}

#[test]
fn a_server_of_version_4_may_open_like_one_of_version_3() {
    let refusal = ("400 Bad Request", r#"{"code":0,"message":"Transport unknown"}"#);
    for (status, answer) in [("200 OK", OPEN_V3), refusal, ("200 OK", "<html>"), ("200 OK", "")] {
        let server = opens_like_v3(status, answer);
        let client = Client::new();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        works(&client, &watch, &server);
        if answer == OPEN_V3 {
            let last = server.wait_for("the end of the other session", Request::is_post);
            assert_eq!((last.text(), last.query["sid"].as_str()), ("1", "abc"));
        }
        abort(&client);
    }
}

#[test]
fn what_a_handshake_may_have() {
    let table = [
        r#"0{"sid":"a","pingInterval":"25000","pingTimeout":4294967295,"maxPayload":0,"more":{"x":[1]}}"#,
        r#"0{"sid":"a","pingInterval":25000,"pingTimeout":20000,"upgrades":["webtransport","smoke",7]}"#,
    ];
    for open in table {
        let server = Scripted::start(move |exchange| friendly(open, exchange));
        let client = Client::new();
        let watch = Watch::new(&client);
        client.connect(server.url()).unwrap();
        works(&client, &watch, &server);
        assert_eq!(client.transport().unwrap(), Polling);
        assert_eq!(client.handshake().unwrap().ping_interval(), Duration::from_secs(25));
        assert_eq!(client.sid().as_deref(), Some("a"));
        client.disconnect().unwrap();
        assert!(!server.requests().iter().any(Request::is_websocket), "no upgrade that it knows was offered");
    }
}

#[test]
fn packets_behind_the_handshake_are_delivered_after_connect() {
    let polling = |exchange: &mut Exchange| match exchange.request.is_poll() {
        true => exchange.hold(),
        false => exchange.payload(format!("{OPEN}\u{1e}4one\u{1e}6\u{1e}bAgM=")),
    };
    let websocket = |exchange: &mut Exchange| {
        // The packets are sent in one write with the open packet.
        let open = [&[0x81, 126, 0, OPEN.len() as u8][..], OPEN.as_bytes()].concat();
        exchange.accept_websocket()?;
        exchange.raw([&open[..], b"\x81\x044one\x82\x02\x02\x03"].concat())?;
        exchange.hold()
    };
    for (transport, server) in [(Polling, Scripted::start(polling)), (WebSocket, Scripted::start(websocket))]
    {
        let client = Client::builder().request_timeout(TIMEOUT).build().unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        assert_eq!(watch.message(), Message::from("one"));
        assert_eq!(watch.message(), Message::from(vec![2, 3]));
        abort(&client);
    }
}

#[test]
fn a_refused_connection_is_not_tried_by_the_next_transport() {
    let (client, lines) = impatient();
    client.connect(unused_url()).unwrap_err();
    assert_eq!(lines.all().matches("connecting to").count(), 1, "{}", lines.all());
}

#[test]
fn the_next_transport_is_tried_when_one_is_refused() {
    for (first, second) in [(Polling, WebSocket), (WebSocket, Polling)] {
        let server = Scripted::start(move |exchange| {
            if exchange.request.is_websocket() == (first == WebSocket)
                && !exchange.request.query.contains_key("sid")
            {
                return exchange.respond("403 Forbidden", "");
            }
            friendly(OPEN_UPGRADE, exchange)
        });
        let client = Client::new();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), by(&[first, second])).unwrap();
        works(&client, &watch, &server);
        assert_eq!(client.transport().unwrap(), second);
        client.disconnect().unwrap();
        let websockets = server.requests().iter().filter(|request| request.is_websocket()).count();
        assert_eq!(websockets, 1, "a websocket that was refused is not tried again as an upgrade");
        if second == WebSocket {
            // npm's engine.io leaves an upgrade to a wrong path unanswered on a connection that was used
            // before.
            assert_eq!(server.connections(), 2, "the websocket has a connection of its own");
        }
    }
}

#[test]
fn silence_towards_websockets_alone_is_a_case_for_polling() {
    let server = Scripted::start(|exchange| match exchange.request.is_websocket() {
        true => exchange.hold(),
        false => friendly(OPEN, exchange),
    });
    let (client, _) = impatient();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), by(&[WebSocket, Polling])).unwrap();
    works(&client, &watch, &server);
    client.disconnect().unwrap();
}

#[test]
fn the_first_error_is_told() {
    let server = Scripted::start(|exchange| match exchange.request.is_websocket() {
        true => exchange.respond("500 Internal Server Error", ""),
        false => exchange.respond("403 Forbidden", r#"{"code":4}"#),
    });
    for (transports, first) in [([Polling, WebSocket], 403), ([WebSocket, Polling], 500)] {
        let error = refused(server.url(), ConnectOptions::new().transports(transports));
        assert!(
            matches!(error, Error::Connection { status: Some(status), .. } if status == first),
            "{error:?}"
        );
    }
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_failed_upgrade_leaves_polling() {
    type Failure = fn(&mut Exchange) -> io::Result<()>;
    let failures: [(&str, Failure); 10] = [
        ("refused", |exchange| exchange.respond("400 Bad Request", r#"{"code":3}"#)),
        ("a 200", |exchange| exchange.respond("200 OK", "hello")),
        ("a wrong accept key", |exchange| {
            exchange.raw(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )?;
            exchange.hold()
        }),
        ("closed before the 101", Exchange::close),
        ("closed after the 101", Exchange::accept_websocket),
        ("a wrong answer to the probe", |exchange| {
            exchange.accept_websocket()?;
            exchange.ws_text("3other")?;
            exchange.hold()
        }),
        ("an answer without the probe's data", |exchange| {
            exchange.accept_websocket()?;
            exchange.ws_text("3")?;
            exchange.hold()
        }),
        ("the probe itself as an answer", |exchange| {
            exchange.accept_websocket()?;
            exchange.ws_text("2probe")?;
            exchange.hold()
        }),
        ("closed instead of an answer", |exchange| {
            exchange.accept_websocket()?;
            exchange.ws_frame(0x88, &[])?;
            exchange.hold()
        }),
        ("silence after the probe", |exchange| {
            exchange.accept_websocket()?;
            exchange.hold()
        }),
    ];
    for (what, failure) in failures {
        let server = Scripted::start(move |exchange| match exchange.request.is_websocket() {
            true => failure(exchange),
            false => friendly(OPEN_UPGRADE, exchange),
        });
        let (client, lines) = impatient();
        let watch = Watch::new(&client);
        client.connect(server.url()).unwrap_or_else(|e| panic!("{what}: {e}"));
        works(&client, &watch, &server);
        assert_eq!(client.transport().unwrap(), Polling, "{what}");
        assert!(lines.at(Level::Warn).iter().any(|line| line.contains("staying on polling")), "{what}");
        client.disconnect().unwrap();
        // A GET is sent again if its connection, which the handshake had used, closes without an answer.
        let expected = if what == "closed before the 101" { 2 } else { 1 };
        let asked = server.requests().iter().filter(|request| request.is_websocket()).count();
        assert_eq!(asked, expected, "{what}");
    }
}

#[test]
fn redirects_are_followed_and_counted() {
    let server = Scripted::start(|exchange| {
        let query: Vec<String> = exchange.request.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        if exchange.request.path != "/engine.io/" {
            return friendly(OPEN_UPGRADE, exchange);
        }
        exchange.respond_with(
            "307 Temporary Redirect",
            &format!("Location: /there/?{}\r\n", query.join("&")),
            "",
        )
    });
    for (options, transport) in
        [(only(WebSocket), WebSocket), (only(Polling), Polling), (ConnectOptions::new(), WebSocket)]
    {
        let client = Client::new();
        client.connect_with(server.url(), options).unwrap();
        assert_eq!(client.transport().unwrap(), transport);
        abort(&client);
    }

    let circle =
        Scripted::start(|exchange| exchange.respond_with("302 Found", "Location: /engine.io/\r\n", ""));
    for transport in [Polling, WebSocket] {
        let before = circle.requests().len();
        message_of(&refused(circle.url(), only(transport)));
        assert!((2..=20).contains(&(circle.requests().len() - before)));
    }
}

#[test]
fn a_second_connect_is_refused() {
    let server = Scripted::start(|exchange| friendly(OPEN_UPGRADE, exchange));
    let client = Client::new();
    client.connect(server.url()).unwrap();
    assert_eq!(client.transport().unwrap(), WebSocket);
    let before = server.requests().len();
    assert!(matches!(client.connect(server.url()), Err(Error::AlreadyConnected)));
    assert_eq!(server.requests().len(), before);
    assert!(client.is_connected());
    abort(&client);
    client.wait();
    client.connect(server.url()).unwrap();
    abort(&client);
}

#[test]
fn disconnect_ends_a_connect_at_any_phase() {
    type Phase = fn(&mut Exchange) -> io::Result<()>;
    let silent: Phase = |exchange| exchange.hold();
    let no_frames: Phase = |exchange| {
        exchange.accept_websocket()?;
        exchange.hold()
    };
    let probe: Phase = |exchange| match exchange.request.is_websocket() {
        true => {
            exchange.accept_websocket()?;
            exchange.ws_read_text()?;
            exchange.hold()
        }
        false => exchange.payload(OPEN_UPGRADE),
    };
    let phases = [
        ("silence", only(Polling), silent),
        ("silence by websocket", only(WebSocket), silent),
        ("no open packet", only(WebSocket), no_frames),
        ("the probe", ConnectOptions::new(), probe),
    ];
    for (what, options, phase) in phases {
        let server = Scripted::start(phase);
        // The request timeout is longer than the test waits.
        let client = Client::builder().request_timeout(PATIENCE * 3).build().unwrap();
        let watch = Watch::new(&client);
        let connecting = std::thread::spawn({
            let (client, url) = (client.clone(), server.url().to_owned());
            move || client.connect_with(url, options)
        });
        let probing = what == "the probe";
        server.wait_for("request", |request| request.is_websocket() || !probing);
        assert_eq!(client.state(), State::Connecting);
        assert!(matches!(client.connect(server.url()), Err(Error::AlreadyConnected)));
        within(PATIENCE, what, {
            let client = client.clone();
            move || client.disconnect().unwrap()
        });
        assert_eq!(client.state(), State::Disconnected, "{what}");
        let error = within(PATIENCE, what, move || connecting.join().unwrap().unwrap_err());
        assert!(message_of(&error).contains("ended by `disconnect` or Ctrl-C"), "{what}: {error}");
        if probing {
            // The server has opened the session already.
            let told = |request: &Request| request.is_post() && request.body == b"1";
            assert_eq!(server.wait_for("end", told).query["sid"], "abc");
        }
        watch.nothing_more();
    }
}

#[test]
fn options_without_a_limit_do_no_harm() {
    let server = Server::start();
    let client = Client::builder().request_timeout(Duration::MAX).build().unwrap();
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        client.connect_with(server.url(), only(transport)).unwrap();
        client.disconnect().unwrap();
    }
    for options in [
        WebSocketOptions::new().read_buffer_size(usize::MAX),
        WebSocketOptions::new().write_buffer_size(usize::MAX),
    ] {
        let refused = Client::builder().websocket_options(options).build();
        assert!(
            matches!(refused, Err(Error::InvalidOption { option: "websocket_options", .. })),
            "{refused:?}"
        );
    }
}
