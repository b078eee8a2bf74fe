//! Packets as frames of the client, and what of them the socket has not taken yet.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::mem::take;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::deflate::Deflater;
use super::mask::{Mask, mask};
use crate::protocol::Packet;
use crate::transport::Written;

/// The most bytes of a message that are masked or compressed at once. A longer message is written piece by
/// piece, so that it needs no second copy, and the reader gets the lock in between.
const PIECE: usize = 64 * 1024;

/// The most bytes of the websocket's pongs that may wait. A pong that does not fit replaces the others:
/// otherwise a server that sends pings without reading would fill the memory (RFC 6455, section 5.5.3).
const PONGS: usize = 4096;

/// The compression of sent messages.
pub(super) struct Compressor {
    /// The size in bytes from which a message is compressed.
    pub(super) threshold: usize,
    pub(super) deflater: Deflater,
    /// The compressed bytes of the current piece.
    pub(super) output: Vec<u8>,
}

/// A packet that is being turned into frames.
struct Position {
    opcode: Data,
    /// The number of bytes of the payload that are done. They include the digit of the packet's type.
    done: usize,
    way: Way,
}

/// The way in which a packet becomes frames.
enum Way {
    /// One frame, whose head is in the buffer already.
    Plain(Mask),
    /// A frame for each compressed piece. Set once the first one is in the buffer.
    Compressed { begun: bool },
}

/// The output buffer. It holds the frames that the socket has not taken, and the rest of a long message
/// stays outside until there is room.
pub(super) struct Writer {
    buffer: Vec<u8>,
    /// The number of bytes at the beginning of `buffer` that the socket has taken.
    written: usize,
    /// The size of the buffer in bytes from which it is written.
    limit: usize,
    /// The source of the masks. They have to be unpredictable (RFC 6455, section 10.3).
    masks: StdRng,
    /// The packet that is in the buffer only in part.
    current: Option<(Packet, Position)>,
    /// The websocket's pongs that are not in the buffer yet.
    pongs: Vec<u8>,
    /// The packets that are in the buffer, or were since the last complete flush.
    unflushed: Written,
    /// Set when a close frame is in the buffer. Nothing follows it.
    closing: bool,
    /// The error of a write for the reader, which the next write of the writer reports.
    failed: Option<io::Error>,
    compressor: Option<Compressor>,
}

impl Writer {
    pub(super) fn new(limit: usize, compressor: Option<Compressor>) -> Self {
        Writer {
            buffer: Vec::new(),
            written: 0,
            limit,
            masks: rand::make_rng(),
            current: None,
            pongs: Vec::new(),
            unflushed: Written::default(),
            closing: false,
            failed: None,
            compressor,
        }
    }

    /// Fills the buffer with packets of the batch, unless it holds some already. Binary messages that are in
    /// the buffer as a whole are moved to `spent`.
    pub(super) fn fill(&mut self, batch: &mut VecDeque<Packet>, spent: &mut Vec<Bytes>) {
        if self.is_pending() {
            return;
        }
        while self.buffer.len() < self.limit {
            let (packet, mut position) = match self.current.take() {
                Some(current) => current,
                None => {
                    self.take_pongs();
                    let Some(packet) = batch.pop_front() else { return };
                    let position = self.begin(&packet);
                    (packet, position)
                }
            };
            if !self.step(&packet, &mut position) {
                // The lock is released after each piece, because its compression may take long.
                let slow = matches!(position.way, Way::Compressed { .. });
                self.current = Some((packet, position));
                if slow {
                    return;
                }
            } else {
                spent.extend(packet.into_binary());
            }
        }
    }

    /// Writes a packet as far as the socket takes it, and puts the rest into the buffer. Returns true if all
    /// is written.
    pub(super) fn write_one(&mut self, packet: &Packet, stream: &mut impl Write) -> io::Result<bool> {
        let mut position = self.begin(packet);
        let mut ready = true;
        while !self.step(packet, &mut position) {
            ready = ready && self.flush(stream)?;
        }
        Ok(ready && self.flush(stream)?)
    }

    /// Writes the buffer. Returns false if the socket takes no more for now.
    pub(super) fn flush(&mut self, stream: &mut impl Write) -> io::Result<bool> {
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        while self.is_pending() {
            match stream.write(&self.buffer[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        (self.written, self.buffer) = (0, emptied(take(&mut self.buffer), self.limit + PIECE));
        stream.flush().map(|()| true)
    }

    /// Takes the packets that a complete flush has written.
    pub(super) fn take_flushed(&mut self) -> Written {
        take(&mut self.unflushed)
    }

    /// Takes the packet that is in the buffer only in part, because nothing more can be written.
    pub(super) fn take_current(&mut self) -> Option<Packet> {
        self.current.take().map(|(packet, _)| packet)
    }

    /// True if a packet is in the buffer only in part.
    pub(super) fn has_current(&self) -> bool {
        self.current.is_some()
    }

    /// True if a close frame is in the buffer, or was.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Prepares the answer to a ping of the websocket.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        if self.closing || self.failed.is_some() {
            return;
        }
        if self.pongs.len() + payload.len() > PONGS {
            self.pongs.clear();
        }
        let mask = self.next_mask();
        put(&mut self.pongs, OpCode::Control(Control::Pong), mask, payload);
    }

    /// True if pongs wait, and the reader has to write them: the writer has no packets of its own to write.
    pub(super) fn owes_pongs(&self) -> bool {
        self.current.is_none()
            && self.unflushed == Written::default()
            && (self.is_pending() || !self.pongs.is_empty())
    }

    /// Writes the pongs as far as possible. An error is kept for the writer: it must not hide what the server
    /// has sent before.
    pub(super) fn write_pongs(&mut self, stream: &mut impl Write) {
        while self.owes_pongs() {
            if !self.is_pending() {
                self.take_pongs();
            }
            match self.flush(stream) {
                Ok(true) => {}
                Ok(false) => return,
                Err(e) => {
                    (self.written, self.failed) = (0, Some(e));
                    self.buffer.clear();
                    self.pongs.clear();
                }
            }
        }
    }

    /// Answers a close frame, or a violation, if that is possible at once.
    pub(super) fn answer_close(&mut self, code: Option<u16>, stream: &mut impl Write) {
        if self.closing || self.current.is_some() || self.is_pending() || self.failed.is_some() {
            return;
        }
        self.close(code);
        // The connection is over: a failure is of no interest.
        let _ = self.flush(stream);
    }

    /// True if the packet is compressed in several pieces, which may take long.
    pub(super) fn is_slow(&self, packet: &Packet) -> bool {
        self.is_compressed(packet) && packet.frame_len() > PIECE
    }

    /// The memory of the buffer that is in use, in bytes.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn is_pending(&self) -> bool {
        self.written < self.buffer.len()
    }

    fn take_pongs(&mut self) {
        self.buffer.append(&mut self.pongs);
    }

    fn next_mask(&mut self) -> Mask {
        self.masks.next_u32().to_ne_bytes()
    }

    fn is_compressed(&self, packet: &Packet) -> bool {
        let threshold = self.compressor.as_ref().map(|compressor| compressor.threshold.max(1));
        packet.is_message() && threshold.is_some_and(|threshold| packet.frame_len() >= threshold)
    }

    /// Begins a packet: the head of its frame is put into the buffer, unless it is compressed.
    #[inline]
    fn begin(&mut self, packet: &Packet) -> Position {
        let opcode = if matches!(packet, Packet::Binary(_)) { Data::Binary } else { Data::Text };
        let length = packet.frame_len();
        if self.is_compressed(packet) {
            return Position { opcode, done: 0, way: Way::Compressed { begun: false } };
        }
        let mask = self.next_mask();
        put_head(&mut self.buffer, OpCode::Data(opcode), Some(mask), length);
        Position { opcode, done: 0, way: Way::Plain(mask) }
    }

    /// Puts the next piece of a packet into the buffer. Returns true if it was the last one.
    #[inline]
    fn step(&mut self, packet: &Packet, position: &mut Position) -> bool {
        let (digit, data) = packet.parts();
        let (digit, rest) = match position.done {
            0 => (digit, data),
            done => (None, &data[done - digit.iter().len()..]),
        };
        let piece = &rest[..rest.len().min(PIECE)];
        let last = piece.len() == rest.len();
        match &mut position.way {
            Way::Plain(key) => {
                let start = self.buffer.len();
                self.buffer.extend(digit);
                self.buffer.extend_from_slice(piece);
                mask(&mut self.buffer[start..], *key, position.done);
            }
            Way::Compressed { begun } => {
                self.compress(digit, piece, last);
                self.put_compressed(position.opcode, begun, last);
            }
        }
        position.done += digit.iter().len() + piece.len();
        if last {
            self.unflushed = self.unflushed + Written::of(packet);
            if *packet == Packet::Close {
                self.close(None);
            }
        }
        last
    }

    fn compress(&mut self, digit: Option<u8>, piece: &[u8], last: bool) {
        let Some(Compressor { deflater, output, .. }) = &mut self.compressor else { return };
        if let Some(digit) = digit {
            deflater.deflate(&[digit], false, output);
        }
        deflater.deflate(piece, last, output);
    }

    /// Puts the compressed bytes into the buffer, as a frame. There may be none before the last piece.
    fn put_compressed(&mut self, opcode: Data, begun: &mut bool, last: bool) {
        let key = self.next_mask();
        let Some(Compressor { output, .. }) = &mut self.compressor else { return };
        if output.is_empty() && !last {
            return;
        }
        let opcode = if *begun { Data::Continue } else { opcode };
        let head = FrameHeader {
            is_final: last,
            rsv1: !std::mem::replace(begun, true),
            opcode: OpCode::Data(opcode),
            mask: Some(key),
            ..FrameHeader::default()
        };
        format(&mut self.buffer, &head, output.len());
        let start = self.buffer.len();
        self.buffer.extend_from_slice(output);
        mask(&mut self.buffer[start..], key, 0);
        *output = emptied(take(output), PIECE);
    }

    /// Puts a close frame into the buffer.
    fn close(&mut self, code: Option<u16>) {
        let key = self.next_mask();
        let payload = code.map(u16::to_be_bytes);
        let payload = payload.as_ref().map_or(&[][..], |code| code);
        put(&mut self.buffer, OpCode::Control(Control::Close), key, payload);
        self.closing = true;
    }
}

/// Empties a buffer, and frees it if it has grown beyond its usual size.
fn emptied(mut buffer: Vec<u8>, usual: usize) -> Vec<u8> {
    buffer.clear();
    if buffer.capacity() > 2 * usual { Vec::new() } else { buffer }
}

fn put_head(buffer: &mut Vec<u8>, opcode: OpCode, mask: Option<Mask>, length: usize) {
    format(buffer, &FrameHeader { opcode, mask, ..FrameHeader::default() }, length);
}

#[inline]
fn format(buffer: &mut Vec<u8>, header: &FrameHeader, length: usize) {
    // Writing to memory does not fail.
    let _ = header.format(length as u64, buffer);
}

fn put(buffer: &mut Vec<u8>, opcode: OpCode, key: Mask, payload: &[u8]) {
    put_head(buffer, opcode, Some(key), payload.len());
    let start = buffer.len();
    buffer.extend_from_slice(payload);
    mask(&mut buffer[start..], key, 0);
}
