//! The heartbeat: pings are answered however slow the handlers are, silence ends the connection and not too
//! early, and any byte is a sign of life.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::real::{Options, Server};
use common::scripted::{Exchange, Scripted, open_with};
use common::{PATIENCE, WAYS, Watch, abort, by, connected, eventually, only};
use crossbeam_channel::bounded;
use engineio::{Client, ConnectOptions, Error, Message, Reason, TransportKind};

use TransportKind::{Polling, WebSocket};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn pings_are_answered_with_their_data_by_websocket() {
    let (sender, pongs) = mpsc::channel();
    let server = Scripted::start(move |exchange| {
        exchange.open_websocket(&open_with(25_000, 20_000))?;
        for ping in ["2", "2some data", "2ü {}"] {
            exchange.ws_text(ping)?;
            sender.send(exchange.ws_read_text()?).unwrap();
        }
        exchange.hold()
    });
    let (client, watch) = connected(server.url(), only(WebSocket));
    for pong in ["3", "3some data", "3ü {}"] {
        assert_eq!(pongs.recv_timeout(PATIENCE).unwrap(), pong);
    }
    watch.nothing_more();
    abort(&client);
}

#[test]
fn pings_are_answered_with_their_data_by_polling() {
    let server = Scripted::polling(|exchange| match exchange.polls() {
        1 => exchange.payload("2some data\u{1e}4hi"),
        _ => exchange.hold(),
    });
    let (client, watch) = connected(server.url(), only(Polling));
    assert_eq!(watch.message(), Message::from("hi"));
    server.wait_for("pong", |request| request.is_post() && request.body == b"3some data");
    client.disconnect().unwrap();
}

/// A hundred messages need seven POSTs, and the ping comes during the second one.
#[test]
fn a_pong_by_polling_waits_for_the_post_in_flight_at_most() {
    let (queued, all_queued) = bounded(1);
    let (posting, ping_due) = bounded(1);
    let (polled, ping_received) = bounded(1);
    let posts = AtomicUsize::new(0);
    let server = Scripted::start(move |exchange| match exchange.request.method.as_str() {
        "POST" => {
            match posts.fetch_add(1, Ordering::SeqCst) {
                0 => all_queued.recv_timeout(PATIENCE).unwrap(),
                1 => {
                    posting.send(()).unwrap();
                    ping_received.recv_timeout(PATIENCE).unwrap();
                }
                _ => {}
            }
            exchange.payload("ok")
        }
        _ if !exchange.request.is_poll() => exchange.payload(open_with(25_000, 20_000)),
        _ if exchange.polls() == 1 => {
            ping_due.recv_timeout(PATIENCE).unwrap();
            exchange.payload("2")
        }
        _ => {
            polled.send(()).unwrap();
            exchange.hold()
        }
    });
    let (client, _watch) = connected(server.url(), only(Polling));
    let texts: Vec<_> = (0..100).map(|i| format!("4{i}")).collect();
    texts.iter().for_each(|text| client.send(&text[1..]).unwrap());
    queued.send(()).unwrap();
    client.flush(PATIENCE).unwrap();
    let requests = server.requests();
    let posts: Vec<_> = requests.iter().filter(|request| request.is_post()).collect();
    assert!(posts[2].text().starts_with('3'), "{}", posts[2].text());
    let packets = posts.iter().flat_map(|post| post.text().split('\u{1e}'));
    assert_eq!(packets.filter(|packet| *packet != "3").collect::<Vec<_>>(), texts);
    abort(&client);
}

/// The outbox holds 24 MB, of which the kernel's buffers take a part. The server reads on when the ping has
/// arrived.
#[test]
fn a_pong_by_websocket_does_not_wait_for_the_whole_outbox() {
    const MESSAGES: usize = 1500;
    let (queued, all_queued) = bounded(1);
    let (pinged, ping_received) = bounded::<()>(1);
    let (place, places) = bounded(1);
    let server = Scripted::start(move |exchange| {
        exchange.open_websocket(&open_with(25_000, 20_000))?;
        all_queued.recv_timeout(PATIENCE).unwrap();
        for _ in 0..MESSAGES / 3 {
            assert_ne!(exchange.ws_read_text()?, "3");
        }
        exchange.ws_text("2")?;
        ping_received.recv_timeout(PATIENCE).unwrap();
        let ahead = (MESSAGES / 3..).take_while(|_| exchange.ws_read_text().is_ok_and(|text| text != "3"));
        place.send(ahead.count()).unwrap();
        exchange.hold()
    });
    let client = Client::builder().outbox_limit(64 << 20).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let text = "x".repeat(16 * 1024);
    (0..MESSAGES).for_each(|_| client.send(&*text).unwrap());
    queued.send(()).unwrap();
    eventually("the ping", || client.stats().last_ping.is_some());
    pinged.send(()).unwrap();
    // The count leaves out the first third of the messages, which the server read before its ping.
    let ahead = places.recv_timeout(PATIENCE).unwrap();
    assert!(ahead < MESSAGES * 2 / 3 - 100, "behind {ahead} messages");
    let end = client.disconnect_with(engineio::Disconnect::new().abort(true));
    assert!(matches!(end, Ok(()) | Err(Error::Unsent { .. })), "{end:?}");
}

/// A server that drops a client whose pong takes longer than 400 ms.
fn strict() -> Server {
    Server::with(Options { ping_interval: ms(200), ping_timeout: ms(400), ..Options::default() })
}

/// Three times the silence that ends a connection with that server.
const LONG: Duration = Duration::from_millis(3 * 600);

/// Pings come all the time. The server takes longer for the POST than it may be silent.
#[test]
fn a_slow_post_keeps_the_connection() {
    let server = Scripted::start(|exchange| match &exchange.request {
        request if request.is_poll() => {
            thread::sleep(ms(100));
            exchange.payload("2")
        }
        request if request.is_post() => {
            if request.body != b"3" {
                thread::sleep(ms(1_500));
            }
            exchange.payload("ok")
        }
        _ => exchange.payload(open_with(300, 500)),
    });
    let client = Client::builder().request_timeout(PATIENCE).build().unwrap();
    client.connect_with(server.url(), only(Polling)).unwrap();
    client.send("x").unwrap();
    client.flush(PATIENCE).unwrap();
    assert_eq!(client.last_error().map(|e| e.to_string()), None);
    assert!(client.is_connected());
    client.disconnect().unwrap();
}

/// Runs a test for each way to connect. They run at the same time, because they mostly sleep.
fn each_way(test: impl Fn(ConnectOptions) + Sync) {
    thread::scope(|scope| {
        for options in WAYS.map(by) {
            scope.spawn(|| test(options));
        }
    });
}

#[test]
fn a_slow_handler_keeps_the_connection() {
    each_way(|options| {
        let server = strict();
        let client = Client::new();
        let watch = Watch::after(&client, |_, message| {
            if message.as_text() == Some("slow") {
                thread::sleep(LONG);
            }
        });
        client.connect_with(server.url(), options).unwrap();
        watch.connected();
        for text in ["slow", "after", "last"] {
            client.send(text).unwrap();
        }
        for text in ["slow", "after", "last"] {
            assert_eq!(watch.message(), Message::from(text));
        }
        assert!(client.is_connected());
        client.send("still there").unwrap();
        assert_eq!(watch.message(), Message::from("still there"));
        client.disconnect().unwrap();
    });
}

#[test]
fn a_slow_connect_handler_keeps_the_connection_too() {
    each_way(|options| {
        let server = strict();
        let client = Client::new();
        client.on_connect(|_| thread::sleep(LONG));
        client.connect_with(server.url(), options).unwrap();
        let watch = Watch::new(&client);
        client.send("still there").unwrap();
        assert_eq!(watch.message(), Message::from("still there"));
        client.disconnect().unwrap();
    });
}

#[test]
fn an_idle_connection_lives_by_its_pings() {
    each_way(|options| {
        let server = strict();
        let (client, watch) = connected(server.url(), options);
        // The connection outlives this only if pings are answered: it is more than twice the allowed silence.
        assert!(!client.wait_timeout(ms(1500)), "{:?}", client.last_error());
        watch.nothing_more();
        let last = client.stats().last_ping.expect("pings have come");
        assert!(last < ms(600), "{last:?}");
        client.disconnect().unwrap();
        assert_eq!(client.stats().last_ping, None, "that is the connection's");
    });
}

#[test]
fn silence_ends_the_connection_and_not_too_early() {
    for transport in [WebSocket, Polling] {
        let server = Scripted::silent(open_with(200, 300));
        // The server's last byte comes after this moment.
        let start = Instant::now();
        let (client, watch) = connected(server.url(), only(transport));
        assert_eq!(client.stats().last_ping, None);
        assert_eq!(watch.disconnected(), Reason::PingTimeout, "{transport}");
        let elapsed = start.elapsed();
        assert!((ms(500)..ms(5000)).contains(&elapsed), "{transport}: {elapsed:?}");
        client.wait();
        assert!(matches!(client.send("late"), Err(Error::SocketIsClosed)));
        watch.nothing_more();
    }
}

/// An interval of 0 counts as one second, and no silence below 100 ms ends a connection.
#[test]
fn numbers_of_zero_and_fractions_are_times_like_others() {
    let table = [
        ("0", "0", 1_000),
        ("\"0\"", "0.001", 1_000),
        ("0.0", "\"200.5\"", 1_200),
        ("300.5", "199.5", 500),
        ("0.5", "0.001", 100),
        ("\"1e2\"", "1e2", 200),
    ];
    thread::scope(|scope| {
        for ((interval, timeout, silence), transport) in
            table.iter().flat_map(|row| [WebSocket, Polling].map(|transport| (row, transport)))
        {
            scope.spawn(move || {
                let numbers = format!(r#""pingInterval":{interval},"pingTimeout":{timeout}"#);
                let server = Scripted::silent(format!(r#"0{{"sid":"abc","upgrades":[],{numbers}}}"#));
                let start = Instant::now();
                let (_client, watch) = connected(server.url(), only(transport));
                assert_eq!(watch.disconnected(), Reason::PingTimeout, "{transport}, {numbers}");
                let elapsed = start.elapsed();
                assert!((ms(*silence)..PATIENCE).contains(&elapsed), "{transport}, {numbers}: {elapsed:?}");
            });
        }
    });
}

#[test]
fn silence_ends_the_connection_under_a_running_handler() {
    let server = Scripted::start(|exchange| {
        exchange.open_websocket(&open_with(100, 100))?;
        exchange.ws_text("4go")?;
        exchange.hold()
    });
    let client = Client::new();
    let (sender, sends) = mpsc::channel();
    client.on_message(move |client, _| {
        // The handler ends only with the connection.
        let over = (0..2000).any(|_| {
            thread::sleep(ms(5));
            client.send("x").is_err()
        });
        sender.send(over)
    });
    let (reason_sender, reason) = mpsc::channel();
    client.on_disconnect(move |_, reason| reason_sender.send(reason));
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    assert!(sends.recv_timeout(PATIENCE).unwrap(), "send fails while the handler still runs");
    assert_eq!(reason.recv_timeout(PATIENCE).unwrap(), Reason::PingTimeout);
}

#[test]
fn messages_are_life_without_a_ping() {
    let server = Scripted::start(|exchange| {
        exchange.open_websocket(&open_with(300, 300))?;
        for i in 0..20 {
            thread::sleep(ms(50));
            exchange.ws_text(&format!("4{i}"))?;
        }
        exchange.hold()
    });
    let (_client, watch) = connected(server.url(), only(WebSocket));
    for i in 0..20 {
        assert_eq!(watch.message(), Message::from(i.to_string()));
    }
    assert_eq!(watch.disconnected(), Reason::PingTimeout);
}

const BIG: usize = 24_000;

/// Sends a message in small pieces over 1.2 s, which is twice the deadline for silence.
fn trickle(exchange: &mut Exchange, head: &[u8]) -> io::Result<()> {
    let whole = [head, b"4", &[b'x'; BIG]].concat();
    for piece in whole.chunks(1000) {
        exchange.raw(piece)?;
        thread::sleep(ms(50));
    }
    Ok(())
}

#[test]
fn bytes_of_a_big_message_are_life() {
    let websocket = Scripted::start(|exchange| {
        exchange.open_websocket(&open_with(300, 300))?;
        let length = u16::try_from(BIG + 1).unwrap().to_be_bytes();
        trickle(exchange, &[&[0x81, 126][..], &length].concat())?;
        exchange.hold()
    });
    let polling = Scripted::start(|exchange| match exchange.polls() {
        0 => exchange.payload(open_with(300, 300)),
        1 => trickle(exchange, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BIG + 1).as_bytes()),
        _ => exchange.hold(),
    });
    for (transport, server) in [(WebSocket, websocket), (Polling, polling)] {
        let (client, watch) = connected(server.url(), only(transport));
        assert_eq!(watch.message().as_bytes().len(), BIG, "{transport}");
        abort(&client);
    }
}

#[test]
fn a_websockets_own_pings_are_life_and_answered() {
    let (sender, frames) = mpsc::channel();
    let server = Scripted::start(move |exchange| {
        exchange.open_websocket(&open_with(300, 300))?;
        for _ in 0..10 {
            thread::sleep(ms(100));
            exchange.ws_frame(0x89, b"frame")?;
            sender.send(exchange.ws_read()?).unwrap();
        }
        exchange.hold()
    });
    let (_client, watch) = connected(server.url(), only(WebSocket));
    for _ in 0..10 {
        assert_eq!(frames.recv_timeout(PATIENCE).unwrap(), (0xa, b"frame".to_vec()));
    }
    assert_eq!(watch.disconnected(), Reason::PingTimeout);
}

#[test]
fn polls_that_bring_nothing_become_rare() {
    for nothing in ["6", ""] {
        let server = Scripted::start(move |exchange| match exchange.request.is_poll() {
            true => exchange.payload(nothing),
            false => exchange.payload(open_with(300, 300)),
        });
        let (client, watch) = connected(server.url(), only(Polling));
        assert!(!client.wait_timeout(ms(1000)), "an answer is life, if an empty one");
        watch.nothing_more();
        let polls = server.requests().iter().filter(|request| request.is_poll()).count();
        assert!((2..20).contains(&polls), "{polls}");
        abort(&client);
    }
}

/// A server of Engine.IO v3 waits for pings, and then closes the websocket in order.
#[test]
fn a_server_that_never_pings_and_closes_is_told_as_one_of_version_3() {
    for (pings, told) in [(0, "the server speaks Engine.IO v3"), (1, "the server closed the websocket")] {
        let server = Scripted::start(move |exchange| {
            exchange.open_websocket(&open_with(300, 2000))?;
            (0..pings).try_for_each(|_| exchange.ws_text("2"))?;
            // Messages keep the connection alive.
            for _ in 0..15 {
                thread::sleep(ms(100));
                exchange.ws_text("4")?;
            }
            exchange.ws_frame(0x88, &[])?;
            exchange.hold()
        });
        let (client, watch) = connected(server.url(), only(WebSocket));
        (0..15).for_each(|_| assert_eq!(watch.message(), Message::from("")));
        assert_eq!(watch.disconnected(), Reason::ServerDisconnect);
        client.wait();
        let error = client.last_error().unwrap().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn a_silent_server_is_told_of_and_whether_it_ever_pinged() {
    for (pings, told) in [(0, "first ping (does it speak Engine.IO v3"), (1, "next ping")] {
        let server = Scripted::start(move |exchange| {
            exchange.open_websocket(&open_with(200, 200))?;
            (0..pings).try_for_each(|_| exchange.ws_text("2"))?;
            exchange.hold()
        });
        let (client, watch) = connected(server.url(), only(WebSocket));
        assert_eq!(watch.disconnected(), Reason::PingTimeout);
        client.wait();
        let error = client.last_error().unwrap();
        assert!(error.is_timeout() && error.to_string().contains(told), "{error}");
    }
}
