//! Messages that are written to the socket.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Does, Stuck, TIMEOUT, Then, destroyed, each, fill, message, owned};
use common::process::waiting;
use common::{PATIENCE, Watch, connected, only};
use crossbeam_channel::bounded;
use engineio::{Client, Disconnect, Reason, TransportKind};

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

/// The destructor runs on the writer thread, where it must not wait for that thread's own work.
#[test]
fn a_message_that_the_writer_writes_may_wait() {
    each(&[false, true], |transport, abort| {
        let Stuck { server, release, .. } = Stuck::start(transport, Then::GoesOn);
        let (client, watch) = connected(server.url(), only(transport));
        fill(&client);
        let (message, told) = message(&client, 10, Does::Wait);
        client.send(message).unwrap();
        drop(release);
        destroyed(&told);
        assert!(client.is_connected());
        client.disconnect_with(Disconnect::new().abort(abort)).unwrap();
        assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
        client.wait();
    });
}

/// The destructor runs on the writer thread, the only one that makes room. Other senders have filled the
/// outbox.
#[test]
fn a_message_that_the_writer_writes_may_send_into_a_full_outbox() {
    const SIZE: usize = 300_000;
    each(&[()], |transport, ()| {
        let Stuck { server, release, texts } = Stuck::start(transport, Then::GoesOn);
        let client = Client::builder().outbox_limit(1_000_000).build().unwrap();
        client.connect_with(server.url(), only(transport)).unwrap();
        fill(&client);
        let (tell, told) = bounded(1);
        let sends = client.clone();
        let message = owned(10, move || {
            // The senders that wait for room have sent by then. If they have not, the test shows less.
            thread::sleep(Duration::from_millis(100));
            let _ = tell.send(sends.send("y".repeat(SIZE)));
        });
        client.send(message).unwrap();
        while client.try_send(vec![b'2'; SIZE]).is_ok() {}
        let senders = [(); 4].map(|()| {
            let client = client.clone();
            waiting("send", move || client.send(vec![b'3'; SIZE]))
        });
        drop(release);
        told.recv_timeout(PATIENCE / 2).expect("the destructor returns").unwrap();
        senders.into_iter().for_each(|sender| sender.join().unwrap().unwrap());
        client.disconnect().unwrap();
        client.wait();
        assert!(texts.try_iter().any(|text| text.starts_with('y')));
    });
}

/// The message is written, and its destructor blocks.
#[test]
fn a_message_that_is_written_is_not_unsent() {
    each(&WAYS, |transport, way| {
        let Stuck { server, release, .. } = Stuck::start(transport, Then::GoesOn);
        let client = Client::builder().outbox_limit(64 << 20).build().unwrap();
        client.connect_with(server.url(), only(transport)).unwrap();
        let release = (way == Way::Queued).then_some(release);
        if release.is_some() {
            fill(&client);
        }
        let ((enter, entered), (leave, left)) = (bounded(1), bounded::<()>(0));
        let message = owned(10, move || {
            enter.send(()).unwrap();
            let _ = left.recv();
        });
        let sending = client.clone();
        let send = thread::spawn(move || sending.send(message));
        drop(release);
        entered.recv_timeout(PATIENCE).unwrap();
        client.disconnect_with(Disconnect::new().abort(true)).unwrap();
        drop(leave);
        send.join().unwrap().unwrap();
        client.wait();
        assert_eq!(client.stats().unsent, 0);
    });
}
