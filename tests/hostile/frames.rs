//! Websocket frames that violate RFC 6455, and sizes above the limits.

use super::*;

/// The head of a frame that declares this length.
fn declares(length: u64) -> Vec<u8> {
    [&[0x82, 127][..], &length.to_be_bytes()].concat()
}

#[test]
fn frames_that_break_the_protocol() {
    if !alone() {
        return;
    }
    let long = |head: &[u8]| [head, b"\x7e\x00\x7e", &[b'x'; 126]].concat();
    let (long_ping, long_close) = (long(b"\x89"), long(b"\x88"));
    let table: [(&str, &[u8], &str); 19] = [
        ("RSV1: compressed", b"\xc1\x024x", "eserved bits"),
        ("RSV2", b"\xa1\x024x", "eserved bits"),
        ("RSV3", b"\x91\x024x", "eserved bits"),
        ("a reserved opcode", b"\x83\x00", "opcode"),
        ("a reserved control opcode", b"\x8b\x00", "opcode"),
        ("a fragmented ping", b"\x09\x00", "ragmented control frame"),
        ("a fragmented close", b"\x08\x00", "ragmented control frame"),
        ("a long ping", &long_ping, ""),
        ("a long close", &long_close, ""),
        ("masked", b"\x81\x82\x00\x00\x00\x004x", "masked frame"),
        ("a continuation of nothing", b"\x80\x024x", "continuation frame"),
        ("an unfinished continuation of nothing", b"\x00\x00", "continuation frame"),
        ("a message within a message", b"\x01\x024a\x81\x024b", "fragment"),
        ("a close with half a code", b"\x88\x01\x03", "lose"),
        ("a close with a code that is none", b"\x88\x02\x00\x07", "reserved code 7"),
        ("a close with 1005", b"\x88\x02\x03\xed", "reserved code 1005"),
        ("a close with 1006", b"\x88\x02\x03\xee", "reserved code 1006"),
        ("a close with 65535", b"\x88\x02\xff\xff", "reserved code 65535"),
        ("a close with a reason that is no text", b"\x88\x04\x03\xe8\xff\xff", "UTF-8"),
    ];
    for (what, frames, told) in table {
        breaks(what, frames, told);
    }
}

#[test]
fn a_declared_length_costs_nothing() {
    if !alone() {
        return;
    }
    // The length of a text includes a byte for its type.
    let max = MAX_MESSAGE as u64;
    for length in [max + 2, 1 << 31, (1 << 32) + 1, 1 << 40, 1 << 62, i64::MAX as u64, 1 << 63, u64::MAX] {
        let foe = Foe::by_websocket(move |exchange| {
            exchange.raw(declares(length))?;
            exchange.hold()
        });
        costs_little(&length.to_string(), || {
            ends("a length", &foe, WebSocket, &Reason::TransportError, "too long");
        });
    }
}

#[test]
fn fragments_add_up() {
    if !alone() {
        return;
    }
    // The fragments have 600 kB, 1 byte, or a last one that exceeds the limit.
    for size in [600_000, 1, MAX_MESSAGE] {
        let foe = Foe::by_websocket(move |exchange| {
            exchange.ws_frame(0x02, b"x")?;
            let mut fragments = Vec::new();
            while fragments.len() < 100_000 {
                fragments.push(0x00);
                match size {
                    1 => fragments.push(1),
                    _ => fragments.extend([&[127][..], &(size as u64).to_be_bytes()].concat()),
                }
                fragments.resize(fragments.len() + size, b'x');
            }
            loop {
                exchange.raw(&fragments)?;
            }
        });
        costs_little(&size.to_string(), || {
            ends("fragments", &foe, WebSocket, &Reason::TransportError, "too long");
        });
    }
}
