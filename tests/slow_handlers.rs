//! Slow handlers. If the inbox is full, the client stops reading, which does not count as the server's
//! silence. A message leaves the inbox when its handler is called.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::scripted::{Exchange, OPEN, Scripted, open_with};
use common::{PATIENCE, Seen, Watch, abort, eventually, only};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use engineio::{Client, Message, Reason, TransportKind};

use TransportKind::{Polling, WebSocket};

const FLOOD: usize = 2000;

/// The messages of a flood in one write, as frames or as a payload.
fn flood(by: TransportKind) -> Vec<u8> {
    let texts = (0..FLOOD).map(|i| format!("4{i:0100}"));
    match by {
        WebSocket => texts.flat_map(|text| [&[0x81, text.len() as u8], text.as_bytes()].concat()).collect(),
        _ => texts.collect::<Vec<_>>().join("\u{1e}").into_bytes(),
    }
}

/// Sends the flood and then a ping every 100 ms, and reads what the client sends.
fn flooding(exchange: &mut Exchange) -> io::Result<()> {
    let pause = Duration::from_millis(100);
    if exchange.request.is_websocket() {
        exchange.open_websocket(&open_with(1000, 1000))?;
        let mut answers = exchange.stream()?;
        thread::spawn(move || io::copy(&mut answers, &mut io::sink()));
        exchange.raw(flood(WebSocket))?;
        loop {
            thread::sleep(pause);
            exchange.ws_text("2")?;
        }
    }
    match (exchange.request.is_poll(), exchange.polls()) {
        (true, 1) => exchange.payload(flood(Polling)),
        (true, _) => {
            thread::sleep(pause);
            exchange.payload("2")
        }
        _ => exchange.answer(&open_with(1000, 1000)),
    }
}

/// The first handler takes twice as long as the server may be silent. Several connections run at the same
/// time, so that their threads run in different orders.
fn a_full_inbox_is_no_silence(transport: TransportKind) {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let server = Scripted::start(flooding);
                let client = Client::builder().inbox_limit(20_000).build().unwrap();
                let mut first = true;
                let watch = Watch::after(&client, move |client, _| {
                    if std::mem::take(&mut first) {
                        thread::sleep(Duration::from_secs(4));
                    }
                    // If this fails because the connection has ended, the watch says so.
                    let _ = client.send("answer");
                });
                client.connect_with(server.url(), only(transport)).unwrap();
                watch.connected();
                for i in 0..FLOOD {
                    match watch.next() {
                        Seen::Message(message) => assert_eq!(message.as_text(), Some(&*format!("{i:0100}"))),
                        other => panic!("{other:?} after {i} messages: {:?}", client.last_error()),
                    }
                }
                assert!(client.is_connected());
                client.disconnect().unwrap();
            });
        }
    });
}

#[test]
fn a_full_inbox_is_no_silence_by_websocket() {
    a_full_inbox_is_no_silence(WebSocket);
}

#[test]
fn a_full_inbox_is_no_silence_by_polling() {
    a_full_inbox_is_no_silence(Polling);
}

/// When 30 of 110 messages are handled, in 50 ms each, the server sends 30 more and a ping. There is room for
/// them then, and the remaining messages take 4 s.
#[test]
fn a_ping_behind_a_full_inbox_is_answered_when_there_is_room() {
    let ((handle, handled), (tell, told)) = (bounded(1), bounded(1));
    let server = Scripted::start(move |exchange| {
        exchange.open_websocket(&open_with(500, 2000))?;
        let texts = |range: Range<u32>| {
            let texts = range.map(|i| format!("4{i:0100}"));
            texts.flat_map(|text| [&[0x81, text.len() as u8], text.as_bytes()].concat()).collect::<Vec<_>>()
        };
        exchange.raw(texts(0..110))?;
        handled.recv_timeout(PATIENCE).map_err(io::Error::other)?;
        exchange.raw(texts(110..140))?;
        exchange.ws_text("2")?;
        let start = Instant::now();
        while exchange.ws_read_text()? != "3" {}
        tell.send(start.elapsed()).unwrap();
        exchange.hold()
    });
    let client = Client::builder().inbox_limit(13_500).build().unwrap();
    let mut count = 0;
    let watch = Watch::after(&client, move |_, _| {
        count += 1;
        thread::sleep(Duration::from_millis(if count == 1 { 2500 } else { 50 }));
        if count == 30 {
            handle.send(()).unwrap();
        }
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let pong = told.recv_timeout(PATIENCE).expect("the ping is answered");
    assert!(pong < Duration::from_secs(2), "the pong took {pong:?}");
    watch.connected();
    (0..140).for_each(|_| drop(watch.message()));
    client.disconnect().unwrap();
}

/// All messages have been received when the first handler continues.
#[test]
fn a_message_leaves_the_inbox_when_its_handler_gets_it() {
    const COUNT: u64 = 10;
    let by_websocket = Scripted::websocket(|exchange| {
        exchange.raw(b"\x81\x054abcd".repeat(COUNT as usize))?;
        exchange.hold()
    });
    let by_polling = Scripted::polling(|exchange| match exchange.polls() {
        1 => exchange.payload(["4abcd"; COUNT as usize].join("\u{1e}")),
        _ => exchange.hold(),
    });
    for (transport, server) in [(WebSocket, by_websocket), (Polling, by_polling)] {
        let client = Client::new();
        let (tell, told) = unbounded();
        client.on_message(move |client, _| {
            eventually("all are received", || client.stats().received.messages == COUNT);
            tell.send(client.stats().inbox_bytes).unwrap();
        });
        client.connect_with(server.url(), only(transport)).unwrap();
        let inbox: Vec<_> = (0..COUNT).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
        let each = inbox[0] / (COUNT as usize - 1);
        let expected: Vec<_> = (0..COUNT as usize).rev().map(|left| left * each).collect();
        assert!(each > 0 && inbox == expected, "{transport}: {inbox:?}");
        client.disconnect().unwrap();
    }
}

/// Each handler waits until the server has received the answers of the handlers before it.
#[test]
fn an_answer_does_not_wait_for_the_next_handler_of_a_burst() {
    const COUNT: usize = 20;
    for transport in [Polling, WebSocket] {
        let answers = Arc::new(AtomicUsize::new(0));
        let count = answers.clone();
        let server = Scripted::start(move |exchange| match (exchange.request.is_poll(), exchange.polls()) {
            _ if exchange.request.is_websocket() => {
                exchange.open_websocket(OPEN)?;
                exchange.raw(b"\x81\x024a".repeat(COUNT))?;
                while exchange.ws_read_text()? == "4b" {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            }
            (true, 1) => exchange.payload(["4a"; COUNT].join("\u{1e}")),
            (true, _) => exchange.hold(),
            _ => {
                let body = String::from_utf8_lossy(&exchange.request.body);
                count.fetch_add(body.matches("4b").count(), Ordering::SeqCst);
                exchange.answer(OPEN)
            }
        });
        let mut handled = 0;
        let client = Client::new();
        let watch = Watch::after(&client, move |client, _| {
            eventually("the answers are written", || answers.load(Ordering::SeqCst) == handled);
            client.send("b").unwrap();
            handled += 1;
        });
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        (0..COUNT).for_each(|_| drop(watch.message()));
        abort(&client);
    }
}

/// A logger that stops the watchdog when it has received a message.
struct HoldsWatchdog {
    entered: Sender<()>,
    released: Receiver<()>,
}

impl log::Log for HoldsWatchdog {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let received = record.args().to_string().starts_with("received message");
        if received && thread::current().name() == Some("eio-watchdog") {
            let _ = self.entered.try_send(());
            let _ = self.released.recv_timeout(PATIENCE);
        }
    }

    fn flush(&self) {}
}

/// The watchdog has received a message in the reader's place. The handler returns, and then the connection
/// ends because the POST fails.
#[test]
fn what_was_received_during_a_handler_is_delivered_at_the_end() {
    let ((enter, entered), (release, released)) = (bounded(1), bounded::<()>(0));
    let ((fail, failed), (go, goes)) = (bounded::<()>(0), bounded::<()>(0));
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_post() => {
            let _ = failed.recv_timeout(PATIENCE);
            exchange.respond("500 Internal Server Error", "")
        }
        request if request.is_poll() => match exchange.polls() {
            1 => exchange.payload("4first"),
            2 => {
                let _ = goes.recv_timeout(PATIENCE);
                exchange.payload("4second")
            }
            _ => exchange.hold(),
        },
        _ => exchange.payload(OPEN),
    });
    let logger = HoldsWatchdog { entered: enter, released };
    let client = Client::builder().logger(logger).build().unwrap();
    let ((begin, begun), (leave, left)) = (bounded(1), bounded::<()>(0));
    let watch = Watch::after(&client, move |_, message| {
        if message.as_text() == Some("first") {
            begin.send(()).unwrap();
            let _ = left.recv_timeout(PATIENCE);
        }
    });
    client.connect_with(server.url(), only(Polling)).unwrap();
    watch.connected();
    client.send("x").unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    // The flush waits for the POST, so the watchdog receives.
    let flushing = client.clone();
    let flush = thread::spawn(move || flushing.flush(PATIENCE));
    drop(go);
    entered.recv_timeout(PATIENCE).expect("the watchdog receives");
    assert_eq!(client.stats().received.messages, 2);
    drop(leave);
    assert_eq!(watch.message(), Message::from("first"));
    drop(fail);
    eventually("the connection is over", || !client.is_connected());
    // A reader that does not wait for the watchdog would end in this time.
    thread::sleep(Duration::from_millis(100));
    drop(release);
    assert_eq!(watch.next(), Seen::Message("second".into()));
    assert_eq!(watch.disconnected(), Reason::TransportError);
    flush.join().unwrap().unwrap_err();
}
