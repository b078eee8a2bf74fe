//! What a server can make the client log: little, and no content of a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use log::{Level, Log, Metadata, Record};

use super::*;
use common::Lines;

/// Counts the lines at warn and above.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, _: &Record) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

/// Connects, and returns the number of warnings at the first message.
fn warnings_until_message(server: &Scripted, transport: TransportKind) -> usize {
    let warnings = Warnings::default();
    let client = Client::builder().logger(warnings.clone()).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), common::only(transport)).unwrap();
    watch.connected();
    watch.message();
    let count = warnings.0.load(Ordering::Relaxed);
    common::abort(&client);
    count
}

#[test]
fn unexpected_packets_are_warned_of_once() {
    let payload = "5\u{1e}3\u{1e}".repeat(1_000_000) + "4after";
    let server = Scripted::start(move |exchange| match exchange.request.is_poll() {
        true => exchange.payload(&payload),
        false => exchange.payload(OPEN),
    });
    assert_eq!(warnings_until_message(&server, Polling), 1);
    let server = Scripted::websocket(|exchange| {
        exchange.raw([b"\x81\x015\x81\x013".repeat(500_000), b"\x81\x064after".to_vec()].concat())?;
        exchange.hold()
    });
    assert_eq!(warnings_until_message(&server, WebSocket), 1);
}

#[test]
fn the_first_unexpected_packet_is_at_warn_and_the_others_at_debug() {
    let server = Scripted::polling(|exchange| exchange.payload("3secret\u{1e}5\u{1e}0{}\u{1e}4after\u{1e}1"));
    let lines = Lines::default();
    let client = Client::builder().logger(lines.clone()).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), common::only(Polling)).unwrap();
    watch.connected();
    watch.message();
    watch.disconnected();
    let unexpected = |level| {
        let lines = lines.at(level).into_iter();
        lines.filter(|line| line.starts_with("unexpected packet")).collect::<Vec<_>>()
    };
    assert_eq!(unexpected(Level::Warn), ["unexpected packet from the server: pong (others are at debug)"]);
    let others = ["upgrade", "open"].map(|kind| format!("unexpected packet from the server: {kind}"));
    assert_eq!(unexpected(Level::Debug), others);
}

#[test]
fn no_content_of_a_message_is_above_trace() {
    let payloads: [&[u8]; 5] = [
        b"4a-secret\x1e9a-secret",
        b"4a-secret\x1eba-secret!",
        b"4a-secret\x1e4a-secret\xff",
        b"4a-secret\x1e\x1ea-secret",
        b"4a-secret\x1e2a-secret\x1e<html>a-secret",
    ];
    for payload in payloads {
        let poll = Scripted::polling(move |exchange| exchange.payload(payload));
        let frames = Scripted::websocket(move |exchange| {
            for packet in payload.split(|byte| *byte == 0x1e) {
                exchange.ws_frame(0x81, packet)?;
            }
            exchange.hold()
        });
        for (server, transport) in [(poll, Polling), (frames, WebSocket)] {
            let lines = Lines::default();
            let client = Client::builder().logger(lines.clone()).build().unwrap();
            let watch = Watch::new(&client);
            client.connect_with(server.url(), common::only(transport)).unwrap();
            while watch.next() != common::Seen::Disconnect(Reason::TransportError) {}
            client.wait();
            for level in [Level::Error, Level::Warn, Level::Info, Level::Debug] {
                let told = lines.at(level);
                assert!(!told.iter().any(|line| line.contains("a-secret")), "{level}: {told:#?}");
            }
            let error = format!("{:?}", client.last_error().unwrap());
            assert!(!error.contains("a-secret"), "{error}");
            assert!(!payload.ends_with(b"<html>a-secret") || error.contains("looks like HTML"), "{error}");
        }
    }
}
