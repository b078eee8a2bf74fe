//! The target of `testing/fuzz.rs` for the websocket's frames and their compression.

use std::io::{Cursor, ErrorKind};

use super::deflate::{Deflater, Inflater};
use super::input::Input;
use super::reader::{End, Event, Limits, Reader};
use crate::testing::fuzz::shown;

/// The limit of a message, in bytes.
const MAX: usize = 4096;

/// The frames of a server. The first byte selects the window, and whether each message is compressed on its
/// own.
pub fn deflate(data: &[u8]) {
    let Some((settings, bytes)) = data.split_first() else { return };
    let (bits, forgets) = (9 + (settings & 0x0f) % 7, settings & 0x10 != 0);
    frames(bytes, (settings & 0x20 == 0).then(|| Inflater::new(bits, forgets)));
    round_trip(bytes, bits, forgets);
}

/// Reads frames until they end or break a rule.
fn frames(bytes: &[u8], inflater: Option<Inflater>) {
    let mut reader = Reader::new(Input::new(b"", 1, true), Limits { message: MAX, frame: None }, inflater);
    let mut stream = Cursor::new(bytes);
    loop {
        reader.input().ration(usize::MAX);
        match reader.next(&mut stream) {
            Ok(Event::Packet(packet)) => assert!(packet.frame_len() <= MAX + 1),
            Ok(Event::Ping(payload)) => assert!(payload.len() <= 125),
            Ok(Event::Pong) => {}
            Err(End::Io(e)) if e.kind() == ErrorKind::WouldBlock => {}
            Err(End::Violation(violation)) => {
                assert!(matches!(violation.code, 1002 | 1007 | 1009));
                return shown(&violation.error);
            }
            Err(End::Closed(frame)) => {
                assert!(frame.code.is_none_or(|code| (1000..5000).contains(&code)));
                return;
            }
            Err(End::Eof) => return,
            Err(End::Io(e)) => panic!("there is no I/O: {e}"),
        }
    }
}

/// Messages are inflated to what they were. The separator between them is a byte.
fn round_trip(bytes: &[u8], bits: u8, forgets: bool) {
    let (mut deflater, mut inflater) = (Deflater::new(6, bits, forgets), Inflater::new(bits, forgets));
    for message in bytes.split(|byte| *byte == b'\n').filter(|message| !message.is_empty()) {
        let (first, second) = message.split_at(message.len() / 2);
        let (mut stream, mut inflated) = (Vec::new(), Vec::new());
        deflater.deflate(first, false, &mut stream);
        deflater.deflate(second, true, &mut stream);
        let (first, second) = stream.split_at(stream.len() / 3);
        for part in [first, second] {
            inflater.inflate(part, &mut inflated, message.len()).expect("it is a stream");
        }
        inflater.finish(&mut inflated, message.len()).expect("it is a whole stream");
        assert_eq!(inflated, message);
    }
}
