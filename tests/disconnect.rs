//! The end of a connection: its reason, what is delivered before it, who is told, and what comes after.

mod common;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::real::Server;
use common::scripted::{Exchange, OPEN, Scripted};
use common::{PATIENCE, Seen, Stuck, WAYS, Watch, abort, by, connected, only, within};
use engineio::{Client, Disconnect, Error, Message, Reason, State, TransportKind};

use Reason::{ClientDisconnect, ServerDisconnect, TransportError};
use TransportKind::{Polling, WebSocket};

type Script = fn(&mut Exchange) -> io::Result<()>;

/// A polling server with scripts for its polls and POSTs.
fn polling(poll: Script, post: Script) -> Scripted {
    Scripted::start(move |exchange| match &exchange.request {
        request if request.is_post() => post(exchange),
        request if request.is_poll() => poll(exchange),
        _ => exchange.payload(OPEN),
    })
}

/// A redirect, to a place that answers GETs as a handshake.
fn moved(exchange: &mut Exchange, status: &str) -> io::Result<()> {
    exchange.respond_with(status, "Location: /elsewhere\r\n", "")
}

/// The last error in a few words.
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
    // By polling, so that there is a POST to fail.
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
    // The client's "x" is read first: an unread byte would make a RST of every FIN.
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
    let table: [(&str, Script, Script, Reason, &str); 14] = [
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
        ("POST: 307", hold, |x| moved(x, "307 Moved"), TransportError, "status 307 None"),
        ("POST: FIN", hold, Exchange::close, TransportError, "connection"),
    ];
    for (what, poll, post, reason, error) in table {
        let server = polling(poll, post);
        ends(what, &server, Polling, reason, error);
        let posts = server.requests().iter().filter(|request| request.body.starts_with(b"4x")).count();
        assert!(posts <= 1, "{what}: a POST must not be sent twice");
    }
}

#[test]
fn a_disconnect_writes_everything_first() {
    for options in WAYS.map(by) {
        let server = Server::start();
        let client = Client::new();
        client.connect_with(server.url(), options).unwrap();
        client.send("cmd:quiet").unwrap();
        (0..1000).for_each(|i| client.send(i.to_string()).unwrap());
        client.disconnect().unwrap();
        assert_eq!(server.texts_until_disconnect(), (0..1000).map(|i| i.to_string()).collect::<Vec<_>>());
    }
}

/// Each frame that a websocket client writes until its end, as text; `close` for the close frame.
fn recorder() -> (Scripted, mpsc::Receiver<String>) {
    let (sender, frames) = mpsc::channel();
    let server = Scripted::websocket(move |exchange| {
        exchange.ws_text("4go")?;
        loop {
            let frame = match exchange.ws_read() {
                Ok((8, _)) => "close".to_owned(),
                Ok((_, payload)) => String::from_utf8(payload).unwrap(),
                Err(e) => {
                    sender.send("EOF".into()).unwrap();
                    return Err(e);
                }
            };
            sender.send(frame).unwrap();
        }
    });
    (server, frames)
}

fn until_eof(frames: &mpsc::Receiver<String>) -> Vec<String> {
    let mut all = Vec::new();
    while all.last().is_none_or(|last| last != "EOF") {
        all.push(frames.recv_timeout(PATIENCE).expect("the client closes"));
    }
    all
}

#[test]
fn the_server_is_told_last() {
    let (server, frames) = recorder();
    let (client, watch) = connected(server.url(), only(WebSocket));
    watch.message();
    client.send("a").unwrap();
    client.disconnect_with(Disconnect::new().reason("logged out")).unwrap();
    assert_eq!(until_eof(&frames), ["4a", "1", "close", "EOF"]);
    assert_eq!(watch.disconnected(), Reason::Other("logged out".into()));
    assert!(client.last_error().is_none());
    watch.nothing_more();
}

#[test]
fn an_abort_tells_and_waits_for_nobody() {
    let (server, frames) = recorder();
    let client = Client::new();
    let stuck = Stuck::new(&client);
    let (sender, reason) = mpsc::channel();
    client.on_disconnect(move |_, reason| sender.send(reason));
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    stuck.entered();
    within(PATIENCE, "abort", {
        let client = client.clone();
        move || abort(&client)
    });
    assert_eq!(until_eof(&frames), ["EOF"]);
    assert!(reason.try_recv().is_err(), "the message handler still runs");
    stuck.release();
    client.wait();
    assert_eq!(reason.try_recv(), Ok(ClientDisconnect));
}

/// A server that sends one message and then, if that is wanted, the end.
fn brief(transport: TransportKind, end: bool) -> Scripted {
    if transport == WebSocket {
        return Scripted::websocket(move |exchange| {
            exchange.ws_text("4x")?;
            if end { exchange.ws_text("1") } else { exchange.hold() }
        });
    }
    Scripted::polling(move |exchange| match exchange.polls() {
        1 => exchange.payload("4x"),
        _ if end => exchange.payload("1"),
        _ => exchange.hold(),
    })
}

#[test]
fn disconnect_inside_each_handler() {
    for transport in [Polling, WebSocket] {
        for (place, expected) in [
            ("connect", &["connect", "disconnect", "client disconnect"][..]),
            ("message", &["connect", "message", "disconnect", "client disconnect"]),
            ("disconnect", &["connect", "message", "disconnect", "server disconnect"]),
        ] {
            let server = brief(transport, place == "disconnect");
            let client = Client::new();
            let (sender, seen) = mpsc::channel();
            let handler = {
                let sender = sender.clone();
                move |client: &Client, here: &'static str| {
                    sender.send(here.to_owned()).unwrap();
                    if here == place {
                        client.disconnect().unwrap();
                        client.wait();
                        assert!(matches!(client.send("late"), Err(Error::SocketIsClosed)));
                    }
                }
            };
            let [connect, message, disconnect] = [handler.clone(), handler.clone(), handler];
            client.on_connect(move |client| connect(client, "connect"));
            client.on_message(move |client, _| message(client, "message"));
            client.on_disconnect(move |client, reason| {
                disconnect(client, "disconnect");
                sender.send(reason.to_string())
            });
            client.connect_with(server.url(), only(transport)).unwrap();
            let waited = client.clone();
            within(PATIENCE, place, move || waited.wait());
            assert_eq!(seen.try_iter().collect::<Vec<_>>(), expected, "{transport}, {place}");
        }
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
        // Slower than the end comes.
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

#[test]
fn everyone_who_waits_returns_after_the_disconnect_handler() {
    let server = Server::start();
    let client = Client::new();
    let done = Arc::new(AtomicUsize::new(0));
    client.on_disconnect({
        let done = done.clone();
        move |_, _| {
            thread::sleep(Duration::from_millis(100));
            done.fetch_add(1, Ordering::SeqCst);
        }
    });
    client.connect(server.url()).unwrap();
    assert!(!client.wait_timeout(Duration::from_millis(20)));
    let waiting: Vec<_> = (0..10)
        .map(|i| {
            let (client, done) = (client.clone(), done.clone());
            thread::spawn(move || {
                match i {
                    // Some of those who end it wait as well.
                    0..5 => client.wait(),
                    5..8 => assert!(client.wait_timeout(PATIENCE)),
                    _ => client.disconnect().unwrap(),
                }
                done.load(Ordering::SeqCst)
            })
        })
        .collect();
    within(PATIENCE, "every wait", move || {
        waiting.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 1));
    });
    assert!(client.wait_timeout(Duration::ZERO));
}

#[test]
fn dropping_the_last_handle_ends_the_connection() {
    let (server, frames) = recorder();
    let client = Client::new();
    let stuck = Stuck::new(&client);
    let (sender, reason) = mpsc::channel();
    client.on_disconnect(move |_, reason| sender.send(reason));
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let second = client.clone();
    stuck.entered();
    drop(client);
    second.send("the second handle").unwrap();
    // The handler runs: a drop that waited for it would never return.
    within(PATIENCE, "drop", move || drop(second));
    assert_eq!(until_eof(&frames), ["4the second handle", "1", "close", "EOF"]);
    stuck.release();
    assert_eq!(reason.recv_timeout(PATIENCE), Ok(ClientDisconnect));
}

#[test]
fn wait_goes_on_when_the_disconnect_handler_connects_again() {
    let server = Scripted::websocket(|exchange| {
        exchange.ws_text("4hi")?;
        exchange.ws_text("1")?;
        exchange.hold()
    });
    let client = Client::new();
    let (sender, seen) = mpsc::channel();
    let message = sender.clone();
    client.on_message(move |client, text| {
        let again = client.connect("http://127.0.0.1:1");
        assert!(matches!(again, Err(Error::AlreadyConnected)), "{again:?}");
        message.send(text.to_string())
    });
    let (url, mut left) = (server.url().to_owned(), 2);
    client.on_disconnect(move |client, reason| {
        assert_eq!(client.state(), State::Disconnected);
        sender.send(reason.to_string()).unwrap();
        left -= 1;
        if left >= 0 { client.connect_with(&url, only(WebSocket)) } else { Ok(()) }
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let waited = client.clone();
    within(PATIENCE, "wait", move || waited.wait());
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["hi", "server disconnect"].repeat(3));
}

#[test]
fn what_was_queued_for_one_connection_is_not_sent_by_the_next() {
    // The first session never answers a POST, and ends.
    let sessions = AtomicUsize::new(0);
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_post() && sessions.load(Ordering::SeqCst) == 1 => exchange.hold(),
        request if request.is_post() => exchange.payload("ok"),
        request if request.is_poll() && sessions.load(Ordering::SeqCst) == 1 => {
            thread::sleep(Duration::from_millis(200));
            exchange.payload("1")
        }
        request if request.is_poll() => exchange.hold(),
        _ => {
            sessions.fetch_add(1, Ordering::SeqCst);
            exchange.payload(OPEN)
        }
    });
    let client = Client::new();
    let watch = Watch::new(&client);
    assert!(matches!(client.send("before"), Err(Error::SocketIsClosed)));
    client.connect_with(server.url(), only(Polling)).unwrap();
    (0..100).for_each(|i| client.send(format!("old {i}")).unwrap());
    watch.connected();
    assert_eq!(watch.disconnected(), ServerDisconnect);
    client.wait();
    let first = server.requests().len();
    client.connect_with(server.url(), only(Polling)).unwrap();
    client.send("new").unwrap();
    client.disconnect().unwrap();
    let posts: Vec<_> = server.requests().split_off(first);
    let posts: Vec<_> = posts.iter().filter(|request| request.is_post()).collect();
    let sent: Vec<&str> = posts.iter().flat_map(|post| post.text().split('\u{1e}')).collect();
    assert_eq!(sent, ["4new", "1"]);
}

#[test]
fn a_disconnect_is_bounded_whatever_the_server_and_the_handlers_do() {
    // Notices nothing before the test is over.
    let (over, test) = crossbeam_channel::bounded::<()>(0);
    let deaf = Scripted::websocket(move |_| test.recv().map_err(io::Error::other));
    let silent = polling(Exchange::hold, Exchange::hold);
    for (transport, server) in [(WebSocket, &deaf), (Polling, &silent)] {
        let client = Client::builder().request_timeout(Duration::from_millis(300)).build().unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        let start = Instant::now();
        client.disconnect().unwrap();
        assert!(start.elapsed() < Duration::from_secs(4), "{transport}: {:?}", start.elapsed());
        assert_eq!(watch.disconnected(), ClientDisconnect);
    }
    drop(over);
}

#[test]
fn a_second_disconnect_waits_for_the_handler_too() {
    let server = Server::start();
    let client = Client::new();
    let (enter, entered) = mpsc::channel();
    let done = Arc::new(AtomicUsize::new(0));
    client.on_disconnect({
        let done = done.clone();
        move |_, _| {
            enter.send(()).unwrap();
            thread::sleep(Duration::from_millis(100));
            done.fetch_add(1, Ordering::SeqCst);
        }
    });
    client.connect(server.url()).unwrap();
    let first = thread::spawn({
        let client = client.clone();
        move || client.disconnect()
    });
    entered.recv_timeout(PATIENCE).unwrap();
    client.disconnect().unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
    first.join().unwrap().unwrap();
}

/// The pong meets a websocket that the server has closed, in the same breath as it sent the ping.
#[test]
fn a_close_behind_a_ping_is_told_as_the_servers() {
    let server = Scripted::websocket(|exchange| {
        // A ping, a message, and a close frame.
        exchange.raw([&b"\x81\x012\x81\x064hello"[..], b"\x88\x02\x03\xe8"].concat())?;
        exchange.hold()
    });
    for _ in 0..50 {
        let (_client, watch) = connected(server.url(), only(WebSocket));
        assert_eq!(watch.message(), Message::from("hello"));
        assert_eq!(watch.disconnected(), Reason::ServerDisconnect);
    }
}
