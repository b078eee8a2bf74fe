//! The handshake and messages, with each server and each route.

use std::time::Duration;

use common::official::{Kind, Options};
use engineio::{Error, Message, Reason};
use serde_json::{Value, json};

use crate::harness::*;

pub(crate) fn handshake(case: Case) {
    let peer = Peer::connect(case, &fast_pings());
    let handshake = peer.client.handshake().expect("connected");
    assert_eq!(peer.client.sid().as_deref(), Some(handshake.sid()));
    assert_eq!(peer.server.wait_for("connect")["sid"], handshake.sid());
    // python-engineio announces whole seconds, rounded down. 0 counts as one second.
    let interval = if case.kind == Kind::Node { 300 } else { 1000 };
    assert_eq!(handshake.ping_interval(), Duration::from_millis(interval));
    assert_eq!(handshake.ping_timeout(), Duration::from_secs(2));
    assert_eq!(handshake.max_payload(), Some(1_000_000));
    let upgrades: &[&str] = if case.route == Route::WebSocket { &[] } else { &["websocket"] };
    assert_eq!(handshake.upgrades(), upgrades);
    peer.send("cmd:transport");
    assert_eq!(peer.text(), case.route.destination().to_string());
}

pub(crate) fn text(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    for text in [
        "hello",
        "",
        "grüße, 世界 and \u{1F600}\u{10FFFF}",
        "two\r\nlines\0and a NUL",
        " ",
        "4",
        "bAAA=",
        "1",
        "6",
    ] {
        peer.echo(text);
    }
}

pub(crate) fn json(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    let value = json!({"text": "\u{1F600} \"quoted\" \u{1e}", "numbers": [0, -1, 1.5], "nothing": null,
        "deep": [[{}]]});
    peer.client.send_json(&value).expect("connected");
    let answer = peer.message();
    assert_eq!(answer.as_text(), Some(value.to_string().as_str()), "the text that was sent comes back");
    assert_eq!(answer.json::<Value>().expect("it is JSON"), value);
    peer.send(format!("cmd:json {value}"));
    let answer = peer.message();
    assert_eq!(answer.json::<Value>().expect("it is JSON"), value, "as the server writes it: {answer}");
    // Texts that are JSON arrive as texts.
    for text in ["null", "true", "12", "\"quoted\"", "{ \"a\" : 1 }", "[]"] {
        peer.echo(text);
    }
}

pub(crate) fn binary(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    let all: Vec<u8> = (0..=255).collect();
    peer.echo(all);
    for size in 0..4 {
        // The sizes cover each padding of base64.
        peer.echo(vec![0xff; size]);
    }
    peer.echo("a text after it");
}

pub(crate) fn large(case: Case) {
    let peer = Peer::connect(case, &limit(4 * MIB));
    let text: String = "0123456789".chars().cycle().take(MIB).collect();
    let binary: Vec<u8> = (0..251).cycle().take(MIB).collect();
    peer.echo("ä€\u{1F600}".repeat(MIB / 9));
    peer.echo(binary.clone());
    peer.send(format!("cmd:big {MIB}"));
    peer.send(format!("cmd:bigbin {MIB}"));
    for expected in [Message::from(text), Message::from(binary)] {
        let message = peer.message();
        assert!(message == expected, "expected {}, got {}", brief(&expected), brief(&message));
    }
}

/// A message that just fits the server's `maxPayload` arrives. A larger one is refused, and the connection
/// stays open.
pub(crate) fn payload_limit(case: Case) {
    let peer = Peer::connect(case, &limit(10_000));
    peer.echo("x".repeat(9_999));
    let refused = peer.client.send("x".repeat(10_000));
    assert!(matches!(refused, Err(Error::MessageTooLarge { max: 10_000, .. })), "{refused:?}");
    // By polling the size of the base64 counts.
    let fits = if case.route == Route::Polling { 9_999 / 4 * 3 } else { 10_000 };
    peer.echo(vec![7; fits]);
    let refused = peer.client.send(vec![7; fits + 1]);
    assert!(matches!(refused, Err(Error::MessageTooLarge { max: 10_000, .. })), "{refused:?}");
    // Together the messages are larger than one request may be.
    for _ in 0..8 {
        peer.send("y".repeat(3_000));
    }
    for _ in 0..8 {
        assert_eq!(peer.text().len(), 3_000);
    }
    peer.assert_alive();
}

pub(crate) fn burst_to_server(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    (0..1000).for_each(|i| peer.send(format!("message {i}")));
    (0..1000).for_each(|i| assert_eq!(peer.text(), format!("message {i}")));
    peer.assert_alive();
}

pub(crate) fn burst_from_server(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.send("cmd:burst 1000 number ");
    for i in 0..1000 {
        assert_eq!(peer.text(), format!("number {i}"));
    }
    peer.assert_alive();
}

/// Messages that were sent before `disconnect` are written before the connection ends.
pub(crate) fn burst_before_disconnect(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.send("cmd:quiet");
    for i in 0..1000 {
        peer.send(format!("message {i}"));
    }
    peer.disconnect();
    let seen = peer.server.wait_for("disconnect");
    assert_eq!(seen["received"], 1000, "{seen}");
    assert_eq!(peer.reason(), Reason::ClientDisconnect);
    peer.assert_over();
}
