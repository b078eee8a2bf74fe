use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use bytes::Bytes;
use proptest::prelude::*;

use super::deflate::{Deflater, Inflated, Inflater};
use super::input::Input;
use super::mask::mask;
use super::reader::{End, Event, Limits, Reader};
use super::writer::{Compressor, Writer};
use crate::protocol::Packet;
use crate::transport::Written;

const MIB: usize = 1 << 20;

/// A socket whose buffer takes and gives at most this many bytes at once, and is full every other time.
struct Slow {
    bytes: Vec<u8>,
    read: usize,
    at_once: usize,
    ready: bool,
}

impl Slow {
    fn new(bytes: Vec<u8>, at_once: usize) -> Self {
        Slow { bytes, read: 0, at_once, ready: false }
    }

    fn turn(&mut self) -> io::Result<()> {
        self.ready = !self.ready;
        if self.ready { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.turn()?;
        let count = bytes.len().min(self.at_once);
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn()?;
        let count = buffer.len().min(self.at_once).min(self.bytes.len() - self.read);
        buffer[..count].copy_from_slice(&self.bytes[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

fn compressor(threshold: usize, bits: u8, forgets: bool) -> Compressor {
    Compressor { threshold, deflater: Deflater::new(6, bits, forgets), output: Vec::new() }
}

/// Writes packets to a slow socket, and returns the bytes.
fn written(packets: Vec<Packet>, compressor: Option<Compressor>, limit: usize, at_once: usize) -> Vec<u8> {
    let mut writer = Writer::new(limit, compressor);
    let mut socket = Slow::new(Vec::new(), at_once);
    let (mut batch, mut spent) = (VecDeque::from(packets.clone()), Vec::new());
    let mut total = Written::default();
    while !batch.is_empty() || writer.has_current() || total.traffic.messages < packets.len() as u64 {
        writer.fill(&mut batch, &mut spent);
        if writer.flush(&mut socket).unwrap() {
            total = total + writer.take_flushed();
        }
        assert!(writer.buffered() <= limit + 70_000, "{}", writer.buffered());
    }
    assert_eq!(spent, packets.into_iter().filter_map(Packet::into_binary).collect::<Vec<_>>());
    socket.bytes
}

/// Turns frames of a client into those of a server.
fn unmasked(bytes: &[u8]) -> Vec<u8> {
    let (mut rest, mut frames) = (bytes, Vec::new());
    while let [first, second, ..] = rest {
        let extra = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let length = match extra {
            0 => usize::from(second & 0x7f),
            _ => rest[2..2 + extra].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        frames.extend([*first, second & 0x7f]);
        frames.extend_from_slice(&rest[2..2 + extra]);
        let key = rest[2 + extra..6 + extra].try_into().unwrap();
        let mut payload = rest[6 + extra..6 + extra + length].to_vec();
        mask(&mut payload, key, 0);
        frames.append(&mut payload);
        rest = &rest[6 + extra + length..];
    }
    frames
}

fn reader(inflater: Option<Inflater>, max: usize) -> Reader {
    Reader::new(Input::new(b"", 1, true), Limits { message: max, frame: None }, inflater)
}

/// Reads all events.
fn read(mut reader: Reader, bytes: Vec<u8>, at_once: usize) -> (Vec<Event>, End) {
    let mut socket = Slow::new(bytes, at_once);
    let mut events = Vec::new();
    loop {
        reader.input().ration(usize::MAX);
        match reader.next(&mut socket) {
            Ok(event) => events.push(event),
            Err(End::Io(e)) if e.kind() == ErrorKind::WouldBlock => {}
            Err(end) => return (events, end),
        }
    }
}

fn events(packets: &[Packet]) -> Vec<Event> {
    packets.iter().cloned().map(Event::Packet).collect()
}

/// A message goes through the buffer piece by piece, so that neither its memory nor the work for each byte
/// depends on its size. `written` checks the memory.
#[test]
fn a_long_message_on_a_slow_line() {
    let size = 16 * MIB;
    let text = Packet::Text("x".repeat(size));
    let binary = Packet::Binary(vec![7; size].into());
    let bytes = written(vec![text.clone(), binary.clone()], None, 128 * 1024, 1000);
    let (events, end) = read(reader(None, size), unmasked(&bytes), 100_000);
    assert!(events == [Event::Packet(text), Event::Packet(binary)] && matches!(end, End::Eof));
}

#[test]
fn a_direct_write_leaves_the_rest_in_the_buffer() {
    let packet = Packet::Binary(vec![7; MIB].into());
    let mut writer = Writer::new(1000, None);
    let mut socket = Slow::new(Vec::new(), 300_000);
    assert!(!writer.write_one(&packet, &mut socket).unwrap());
    while !writer.flush(&mut socket).unwrap() {}
    assert_eq!(writer.take_flushed(), Written::of(&packet));
    assert_eq!(writer.buffered(), 0);
    let (events, _) = read(reader(None, MIB), unmasked(&socket.bytes), 100_000);
    assert_eq!(events, [Event::Packet(packet)]);
}

/// The compression of a long message may take minutes, and the caller of `fill` holds the lock of the socket.
#[test]
fn a_long_message_is_compressed_piece_by_piece() {
    let packet = Packet::Binary(vec![7; MIB].into());
    let mut writer = Writer::new(MIB, Some(compressor(1, 15, false)));
    assert!(writer.is_slow(&packet) && !writer.is_slow(&Packet::Binary(vec![7; 1000].into())));
    let (mut batch, mut spent) = (VecDeque::from([packet]), Vec::new());
    let (mut slow, mut fills) = (Slow::new(Vec::new(), MIB), 0);
    while spent.is_empty() {
        writer.fill(&mut batch, &mut spent);
        while !writer.flush(&mut slow).unwrap() {}
        fills += 1;
    }
    assert!(fills >= 16, "{fills}");
    let message = read(reader(Some(Inflater::new(15, false)), MIB), unmasked(&slow.bytes), MIB).0;
    assert_eq!(message, events(&[Packet::Binary(vec![7; MIB].into())]));
}

#[test]
fn pongs_are_bounded_and_the_last_one_stays() {
    let mut writer = Writer::new(1000, None);
    for number in 0..100_000_u32 {
        writer.pong(&number.to_be_bytes());
    }
    let mut socket = Slow::new(Vec::new(), usize::MAX);
    while writer.owes_pongs() {
        writer.write_pongs(&mut socket);
    }
    assert!(socket.bytes.len() < 5000 && socket.bytes[0] == 0x8a);
    assert!(unmasked(&socket.bytes).ends_with(&99_999_u32.to_be_bytes()));
}

/// A socket that fails.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_error_of_a_pong_is_the_writers() {
    let mut writer = Writer::new(1000, None);
    writer.pong(b"a");
    writer.write_pongs(&mut Broken);
    assert!(!writer.owes_pongs());
    writer.pong(b"b");
    assert!(!writer.owes_pongs(), "nothing can be written any more");
    assert_eq!(writer.flush(&mut Broken).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

/// A pong goes between two packets, and not into a packet.
#[test]
fn pongs_of_a_writer_at_work() {
    let packets = [Packet::Binary(vec![7; 200_000].into()), Packet::Text("b".into())];
    let mut writer = Writer::new(1000, None);
    let mut socket = Slow::new(Vec::new(), usize::MAX);
    let (mut batch, mut spent) = (VecDeque::from(packets), Vec::new());
    writer.fill(&mut batch, &mut spent);
    writer.pong(b"p");
    assert!(!writer.owes_pongs(), "the writer owes them");
    while !batch.is_empty() || writer.has_current() {
        writer.fill(&mut batch, &mut spent);
        while !writer.flush(&mut socket).unwrap() {}
    }
    let frames = unmasked(&socket.bytes);
    assert!(frames.ends_with(b"\x8a\x01p\x81\x024b"), "{:?}", &frames[frames.len() - 10..]);
}

/// Any packet that a message is made of.
fn packets() -> impl Strategy<Value = Vec<Packet>> {
    let text = "[ab\u{e9}]{0,300}".prop_map(Packet::Text);
    let binary = prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Packet::Binary(bytes.into()));
    let long = (any::<u8>(), 60_000_usize..140_000).prop_map(|(byte, size)| {
        let bytes: Vec<u8> = (0..size).map(|i| (i / 100) as u8 ^ byte).collect();
        Packet::Binary(Bytes::from(bytes))
    });
    prop::collection::vec(prop_oneof![8 => text, 8 => binary, 1 => long], 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What the client writes is what the client reads, however the bytes are cut.
    #[test]
    fn frames_are_read_as_they_were_written(
        packets in packets(),
        limit in 1_usize..5000,
        at_once in 1_usize..9000,
    ) {
        let bytes = unmasked(&written(packets.clone(), None, limit, at_once * 10));
        let (read, end) = read(reader(None, 140_000), bytes, at_once);
        prop_assert!(read == events(&packets) && matches!(end, End::Eof), "{end:?}");
    }

    #[test]
    fn compressed_frames_are_read_as_they_were_written(
        packets in packets(),
        threshold in 0_usize..400,
        bits in 9_u8..=15,
        forgets in any::<bool>(),
        at_once in 1_usize..9000,
    ) {
        let bytes = written(packets.clone(), Some(compressor(threshold, bits, forgets)), 5000, at_once * 10);
        let reader = reader(Some(Inflater::new(bits, forgets)), 140_000);
        let (read, end) = read(reader, unmasked(&bytes), at_once);
        prop_assert!(read == events(&packets) && matches!(end, End::Eof), "{end:?}");
    }

    /// flate2's own streams are inflated, in any parts.
    #[test]
    fn streams_of_flate2_are_inflated(
        messages in prop::collection::vec(prop::collection::vec(0_u8..4, 0..3000), 1..8),
        part in 1_usize..500,
        level in 0_u32..=9,
    ) {
        let mut compress = flate2::Compress::new(flate2::Compression::new(level), false);
        let mut inflater = Inflater::new(15, false);
        for message in messages {
            let mut stream = Vec::with_capacity(10_000);
            compress.compress_vec(&message, &mut stream, flate2::FlushCompress::Sync).unwrap();
            let stream = stream.strip_suffix(&[0, 0, 255, 255]).unwrap_or(&stream);
            let mut data = Vec::new();
            for part in stream.chunks(part) {
                inflater.inflate(part, &mut data, 3000).unwrap();
            }
            inflater.finish(&mut data, 3000).unwrap();
            prop_assert_eq!(data, message);
        }
    }

    /// The client's streams are inflated by flate2.
    #[test]
    fn flate2_inflates_our_streams(
        messages in prop::collection::vec(prop::collection::vec(0_u8..4, 1..3000), 1..8),
        part in 1_usize..500,
        bits in 9_u8..=15,
    ) {
        let mut decompress = flate2::Decompress::new_with_window_bits(false, bits);
        let mut deflater = Deflater::new(6, bits, false);
        for message in messages {
            let mut stream = Vec::new();
            let count = message.chunks(part).count();
            for (index, part) in message.chunks(part).enumerate() {
                deflater.deflate(part, index + 1 == count, &mut stream);
            }
            stream.extend([0, 0, 255, 255]);
            let mut data = Vec::with_capacity(10_000);
            decompress.decompress_vec(&stream, &mut data, flate2::FlushDecompress::Sync).unwrap();
            prop_assert_eq!(data, message);
        }
    }

    /// The limit holds at each part.
    #[test]
    fn the_limit_of_inflating(size in 0_usize..200_000, limit in 0_usize..200_000) {
        let mut stream = Vec::new();
        Deflater::new(6, 15, false).deflate(&vec![0; size], true, &mut stream);
        let mut data = Vec::new();
        let mut inflater = Inflater::new(15, false);
        let result = inflater.inflate(&stream, &mut data, limit);
        let result = result.and_then(|()| inflater.finish(&mut data, limit));
        prop_assert_eq!(result, if size > limit { Err(Inflated::TooLong) } else { Ok(()) });
        prop_assert!(data.capacity() <= limit + 2048);
    }

    /// A limit may be the largest number.
    #[test]
    fn without_a_limit(size in 0_usize..200_000) {
        let mut stream = Vec::new();
        Deflater::new(6, 15, false).deflate(&vec![0; size], true, &mut stream);
        let (mut data, mut inflater) = (Vec::new(), Inflater::new(15, false));
        inflater.inflate(&stream, &mut data, usize::MAX).unwrap();
        prop_assert_eq!(data.len(), size);
    }

    /// No bytes make the reader panic, hang or exceed its limits.
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at_once in 1_usize..300,
    ) {
        let (read, _) = read(reader(Some(Inflater::new(15, false)), 100), bytes, at_once);
        for event in read {
            if let Event::Packet(packet) = event {
                prop_assert!(packet.frame_len() <= 101);
            }
        }
    }
}
