//! The conversion between packets and tungstenite's messages, on the non-blocking socket.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::mem::{replace, take};

use bytes::{Bytes, BytesMut};
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket as Socket};

use crate::error::Error;
use crate::net::ReadAhead;
use crate::protocol::{Frame, Packet};
use crate::transport::{BURST, BURST_BYTES, TransportError, Written, check_size, too_long};

/// The most bytes that are read before the lock is released, even in the middle of a message.
const RATION: usize = 2 * BURST_BYTES;

/// The most bytes of tungstenite's own pongs that may wait to be written, beyond its usual buffer.
const PONGS: usize = 4096;

/// The size in bytes below which a received binary message is copied. Otherwise it would keep the whole read
/// buffer in memory.
const COPY_BELOW: usize = 16 * 1024;

/// The size in bytes from which a sent binary message is shared and not copied. Sharing may allocate.
const SHARE_FROM: usize = 4 * 1024;

/// The socket, which the lock of its [`WebSocket`](super::WebSocket) guards.
pub(super) struct Frames {
    socket: Socket<ReadAhead>,
    /// The error that ended reading, while packets before it are handed on.
    ended: Option<TransportError>,
    max_message: usize,
    /// The number of bytes that are written before a flush.
    write_buffer: usize,
    /// Set when the close packet is written, and only a flush and the half-close remain.
    finishing: bool,
    /// The packets that were passed to tungstenite since the last complete flush.
    unflushed: Written,
    outgoing: Outgoing,
}

/// A buffer for small binary messages that are sent. tungstenite takes ownership of its messages, and would
/// drop the user's bytes under the lock.
#[derive(Default)]
struct Outgoing(BytesMut);

impl Outgoing {
    /// Returns bytes that tungstenite can own: a copy of a small message, a reference to a large one.
    fn share(&mut self, bytes: &Bytes) -> Bytes {
        if bytes.len() >= SHARE_FROM {
            return bytes.clone();
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

/// The result of one read.
enum Read {
    Packet(Packet),
    /// A control frame of the websocket.
    Control,
    /// There is no whole frame yet.
    Nothing,
}

impl Frames {
    pub(super) fn new(socket: Socket<ReadAhead>, max_message: usize, write_buffer: usize) -> Self {
        Frames {
            socket,
            ended: None,
            max_message,
            write_buffer,
            finishing: false,
            unflushed: Written::default(),
            outgoing: Outgoing::default(),
        }
    }

    /// Reads the packets that have come. Returns true if there may be more, in buffers that poll cannot see.
    pub(super) fn read_burst(&mut self, packets: &mut VecDeque<Packet>) -> Result<bool, TransportError> {
        if let Some(ended) = self.ended.take() {
            return Err(ended);
        }
        // The limit is in bytes of any kind, so that other threads get the lock whatever the server sends.
        self.socket.get_mut().ration(RATION);
        // A pong that does not fit replaces the previous one. Otherwise a server that sends pings without
        // reading would fill the memory.
        self.socket.set_config(|config| config.max_write_buffer_size = config.write_buffer_size + PONGS);
        let more = self.read_frames(packets);
        self.socket.set_config(|config| config.max_write_buffer_size = usize::MAX);
        more
    }

    fn read_frames(&mut self, packets: &mut VecDeque<Packet>) -> Result<bool, TransportError> {
        let (mut frames, mut bytes) = (0, 0);
        while frames < BURST && bytes < BURST_BYTES {
            frames += 1;
            match self.read_frame() {
                Ok(Read::Packet(packet)) => {
                    bytes += packet.frame_len();
                    packets.push_back(packet);
                }
                Ok(Read::Control) => {}
                Ok(Read::Nothing) => return Ok(self.socket.get_ref().used_up()),
                Err(ended) if packets.is_empty() => return Err(ended),
                Err(ended) => {
                    self.ended = Some(ended);
                    break;
                }
            }
        }
        Ok(true)
    }

    fn read_frame(&mut self) -> Result<Read, TransportError> {
        match self.socket.read() {
            Ok(Message::Text(text)) => self.packet(decode(Packet::decode_text(&text))?),
            Ok(Message::Binary(bytes)) => self.packet(Packet::Binary(unpinned(bytes))),
            Ok(Message::Close(frame)) => Err(self.closed_by_server(frame)),
            // tungstenite answers pings by itself.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(Read::Control),
            Err(tungstenite::Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => Ok(Read::Nothing),
            Err(e) => Err(failed(e)),
        }
    }

    fn packet(&self, packet: Packet) -> Result<Read, TransportError> {
        check_size(&packet, self.max_message).map_err(TransportError::Failed)?;
        Ok(Read::Packet(packet))
    }

    fn closed_by_server(&mut self, frame: Option<CloseFrame>) -> TransportError {
        // This sends the answer to the close frame, if it can be sent at once.
        let _ = self.socket.flush();
        let code = frame.as_ref().map(|frame| u16::from(frame.code));
        let reason = frame.map(|frame| frame.reason.as_str().to_owned()).unwrap_or_default();
        let error = Error::websocket_closed(code, reason);
        match code {
            None | Some(1000 | 1001) => TransportError::ClosedByServer(error),
            Some(_) => TransportError::Failed(error),
        }
    }

    /// Writes the rest of an earlier call or, if there is none, packets of the batch. `given` counts the
    /// packets that were passed to tungstenite. Returns the written packets, or `None` if the socket takes no
    /// more for now.
    pub(super) fn write_burst(
        &mut self,
        batch: &mut VecDeque<Packet>,
        given: &mut usize,
    ) -> Result<Option<Written>, TransportError> {
        // The rest of an earlier call comes first, so that tungstenite's buffer does not grow.
        if self.unflushed == Written::default() {
            for packet in batch {
                *given += 1;
                if !self.write_packet(packet)? {
                    return Ok(None);
                }
                if self.unflushed.memory >= self.write_buffer {
                    break;
                }
            }
        }
        Ok(self.flush()?.then(|| take(&mut self.unflushed)))
    }

    /// Writes one packet. Returns `None` if the socket takes only a part of it for now.
    pub(super) fn write_one(&mut self, packet: &mut Packet) -> Result<Option<Written>, TransportError> {
        let written = self.write_packet(packet)? && self.flush()?;
        Ok(written.then(|| take(&mut self.unflushed)))
    }

    /// Passes a packet to tungstenite. Returns false if the socket took only a part of the buffered bytes. A
    /// text is moved out of the packet. A binary message stays in it, because its destructor may be the
    /// user's code.
    fn write_packet(&mut self, packet: &mut Packet) -> Result<bool, TransportError> {
        self.finishing |= *packet == Packet::Close;
        self.unflushed = self.unflushed + Written::of(packet);
        let message = match packet {
            Packet::Binary(bytes) => Message::Binary(self.outgoing.share(bytes)),
            text => match replace(text, Packet::Noop).into_frame() {
                Frame::Text(text) => Message::Text(text.into()),
                Frame::Binary(bytes) => Message::Binary(bytes),
            },
        };
        let written = ready(self.socket.write(message))?;
        Ok(written && (!self.finishing || ready(self.socket.close(None))?))
    }

    /// Returns true if everything is written.
    fn flush(&mut self) -> Result<bool, TransportError> {
        if self.finishing && self.socket.can_write() && !ready(self.socket.close(None))? {
            return Ok(false);
        }
        if !ready(self.socket.flush())? {
            return Ok(false);
        }
        if self.finishing {
            self.socket.get_mut().finish();
        }
        Ok(true)
    }
}

/// Returns false if the socket takes no more for now. The frame stays in tungstenite's buffer.
fn ready(written: Result<(), tungstenite::Error>) -> Result<bool, TransportError> {
    match written {
        Ok(()) => Ok(true),
        Err(tungstenite::Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(failed(e)),
    }
}

/// Converts the error of a failed write. The server's last words may still be there to read.
pub(super) fn unwritable(error: TransportError) -> TransportError {
    match error {
        TransportError::Failed(error) => TransportError::Unwritable { error, last_words: true },
        other => other,
    }
}

fn decode<E: std::error::Error>(packet: Result<Packet, E>) -> Result<Packet, TransportError> {
    packet.map_err(|e| TransportError::Failed(Error::protocol(e.to_string())))
}

/// Copies a small message, so that it does not keep the read buffer in memory.
fn unpinned(bytes: Bytes) -> Bytes {
    if bytes.len() < COPY_BELOW { Bytes::copy_from_slice(&bytes) } else { bytes }
}

pub(super) fn broken(e: impl std::error::Error + Send + Sync + 'static) -> TransportError {
    TransportError::Failed(Error::connection_from("the websocket connection broke", e))
}

fn failed(error: tungstenite::Error) -> TransportError {
    use tungstenite::Error as E;
    match error {
        E::Protocol(ProtocolError::ResetWithoutClosingHandshake) => TransportError::Failed(
            Error::connection("the server closed the connection without a close frame"),
        ),
        E::Protocol(ProtocolError::SendAfterClosing) | E::ConnectionClosed | E::AlreadyClosed => {
            TransportError::Failed(Error::connection("the websocket is closed"))
        }
        // tungstenite's limit is one byte higher than the user's, for the packet's type.
        E::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            TransportError::Failed(too_long(max_size - 1))
        }
        E::Protocol(_) | E::Capacity(_) | E::Utf8(_) => {
            TransportError::Failed(Error::protocol(format!("by websocket: {error}")))
        }
        other => broken(other),
    }
}
