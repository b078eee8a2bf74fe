//! The frames of the server, and the messages that they make up (RFC 6455, section 5). Reading never writes.

use std::io::{self, Cursor, Read};
use std::mem::take;

use bytes::Bytes;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::close::{CloseFrame, Violation};
use super::deflate::{Inflated, Inflater};
use super::input::Input;
use crate::protocol::{Packet, binary_text_len};
use crate::transport::{check_size, too_long};

/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
const LONGEST_CONTROL: u64 = 125;

/// The limits of what the server sends, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) message: usize,
    pub(super) frame: Option<usize>,
}

/// The next thing that the server says.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    Packet(Packet),
    /// A ping of the websocket, with its payload.
    Ping(Vec<u8>),
    Pong,
}

/// The reason why nothing more is read.
#[derive(Debug)]
pub(super) enum End {
    Closed(CloseFrame),
    Violation(Violation),
    /// The server has closed the connection without a close frame.
    Eof,
    /// `WouldBlock` means that there is nothing for now.
    Io(io::Error),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        End::Violation(violation)
    }
}

/// A frame whose payload is being read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: OpCode,
    last: bool,
    /// The number of bytes of the payload that are not read yet.
    left: usize,
}

/// A message that is being read.
#[derive(Debug, Default)]
struct Message {
    text: bool,
    compressed: bool,
    data: Vec<u8>,
}

/// Puts the server's frames together.
pub(super) struct Reader {
    input: Input,
    limits: Limits,
    frame: Option<Frame>,
    message: Option<Message>,
    /// Set if messages may be compressed.
    inflater: Option<Inflater>,
}

impl Reader {
    pub(super) fn new(input: Input, limits: Limits, inflater: Option<Inflater>) -> Self {
        Reader { input, limits, frame: None, message: None, inflater }
    }

    pub(super) fn input(&mut self) -> &mut Input {
        &mut self.input
    }

    /// Reads until there is an event.
    pub(super) fn next(&mut self, stream: &mut impl Read) -> Result<Event, End> {
        loop {
            let enough = match self.frame {
                None => self.read_head()?,
                Some(Frame { opcode: OpCode::Control(control), left, .. }) => {
                    if self.input.bytes().len() >= left {
                        return self.read_control(control, left);
                    }
                    false
                }
                Some(frame) => match self.read_payload(frame, stream)? {
                    Some(packet) => return Ok(Event::Packet(packet)),
                    None => true,
                },
            };
            if !enough && !self.input.fill(stream).map_err(End::Io)? {
                return Err(End::Eof);
            }
        }
    }

    /// Reads the head of a frame. Returns false if more bytes are needed.
    fn read_head(&mut self) -> Result<bool, End> {
        let mut cursor = Cursor::new(self.input.bytes());
        let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|e| match e {
            tungstenite::Error::Io(e) => End::Io(e),
            e => Violation::protocol(e).into(),
        })?
        else {
            return Ok(false);
        };
        let size = cursor.position() as usize;
        self.input.consume(size);
        self.check_head(&header, length)?;
        if let OpCode::Data(kind @ (Data::Text | Data::Binary)) = header.opcode {
            let text = kind == Data::Text;
            self.message = Some(Message { text, compressed: header.rsv1, data: Vec::new() });
        }
        // A length that does not fit is above every limit.
        let left = usize::try_from(length).unwrap_or(usize::MAX);
        self.frame = Some(Frame { opcode: header.opcode, last: header.is_final, left });
        self.check_length()?;
        Ok(true)
    }

    fn check_head(&self, header: &FrameHeader, length: u64) -> Result<(), Violation> {
        let starts = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        let fault = match header.opcode {
            _ if header.rsv2 || header.rsv3 => "reserved bits that are not zero",
            _ if header.rsv1 && self.inflater.is_none() => {
                "reserved bits that are not zero (compression was not agreed on)"
            }
            _ if header.rsv1 && !starts => "the compression bit in a frame that does not begin a message",
            _ if header.mask.is_some() => "a masked frame",
            OpCode::Control(_) if !header.is_final => "a fragmented control frame",
            OpCode::Control(_) if length > LONGEST_CONTROL => "a control frame that is too long",
            OpCode::Data(Data::Continue) if self.message.is_none() => {
                "a continuation frame outside of a fragmented message"
            }
            _ if starts && self.message.is_some() => "a message within a fragmented message",
            _ => return Ok(()),
        };
        Err(Violation::protocol(fault))
    }

    /// Checks the length of the frame, and of the message so far, against the limits.
    fn check_length(&self) -> Result<(), Violation> {
        let (Some(frame), Some(message)) = (self.frame, &self.message) else { return Ok(()) };
        let Limits { message: max, frame: max_frame } = self.limits;
        // The limit does not count the type of a text packet, which stands in its first frame.
        let digit = usize::from(message.text && message.data.is_empty());
        if max_frame.is_some_and(|max| frame.left > max.saturating_add(digit)) {
            return Err(exceeded(max));
        }
        // The size of a compressed message is known only when it is inflated.
        let size = if message.compressed { 0 } else { message.data.len().saturating_add(frame.left) };
        let first = message.data.first().or(self.input.bytes().first());
        let limit = limit(message.text, first.copied(), max);
        if size > limit { Err(exceeded(max)) } else { Ok(()) }
    }

    fn read_control(&mut self, control: Control, length: usize) -> Result<Event, End> {
        let payload = &self.input.bytes()[..length];
        let event = match control {
            Control::Close => Err(End::Closed(CloseFrame::parse(payload)?)),
            Control::Ping => Ok(Event::Ping(payload.to_vec())),
            Control::Pong | Control::Reserved(_) => Ok(Event::Pong),
        };
        self.input.consume(length);
        self.frame = None;
        event
    }

    /// Reads a part of the payload of a data frame. Returns the packet if it is complete.
    fn read_payload(&mut self, frame: Frame, stream: &mut impl Read) -> Result<Option<Packet>, End> {
        let Some(message) = &mut self.message else { return Ok(None) };
        let here = frame.left.min(self.input.bytes().len());
        let bytes = &self.input.bytes()[..here];
        if frame.last && here == frame.left && message.data.is_empty() && !message.compressed {
            let packet = whole(message.text, bytes);
            self.input.consume(here);
            (self.frame, self.message) = (None, None);
            return Ok(Some(checked(packet?, self.limits.message)?));
        }
        match &mut self.inflater {
            Some(inflater) if message.compressed => {
                let limit = limit(message.text, message.data.first().copied(), self.limits.message);
                inflated(inflater.inflate(bytes, &mut message.data, limit), self.limits.message)?;
            }
            _ => message.data.extend_from_slice(bytes),
        }
        self.input.consume(here);
        let left = frame.left - here;
        self.frame = Some(Frame { left, ..frame });
        if left > 0 {
            self.check_length()?;
            return self.read_more(left, stream).map(|()| None);
        }
        self.frame = None;
        if frame.last { self.finish().map(Some) } else { Ok(None) }
    }

    /// Reads on: into the message itself if nothing has to be done with the bytes.
    fn read_more(&mut self, left: usize, stream: &mut impl Read) -> Result<(), End> {
        let more = match &mut self.message {
            Some(message) if !message.compressed => {
                let before = message.data.len();
                let more = self.input.read_into(stream, &mut message.data, left);
                let read = message.data.len() - before;
                self.frame = self.frame.map(|frame| Frame { left: left - read, ..frame });
                more
            }
            _ => self.input.fill(stream),
        };
        if more.map_err(End::Io)? { Ok(()) } else { Err(End::Eof) }
    }

    /// Ends the message with its last frame.
    fn finish(&mut self) -> Result<Packet, End> {
        let Message { text, compressed, mut data } = take(&mut self.message).unwrap_or_default();
        if let (Some(inflater), true) = (&mut self.inflater, compressed) {
            let limit = limit(text, data.first().copied(), self.limits.message);
            inflated(inflater.finish(&mut data, limit), self.limits.message)?;
        }
        if data.capacity() > data.len() + data.len() / 4 {
            data.shrink_to_fit();
        }
        let packet = match text {
            true => {
                let text = String::from_utf8(data).map_err(|_| not_utf8())?;
                Packet::from_text(text).map_err(Violation::packet)?
            }
            false => Packet::Binary(data.into()),
        };
        checked(packet, self.limits.message)
    }
}

/// Decodes a message that is in the input as a whole. It is copied out, so that it keeps no larger buffer in
/// memory.
fn whole(text: bool, bytes: &[u8]) -> Result<Packet, Violation> {
    if !text {
        return Ok(Packet::Binary(Bytes::copy_from_slice(bytes)));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| not_utf8())?;
    Packet::decode_text(text).map_err(Violation::packet)
}

fn checked(packet: Packet, max: usize) -> Result<Packet, End> {
    match check_size(&packet, max) {
        Ok(()) => Ok(packet),
        Err(error) => Err(Violation { code: 1009, error }.into()),
    }
}

/// The most bytes that a message may have: a text has a byte for its type, or is base64.
fn limit(text: bool, first: Option<u8>, max: usize) -> usize {
    match first {
        _ if !text => max,
        None | Some(b'b') => binary_text_len(max),
        Some(_) => max.saturating_add(1),
    }
}

fn exceeded(max: usize) -> Violation {
    Violation { code: 1009, error: too_long(max) }
}

fn not_utf8() -> Violation {
    Violation::text("a text is not UTF-8")
}

fn inflated(result: Result<(), Inflated>, max: usize) -> Result<(), Violation> {
    result.map_err(|fault| match fault {
        Inflated::TooLong => exceeded(max),
        Inflated::Invalid(what) => {
            Violation::text(format!("a compressed message is not a DEFLATE stream: {what}"))
        }
    })
}
