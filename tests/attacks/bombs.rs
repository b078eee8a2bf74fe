//! Little on the wire that is much in memory, at the default limits.

use std::io::Write;
use std::sync::mpsc;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// A gzip of `count` times the same.
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
    let zipped = gzip(b"4", b"\x1e4", 40_000_000, b"");
    assert!(zipped.len() < 200_000);
    let foe = Foe::by_polls(move |exchange| answer(exchange, &zipped));
    let client = Client::new();
    let (enter, entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    client.on_message(move |_, _| {
        let _ = enter.send(());
        let _ = released.recv();
    });
    let grown = growth(|| {
        foe.connect(&client, Polling).unwrap();
        entered.recv_timeout(common::PATIENCE).unwrap();
        // The first handler still runs: what comes meanwhile is kept within the inbox's limit.
        common::eventually("the answer is received", || client.stats().received.packets > 1);
        assert!(client.stats().inbox_bytes < 8 << 20, "{:?}", client.stats());
        client.disconnect_with(engineio::Disconnect::new().abort(true)).unwrap();
    });
    drop(release);
    client.wait();
    assert!(grown < ROOM, "{} MB", grown >> 20);
}

#[test]
fn a_million_values_in_a_handshake() {
    for (count, told) in [(10_000_000, "longer than"), (10_000, "no sid")] {
        let zipped = gzip(br#"0{"x":[[]"#, b",[]", count, b"]}");
        let foe = Foe::new(move |exchange| answer(exchange, &zipped));
        let grown = growth(|| {
            let error = foe.connect(&Client::new(), Polling).unwrap_err();
            assert!(in_full(&error).contains(told), "{error}");
        });
        assert!(grown < ROOM, "{} MB", grown >> 20);
    }
}

#[test]
fn ten_million_packets_behind_the_handshake() {
    let zipped = gzip(OPEN.as_bytes(), b"\x1e6", 10_000_000, b"");
    let foe = Foe::new(move |exchange| answer(exchange, &zipped));
    let grown = growth(|| {
        let error = foe.connect(&Client::new(), Polling).unwrap_err();
        assert!(in_full(&error).contains("its packets take more than"), "{error}");
    });
    assert!(grown < ROOM + (100 << 20), "{} MB", grown >> 20);
}
