//! Sent messages arrive unchanged and in order by either transport. The tests use engineioxide, and a
//! scripted server to check the contents of POSTs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use common::real::{Event, Server};
use common::scripted::Scripted;
use common::{PATIENCE, Watch, abort, connected, only};
use engineio::{Client, ConnectOptions, Disconnect, Error, Message, Reason, TransportKind};
use serde_json::json;

use TransportKind::{Polling, WebSocket};

/// Sends each kind of message and expects it back.
fn echoes(options: ConnectOptions) {
    let server = Server::start();
    let (client, watch) = connected(server.url(), options);
    let all_bytes: Vec<u8> = (0..=255).collect();
    let big_text = "0123456789abcdef".repeat(1 << 16);
    let big_bytes = Bytes::from(all_bytes.repeat(1 << 12));
    let texts = ["text", "", "\u{1f980} 4 bytes", "line\nbreak\0nul", &big_text];
    for text in texts {
        client.send(text).unwrap();
        assert_eq!(watch.message(), Message::from(text));
    }
    for bytes in [Bytes::from(all_bytes), Bytes::new(), big_bytes] {
        client.send(bytes.clone()).unwrap();
        assert_eq!(watch.message(), Message::Binary(bytes));
    }
    client.send(json!({"a": [1, null, "ü"]})).unwrap();
    assert_eq!(watch.message().json::<serde_json::Value>().unwrap(), json!({"a": [1, null, "ü"]}));
    client.send_json(&("tuple", 1)).unwrap();
    assert_eq!(watch.message(), Message::from(r#"["tuple",1]"#));
    client.try_send_json(&("tried", 2)).unwrap();
    assert_eq!(watch.message(), Message::from(r#"["tried",2]"#));
    let keys_are_no_texts = std::collections::HashMap::from([((1, 2), 3)]);
    assert!(matches!(client.try_send_json(&keys_are_no_texts), Err(Error::Json(_))));
    client.disconnect().unwrap();
}

#[test]
fn every_kind_comes_back_by_polling() {
    echoes(only(Polling));
}

#[test]
fn every_kind_comes_back_by_websocket() {
    echoes(only(WebSocket));
}

#[test]
fn every_kind_comes_back_after_an_upgrade() {
    echoes(ConnectOptions::new());
}

fn bursts(options: ConnectOptions) {
    let server = Server::start();
    let (client, watch) = connected(server.url(), options);
    client.send("cmd:burst 1000 m").unwrap();
    for i in 0..1000 {
        assert_eq!(watch.message(), Message::from(format!("m{i}")));
    }
    client.send("cmd:quiet").unwrap();
    for i in 0..1000 {
        client.send(format!("c{i}")).unwrap();
    }
    client.disconnect().unwrap();
    let expected: Vec<String> = (0..1000).map(|i| format!("c{i}")).collect();
    assert_eq!(server.texts_until_disconnect(), expected);
}

#[test]
fn bursts_arrive_in_order_by_polling() {
    bursts(only(Polling));
}

#[test]
fn bursts_arrive_in_order_by_websocket() {
    bursts(only(WebSocket));
}

#[test]
fn many_senders_lose_nothing() {
    let server = Server::start();
    let (client, _watch) = connected(server.url(), only(WebSocket));
    client.send("cmd:quiet").unwrap();
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let client = client.clone();
            std::thread::spawn(move || (0..500).for_each(|i| client.send(format!("{sender} {i}")).unwrap()))
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    client.disconnect().unwrap();
    let texts = server.texts_until_disconnect();
    for sender in 0..4 {
        let own = texts.iter().filter(|text| text.starts_with(&format!("{sender} ")));
        let expected: Vec<String> = (0..500).map(|i| format!("{sender} {i}")).collect();
        assert!(own.eq(&expected), "the order of sender {sender}");
    }
}

#[test]
fn the_separator_travels_by_websocket_only() {
    let server = Server::start();
    let (client, watch) = connected(server.url(), only(WebSocket));
    client.send("a\u{1e}b").unwrap();
    assert_eq!(watch.message(), Message::from("a\u{1e}b"));
    client.disconnect().unwrap();

    let (client, watch) = connected(server.url(), only(Polling));
    assert!(matches!(client.send("a\u{1e}b"), Err(Error::Separator)));
    client.send("still there").unwrap();
    assert_eq!(watch.message(), Message::from("still there"));
    client.disconnect().unwrap();
}

#[test]
fn a_message_above_the_servers_limit_is_refused_and_the_connection_lives() {
    let server = Server::with(common::real::Options { max_payload: 1000, ..Default::default() });
    for (transport, fits) in [(WebSocket, 1000), (Polling, 747)] {
        let (client, watch) = connected(server.url(), only(transport));
        let too_big = client.send(vec![0; fits + 1]);
        assert!(
            matches!(too_big, Err(Error::MessageTooLarge { size, max: 1000, .. }) if size > 1000),
            "{too_big:?}"
        );
        assert!(matches!(
            client.send("x".repeat(1000)),
            Err(Error::MessageTooLarge { size: 1001, max: 1000, .. })
        ));
        client.send(vec![7; fits]).unwrap();
        assert_eq!(watch.message(), Message::from(vec![7; fits]), "{transport}");
        client.disconnect().unwrap();
    }
}

#[test]
fn posts_keep_to_16_packets_and_the_payload_limit() {
    let open = r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":300}"#;
    let server = Scripted::silent(open);
    let client = Client::builder().request_timeout(PATIENCE).build().unwrap();
    client.connect_with(server.url(), only(Polling)).unwrap();
    for i in 0..500 {
        client.send(format!("m{i}")).unwrap();
        client.send(vec![b'x'; i % 200]).unwrap();
    }
    client.disconnect().unwrap();
    let posts: Vec<_> = server.requests().into_iter().filter(|request| request.is_post()).collect();
    let mut texts = Vec::new();
    for post in &posts {
        assert_eq!(post.header("content-type"), ["text/plain;charset=UTF-8"]);
        let packets: Vec<&str> = post.text().split('\u{1e}').collect();
        assert!(packets.len() <= 16 && post.body.len() <= 300, "{} in {}", packets.len(), post.body.len());
        texts.extend(packets.into_iter().filter_map(|packet| packet.strip_prefix('4')).map(str::to_owned));
    }
    assert_eq!(texts, (0..500).map(|i| format!("m{i}")).collect::<Vec<_>>());
    assert!(posts.last().unwrap().text().ends_with('1'), "the close is the last packet");
}

#[test]
fn packets_per_post_can_be_raised() {
    let server = Scripted::silent(common::scripted::OPEN);
    let client = Client::builder().packets_per_post(1000).build().unwrap();
    client.connect_with(server.url(), only(Polling)).unwrap();
    (0..2000).for_each(|i| client.send(i.to_string()).unwrap());
    client.disconnect().unwrap();
    let most = server.requests().iter().map(|request| request.text().split('\u{1e}').count()).max();
    assert!(most > Some(16), "{most:?}");
}

#[test]
fn a_server_that_does_not_read_fills_the_outbox() {
    let server = Scripted::start(|exchange| {
        exchange.open_websocket(common::scripted::OPEN)?;
        // The server reads nothing until the client has gone.
        exchange.ws_read_text()?;
        exchange.wait_closed()
    });
    let client =
        Client::builder().outbox_limit(100_000).request_timeout(Duration::from_secs(1)).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let big = "x".repeat(50_000);
    let full = |_: &usize| match (client.try_send(&*big), client.flush(Duration::from_millis(500))) {
        (Ok(()), Ok(())) => false,
        (Ok(()), Err(Error::Timeout { .. })) => true,
        (sent, flushed) => panic!("{sent:?}, {flushed:?}"),
    };
    // The system's buffers take some megabytes.
    (0..10_000).find(full).expect("the server does not read");
    while client.try_send(&*big).is_ok() {}
    assert!(matches!(client.try_send(&*big), Err(Error::QueueFull)));
    assert!(matches!(client.try_send_json(&big), Err(Error::QueueFull)));
    assert!(matches!(client.try_send_all([&*big]), Err(Error::QueueFull)));
    assert!(matches!(client.flush(Duration::from_millis(10)), Err(Error::Timeout { .. })));
    let lost = client.disconnect();
    assert!(matches!(lost, Err(Error::Unsent { messages, .. }) if messages > 0), "{lost:?}");
}

#[test]
fn flush_waits_until_everything_is_written() {
    let server = Server::start();
    let (client, _watch) = connected(server.url(), only(Polling));
    client.send("cmd:quiet").unwrap();
    (0..100).for_each(|i| client.send(i.to_string()).unwrap());
    client.flush(PATIENCE).unwrap();
    // All messages are written now; by polling, the server has confirmed them.
    abort(&client);
    assert_eq!(server.next(), Event::Connect);
    for i in 0..100 {
        assert_eq!(server.next(), Event::Text(i.to_string()));
    }
}

#[test]
fn the_counters_count_both_ways() {
    let server = Server::start();
    let (client, watch) = connected(server.url(), only(WebSocket));
    for _ in 0..3 {
        client.send("four").unwrap();
        watch.message();
    }
    client.flush(PATIENCE).unwrap();
    let stats = client.stats();
    assert_eq!((stats.sent.messages, stats.received.messages), (3, 3));
    assert!(stats.sent.bytes >= 15 && stats.received.bytes >= 15, "{stats:?}");
    client.disconnect().unwrap();
    assert_eq!(client.stats().received.messages, 3, "they go on over the client's connections");
}

#[test]
fn a_message_may_have_the_limits_size_and_no_byte_more() {
    const MAX: usize = 1000;
    let server = Server::start();
    for transport in [Polling, WebSocket] {
        for (size, fits) in [(MAX, true), (MAX + 1, false)] {
            for message in [Message::from("x".repeat(size)), Message::from(vec![7; size])] {
                let client = Client::builder().max_message_size(MAX).build().unwrap();
                let watch = Watch::new(&client);
                client.connect_with(server.url(), only(transport)).unwrap();
                watch.connected();
                client.send(message.clone()).unwrap();
                if fits {
                    assert_eq!(watch.message(), message);
                    client.disconnect().unwrap();
                    continue;
                }
                assert_eq!(watch.disconnected(), Reason::TransportError, "{transport}");
                let error = client.last_error().unwrap().to_string();
                assert!(error.contains("max_message_size") && error.contains("1000 bytes"), "{error}");
            }
        }
    }
}

#[test]
fn what_a_lost_connection_has_not_written_is_told() {
    let (lose, lost) = crossbeam_channel::bounded::<()>(0);
    let server = Scripted::websocket(move |exchange| {
        lost.recv().map_err(std::io::Error::other)?;
        exchange.reset()
    });
    let (client, watch) = connected(server.url(), only(WebSocket));
    let mut accepted = 0;
    while client.try_send(vec![0; 900_000]).is_ok() {
        accepted += 1;
    }
    let flush = thread::spawn({
        let client = client.clone();
        move || client.flush(PATIENCE)
    });
    lose.send(()).unwrap();
    assert_eq!(watch.disconnected(), Reason::TransportError);
    assert!(matches!(flush.join().unwrap(), Err(Error::SocketIsClosed)));
    let Err(Error::Unsent { messages, .. }) = client.disconnect() else { panic!("none is missing") };
    // The kernel may have taken a few.
    assert!((1..=accepted).contains(&messages), "{messages} of {accepted}");
    assert_eq!(client.stats().unsent, messages as u64);
    client.disconnect().expect("the loss was told");
    assert_eq!(client.stats().unsent, messages as u64);
    let quiet = Scripted::silent(common::scripted::OPEN);
    client.connect_with(quiet.url(), only(WebSocket)).unwrap();
    client.disconnect().unwrap();
}

#[test]
fn an_abort_tells_of_a_message_in_flight() {
    for transport in [Polling, WebSocket] {
        // By websocket the server reads nothing, and by polling it confirms nothing.
        let open = common::scripted::OPEN.replace("1000000", "100000000");
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.is_websocket() => {
                exchange.open_websocket(&open)?;
                exchange.wait_closed()
            }
            request if request.is_poll() || request.is_post() => exchange.hold(),
            _ => exchange.payload(&open),
        });
        let (client, _watch) = connected(server.url(), only(transport));
        client.send(vec![0; 20 << 20]).unwrap();
        let aborted = client.disconnect_with(Disconnect::new().abort(true));
        assert!(matches!(aborted, Err(Error::Unsent { .. })), "{transport}: {aborted:?}");
    }
}

/// Only the first five POSTs arrive.
#[test]
fn what_is_not_unsent_was_sent() {
    for _ in 0..4 {
        let posts = AtomicUsize::new(0);
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.is_poll() => exchange.hold(),
            request if !request.is_post() => exchange.payload(common::scripted::OPEN),
            _ if posts.fetch_add(1, Ordering::SeqCst) < 5 => exchange.payload("ok"),
            _ => exchange.respond("500 Internal Server Error", ""),
        });
        let (client, watch) = connected(server.url(), only(Polling));
        let accepted = (0..1000).take_while(|i| client.send(i.to_string()).is_ok()).count() as u64;
        let flushed = client.flush(PATIENCE);
        assert!(matches!(flushed, Err(Error::SocketIsClosed)), "{flushed:?}");
        assert_eq!(watch.disconnected(), Reason::TransportError);
        client.wait();
        let stats = client.stats();
        assert!(stats.unsent > 0);
        assert_eq!(stats.sent.messages + stats.unsent, accepted, "{stats:?}");
    }
}
