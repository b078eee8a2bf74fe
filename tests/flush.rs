//! `flush` waits for the messages that were sent before it, and for no others.

#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use common::process::waiting;
use common::scripted::{Exchange, OPEN, Scripted};
use common::{PATIENCE, Watch, connected, only};
use crossbeam_channel::bounded;
use engineio::{Client, Disconnect, Error, Reason, TransportKind};

use TransportKind::{Polling, WebSocket};

/// Ends a connection on which messages still wait.
fn abort(client: &Client) {
    let aborted = client.disconnect_with(Disconnect::new().abort(true));
    assert!(matches!(aborted, Ok(()) | Err(Error::Unsent { .. })), "{aborted:?}");
}

/// The 2000 messages that follow take 125 POSTs, which is more than 12 s.
#[test]
fn later_messages_do_not_hold_a_flush_up_by_polling() {
    let (release, released) = bounded::<()>(0);
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_poll() => exchange.hold(),
        request if request.is_post() => {
            // The first POST waits here until all messages are queued, when the sender is dropped.
            let _ = released.recv();
            thread::sleep(Duration::from_millis(100));
            exchange.payload("ok")
        }
        _ => exchange.payload(OPEN),
    });
    let (client, _watch) = connected(server.url(), only(Polling));
    client.send("first").unwrap();
    server.wait_for("POST", |request| request.is_post());
    client.send("mine").unwrap();
    let flush = waiting("flush waits", {
        let client = client.clone();
        move || client.flush(Duration::from_secs(6))
    });
    (0..2000).for_each(|i| client.send(i.to_string()).unwrap());
    drop(release);
    let flushed = flush.join().unwrap();
    let posts = server.requests().iter().filter(|request| request.is_post()).count();
    abort(&client);
    assert!(flushed.is_ok(), "{flushed:?} after {posts} POSTs");
}

/// The server reads "mine" and then 8 of the 40 MB that follow.
#[test]
fn later_messages_do_not_hold_a_flush_up_by_websocket() {
    const CHUNK: usize = 200_000;
    let (release, released) = bounded::<()>(0);
    let server = Scripted::websocket(move |exchange| {
        // A fixed size turns off the kernel's adaptation, so a few megabytes fill the connection.
        rustix::net::sockopt::set_socket_recv_buffer_size(exchange.stream()?, 256 * 1024)?;
        let _ = released.recv();
        while exchange.ws_read()?.1 != b"4mine" {}
        for _ in 0..40 {
            exchange.ws_read()?;
        }
        exchange.wait_closed()
    });
    let client = Client::builder().outbox_limit(100 << 20).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let chunk = Bytes::from(vec![0; CHUNK]);
    // A message that stays in the outbox shows that the kernel takes no more.
    while client.flush(Duration::from_millis(300)).is_ok() {
        (0..10).for_each(|_| client.send(chunk.clone()).unwrap());
    }
    client.send("mine").unwrap();
    let flush = waiting("flush waits", {
        let client = client.clone();
        move || client.flush(PATIENCE / 2)
    });
    (0..200).for_each(|_| client.send(chunk.clone()).unwrap());
    drop(release);
    let flushed = flush.join().unwrap();
    let left = client.stats().outbox_bytes;
    abort(&client);
    assert!(flushed.is_ok(), "{flushed:?} with {left} bytes in the outbox");
}

/// The POST that carries "mine" is confirmed, and the next one refused.
#[test]
fn a_flush_succeeds_though_later_messages_are_lost() {
    let (release, released) = bounded::<()>(0);
    let posts = AtomicUsize::new(0);
    let post = move |exchange: &mut Exchange| {
        let _ = released.recv();
        match posts.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => exchange.payload("ok"),
            _ => exchange.respond("500 Internal Server Error", ""),
        }
    };
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_poll() => exchange.hold(),
        request if request.is_post() => post(exchange),
        _ => exchange.payload(OPEN),
    });
    let client = Client::new();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(Polling)).unwrap();
    watch.connected();
    client.send("first").unwrap();
    server.wait_for("POST", |request| request.is_post());
    client.send("mine").unwrap();
    let flush = waiting("flush waits", {
        let client = client.clone();
        move || client.flush(PATIENCE)
    });
    (0..100).for_each(|i| client.send(i.to_string()).unwrap());
    drop(release);
    let flushed = flush.join().unwrap();
    assert!(flushed.is_ok(), "{flushed:?}");
    assert_eq!(watch.disconnected(), Reason::TransportError);
    // The first POST has "first", the second one has "mine" and 15 others, and the rest is lost.
    assert!(matches!(client.disconnect(), Err(Error::Unsent { messages: 85, .. })));
}
