//! Messages that are written to the socket.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, Watch, only};
use crate::{Does, Stuck, TIMEOUT, Then, destroyed, each, fill, message, owned};
use crossbeam_channel::bounded;
use engineio::{Client, Reason, TransportKind};

use TransportKind::WebSocket;

/// The thread that writes the message to the socket.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// The connection is idle. By websocket the sender writes.
    Idle,
    /// Other messages wait in front, and the writer thread writes.
    Queued,
}

/// Sends a message with this action of its destructor, and another one after it. Both arrive, and the
/// connection goes on.
fn written(transport: TransportKind, way: Way, does: Does) {
    let server = Stuck::start(transport, Then::GoesOn);
    let Stuck { server, release, texts } = server;
    let client = Client::builder().outbox_limit(64 << 20).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(transport)).unwrap();
    watch.connected();
    let release = (way == Way::Queued).then_some(release);
    if release.is_some() {
        fill(&client);
    }
    let (message, told) = message(&client, 10, does);
    // A destructor's panic may reach the sender.
    let _ = catch_unwind(AssertUnwindSafe(|| client.send(message)));
    client.send("after").unwrap();
    drop(release);
    destroyed(&told);
    client.disconnect().unwrap();
    assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
    let texts: Vec<_> = texts.try_iter().collect();
    let seen = |text: &str| texts.iter().any(|other| other == text);
    assert!(seen("after"), "{texts:?}");
    assert_eq!(seen("from the destructor"), does == Does::Send, "{texts:?}");
}

const WAYS: [Way; 2] = [Way::Idle, Way::Queued];

#[test]
fn a_message_that_is_written_may_ask_for_the_counters() {
    each(&WAYS, |transport, way| written(transport, way, Does::Stats));
}

#[test]
fn a_message_that_is_written_may_send() {
    each(&WAYS, |transport, way| written(transport, way, Does::Send));
}

#[test]
fn a_message_that_is_written_may_panic() {
    each(&WAYS, |transport, way| written(transport, way, Does::Panic));
}

/// On the writer thread, `disconnect` waits for that thread itself, for the request timeout at most.
#[test]
fn a_message_that_is_written_may_disconnect() {
    each(&WAYS, |transport, way| {
        let Stuck { server, release, .. } = Stuck::start(transport, Then::GoesOn);
        let client = Client::builder().outbox_limit(64 << 20).request_timeout(TIMEOUT).build().unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        let release = (way == Way::Queued).then_some(release);
        if release.is_some() {
            fill(&client);
        }
        let (message, told) = message(&client, 10, Does::Disconnect);
        let _ = client.send(message);
        drop(release);
        destroyed(&told);
        assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
        client.wait();
    });
}

/// The sender itself writes the message, so the close is not delayed.
#[test]
fn a_message_that_its_sender_writes_may_disconnect() {
    each(&[()], |_, ()| {
        let Stuck { server, release, texts } = Stuck::start(WebSocket, Then::GoesOn);
        drop(release);
        let client = Client::builder().request_timeout(Duration::from_secs(6)).build().unwrap();
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        let (tell, told) = bounded(1);
        let message = owned(10, {
            let client = client.clone();
            move || {
                let start = Instant::now();
                let disconnected = client.disconnect();
                tell.send((disconnected, start.elapsed())).unwrap();
            }
        });
        let _ = client.send(message);
        let (disconnected, elapsed) = told.recv_timeout(PATIENCE).unwrap();
        assert!(disconnected.is_ok(), "{disconnected:?}");
        assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
        client.wait();
        assert_eq!(texts.try_iter().collect::<Vec<_>>(), ["x".repeat(10).as_str(), "1"]);
    });
}
