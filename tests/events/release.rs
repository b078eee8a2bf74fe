//! The end of the waits for room in event channels, for connections that the client has not ended itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::scripted::{Exchange, OPEN, Scripted, open_with};
use common::{Lines, PATIENCE, eventually, only, within};
use crossbeam_channel::{Receiver, unbounded};
use engineio::{Client, Event, Reason, TransportKind};
use log::Level;

use TransportKind::{Polling, WebSocket};

type Events = Receiver<Event>;

const TIMEOUT: Duration = Duration::from_millis(500);

/// A server that sends five messages and then ends the connection: by polling with a close, by websocket with
/// silence. It reports when the websocket is closed.
fn server(transport: TransportKind) -> (Scripted, Receiver<()>) {
    let (closed, lost) = unbounded();
    let script = move |exchange: &mut Exchange| match transport {
        WebSocket => {
            exchange.open_websocket(&open_with(100, 200))?;
            (0..5).try_for_each(|i| exchange.ws_text(&format!("4m{i}")))?;
            let held = exchange.hold();
            let _ = closed.send(());
            held
        }
        _ if exchange.request.is_poll() => {
            exchange.respond("200 OK", "4m0\u{1e}4m1\u{1e}4m2\u{1e}4m3\u{1e}4m4\u{1e}1")
        }
        _ => exchange.respond("200 OK", OPEN),
    };
    (Scripted::start(script), lost)
}

fn client(lines: &Lines) -> Client {
    Client::builder().request_timeout(TIMEOUT).logger(lines.clone()).build().unwrap()
}

/// Connects, and waits until the connection is over and the reader waits for room, because the channel is not
/// read.
fn connect_and_lose(client: &Client, events: &Events, transport: TransportKind) -> Scripted {
    let (server, lost) = server(transport);
    client.connect_with(server.url(), only(transport)).unwrap();
    eventually("a full channel", || events.is_full());
    if transport == WebSocket {
        lost.recv_timeout(PATIENCE).expect("the client closes a connection that is silent");
    }
    server
}

#[test]
fn disconnect_releases_a_connection_that_the_server_has_ended() {
    for transport in [Polling, WebSocket] {
        // The smaller capacity leaves out messages, the larger one only the last event.
        for capacity in [2, 6] {
            let lines = Lines::default();
            let client = client(&lines);
            let events = client.events(capacity);
            let _server = connect_and_lose(&client, &events, transport);
            let gone = client.clone();
            within(PATIENCE, "disconnect and wait", move || {
                gone.disconnect().unwrap();
                gone.wait();
            });
            // There are no gaps: only events at the end are missing.
            let expected: Vec<_> =
                (0..capacity - 1).map(|i| Event::Message(format!("m{i}").into())).collect();
            let seen: Vec<_> = events.try_iter().collect();
            assert_eq!((&seen[0], &seen[1..]), (&Event::Connect, &expected[..]), "{transport}");
            let warnings = lines.at(Level::Warn);
            assert!(warnings.iter().any(|line| line.ends_with("missed disconnect")), "{warnings:?}");
            assert!(!warnings.iter().any(|line| line.contains("does not wait any longer")), "{warnings:?}");
        }
    }
}

#[test]
fn the_last_event_is_for_whoever_reads_after_disconnect() {
    let client = Client::new();
    let events = client.events(2);
    let _server = connect_and_lose(&client, &events, Polling);
    client.disconnect().unwrap();
    let seen: Vec<_> = (0..3).map(|_| events.recv_timeout(PATIENCE).unwrap()).collect();
    let expected = [Event::Connect, Event::Message("m0".into()), Event::Disconnect(Reason::ServerDisconnect)];
    assert_eq!(seen, expected);
}

#[test]
fn a_dropped_client_is_gone_though_nobody_reads_its_channel() {
    for capacity in [2, 6] {
        let client = client(&Lines::default());
        let handler = Arc::new(());
        let alive = Arc::downgrade(&handler);
        client.on_disconnect(move |_, _| drop(handler.clone()));
        let events = client.events(capacity);
        let _server = connect_and_lose(&client, &events, Polling);
        drop(client);
        eventually("the end of its threads", || alive.strong_count() == 0);
        assert_eq!(events.try_iter().count(), capacity);
    }
}

/// The first event of the new connection waits behind the last event of the old one.
#[test]
fn disconnect_releases_a_connection_that_waits_for_its_turn() {
    let (server, _) = server(Polling);
    let client = client(&Lines::default());
    let url = server.url().to_owned();
    let (open, opened) = unbounded();
    client.on_connect(move |_| open.send(()));
    let mut again = true;
    client.on_disconnect(move |client, _| match std::mem::take(&mut again) {
        true => client.connect_with(&url, only(Polling)),
        false => Ok(()),
    });
    let events = client.events(6);
    client.connect_with(server.url(), only(Polling)).unwrap();
    (0..2).for_each(|_| opened.recv_timeout(PATIENCE).expect("a connection"));
    let gone = client.clone();
    within(PATIENCE, "disconnect and wait", move || {
        gone.disconnect().unwrap();
        gone.wait();
    });
    // These are the events of the first connection, without its end.
    let seen: Vec<_> = events.try_iter().map(|event| event.name()).collect();
    assert_eq!(seen, ["connect", "message", "message", "message", "message", "message"]);
}

/// The disconnect handler has run, and the last event still waits for room.
#[test]
fn disconnect_waits_for_the_handler_and_not_for_the_channel() {
    const LONG: Duration = Duration::from_secs(8);
    for transport in [Polling, WebSocket] {
        // There is room for all but the last event. A second disconnect finds the waits released already.
        for disconnects in [1, 2] {
            let client = Client::builder().request_timeout(LONG).build().unwrap();
            let events = client.events(6);
            let (tell, told) = unbounded();
            client.on_disconnect(move |_, _| tell.send(()));
            let (server, _) = server(transport);
            client.connect_with(server.url(), only(transport)).unwrap();
            told.recv_timeout(PATIENCE).expect("the disconnect handler runs");
            for _ in 0..disconnects {
                let start = Instant::now();
                client.disconnect().unwrap();
                assert!(start.elapsed() < LONG / 2, "{transport}: {:?}", start.elapsed());
            }
            // The last event is delivered to a reader that comes later.
            let seen: Vec<_> = (0..7).map(|_| events.recv_timeout(PATIENCE).unwrap().name()).collect();
            assert_eq!((seen[0], seen[6]), ("connect", "disconnect"), "{transport}");
            client.wait();
        }
    }
}

/// The channel is not read before the client disconnects.
#[test]
fn a_channel_without_room_for_the_connect_gets_no_disconnect() {
    let server = Scripted::silent(OPEN);
    let client = Client::builder().request_timeout(TIMEOUT).build().unwrap();
    let events = client.events(0);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.disconnect().unwrap();
    while !client.wait_timeout(Duration::ZERO) {
        assert_eq!(events.recv_timeout(Duration::from_millis(10)).ok(), None);
    }
    drop(client);
    assert!(events.recv_timeout(PATIENCE).is_err_and(|e| e.is_disconnected()), "nobody is left to send");
}
