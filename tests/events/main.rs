//! Event channels, handlers by name, JSON, and the helpers for threads.

mod queue;
mod release;
mod steps;

use std::error::Error as StdError;
use std::thread;
use std::time::Duration;

use common::real::Server;
use common::scripted::{OPEN, Scripted};
use common::{Lines, PATIENCE, Watch, abort, only, within};
use crossbeam_channel::{Receiver, never, select, unbounded};
use engineio::{
    Client, EVENT_NAMES, Error, Event, JsonCodec, Message, QueueEmpty, Reason, Reconnection, TransportKind,
};
use serde_json::{Value, json};

use TransportKind::{Polling, WebSocket};

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(PATIENCE).expect("nothing more happened")
}

fn text(text: &str) -> Event {
    Event::Message(text.into())
}

#[test]
fn a_channel_gets_every_event_in_order() {
    for transport in [Polling, WebSocket] {
        let server = Server::start();
        let client = Client::new();
        let (events, also) = (client.events(10), client.events(1000));
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        assert_eq!(next(&events), Event::Connect);
        client.send("cmd:burst 500 m").unwrap();
        for i in 0..500 {
            assert_eq!(next(&events), text(&format!("m{i}")));
        }
        client.disconnect().unwrap();
        assert_eq!(next(&events), Event::Disconnect(Reason::ClientDisconnect));
        // The other channel and the handlers got the same events.
        assert_eq!(also.len(), 502);
        watch.connected();
        (0..500).for_each(|i| assert_eq!(watch.message(), Message::from(format!("m{i}"))));
        watch.disconnected();
        drop(client);
        assert!(events.recv_timeout(PATIENCE).is_err_and(|e| e.is_disconnected()), "nobody is left to send");
    }
}

#[test]
fn a_full_channel_holds_messages_back_and_the_heartbeat_goes_on() {
    let interval = Duration::from_millis(150);
    let options =
        common::real::Options { ping_interval: interval, ping_timeout: interval, ..Default::default() };
    for (transport, capacity) in [(WebSocket, 0), (WebSocket, 1), (Polling, 1)] {
        let server = Server::with(options.clone());
        let client = Client::new();
        let events = client.events(capacity);
        client.connect_with(server.url(), only(transport)).unwrap();
        client.send("cmd:burst 50 m").unwrap();
        // The channel is not read for three times as long as the server waits for a pong.
        assert!(!client.wait_timeout(interval * 6), "the connection was lost");
        assert_eq!(next(&events), Event::Connect);
        for i in 0..50 {
            assert_eq!(next(&events), text(&format!("m{i}")), "{transport}");
        }
        client.disconnect().unwrap();
        assert_eq!(next(&events), Event::Disconnect(Reason::ClientDisconnect));
    }
}

#[test]
fn disconnect_does_not_wait_for_a_full_channel() {
    let server = Server::start();
    let lines = Lines::default();
    let client =
        Client::builder().request_timeout(Duration::from_millis(300)).logger(lines.clone()).build().unwrap();
    let events = client.events(2);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.send("cmd:burst 50 m").unwrap();
    while events.len() < 2 {
        thread::yield_now();
    }
    let gone = client.clone();
    within(PATIENCE, "disconnect and wait", move || {
        gone.disconnect().unwrap();
        gone.wait();
    });
    // The events in the channel stay there, and the log tells of the missing one.
    assert_eq!(events.try_iter().collect::<Vec<_>>(), [Event::Connect, text("m0")]);
    let told = lines.at(log::Level::Warn);
    assert_eq!(told.last().unwrap(), "1 full event channel(s) missed disconnect");
}

#[test]
fn a_dropped_receiver_is_no_obstacle() {
    let server = Server::start();
    let client = Client::new();
    let watch = Watch::new(&client);
    let events = client.events(1);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.send("cmd:burst 50 m").unwrap();
    // The reader may be waiting for room at this moment.
    drop(events);
    watch.connected();
    (0..50).for_each(|i| assert_eq!(watch.message(), Message::from(format!("m{i}"))));
    client.disconnect().unwrap();
}

#[test]
fn one_channel_lasts_over_many_connections() {
    let server = Server::start();
    let policy = Reconnection::new().delay(Duration::from_millis(1));
    let client = Client::builder().reconnection(policy).build().unwrap();
    let events = client.events(1);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    for _ in 0..3 {
        assert_eq!(next(&events), Event::Connect);
        client.send("cmd:close").unwrap();
        assert!(matches!(next(&events), Event::Disconnect(_)));
        // The steps of the policy, which `steps` tests.
        (0..2).for_each(|_| assert_eq!(next(&events).name(), "reconnection"));
    }
    assert_eq!(next(&events), Event::Connect);
    client.disconnect().unwrap();
    assert_eq!(next(&events), Event::Disconnect(Reason::ClientDisconnect));
}

/// The documentation of `create_queue` and of `events` says why.
#[test]
fn a_capacity_of_zero_is_no_limit_for_a_queue_and_no_room_for_a_channel() {
    let server = Server::start();
    let client = Client::new();
    let (events, queue) = (client.events(0), client.create_queue(0));
    let filled = queue.clone();
    client.on_message(move |_, message| filled.put(message));
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.send("cmd:burst 100 m").unwrap();
    assert_eq!(next(&events), Event::Connect);
    // The handler runs for the first message, which then waits for a receiver, with all others behind it.
    assert_eq!(queue.get_timeout(PATIENCE).unwrap(), Message::from("m0"));
    assert!(events.is_full() && events.is_empty() && queue.is_empty());
    assert_eq!(next(&events), text("m0"));
    (1..100).for_each(|i| assert_eq!(next(&events), text(&format!("m{i}"))));
    assert_eq!(queue.len(), 99, "nobody takes them, and none is refused");
    abort(&client);
}

#[test]
fn a_json_message_has_a_text_bytes_and_a_value() {
    let server = Server::start();
    let client = Client::builder().decode_json(true).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    watch.connected();
    let value = json!({"key": ["ü", 1, null]});
    client.send(value.clone()).unwrap();
    let message = watch.message();
    assert_eq!(message, Message::Json(value.clone()));
    assert_eq!(message.to_string(), value.to_string());
    assert_eq!(*message.as_bytes(), *value.to_string().as_bytes());
    assert_eq!(message.json::<Value>().unwrap(), value);
    assert_eq!(message.as_text(), None, "a JSON value is not a text message");
    // `as_bytes` borrows from these messages.
    for message in [Message::from("ü"), Message::from(&[0, 255])] {
        assert!(matches!(message.as_bytes(), std::borrow::Cow::Borrowed(_)));
    }
    abort(&client);
}

/// The order is kept even if the disconnect handler connects again before the channel gets the end.
#[test]
fn connections_follow_each_other_in_a_channel() {
    let server = Server::start();
    let client = Client::new();
    let url = server.url().to_owned();
    client.on_disconnect(move |client, reason| match reason {
        Reason::ClientDisconnect => Ok(()),
        _ => client.connect_with(&url, only(WebSocket)),
    });
    let events = client.events(0);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    for _ in 0..5 {
        assert_eq!(next(&events), Event::Connect);
        client.send("cmd:close").unwrap();
        assert!(matches!(next(&events), Event::Disconnect(_)));
    }
    assert_eq!(next(&events), Event::Connect);
    client.disconnect().unwrap();
}

#[test]
fn events_in_a_select() {
    let server = Server::start();
    let client = Client::new();
    let events = client.events(10);
    let (input, lines) = unbounded();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    input.send("hello").unwrap();
    let echo = loop {
        select! {
            recv(lines) -> line => client.send(line.unwrap()).unwrap(),
            recv(events) -> event => if let Event::Message(message) = event.unwrap() { break message },
            recv(never::<()>()) -> _ => {}
        }
    };
    assert_eq!(echo, Message::from("hello"));
    client.disconnect().unwrap();
}

#[test]
fn a_refused_connection_is_no_event() {
    let server = Server::start();
    let client = Client::new();
    let events = client.events(10);
    client.on_connect(|_| Err("no"));
    assert!(matches!(client.connect(server.url()), Err(Error::ConnectHandler { .. })));
    client.wait();
    assert!(events.is_empty());
}

#[test]
fn handlers_by_name() {
    let server = Server::start();
    let client = Client::new();
    let (sender, events) = unbounded();
    for &name in EVENT_NAMES {
        let sender = sender.clone();
        // The second handler replaces the first one.
        client.on(name, |_, _| Err("was replaced")).unwrap();
        client.on(name, move |_, event| sender.send((name, event))).unwrap();
    }
    client.connect(server.url()).unwrap();
    client.send("hi").unwrap();
    assert_eq!(events.recv_timeout(PATIENCE).unwrap(), ("connect", Event::Connect));
    assert_eq!(events.recv_timeout(PATIENCE).unwrap(), ("message", text("hi")));
    client.disconnect().unwrap();
    let last = events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(last, ("disconnect", Event::Disconnect(Reason::ClientDisconnect)));
    assert_eq!(last.1.name(), last.0);
    let error = client.on("foo", |_, _| {}).unwrap_err();
    assert!(matches!(&error, Error::InvalidEvent { name, .. } if name == "foo"), "{error:?}");
    assert!(EVENT_NAMES.iter().all(|name| error.to_string().contains(name)), "{error}");
}

/// A codec that puts its JSON in brackets of its own, to be seen on the wire.
struct Marked;

impl JsonCodec for Marked {
    fn dumps(&self, value: &Value) -> Result<String, Box<dyn StdError + Send + Sync>> {
        if value == &json!("unspeakable") {
            return Err("it has no words for it".into());
        }
        Ok(format!("<{value}>"))
    }

    fn loads(&self, text: &str) -> Result<Value, Box<dyn StdError + Send + Sync>> {
        let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).ok_or("no brackets")?;
        Ok(serde_json::from_str(inner)?)
    }
}

#[test]
fn another_json_library_writes_and_reads() {
    for transport in [Polling, WebSocket] {
        let server = Server::start();
        let client = Client::builder().json(Marked).decode_json(true).build().unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        client.send(json!({"a": 1})).unwrap();
        assert_eq!(server.next(), common::real::Event::Connect);
        assert_eq!(server.next(), common::real::Event::Text(r#"<{"a":1}>"#.into()));
        assert_eq!(watch.message(), Message::Json(json!({"a": 1})));
        client.send_json(&(1, "x")).unwrap();
        assert_eq!(watch.message(), Message::Json(json!([1, "x"])));
        // A text that the codec cannot read stays a text, and a value that it cannot write is an error.
        client.send(r#"{"a":1}"#).unwrap();
        assert_eq!(watch.message(), Message::from(r#"{"a":1}"#));
        let error = client.send(json!("unspeakable")).unwrap_err();
        assert!(matches!(error, Error::Json(_)), "{error:?}");
        assert_eq!(error.source().unwrap().to_string(), "it has no words for it");
        assert!(client.is_connected());
        client.disconnect().unwrap();
    }
}

/// A JSON codec without a depth limit, and with a bug.
struct Trusting;

impl JsonCodec for Trusting {
    fn dumps(&self, value: &Value) -> Result<String, Box<dyn StdError + Send + Sync>> {
        Ok(value.to_string())
    }

    fn loads(&self, text: &str) -> Result<Value, Box<dyn StdError + Send + Sync>> {
        assert!(!text.contains("bug"), "a bug");
        let mut bytes = text.as_bytes().to_vec();
        Ok(simd_json::serde::from_slice(&mut bytes)?)
    }
}

#[test]
fn hostile_json_does_not_harm_a_codec() {
    for transport in [Polling, WebSocket] {
        let server = Server::start();
        let client = Client::builder().json(Trusting).decode_json(true).build().unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(50_000), "}".repeat(50_000));
        // The limit is that of serde_json. Deeper JSON stays a text.
        for hostile in [deep(128), deep(100_000), objects, r#"["bug"]"#.into()] {
            client.send(hostile.as_str()).unwrap();
            assert!(watch.message() == Message::Text(hostile));
        }
        client.send(deep(127)).unwrap();
        assert!(matches!(watch.message(), Message::Json(_)));
        // Brackets in a string do not count as levels, even after an escaped quote.
        let wide = format!(r#"["{0}","\"{0}"]"#, "[".repeat(500));
        client.send(wide.as_str()).unwrap();
        assert_eq!(watch.message(), Message::Json(serde_json::from_str(&wide).unwrap()));
        client.disconnect().unwrap();
    }
}

#[test]
fn json_is_decoded_on_request_only() {
    let server = Scripted::start(|exchange| {
        exchange.open_websocket(OPEN)?;
        for text in [r#"{"a":[1]}"#, "17", "plain", "true"] {
            exchange.ws_text(&format!("4{text}"))?;
        }
        exchange.ws_text("1")
    });
    for (decode, expected) in [
        (false, [text(r#"{"a":[1]}"#), text("17"), text("plain"), text("true")]),
        (
            true,
            [
                Event::Message(json!({"a": [1]}).into()),
                text("17"),
                text("plain"),
                Event::Message(json!(true).into()),
            ],
        ),
    ] {
        let client = Client::builder().decode_json(decode).build().unwrap();
        let events = client.events(10);
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        client.wait();
        let messages: Vec<_> = events.try_iter().filter(|event| event.name() == "message").collect();
        assert_eq!(messages, expected);
    }
}

#[test]
fn a_queue_between_threads() {
    let client = Client::new();
    let queue = client.create_queue(2);
    assert_eq!(queue.get_nowait(), Err(QueueEmpty));
    assert_eq!(queue.get_timeout(Duration::from_millis(10)), Err(QueueEmpty));
    let putter = client.start_background_task({
        let queue = queue.clone();
        move || (0..100).for_each(|i| queue.put(i))
    });
    // The queue never holds more than its capacity.
    assert!((0..100).all(|i| queue.get() == i && queue.len() <= 2));
    putter.join().unwrap();
    assert!(queue.is_empty());
    let endless = client.create_queue(0);
    (0..10_000).for_each(|i| endless.put(i));
    assert_eq!(endless.len(), 10_000);
}

/// The growth of this process's memory since `before`, in bytes.
#[cfg(target_os = "linux")]
fn grown(before: usize) -> usize {
    common::hang::resident().saturating_sub(before)
}

/// A huge capacity neither panics nor takes memory.
#[cfg(target_os = "linux")]
#[test]
fn a_channel_of_a_huge_capacity_is_no_panic() {
    let before = common::hang::resident();
    for capacity in [usize::MAX, usize::MAX / 2, usize::MAX / 100, 1 << 40] {
        let server = Server::start();
        let client = Client::new();
        let events = client.events(capacity);
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        client.send("cmd:burst 1000 m").unwrap();
        assert_eq!(next(&events), Event::Connect);
        (0..1000).for_each(|i| assert_eq!(next(&events), text(&format!("m{i}"))));
        client.disconnect().unwrap();
        assert!(grown(before) < 64 << 20, "{capacity}: {} bytes", grown(before));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_queue_of_a_huge_capacity_is_no_panic() {
    let client = Client::new();
    let before = common::hang::resident();
    for capacity in [usize::MAX, usize::MAX / 2, 1 << 40] {
        let queue = client.create_queue(capacity);
        queue.put([0_u8; 100]);
        assert_eq!(queue.get_nowait(), Ok([0; 100]));
    }
    assert!(grown(before) < 64 << 20, "{} bytes", grown(before));
}

#[test]
fn a_flag_between_threads() {
    let client = Client::new();
    let flag = client.create_event();
    assert!(!flag.is_set() && !flag.wait_timeout(Duration::from_millis(10)));
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let flag = flag.clone();
            client.start_background_task(move || flag.wait_timeout(PATIENCE))
        })
        .collect();
    flag.set();
    assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
    flag.wait();
    flag.clear();
    assert!(!flag.is_set());
}
