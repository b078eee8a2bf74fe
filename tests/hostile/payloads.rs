//! Payloads of many packets, and payloads that are small on the wire and large in memory, at the default
//! limits.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use common::Stuck;

/// Gzip data of `count` equal chunks between `start` and `end`.
fn gzip(start: &[u8], chunk: &[u8], count: usize, end: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(start).unwrap();
    let many = chunk.repeat(10_000);
    (0..count / 10_000).for_each(|_| encoder.write_all(&many).unwrap());
    encoder.write_all(end).unwrap();
    encoder.finish().unwrap()
}

fn answer(exchange: &mut Exchange, zipped: &[u8]) -> io::Result<()> {
    exchange.respond_with("200 OK", "Content-Encoding: gzip\r\n", zipped)
}

#[test]
fn forty_million_messages_in_a_payload() {
    if !alone() {
        return;
    }
    let zipped = gzip(b"4", b"\x1e4", 40_000_000, b"");
    assert!(zipped.len() < 200_000);
    let foe = Foe::by_polls(move |exchange| answer(exchange, &zipped));
    let client = Client::new();
    let stuck = Stuck::new(&client);
    let grown = growth(|| {
        foe.connect(&client, Polling).unwrap();
        stuck.entered();
        // The first handler still runs. The inbox stays within its limit in the meantime.
        common::eventually("the answer is received", || client.stats().received.packets > 1);
        assert!(client.stats().inbox_bytes < 8 << 20, "{:?}", client.stats());
        abort(&client);
    });
    assert!(grown.peak < ROOM, "{} MiB", grown.peak >> 20);
    stuck.release();
    client.wait();
}

#[test]
fn a_million_values_in_a_handshake() {
    if !alone() {
        return;
    }
    for (count, told) in [(10_000_000, "longer than"), (10_000, "no sid")] {
        let zipped = gzip(br#"0{"x":[[]"#, b",[]", count, b"]}");
        let foe = Foe::new(move |exchange| answer(exchange, &zipped));
        costs_little(told, || {
            let error = foe.connect(&Client::new(), Polling).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        });
    }
}

#[test]
fn ten_million_packets_behind_the_handshake() {
    if !alone() {
        return;
    }
    let zipped = gzip(OPEN.as_bytes(), b"\x1e6", 10_000_000, b"");
    let foe = Foe::new(move |exchange| answer(exchange, &zipped));
    let grown = growth(|| {
        let error = foe.connect(&Client::new(), Polling).unwrap_err();
        assert!(error.to_string().contains("its packets take more than"), "{error}");
    });
    assert!(grown.peak < ROOM + (100 << 20), "{} MiB", grown.peak >> 20);
}

/// All packets are delivered in order, through a small inbox.
#[test]
fn a_million_packets_at_once() {
    if !alone() {
        return;
    }
    const COUNT: usize = 1_000_000;
    let foe = Foe::by_polls(|exchange| {
        let payload = if exchange.polls() == 1 { "40".to_owned() } else { return exchange.hold() };
        let payload = (1..COUNT).fold(payload, |all, n| all + "\x1e4" + &n.to_string());
        exchange.payload(payload)
    });
    let client = Client::builder().inbox_limit(64 * 1024).max_message_size(8 << 20).build().unwrap();
    let (sender, done) = std::sync::mpsc::channel();
    let mut expected = 0;
    client.on_message(move |_, message| {
        assert_eq!(message.as_text(), Some(expected.to_string().as_str()));
        expected += 1;
        if expected == COUNT {
            sender.send(()).unwrap();
        }
    });
    costs_little("packets", || {
        foe.connect(&client, Polling).unwrap();
        done.recv_timeout(common::PATIENCE).unwrap();
    });
    foe.leave(&client);
}
