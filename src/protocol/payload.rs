//! The body of a polling request or response: packets with separators between them, and binary messages in
//! base64.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::packet::{BINARY, DecodeError, Packet, is_version_3};

/// The separator between packets. It cannot be escaped, so no text that contains it is sent over polling.
pub(crate) const SEPARATOR: char = '\u{1e}';

/// The packets in the body of a response. They are decoded one by one, because small packets take many times
/// the memory of the body. An empty body holds no packet: python-engineio sends it to end a poll.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    text: String,
    /// The position of the next packet; `None` after the last one.
    next: Option<usize>,
}

impl Payload {
    pub(crate) fn new(body: Vec<u8>) -> Result<Self, DecodeError> {
        if is_version_3(&body) {
            return Err(DecodeError::Version3);
        }
        let text = String::from_utf8(body).map_err(|e| DecodeError::Utf8(e.utf8_error()))?;
        let next = (!text.is_empty()).then_some(0);
        Ok(Payload { text, next })
    }

    /// True if all packets have been decoded.
    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_none()
    }
}

impl Iterator for Payload {
    type Item = Result<Packet, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.text[self.next?..];
        let end = rest.find(SEPARATOR);
        let element = &rest[..end.unwrap_or(rest.len())];
        let packet = Packet::decode_text(element);
        self.next = self.next.zip(end).map(|(start, length)| start + length + SEPARATOR.len_utf8());
        if self.is_empty() {
            // The memory is freed now, because the next payload may take a long time to arrive.
            self.text = String::new();
        }
        Some(packet)
    }
}

/// Encodes as many packets from the front of the queue as both limits allow, and returns their number. The
/// packets stay in the queue.
///
/// `max_bytes` counts encoded bytes, as servers do. The first packet is always encoded, even if it exceeds
/// the limit alone: the queue would otherwise be stuck, and callers refuse packets that are too large.
pub(crate) fn encode(
    queue: &VecDeque<Packet>,
    max_packets: usize,
    max_bytes: Option<usize>,
) -> (Vec<u8>, usize) {
    let (count, size) = fitting(queue, max_packets, max_bytes.unwrap_or(usize::MAX));
    let mut body = Vec::with_capacity(size);
    for (index, packet) in queue.iter().take(count).enumerate() {
        if index > 0 {
            body.push(SEPARATOR as u8);
        }
        push_element(&mut body, packet);
    }
    (body, count)
}

/// The number of packets that fit, and their encoded size with separators.
fn fitting(queue: &VecDeque<Packet>, max_packets: usize, max_bytes: usize) -> (usize, usize) {
    let mut packets = queue.iter().map(Packet::payload_len);
    let Some(mut size) = packets.next() else { return (0, 0) };
    let mut count = 1;
    for length in packets.take(max_packets.saturating_sub(1)) {
        // The sum saturates, because clones of one large `Bytes` may add up to more than the memory.
        let grown = size.saturating_add(SEPARATOR.len_utf8()).saturating_add(length);
        if grown > max_bytes {
            break;
        }
        (count, size) = (count + 1, grown);
    }
    (count, size)
}

fn push_element(body: &mut Vec<u8>, packet: &Packet) {
    if let Packet::Binary(bytes) = packet {
        body.push(BINARY as u8);
        let start = body.len();
        body.resize(start - 1 + packet.payload_len(), 0);
        // This fails only if the text does not fit, and the room has its exact size.
        let _ = STANDARD.encode_slice(bytes, &mut body[start..]);
    } else {
        body.push(packet.digit() as u8);
        body.extend_from_slice(packet.data().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn decode(body: &[u8]) -> Result<Vec<Packet>, DecodeError> {
        Payload::new(body.to_vec())?.collect()
    }

    fn text(data: &str) -> Packet {
        Packet::Text(data.into())
    }

    fn binary(data: &'static [u8]) -> Packet {
        Packet::Binary(Bytes::from_static(data))
    }

    fn encode_all(packets: Vec<Packet>) -> String {
        let (body, count) = encode(&packets.clone().into(), usize::MAX, None);
        assert_eq!(count, packets.len());
        assert_eq!(body.capacity(), body.len());
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn payloads() {
        let table = [
            ("", vec![]),
            ("4", vec![text("")]),
            ("b", vec![binary(b"")]),
            ("4hello\u{1e}2\u{1e}4wörld", vec![text("hello"), Packet::Ping("".into()), text("wörld")]),
            // This is the protocol's example.
            ("4hello\u{1e}bAQIDBA==", vec![text("hello"), binary(&[1, 2, 3, 4])]),
            ("b+/8=\u{1e}1", vec![binary(&[0xfb, 0xff]), Packet::Close]),
            ("6\u{1e}5", vec![Packet::Noop, Packet::Upgrade]),
        ];
        for (body, packets) in table {
            assert_eq!(decode(body.as_bytes()), Ok(packets.clone()), "{body:?}");
            assert_eq!(encode_all(packets), body);
        }
    }

    #[test]
    fn base64_may_lack_its_padding() {
        assert_eq!(decode(b"bAQIDBA\x1ebAQI"), Ok(vec![binary(&[1, 2, 3, 4]), binary(&[1, 2])]));
    }

    #[test]
    fn malformed_payloads() {
        let table: [(&[u8], &str); 19] = [
            (b"\x1e", "empty packet"),
            (b"4a\x1e\x1e4b", "empty packet"),
            (b"\x1e4a", "empty packet"),
            (b"4a\x1e", "empty packet"),
            (b"4a\x1e7b", "unknown packet type '7'"),
            (b"<html>", "unknown packet type '<'; the data looks like HTML"),
            (b"\"Invalid session\"", "unknown packet type '\"'"),
            (b"4a\x1eb!", "bad base64 in a packet of 2 bytes"),
            (b"bA", "bad base64 in a packet of 2 bytes"),
            (b"bAQ=A", "bad base64 in a packet of 5 bytes"),
            (b"bAQI==", "bad base64 in a packet of 6 bytes"),
            (b"b====", "bad base64 in a packet of 5 bytes"),
            // The last bits belong to no byte, so the data was damaged or cut off.
            (b"bAR==", "bad base64 in a packet of 5 bytes"),
            (b"bAQ ID", "bad base64 in a packet of 6 bytes"),
            // This is base64's alphabet for URLs.
            (b"b-_8=", "bad base64 in a packet of 5 bytes"),
            (b"\xff", "payload is not UTF-8 from byte 0 on"),
            (b"4a\xc3", "payload is not UTF-8 from byte 2 on"),
            // This is a surrogate.
            (b"4\xed\xa0\x80", "payload is not UTF-8 from byte 1 on"),
            (b"\x00", r"unknown packet type '\0'"),
        ];
        for (body, message) in table {
            assert_eq!(decode(body).map_err(|e| e.to_string()), Err(message.into()), "{body:?}");
        }
    }

    #[test]
    fn a_version_3_server_is_recognized() {
        let json = r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":[],"pingInterval":25000,"pingTimeout":5000}"#;
        let long = json.replace("5000}", r#"5000,"cookie":"01234567890123456789"}"#);
        // The lengths begin with 8 and with 1. The latter is a close packet in v4.
        assert_eq!((json.len(), long.len()), (85, 117));
        let mut binary = vec![0, 8, 5, 0xff];
        binary.extend(json.as_bytes());
        for body in [format!("85:{json}").into_bytes(), format!("117:{long}2:40").into_bytes(), binary] {
            assert_eq!(decode(&body), Err(DecodeError::Version3));
        }
    }

    #[test]
    fn messages_that_resemble_version_3_are_messages() {
        for body in ["4:0{}", "45:0{\"sid\"}", "43:0{}", "47:0{ \"sd\"}", "4:", "2:40"] {
            assert!(decode(body.as_bytes()).is_ok(), "{body:?}");
        }
    }

    #[test]
    fn limits() {
        // The elements take 4, 5 and 2 bytes.
        let queue = VecDeque::from([text("abc"), binary(b"d"), text("e")]);
        let table = [
            // Each row has both limits, the number of packets taken, and the body.
            (usize::MAX, None, 3, "4abc\u{1e}bZA==\u{1e}4e"),
            (2, None, 2, "4abc\u{1e}bZA=="),
            (1, None, 1, "4abc"),
            (0, None, 1, "4abc"),
            (16, Some(13), 3, "4abc\u{1e}bZA==\u{1e}4e"),
            (16, Some(12), 2, "4abc\u{1e}bZA=="),
            (16, Some(10), 2, "4abc\u{1e}bZA=="),
            (16, Some(9), 1, "4abc"),
            (16, Some(1), 1, "4abc"),
            (16, Some(0), 1, "4abc"),
        ];
        for (packets, bytes, taken, body) in table {
            assert_eq!(encode(&queue, packets, bytes), (body.into(), taken), "{packets} {bytes:?}");
        }
        assert_eq!(encode(&VecDeque::new(), 16, Some(100)), (Vec::new(), 0));
    }

    fn packets() -> impl Strategy<Value = Vec<Packet>> {
        let data = || "[^\u{1e}]*";
        let packet = prop_oneof![
            data().prop_map(Packet::Open),
            data().prop_map(Packet::Ping),
            data().prop_map(Packet::Pong),
            data().prop_map(Packet::Text),
            vec(any::<u8>(), 0..100).prop_map(|bytes| Packet::Binary(bytes.into())),
            Just(Packet::Close),
            Just(Packet::Upgrade),
            Just(Packet::Noop),
        ];
        vec(packet, 0..20)
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(packets in packets()) {
            let body = encode_all(packets.clone());
            prop_assert_eq!(decode(body.as_bytes()), Ok(packets));
        }

        #[test]
        fn limits_hold(packets in packets(), max_packets in 0..20usize, max_bytes in 0..400usize) {
            let mut queue = VecDeque::from(packets.clone());
            let mut arrived = Vec::new();
            while !queue.is_empty() {
                let (body, count) = encode(&queue, max_packets, Some(max_bytes));
                prop_assert!(count == 1 || (1..=max_packets).contains(&count));
                prop_assert!(count == 1 || body.len() <= max_bytes);
                prop_assert_eq!(body.len(), body.capacity());
                // One more packet would not have fit.
                if let Some(next) = queue.get(count) {
                    let grown = body.len() + 1 + next.payload_len();
                    prop_assert!(count >= max_packets || grown > max_bytes);
                }
                arrived.extend(decode(&body).unwrap());
                queue.drain(..count);
            }
            prop_assert_eq!(arrived, packets);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(body in vec(any::<u8>(), 0..200)) {
            let _ = decode(&body);
        }

        #[test]
        fn nearly_valid_bytes_are_decoded_or_refused(body in "([0-9b:\\x00\\x1e{}\"]|[a-zA-Z+/=]){0,40}") {
            let _ = decode(body.as_bytes());
        }
    }
}
