//! The websocket's frames: how packets become tungstenite's messages, and messages packets.

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

/// How many bytes are read at most before the lock is given up, whether they are whole messages or not.
const RATION: usize = 2 * BURST_BYTES;

/// How much of tungstenite's own answers may wait to be written, beyond what it buffers in any case.
const PONGS: usize = 4096;

/// Binary messages below this size are copied out of the read buffer, which they would keep in memory.
const COPY_BELOW: usize = 16 * 1024;

/// Binary messages from this size on are written without a copy; to share one may allocate.
const SHARE_FROM: usize = 4 * 1024;

/// The socket, under the lock of its [`WebSocket`](super::WebSocket).
pub(super) struct Frames {
    socket: Socket<ReadAhead>,
    /// What ended reading, when packets before it had still to be handed on.
    ended: Option<TransportError>,
    max_message: usize,
    /// How many bytes are written before they are flushed.
    write_buffer: usize,
    /// The `1` is written: what remains is to flush it and to half-close.
    finishing: bool,
    /// What was given to tungstenite since everything was last written.
    unflushed: Written,
    outgoing: Outgoing,
}

/// A buffer for the small binary messages that are written: tungstenite wants to own what it writes, and a share of
/// the user's bytes would be dropped under the lock.
#[derive(Default)]
struct Outgoing(BytesMut);

impl Outgoing {
    fn share(&mut self, bytes: &Bytes) -> Bytes {
        if bytes.len() >= SHARE_FROM {
            return bytes.clone();
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

/// What one read brought.
enum Read {
    Packet(Packet),
    /// A frame of the websocket's own.
    Control,
    /// No more has come yet.
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

    /// Reads what is there; true if there may be more, in buffers that poll cannot see.
    pub(super) fn read_burst(&mut self, packets: &mut VecDeque<Packet>) -> Result<bool, TransportError> {
        if let Some(ended) = self.ended.take() {
            return Err(ended);
        }
        // Frames and not packets: other threads want the lock, whatever the server sends.
        self.socket.get_mut().ration(RATION);
        // A pong that does not fit replaces the one before: a server that sends pings and reads nothing would fill the
        // memory with them.
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
        // The answer to the close frame, if it can be sent at once.
        let _ = self.socket.flush();
        let code = frame.as_ref().map(|frame| u16::from(frame.code));
        let reason = frame.map(|frame| frame.reason.as_str().to_owned()).unwrap_or_default();
        let error = Error::websocket_closed(code, reason);
        match code {
            None | Some(1000 | 1001) => TransportError::ClosedByServer(error),
            Some(_) => TransportError::Failed(error),
        }
    }

    /// Writes what a former call left or, if that is nothing, some packets of the batch, and counts how many packets
    /// were `given` to tungstenite. Returns what was written, or `None` if the socket takes no more for now.
    pub(super) fn write_burst(
        &mut self,
        batch: &mut VecDeque<Packet>,
        given: &mut usize,
    ) -> Result<Option<Written>, TransportError> {
        // What is left comes first, so that tungstenite's buffer does not grow.
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

    pub(super) fn write_one(&mut self, packet: &mut Packet) -> Result<Option<Written>, TransportError> {
        let written = self.write_packet(packet)? && self.flush()?;
        Ok(written.then(|| take(&mut self.unflushed)))
    }

    /// Gives a packet to tungstenite: false if the socket took only a part of what is buffered. A text is taken out of
    /// the packet; of a binary message, whose `Drop` may be the user's, the packet keeps its share.
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

    /// True when everything is written.
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

/// False for a socket that takes no more for now; the frame stays in tungstenite's buffer.
fn ready(written: Result<(), tungstenite::Error>) -> Result<bool, TransportError> {
    match written {
        Ok(()) => Ok(true),
        Err(tungstenite::Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(failed(e)),
    }
}

/// A failed write: what the server said before that may still be there to read.
pub(super) fn unwritable(error: TransportError) -> TransportError {
    match error {
        TransportError::Failed(error) => TransportError::Unwritable { error, last_words: true },
        other => other,
    }
}

fn decode<E: std::error::Error>(packet: Result<Packet, E>) -> Result<Packet, TransportError> {
    packet.map_err(|e| TransportError::Failed(Error::protocol(e.to_string())))
}

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
        // As given to tungstenite, for the packet's type.
        E::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            TransportError::Failed(too_long(max_size - 1))
        }
        E::Protocol(_) | E::Capacity(_) | E::Utf8(_) => {
            TransportError::Failed(Error::protocol(format!("by websocket: {error}")))
        }
        other => broken(other),
    }
}
