//! The socket with both directions of its frames, and the errors of both as errors of the transport.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use bytes::Bytes;

use super::close::{CloseFrame, Violation};
use super::reader::{End, Event, Reader};
use super::unconfirmed::Unconfirmed;
use super::writer::Writer;
use crate::error::Error;
use crate::net::Stream;
use crate::protocol::Packet;
use crate::transport::{BURST, BURST_BYTES, TransportError, Written};

/// The most bytes that are read before the lock is released, even in the middle of a message.
const RATION: usize = 2 * BURST_BYTES;

/// The socket, which the lock of its [`WebSocket`](super::WebSocket) guards.
pub(super) struct Frames {
    stream: Stream,
    reader: Reader,
    writer: Writer,
    /// The error that ended reading, while packets before it are handed on.
    ended: Option<TransportError>,
    unconfirmed: Unconfirmed,
}

/// The state of the socket after a burst of reads.
pub(super) struct Read {
    /// True if there may be more, in buffers that poll cannot see.
    pub(super) more: bool,
    /// True if an answer to a ping of the websocket waits until the socket takes more.
    pub(super) owes: bool,
}

/// The state of the socket after a burst of writes.
pub(super) enum Burst {
    /// All is flushed. These packets are written, of which there may be none.
    Flushed(Written),
    /// The socket takes no more for now.
    Blocked,
}

impl Frames {
    pub(super) fn new(stream: Stream, reader: Reader, writer: Writer) -> Self {
        Frames { stream, reader, writer, ended: None, unconfirmed: Unconfirmed::default() }
    }

    /// Reads the packets that have come, and then answers the websocket's pings.
    pub(super) fn read_burst(&mut self, packets: &mut VecDeque<Packet>) -> Result<Read, TransportError> {
        if let Some(ended) = self.ended.take() {
            return Err(ended);
        }
        // The limit is in bytes of any kind, so that other threads get the lock whatever the server sends.
        self.reader.input().ration(RATION);
        let more = match self.read_events(packets) {
            Ok(more) => more,
            Err(ended) if packets.is_empty() => return Err(ended),
            Err(ended) => {
                self.ended = Some(ended);
                true
            }
        };
        self.writer.write_pongs(&mut self.stream);
        Ok(Read { more, owes: self.writer.owes_pongs() })
    }

    fn read_events(&mut self, packets: &mut VecDeque<Packet>) -> Result<bool, TransportError> {
        let (mut events, mut bytes) = (0, 0);
        while events < BURST && bytes < BURST_BYTES {
            events += 1;
            match self.reader.next(&mut self.stream) {
                Ok(Event::Packet(packet)) => {
                    bytes += packet.frame_len();
                    packets.push_back(packet);
                }
                Ok(Event::Ping(payload)) => self.writer.pong(&payload),
                Ok(Event::Pong) => {}
                Err(End::Io(e)) if is_transient(&e) => return Ok(self.reader.input().used_up()),
                Err(end) => return Err(self.ended_by(end)),
            }
        }
        Ok(true)
    }

    fn ended_by(&mut self, end: End) -> TransportError {
        match end {
            End::Closed(CloseFrame { code, reason }) => {
                self.writer.answer_close(code, &mut self.stream);
                let error = Error::websocket_closed(code, reason);
                match code {
                    None | Some(1000 | 1001) => TransportError::ClosedByServer(error),
                    Some(_) => TransportError::Failed(error),
                }
            }
            End::Violation(Violation { code, error }) => {
                self.writer.answer_close(Some(code), &mut self.stream);
                TransportError::Failed(error)
            }
            End::Eof => TransportError::Failed(Error::connection(
                "the server closed the connection without a close frame",
            )),
            End::Io(e) => broken(e),
        }
    }

    /// Writes the rest of an earlier call or, if there is none, packets of the batch. Packets that are in the
    /// buffer are taken out of the batch, and binary messages among them are moved to `spent`.
    pub(super) fn write_burst(
        &mut self,
        batch: &mut VecDeque<Packet>,
        spent: &mut Vec<Bytes>,
    ) -> Result<Burst, TransportError> {
        if !batch.is_empty() {
            self.check_open()?;
        }
        self.writer.fill(batch, spent);
        let flushed = self.writer.flush(&mut self.stream);
        self.flushed(flushed)
    }

    /// True if a packet is written only in part.
    pub(super) fn is_writing(&self) -> bool {
        self.writer.has_current()
    }

    /// Takes the packet that is written only in part, because nothing more can be written.
    pub(super) fn take_current(&mut self) -> Option<Packet> {
        self.writer.take_current()
    }

    /// True if the packet is for the writer thread, because it may take long to compress.
    pub(super) fn is_slow(&self, packet: &Packet) -> bool {
        self.writer.is_slow(packet)
    }

    /// Writes one packet. The socket may take only a part of it for now.
    pub(super) fn write_one(&mut self, packet: &Packet) -> Result<Burst, TransportError> {
        self.check_open()?;
        let flushed = self.writer.write_one(packet, &mut self.stream);
        self.flushed(flushed)
    }

    fn check_open(&self) -> Result<(), TransportError> {
        match self.writer.is_closing() {
            true => Err(TransportError::Failed(Error::SocketIsClosed)),
            false => Ok(()),
        }
    }

    fn flushed(&mut self, flushed: io::Result<bool>) -> Result<Burst, TransportError> {
        if !flushed.map_err(broken)? {
            return Ok(Burst::Blocked);
        }
        let written = self.writer.take_flushed();
        self.unconfirmed.written(self.stream.socket().sent(), written.traffic.messages);
        if self.writer.is_closing() {
            self.stream.finish();
        }
        Ok(Burst::Flushed(written))
    }

    /// The number of written messages that the server's system has not confirmed, if this many bytes of the
    /// socket are not confirmed.
    pub(super) fn unconfirmed(&self, bytes: u64) -> u64 {
        // The end of the stream counts as a byte.
        let bytes = bytes.saturating_sub(u64::from(self.writer.is_closing()));
        self.unconfirmed.messages(self.stream.socket().sent(), bytes)
    }
}

fn is_transient(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Converts the error of a failed write. The server's last words may still be there to read.
pub(super) fn unwritable(error: TransportError) -> TransportError {
    match error {
        TransportError::Failed(error) => TransportError::Unwritable { error, last_words: true },
        other => other,
    }
}

pub(super) fn broken(e: impl std::error::Error + Send + Sync + 'static) -> TransportError {
    TransportError::Failed(Error::connection_from("the websocket connection broke", e))
}
