//! Floods in both directions: all messages arrive in order, and the queues stay within their limits. A
//! connection on which nothing can move any more ends. `ENGINEIO_SOAK=long` makes the floods ten times as
//! long.

#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::hang::{Watchdog, resident, times};
use common::real::{Event, Server};
use common::scripted::{OPEN, Scripted, open_with};
use common::{PATIENCE, Stuck, abort, eventually, only};
use engineio::{Client, Error, Reason, TransportKind};

use TransportKind::{Polling, WebSocket};

const CHUNK: usize = 16 * 1024;
const MIB: usize = 1 << 20;

/// A message that begins with its number.
fn chunk(number: usize) -> String {
    format!("{number:016}{}", "x".repeat(CHUNK - 16))
}

fn number(text: &str) -> usize {
    text[..16].parse().unwrap()
}

#[test]
fn both_sides_only_write_and_read_in_between() {
    let chunks = times(20, 200) as usize * MIB / CHUNK;
    let watchdog = Watchdog::new(6 * PATIENCE);
    let (sender, served) = mpsc::channel();
    let server = Scripted::start(move |exchange| {
        exchange.open_websocket(OPEN)?;
        // The server alternates between sending a MiB and receiving a MiB. That is less than the client and
        // the system can buffer.
        for step in 0..chunks / 64 {
            (0..64).try_for_each(|i| exchange.ws_text(&format!("4{}", chunk(step * 64 + i))))?;
            for i in 0..64 {
                let text = exchange.ws_read_text()?;
                assert_eq!(number(&text[1..]), step * 64 + i);
            }
        }
        sender.send(()).unwrap();
        exchange.hold()
    });
    let client = Client::builder().outbox_limit(MIB).inbox_limit(MIB).build().unwrap();
    let (mut next, (done, received)) = (0, mpsc::channel());
    client.on_message(move |client, message| {
        assert_eq!(number(message.as_text().unwrap()), next);
        next += 1;
        if next % 64 == 0 {
            // The pause lets the inbox fill.
            thread::sleep(Duration::from_millis(2));
            done.send((next, client.stats())).unwrap();
        }
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let before = resident();
    for i in 0..chunks {
        client.send(chunk(i)).unwrap();
    }
    served.recv_timeout(6 * PATIENCE).unwrap();
    loop {
        let (count, stats) = received.recv_timeout(PATIENCE).unwrap();
        watchdog.feed(count);
        // The bounds are the limits and the size of one more receive.
        assert!(stats.outbox_bytes <= 2 * MIB && stats.inbox_bytes < 12 * MIB, "{stats:?}");
        if count == chunks {
            break;
        }
    }
    assert_grown_less(before, 48);
    client.disconnect().unwrap();
}

/// Checks the growth of the process, which includes the memory of the other tests.
fn assert_grown_less(before: usize, mib: usize) {
    let now = resident();
    assert!(now < before + mib * MIB, "grown from {before} to {now} bytes");
}

#[test]
fn a_handler_that_sends_for_every_message_of_a_flood() {
    let count = times(10_000, 200_000) as usize;
    let _watchdog = Watchdog::new(15 * PATIENCE);
    for transport in [Polling, WebSocket] {
        let server = Server::start();
        let client = Client::builder().outbox_limit(4_000).inbox_limit(4_000).build().unwrap();
        client.on_message(|client, message| client.send(message));
        client.connect_with(server.url(), only(transport)).unwrap();
        // The flood starts after the first ping, because engineioxide ends a session whose queue is full at
        // that ping.
        eventually("the first ping", || client.stats().last_ping.is_some());
        client.send("cmd:quiet").unwrap();
        client.send(format!("cmd:burst {count} ")).unwrap();
        assert_eq!(server.next(), Event::Connect);
        for i in 0..count {
            assert_eq!(server.next(), Event::Text(i.to_string()), "{transport}");
        }
        client.disconnect().unwrap();
        let stats = client.stats();
        assert_eq!(stats.received.messages, count as u64);
        assert_eq!(stats.sent.messages, count as u64 + 2);
    }
}

#[test]
fn a_slow_handler_under_a_flood() {
    let count = times(20_000, 400_000) as usize;
    let _watchdog = Watchdog::new(15 * PATIENCE);
    for transport in [Polling, WebSocket] {
        let server = Server::start();
        let client = Client::builder().inbox_limit(10_000).build().unwrap();
        let (mut next, mut most, (done, all)) = (0, 0, mpsc::channel());
        client.on_message(move |client, message| {
            assert_eq!(message.as_text(), Some(format!("{}{next}", "y".repeat(100)).as_str()));
            next += 1;
            if next % 200 == 0 {
                thread::sleep(Duration::from_millis(5));
            }
            most = most.max(client.stats().inbox_bytes);
            if next == count {
                done.send(most).unwrap();
            }
        });
        client.connect_with(server.url(), only(transport)).unwrap();
        client.send(format!("cmd:burst {count} {}", "y".repeat(100))).unwrap();
        let most = all.recv_timeout(15 * PATIENCE).unwrap();
        // One receive may bring 512 frames, or a payload with the 10 000 packets of the server's buffer.
        let bound = if transport == WebSocket { 250_000 } else { 4 * MIB };
        assert!(most < bound, "{transport}: {most} bytes waited");
        client.disconnect().unwrap();
    }
}

/// A server that pings and floods, and never reads.
fn deaf_flood() -> Scripted {
    Scripted::start(|exchange| {
        exchange.open_websocket(&open_with(300, 300))?;
        let text = format!("4{}", chunk(0));
        loop {
            exchange.ws_text(&text)?;
        }
    })
}

#[test]
fn a_deadlock_with_the_server_has_an_end() {
    let server = deaf_flood();
    let _watchdog = Watchdog::new(3 * PATIENCE);
    let client = Client::builder().outbox_limit(MIB).inbox_limit(MIB).build().unwrap();
    let (sender, ended) = mpsc::channel();
    // The handler sends until it fails: neither side reads, and both wait to write.
    client.on_message(move |client, _| {
        let last = loop {
            if let Err(e) = client.send(chunk(0)) {
                break e;
            }
        };
        let _ = sender.send((Instant::now(), matches!(last, Error::SocketIsClosed)));
    });
    let (told, reason) = mpsc::channel();
    client.on_disconnect(move |_, reason| told.send(reason));
    let start = Instant::now();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let (end, closed) = ended.recv_timeout(PATIENCE).expect("the handler is still blocked in send");
    assert!(closed && end - start >= Duration::from_millis(600), "{:?}", end - start);
    assert_eq!(reason.recv_timeout(PATIENCE), Ok(Reason::PingTimeout));
    assert!(client.last_error().unwrap().is_timeout());
}

#[test]
fn a_handler_that_only_takes_its_time_is_no_deadlock() {
    let server = deaf_flood();
    let client = Client::builder().inbox_limit(MIB).build().unwrap();
    let (sender, seen) = mpsc::channel();
    let handled = Arc::new(AtomicUsize::new(0));
    client.on_message(move |client, _| {
        if handled.fetch_add(1, Ordering::SeqCst) == 0 {
            // The pause lasts several deadlines. The full inbox keeps the client from reading, and nothing
            // waits to be written.
            thread::sleep(Duration::from_millis(2_500));
            sender.send(client.is_connected()).unwrap();
        }
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    assert!(seen.recv_timeout(PATIENCE).unwrap());
    let _ = client.disconnect();
}

#[test]
fn a_server_that_reads_slowly_is_no_deadlock() {
    const INBOX: usize = 64 * 1024;
    // The server takes several deadlines for the whole outbox, but less than one for any part of it.
    let server = Scripted::start(|exchange| {
        exchange.open_websocket(&open_with(500, 500))?;
        (0..20).try_for_each(|i| exchange.ws_text(&format!("4{}", chunk(i))))?;
        loop {
            thread::sleep(Duration::from_millis(100));
            (0..64).try_for_each(|_| exchange.ws_read().map(drop))?;
        }
    });
    let client = Client::builder().outbox_limit(64 * MIB).inbox_limit(INBOX).build().unwrap();
    let stuck = Stuck::new(&client);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    for i in 0..2_000 {
        client.send(chunk(i)).unwrap();
    }
    client.flush(PATIENCE).unwrap();
    assert!(client.stats().inbox_bytes >= INBOX, "the client has not stopped reading");
    stuck.release();
    abort(&client);
}
