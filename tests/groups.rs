//! Groups of messages: consecutive on the wire whatever other threads send, and accepted as a whole or not at
//! all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use common::real::{Event, Options, Server};
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, connected, only};
use engineio::{Client, Disconnect, Error, JsonCodec, Message, TransportKind};
use serde_json::{Value, json};

use TransportKind::{Polling, WebSocket};

/// A header that names its group, and attachments with the same name.
fn group(sender: usize, number: usize, attachments: usize) -> Vec<Message> {
    let name = format!("{sender}-{number}");
    let attachment = Message::from(name.clone().into_bytes());
    let header = Message::from(format!("{name} {attachments}"));
    [header].into_iter().chain(vec![attachment; attachments]).collect()
}

/// Checks that each header is followed by its attachments, and returns the number of groups.
fn check_groups(events: &[Event]) -> usize {
    let mut events = events.iter();
    let mut groups = 0;
    while let Some(event) = events.next() {
        let Event::Text(text) = event else { panic!("{event:?} without its header") };
        let Some((name, attachments)) = text.split_once(' ') else { continue };
        for _ in 0..attachments.parse().unwrap() {
            let attachment = events.next();
            let right = matches!(attachment, Some(Event::Binary(bytes)) if *bytes == name);
            assert!(right, "{attachment:?} in the group {name}");
        }
        groups += 1;
    }
    groups
}

fn messages_until_disconnect(server: &Server) -> Vec<Event> {
    std::iter::from_fn(|| Some(server.next()).filter(|event| !matches!(event, Event::Disconnect(_))))
        .filter(|event| *event != Event::Connect)
        .collect()
}

/// Two threads send groups of all sizes, one sends single messages, and pings are answered meanwhile.
fn groups_from_many_threads(transport: TransportKind) {
    const GROUPS: usize = 200;
    let options = Options { ping_interval: Duration::from_millis(20), ..Options::default() };
    let server = Server::with(options);
    let client = Client::builder().outbox_limit(5000).build().unwrap();
    client.connect_with(server.url(), only(transport)).unwrap();
    client.send("cmd:quiet").unwrap();
    thread::scope(|scope| {
        for sender in 0..2 {
            let client = &client;
            scope.spawn(move || {
                for number in 0..GROUPS {
                    client.send_all(group(sender, number, number % 40)).unwrap();
                }
            });
        }
        scope.spawn(|| (0..GROUPS).for_each(|_| client.send("single").unwrap()));
    });
    client.disconnect().unwrap();
    assert_eq!(check_groups(&messages_until_disconnect(&server)), 2 * GROUPS);
}

#[test]
fn groups_are_consecutive_by_websocket() {
    groups_from_many_threads(WebSocket);
}

#[test]
fn groups_are_consecutive_by_polling() {
    groups_from_many_threads(Polling);
}

/// The group starts behind other messages, so that it does not fit into the POST that it begins in.
#[test]
fn a_group_takes_consecutive_posts() {
    let server = Scripted::silent(OPEN);
    let client = Client::new();
    client.connect_with(server.url(), only(Polling)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| (0..100).for_each(|_| client.send("noise").unwrap()));
        client.send_all((0..40).map(|i| i.to_string())).unwrap();
    });
    client.disconnect().unwrap();
    let posts: Vec<_> = server.requests().into_iter().filter(|request| request.is_post()).collect();
    assert!(posts.iter().all(|post| post.text().split('\u{1e}').count() <= 16));
    let packets: Vec<&str> = posts.iter().flat_map(|post| post.text().split('\u{1e}')).collect();
    let first = packets.iter().position(|packet| *packet == "40").expect("the group arrives");
    let expected: Vec<String> = (0..40).map(|i| format!("4{i}")).collect();
    assert_eq!(packets[first..first + 40], expected);
}

/// Fails if any message of the refused groups has arrived, or if the connection is not usable any more.
fn assert_nothing_sent(client: &Client, server: &Server) {
    client.send("after").unwrap();
    client.flush(PATIENCE).unwrap();
    assert_eq!((server.next(), server.next()), (Event::Connect, Event::Text("after".into())));
    client.disconnect().unwrap();
    assert_eq!(client.stats().sent.messages, 1);
    assert_eq!(client.stats().unsent, 0);
}

struct Broken;

impl JsonCodec for Broken {
    fn dumps(&self, _: &Value) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        Err("not today".into())
    }

    fn loads(&self, _: &str) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("not today".into())
    }
}

#[test]
fn a_group_with_a_refused_message_sends_nothing() {
    for transport in [Polling, WebSocket] {
        let server = Server::with(Options { max_payload: 1000, ..Options::default() });
        let client = Client::builder().json(Broken).build().unwrap();
        client.connect_with(server.url(), only(transport)).unwrap();
        let sends = [Client::send_all, Client::try_send_all];
        for send in sends {
            let large = send(&client, vec![Message::from("header"), vec![0; 1001].into()]);
            assert!(matches!(large, Err(Error::MessageTooLarge { max: 1000, .. })), "{large:?}");
            let json = send(&client, vec![Message::from("header"), json!({}).into()]);
            assert!(matches!(json, Err(Error::Json(_))), "{json:?}");
            if transport == Polling {
                let separator = send(&client, vec![Message::from("header"), "a\u{1e}b".into()]);
                assert!(matches!(separator, Err(Error::Separator)), "{separator:?}");
            }
        }
        // Each message is small enough. Their sum need not be.
        let server_limit = client.handshake().unwrap().max_payload();
        assert_eq!(server_limit, Some(1000));
        assert_nothing_sent(&client, &server);
    }
}

#[test]
fn a_group_may_exceed_the_servers_limit_in_sum() {
    for transport in [Polling, WebSocket] {
        let server = Server::with(Options { max_payload: 1000, ..Options::default() });
        let (client, watch) = connected(server.url(), only(transport));
        client.send_all(vec![vec![7; 700]; 5]).unwrap();
        (0..5).for_each(|_| assert_eq!(watch.message(), Message::from(vec![7; 700])));
        client.disconnect().unwrap();
    }
}

#[test]
fn the_iterator_is_the_users_code() {
    let server = Server::start();
    let client = Client::new();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.send("cmd:quiet").unwrap();
    // It may panic, and the panic is the caller's.
    let panics = || client.send_all((0..3).map(|i| if i < 2 { i.to_string() } else { panic!("third") }));
    let panic = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"third"));
    // It may use the client, whose messages come before the group.
    let sends = (0..2).map(|i| {
        client.send(format!("inner {i}")).unwrap();
        client.flush(PATIENCE).unwrap();
        format!("outer {i}")
    });
    client.send_all(sends).unwrap();
    client.disconnect().unwrap();
    let expected = ["inner 0", "inner 1", "outer 0", "outer 1"];
    assert_eq!(server.texts_until_disconnect(), expected);
}

/// It may also end the connection for which the group is meant.
#[test]
fn an_iterator_that_disconnects_sends_nothing() {
    let server = Server::start();
    let (client, _watch) = connected(server.url(), only(WebSocket));
    let sent = client.send_all((0..2).map(|i| {
        client.disconnect().unwrap();
        i.to_string()
    }));
    assert!(matches!(sent, Err(Error::SocketIsClosed)), "{sent:?}");
    assert_eq!((client.stats().sent.messages, client.stats().unsent), (0, 0));
}

#[test]
fn an_empty_group_is_always_fine() {
    let client = Client::new();
    client.send_all(Vec::<String>::new()).unwrap();
    client.try_send_all([""; 0]).unwrap();
    assert!(matches!(client.send_all(["x", "y"]), Err(Error::SocketIsClosed)));
    assert!(matches!(client.send_all(["x"]), Err(Error::SocketIsClosed)));
    let server = Server::start();
    let (client, watch) = connected(server.url(), only(WebSocket));
    client.send_all(None::<Message>).unwrap();
    client.send_all(Some("one")).unwrap();
    assert_eq!(watch.message(), Message::from("one"));
    client.disconnect().unwrap();
    assert_eq!(client.stats().sent.messages, 1);
}

#[test]
fn groups_can_be_sent_in_handlers() {
    let server = Server::start();
    for transport in [Polling, WebSocket] {
        let client = Client::builder().outbox_limit(100).build().unwrap();
        let (tell, told) = crossbeam_channel::unbounded();
        client.on_connect(|client| client.send_all(["start", "a", "b"]));
        client.on_message(move |client, message| {
            if message.as_text() == Some("start") {
                client.send_all(vec![vec![b'x'; 200]; 3])?;
            }
            tell.send(message).map_err(|_| Error::SocketIsClosed)
        });
        client.connect_with(server.url(), only(transport)).unwrap();
        let next = || told.recv_timeout(PATIENCE).unwrap();
        for text in ["start", "a", "b"] {
            assert_eq!(next(), Message::from(text));
        }
        (0..3).for_each(|_| assert_eq!(next(), Message::from(vec![b'x'; 200])));
        client.disconnect().unwrap();
    }
}

/// The server confirms nothing, so that the first POST stays in flight.
#[test]
fn each_message_of_a_group_counts() {
    let server = Scripted::start(|exchange| {
        if exchange.request.is_post() || exchange.request.is_poll() {
            return exchange.hold();
        }
        exchange.payload(OPEN)
    });
    let client = Client::builder().outbox_limit(1000).build().unwrap();
    client.connect_with(server.url(), only(Polling)).unwrap();
    // A group larger than the outbox fits while the outbox is empty, as a large message does.
    client.try_send_all(vec!["x".repeat(100); 20]).unwrap();
    server.wait_for("POST", |request| request.is_post());
    assert!(matches!(client.try_send_all(["y", "z"]), Err(Error::QueueFull)));
    assert!(matches!(client.flush(Duration::from_millis(10)), Err(Error::Timeout { .. })));
    let aborted = client.disconnect_with(Disconnect::new().abort(true));
    assert!(matches!(aborted, Err(Error::Unsent { messages: 20, .. })), "{aborted:?}");
    client.wait();
    assert_eq!((client.stats().sent.messages, client.stats().unsent), (0, 20));
}

#[test]
fn a_flush_waits_for_the_whole_group() {
    let server = Server::start();
    for transport in [Polling, WebSocket] {
        let client = Client::new();
        client.connect_with(server.url(), only(transport)).unwrap();
        client.send("cmd:quiet").unwrap();
        client.send_all((0..100).map(|i| i.to_string())).unwrap();
        client.flush(PATIENCE).unwrap();
        assert_eq!(client.stats().sent.messages, 101);
        client.disconnect().unwrap();
        let expected: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        assert_eq!(server.texts_until_disconnect(), expected);
    }
}
